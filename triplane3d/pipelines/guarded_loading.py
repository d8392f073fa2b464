"""A saved pipeline is checked before it is loaded, and what fails while it is loaded becomes one sentence.

All JSON files and the headers of all weights are read first: classes, sizes and names that could not be meant are
refused with the file's name, before a library is imported, a network is built or a weight is read.
"""

import functools
import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline, ModelMixin, SchedulerMixin
from diffusers.guiders import BaseGuidance
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import PreTrainedModel

from triplane3d.limits import check_config, read_json, read_weights_header

INDEX = "model_index.json"
SEEN = "_checks_triplane3d"

BASES: dict[str, tuple[type, ...]] = {
    "diffusers": (SchedulerMixin, ModelMixin, BaseGuidance),
    "transformers": (PreTrainedModel,),
    "triplane3d": (ModelMixin, SchedulerMixin),
}
"""The libraries that a saved pipeline may name, and what their classes may be. Any other would be imported."""

ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
"""Of transformers' models. Any other name is taken for a program on the Hub, which would be downloaded and run."""

FAULTS = (
    ArithmeticError, AssertionError, AttributeError, BufferError, ImportError, LookupError, RuntimeError,
    SafetensorError, StrictDataclassError, TypeError,
)  # fmt: skip
"""What diffusers, transformers and torch raise for files that are not what they should be, besides ValueError."""


