"""Saved pipelines: where they are found, and which files their folders hold. Imports neither torch nor diffusers.

A saved pipeline is a folder in diffusers' format: `model_index.json` with the class of the pipeline, the classes of its
components and its settings; and a folder for each component with its config (JSON) and weights (safetensors).
`pipelines/checks.py` checks the content of these files before a pipeline is loaded.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from triplane3d import limits
from triplane3d.storage.tensor_files import check_utf8

INDEX = "model_index.json"
OWN_PIPELINES = ("Triplane3DPipeline", "TriplaneReconstructionPipeline")
"""Values of `_class_name` in the `model_index.json` of this library's pipelines."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"

SHARD = r"(?:-\d{5}-of-\d{5})?"
WEIGHTS = re.compile(rf"[^.]+?{SHARD}(?:\.(?P<variant>[^.]+?))?{SHARD}\.safetensors")
"""File names of a component's weights in diffusers and transformers: model[.variant][-00001-of-00002].safetensors, or
in older versions model-00001-of-00002.variant.safetensors."""

_PACKAGE = Path(__file__).parents[1]
EMBEDDED = (_PACKAGE / "_pipelines", _PACKAGE.parent / "pipelines")
"""Folders with the pipelines that ship with the library: in an installed package, and in a checkout."""

HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision")
"""Arguments of `from_pretrained` that choose a file on the Hub and how it is downloaded."""


# ---- Where pipelines are found


def embedded_pipeline(name: str) -> Path | None:
    """The folder of the pipeline `name` that ships with the library, such as "mini"; None for any other name.

    A saved pipeline in a local folder of that name has precedence, as in all loaders of diffusers.
    """
    if not name or Path(name).name != name or (Path(name) / INDEX).is_file():
        return None
    for folder in EMBEDDED:
        if (folder / name / INDEX).is_file():
            return folder / name
    return None


def embedded_names() -> list[str]:
    """Names of the pipelines that ship with the library, weights included."""
    folders = [index.parent for folder in EMBEDDED for index in folder.glob(f"*/{INDEX}")]
    return sorted({folder.name for folder in folders if any(folder.glob("*/*.safetensors"))})


def find_saved(model: str | Path) -> Path | None:
    """The folder of the pipeline `model`, which holds weights; None for a name on the Hugging Face Hub (owner/name).

    Whether a Hub name exists is found out when it is loaded.

    Raises:
        ValueError: if `model` is neither a folder of a saved pipeline with weights, nor the name of an embedded
            pipeline, nor a possible name on the Hub.
    """
    folder = embedded_pipeline(str(model)) or Path(model)
    check_utf8(folder)
    if (folder / INDEX).is_file():
        if not any(folder.glob("*/*.safetensors")):
            public = folder.name in ("direct3d", "triposr")
            how = f"convert the public checkpoint (triplane3d convert {folder.name} --help)" if public else "train it"
            raise ValueError(f"{folder} describes a pipeline but holds no weights: {how} and name the resulting folder")
        return folder
    if folder.exists():
        raise ValueError(f"{folder} is not a saved pipeline: it has no {INDEX}")
    name = str(model)
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith("/"):
        raise ValueError(
            f"there is no pipeline {name!r}: name one that ships with the library ({', '.join(embedded_names())}), "
            "a folder, or owner/name on the Hugging Face Hub"
        )
    return None


# ---- model_index.json


def read_json(path: Path, *, limit: str = "json") -> dict[str, Any]:
    """The JSON object in a file, at most as large as `limit` of `triplane3d.limits` allows.

    Raises:
        ValueError: for any other content.
        OSError: if the file cannot be read.
    """
    check_not_pointer(path)
    return limits.read_json(path, limit=limit)


