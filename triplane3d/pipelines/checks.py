"""Checks of a saved pipeline before it is loaded, and of errors while it is loaded.

All JSON files and the headers of all weights are read first. Classes, sizes and file names that are not acceptable are
refused with the file's name before a library is imported, a network is built or weights are read. Broken files that
pass these checks raise errors of many types in diffusers, transformers and torch; `loading_errors` makes them one
ValueError.
"""

import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import ConfigMixin, ModelMixin, SchedulerMixin
from diffusers.guiders import BaseGuidance
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import PreTrainedModel

from triplane3d.limits import check_config, read_weights_header
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.photo_plane import PhotoPlaneRefiner
from triplane3d.models.reconstructor_triplane import TriplaneReconstructor
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.pipelines.saved import INDEX, check_not_pointer, read_json

OWN_MODELS = {
    model.__name__: model
    for model in (AutoencoderKLTriplane, PhotoPlaneRefiner, TriplaneReconstructor, TriplaneTransformer)
}

BASES: dict[str, tuple[type, ...]] = {
    "diffusers": (SchedulerMixin, ModelMixin, BaseGuidance),
    "transformers": (PreTrainedModel,),
    "triplane3d": (ModelMixin,),
}
"""The libraries that a saved pipeline may name, and the base classes that their classes must have.

diffusers would import any other library, which runs its code.
"""

CONFIGS = ("config.json", "scheduler_config.json", "guider_config.json", "preprocessor_config.json")
"""Files with the settings of a component. Only a model has config.json."""

ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
"""Attention implementations of transformers' models. transformers takes any other name for a program on the Hub, which
it downloads and runs."""

FAULTS = (
    ArithmeticError, AssertionError, AttributeError, BufferError, ImportError, LookupError, RuntimeError,
    SafetensorError, StrictDataclassError, TypeError,
)  # fmt: skip
"""Errors that diffusers, transformers and torch raise for files with wrong content, besides ValueError."""


@contextmanager
def loading_errors(where: str) -> Iterator[None]:
    """Inside, the errors that broken files cause become a `ValueError` that names `where`.

    Errors of memory and of the operating system are not changed.
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
    """Refuse a saved pipeline with unacceptable JSON files or weight headers. No tensor is read.

    Args:
        folder: holds model_index.json, and a folder for each component.
        pipeline_class: the class that it is loaded as. Components that are no parameters of its constructor are not
            loaded and not checked.
        given: the keyword arguments of `from_pretrained`. Components among them are not read from the folder. With
            `use_safetensors=False` a component without safetensors files is accepted.

    Raises:
        ValueError: with the file, its content and what is accepted.
        OSError: if a file cannot be read.
    """
    folder, given = Path(folder), given or {}
    index = read_json(folder / INDEX)
    check_config(index, str(folder / INDEX))
    parameters = inspect.signature(pipeline_class.__init__).parameters  # type: ignore[misc]
    for name, entry in index.items():
        is_component = name in parameters and isinstance(entry, list)
        if is_component and entry != [None, None] and name not in given:
            component_class = _check_class(entry, f"{folder / INDEX}: {name}")
            if not (folder / name).is_dir():
                raise ValueError(
                    f"{folder / INDEX} names a {name}, but {folder / name} is not there: download the pipeline again, "
                    "or pass the component to from_pretrained"
                )
            _check_component(
                folder / name, component_class, needs_safetensors=given.get("use_safetensors") is not False
            )


def _check_class(entry: list, where: str) -> type:
    library, name = entry if len(entry) == 2 and all(isinstance(part, str) for part in entry) else ("", "")
    bases = BASES.get(library, ())
    found = _public_class(library, name) if bases else None
    if not isinstance(found, type) or not issubclass(found, bases):
        accepted = "; ".join(f"{library}: {', '.join(base.__name__ for base in of)}" for library, of in BASES.items())
        raise ValueError(
            f"{where} is {json.dumps(entry)[:200]}, where a class of one of these kinds is accepted ({accepted}). "
            "Other libraries are not imported from a file: pass the component itself to from_pretrained"
        )
    return found


def _public_class(library: str, name: str) -> object:
    if library == "triplane3d":
        return OWN_MODELS.get(name)
    try:
        return getattr({"diffusers": diffusers, "transformers": transformers}[library], name, None)
    except (ImportError, RuntimeError):  # its module cannot be imported here
        return None


def _check_component(folder: Path, component_class: type, *, needs_safetensors: bool) -> None:
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith(".index.json"):
            _check_weights_index(path)
        elif path.name in CONFIGS:
            config = read_json(path)
            check_config(config, str(path))
            _check_attention(config, str(path))
            if issubclass(component_class, ConfigMixin):
                _check_types(config, component_class, str(path))
    weights = sorted(folder.glob("*.safetensors"))
    is_model = (folder / "config.json").is_file()
    if is_model and not weights and needs_safetensors:
        pickled = any(path for suffix in ("bin", "pt", "pth", "ckpt") for path in folder.glob(f"*.{suffix}"))
        remedy = "; use_safetensors=False reads tensors from pickles" if pickled else ""
        raise ValueError(f"{folder} holds no weights (.safetensors): save or download them again{remedy}")
    if weights and not is_model:
        raise ValueError(f"{folder} holds weights but no config.json: save or download it again")
    for path in weights:
        check_not_pointer(path)
        read_weights_header(path)


def _check_types(config: Mapping[str, Any], component_class: type, where: str) -> None:
    """A value whose default is true or false, a number or a text is of the same type, or null.

    diffusers passes any value on, and a text such as "false" would count as true.
    """
    types: tuple[tuple[type, tuple[type, ...], str], ...] = (
        (bool, (bool,), "true or false"),
        (int, (int, float, list), "a number"),
        (float, (int, float, list), "a number"),
        (str, (str,), "a text"),
    )
    for name, parameter in inspect.signature(component_class.__init__).parameters.items():  # type: ignore[misc]
        value = config.get(name)
        for kind, accepted, description in types:
            if type(parameter.default) is kind and value is not None and type(value) not in accepted:
                raise ValueError(f"{where}: {name} must be {description}, got {str(value)[:80]!r}")


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
        if Path(file).name != file:
            raise ValueError(f"{path} names {file[:80]!r}, where a file beside it is expected: download it again")
        if not (path.parent / file).is_file():
            raise ValueError(f"{path} names {file[:80]}, which is not there: save or download it again")
