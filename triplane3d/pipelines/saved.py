"""What lies in a saved pipeline's folder: JSON files, weights and their variants, and whether each file is whole."""

import re
from collections.abc import Collection, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from triplane3d import limits

INDEX = "model_index.json"
CONFIGS = ("config.json", "scheduler_config.json", "preprocessor_config.json")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"

SHARD = r"(?:-\d{5}-of-\d{5})?"
WEIGHTS = re.compile(rf"[^.]+?{SHARD}(?:\.(?P<variant>[^.]+?))?{SHARD}\.safetensors")
"""A component's weights as diffusers and transformers name them: model[.variant][-00001-of-00002].safetensors, and the
older model-00001-of-00002.variant.safetensors."""


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError with a sentence for any other content, OSError for no file."""
    _check_pointer(path)
    return limits.read_json(path)


def component_names(index: dict[str, Any]) -> list[str]:
    """The components that a `model_index.json` names, without those left empty."""
    return [
        name
        for name, entry in index.items()
        if not name.startswith("_") and isinstance(entry, list) and len(entry) == 2 and entry[0] is not None
    ]


def variants(files: Iterable[str], components: Collection[str]) -> dict[str, set[str | None]]:
    """The variants of each component's weights, None for plain ones. `files` are named "component/file"."""
    held: dict[str, set[str | None]] = {}
    for file in files:
        component, _, name = file.partition("/")
        match = WEIGHTS.fullmatch(name)
        if match and component in components:
            held.setdefault(component, set()).add(match["variant"])
    return held


def find_variant(held: dict[str, set[str | None]], name: object) -> str | None:
    """The `variant` with which every component finds weights: None where all have plain ones.

    Where several would do, fp16 comes first. `name` is the pipeline's, for the ValueError where none would.
    """
    without_plain = {component: found for component, found in held.items() if None not in found}
    if not without_plain:
        return None
    common = set.intersection(*without_plain.values())
    if not common:
        there = "; ".join(f"{component} only as {_listed(found)}" for component, found in sorted(without_plain.items()))
        raise ValueError(f"{name} holds no variant of the weights that is complete ({there}): save it again")
    return min(filter(None, common), key=lambda variant: (variant != "fp16", variant))


def check_variant(held: dict[str, set[str | None]], variant: str, name: object) -> None:
    """Refuse a variant that no component has, or that leaves a component without weights."""
    if not any(variant in found for found in held.values()):
        there = sorted({one or "plain weights" for found in held.values() for one in found})
        raise ValueError(f"{name} has no variant {variant!r} of its weights: it holds {', '.join(there) or 'none'}")
    for component, found in sorted(held.items()):
        if not found & {variant, None}:
            raise ValueError(f"{name} has no variant {variant!r} of its {component}: it holds {_listed(found)}")


def files_below(folder: Path) -> list[str]:
    """The files of a pipeline's components as "component/file"."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_file())


def saved_variant(folder: str | PathLike) -> str | None:
    """The `variant` to load a saved pipeline with; None for a folder with plain weights, and for no such folder."""
    if not (Path(folder) / INDEX).is_file():
        return None
    components = component_names(read_json(Path(folder) / INDEX))
    return find_variant(variants(files_below(Path(folder)), components), folder)


def tensors(path: Path) -> Iterator[tuple[str, list[int], str]]:
    """Name, shape and type of each tensor of a safetensors file, from its header; ValueError where it is not whole."""
    _check_pointer(path)
    for name, header in limits.read_weights_header(path).items():
        yield name, list(header.shape), header.dtype


def check_saved(folder: Path) -> None:
    """Refuse a pipeline with a file that is missing, cut short, or a stand-in for the file. Reads headers only."""
    for component in component_names(read_json(folder / INDEX)):
        if not (folder / component).is_dir():
            raise ValueError(f"{folder / INDEX} names a {component}, but {folder / component} is not there")
        for name in CONFIGS:
            if (folder / component / name).is_file():
                read_json(folder / component / name)
        for path in sorted((folder / component).glob("*.index*.json")):
            for shard in sorted(set(read_json(path).get("weight_map", {}).values())):
                if not (folder / component / shard).is_file():
                    raise ValueError(f"{path} names {shard}, which is not there: save or download it again")
        weights = sorted((folder / component).glob("*.safetensors"))
        described = (folder / component / "config.json").is_file()  # schedulers and guiders have other configs
        if described and not weights:
            raise ValueError(f"{folder / component} holds no weights (.safetensors): save or download them again")
        if weights and not described:
            raise ValueError(f"{folder / component} holds weights but no config.json: save or download it again")
        for path in weights:
            for _ in tensors(path):
                break


def _check_pointer(path: Path) -> None:
    with path.open("rb") as file:
        begins = file.read(len(LFS_POINTER))
    if begins == LFS_POINTER:
        raise ValueError(
            f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` in its repository, or download it"
        )


def _listed(found: Iterable[str | None]) -> str:
    return ", ".join(sorted(one or "plain weights" for one in found))