def read_index(source: str | PathLike, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The `model_index.json` of a folder, or of a repository on the Hub; None if there is none or it is out of reach.

    Args:
        source: a folder or a name on the Hub.
        options: those of `from_pretrained`; `HUB_OPTIONS` of them are used.

    Raises:
        ValueError: if the file is too large or no JSON object.
    """
    folder = Path(source)
    if folder.is_dir():
        return read_json(folder / INDEX) if (folder / INDEX).is_file() else None
    from huggingface_hub import hf_hub_download

    chosen = {name: options[name] for name in HUB_OPTIONS if options.get(name) is not None}
    try:
        path = hf_hub_download(str(source), INDEX, **chosen)
    except (OSError, ValueError):  # the loader, which is called next, raises its own error
        return None
    return limits.read_json(path)


def own_class_name(source: str | PathLike, options: Mapping[str, Any]) -> str | None:
    """The class of this library that the pipeline at `source` has; None for pipelines of other libraries.

    Raises:
        ValueError: if the index is no JSON object, or names components of this library and another pipeline class.
    """
    place = embedded_pipeline(str(source)) or source
    index = read_index(place, options) or {}
    name = index.get("_class_name")
    if name in OWN_PIPELINES:
        return str(name)
    has_own_components = any(isinstance(entry, list) and entry[:1] == ["triplane3d"] for entry in index.values())
    if has_own_components and not isinstance(name, list) and options.get("custom_pipeline") is None:
        raise ValueError(
            f"{place}/{INDEX}: _class_name is {str(name)[:80]!r}, where {' or '.join(OWN_PIPELINES)} is expected: "
            "download the pipeline again, or load it with its own class"
        )
    return None


def component_names(index: Mapping[str, Any]) -> list[str]:
    """The components that a `model_index.json` names, without those that were not saved."""
    return [
        name
        for name, entry in index.items()
        if not name.startswith("_") and isinstance(entry, list) and len(entry) == 2 and entry[0] is not None
    ]


def absent_components(index: Mapping[str, Any]) -> list[str]:
    """The components that were not saved: `[null, null]` in `model_index.json`."""
    return [name for name, entry in index.items() if entry == [None, None]]


# ---- Variants of the weights, such as fp16


def variants(files: Iterable[str], components: Collection[str]) -> dict[str, set[str | None]]:
    """The variants of each component's weights, None for plain weights. `files` are named "component/file"."""
    saved: dict[str, set[str | None]] = {}
    for file in files:
        component, _, name = file.partition("/")
        match = WEIGHTS.fullmatch(name)
        if match and component in components:
            saved.setdefault(component, set()).add(match["variant"])
    return saved


def find_variant(saved: dict[str, set[str | None]], name: object) -> str | None:
    """The `variant` with which the weights of every component are found: None if all have plain ones.

    Of several such variants, fp16 comes first.

    Args:
        saved: the result of `variants`.
        name: the pipeline's, for the error.

    Raises:
        ValueError: if no variant is complete.
    """
    without_plain = {component: found for component, found in saved.items() if None not in found}
    if not without_plain:
        return None
    common = set.intersection(*without_plain.values())
    if not common:
        found = "; ".join(f"{component} only as {_listed(names)}" for component, names in sorted(without_plain.items()))
        raise ValueError(f"{name} holds no variant of the weights that is complete ({found}): save it again")
    return min(filter(None, common), key=lambda variant: (variant != "fp16", variant))


def check_variant(saved: dict[str, set[str | None]], variant: str, name: object) -> None:
    """Raise a ValueError if no component has the variant, or if it leaves a component without weights."""
    if not any(variant in found for found in saved.values()):
        found = sorted({one or "plain weights" for names in saved.values() for one in names})
        raise ValueError(f"{name} has no variant {variant!r} of its weights: it holds {', '.join(found) or 'none'}")
    for component, names in sorted(saved.items()):
        if not names & {variant, None}:
            raise ValueError(f"{name} has no variant {variant!r} of its {component}: it holds {_listed(names)}")


def saved_variant(folder: str | PathLike) -> str | None:
    """The `variant` to load a saved pipeline with; None if it has plain weights, or if there is no such folder."""
    if not (Path(folder) / INDEX).is_file():
        return None
    components = component_names(read_json(Path(folder) / INDEX))
    return find_variant(variants(files_below(Path(folder)), components), folder)


def _listed(found: Iterable[str | None]) -> str:
    return ", ".join(sorted(one or "plain weights" for one in found))


# ---- Files of a component


def files_below(folder: Path) -> list[str]:
    """The files of a pipeline's components as "component/file"."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_file())


def tensors(path: Path) -> Iterator[tuple[str, list[int], str]]:
    """Name, shape and type of each tensor of a safetensors file, from its header.

    Raises:
        ValueError: if the file is not complete.
    """
    check_not_pointer(path)
    for name, header in limits.read_weights_header(path).items():
        yield name, list(header.shape), header.dtype


def check_not_pointer(path: Path) -> None:
    """Raise a ValueError if the file is a pointer that Git LFS writes in place of a file."""
    with path.open("rb") as file:
        start = file.read(len(LFS_POINTER))
    if start == LFS_POINTER:
        raise ValueError(
            f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` in its repository, or download it"
        )