def guard_loading(pipeline_classes: tuple[type[DiffusionPipeline], ...]) -> None:
    """Let `DiffusionPipeline.from_pretrained` and `download` check the folders of these classes first. Idempotent.

    Both loaders pass there: `DiffusionPipeline.from_pretrained(folder)` never calls the class that the folder names.
    Pipelines of other classes are loaded as before.
    """
    if hasattr(DiffusionPipeline, SEEN):
        return
    load, download = DiffusionPipeline.from_pretrained.__func__, DiffusionPipeline.download.__func__

    @functools.wraps(load)
    def from_pretrained(cls: type[DiffusionPipeline], pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        folder = Path(pretrained_model_name_or_path)
        ours = _ours(cls, folder, pipeline_classes)
        if ours is None:
            return load(cls, pretrained_model_name_or_path, **kwargs)
        with loading_as_sentences(str(folder)):
            if folder.is_dir():
                check_pipeline_folder(folder, ours, given=kwargs)
            return load(cls, pretrained_model_name_or_path, **kwargs)

    @functools.wraps(download)
    def checked_download(cls: type[DiffusionPipeline], *args: Any, **kwargs: Any) -> Any:
        folder = download(cls, *args, **kwargs)
        ours = _ours(cls, Path(folder), pipeline_classes)
        if ours is not None:
            check_pipeline_folder(Path(folder), ours, given=kwargs)
        return folder

    DiffusionPipeline.from_pretrained = classmethod(from_pretrained)
    DiffusionPipeline.download = classmethod(checked_download)
    setattr(DiffusionPipeline, SEEN, True)


def _ours(cls: type, folder: Path, pipeline_classes: tuple[type, ...]) -> type | None:
    """The class of ours that `cls` is, or that the folder names; None where it is neither.

    Raises:
        ValueError: where the folder's index cannot be read, or names an unknown class for parts of ours.
    """
    if issubclass(cls, pipeline_classes):
        return cls
    if not (folder / INDEX).is_file():  # no folder, or one that diffusers knows how to refuse
        return None
    index = read_json(folder / INDEX)
    name = index.get("_class_name")
    known = {pipeline_class.__name__: pipeline_class for pipeline_class in pipeline_classes}
    has_our_parts = any(isinstance(entry, list) and entry[:1] == ["triplane3d"] for entry in index.values())
    if has_our_parts and not hasattr(diffusers, str(name)):
        raise ValueError(
            f"{folder / INDEX}: _class_name is {str(name)[:80]!r}, where {' or '.join(known)} is expected: download "
            "the pipeline again, or load it with its own class"
        )
    return known.get(str(name))


@contextmanager
def loading_as_sentences(where: str) -> Iterator[None]:
    """Inside, what broken files lead to becomes a `ValueError` that names `where`.

    Errors of memory and of the operating system pass as they are.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except ValueError as error:
        if where in str(error):
            raise
        raise ValueError(f"{where} cannot be loaded: {_reason(error)}") from error
    except FAULTS as error:
        raise ValueError(
            f"{where} cannot be loaded ({type(error).__name__}: {_reason(error)}): its files are damaged or do not "
            "fit together; download or save it again"
        ) from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 600 else f"{text[:600]}…"


def check_pipeline_folder(folder: str | Path, pipeline_class: type, given: Mapping[str, Any] | None = None) -> None:
    """Refuse a saved pipeline that could not be meant, from its JSON files and the headers of its weights.

    Args:
        folder: holds model_index.json, and a folder for each component.
        pipeline_class: what it is loaded as; components that it does not take are not loaded, nor checked.
        given: components and options that are passed to `from_pretrained`; what is given is not read from the folder.

    Raises:
        ValueError: it names the file, what came and what is accepted.
        OSError: where a file cannot be read.
    """
    folder = Path(folder)
    index = read_json(folder / INDEX)
    check_config(index, str(folder / INDEX))
    parameters = inspect.signature(pipeline_class.__init__).parameters  # type: ignore[misc]
    for name, entry in index.items():
        is_component = name in parameters and isinstance(entry, list)
        if is_component and entry != [None, None] and name not in (given or {}):
            _check_class(entry, f"{folder / INDEX}: {name}")
            _check_component(folder / name)


def _check_class(entry: list, where: str) -> None:
    library, name = entry if len(entry) == 2 and all(isinstance(part, str) for part in entry) else ("", "")
    bases = BASES.get(library)
    home = {"diffusers": diffusers, "transformers": transformers}.get(library) if bases else None
    found = _public_class(library, name, home) if bases else None
    if not bases or not isinstance(found, type) or not issubclass(found, bases):
        known = "; ".join(f"{library}: {', '.join(base.__name__ for base in of)}" for library, of in BASES.items())
        raise ValueError(
            f"{where} is {json.dumps(entry)[:200]}, where a class of one of these kinds is accepted ({known}). Other "
            "libraries are not imported from a file: pass the component itself to from_pretrained"
        )


def _public_class(library: str, name: str, home: Any) -> object:
    if home is None:
        import triplane3d

        return getattr(triplane3d, name, None) if name in triplane3d.__all__ else None
    try:
        return getattr(home, name, None)
    except (ImportError, RuntimeError):  # its module cannot be imported here
        return None


def _check_component(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"{folder} is missing, though {INDEX} names it: download the pipeline again, or pass the "
                         "component to from_pretrained")  # fmt: skip
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith(".index.json"):
            _check_weights_index(path)
        elif path.name in ("config.json", "scheduler_config.json", "guider_config.json"):
            config = read_json(path)
            check_config(config, str(path))
            _check_attention(config, str(path))
    for path in sorted(folder.glob("*.safetensors")):
        read_weights_header(path)


def _check_attention(config: Mapping[str, Any], where: str) -> None:
    for key, value in config.items():
        if isinstance(value, Mapping):
            _check_attention(value, f"{where}: {key}")
        elif "attn_implementation" in str(key) and value is not None and value not in ATTENTION:
            raise ValueError(f"{where}: {key} is {str(value)[:80]!r}, not one of {', '.join(ATTENTION)}; "
                             "others would be downloaded and run")  # fmt: skip


def _check_weights_index(path: Path) -> None:
    files = read_json(path, limit="index").get("weight_map")
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{path} should have a weight_map of tensors and files: download it again")
    for file in set(map(str, files.values())):
        if Path(file).name != file or not (path.parent / file).is_file():
            raise ValueError(f"{path} names the file {file[:80]!r}, which is not beside it: download it again")
