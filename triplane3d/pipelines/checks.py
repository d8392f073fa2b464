"""Checks of a saved pipeline before it is loaded, and of errors while it is loaded.

All JSON files and the headers of all weights are read first. Classes, sizes and file names that are not acceptable are
refused with the file's name before a library is imported, a network is built or weights are read. Broken files that
pass these checks raise errors of many types in diffusers, transformers and torch; `loading_errors` makes them one
ValueError.
"""

import inspect
import json
import re
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
from triplane3d.pipelines.noise_levels import try_scheduler
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
    if not {"vae", "transformer"} & set(given):
        _check_latent_sizes(folder)


def _check_latent_sizes(folder: Path) -> None:
    """Refuse a denoiser whose latents have another size or other channels than the autoencoder's."""
    files = [folder / name / "config.json" for name in ("transformer", "vae")]
    if not all(file.is_file() for file in files):
        return
    transformer, vae = (read_json(file) for file in files)
    for key, of_vae in (("sample_size", "latent_size"), ("in_channels", "latent_channels")):
        if key in transformer and of_vae in vae and transformer[key] != vae[of_vae]:
            raise ValueError(
                f"{files[0]}: {key} is {str(transformer[key])[:80]}, but {of_vae} of {files[1]} is "
                f"{str(vae[of_vae])[:80]}: they must be equal"
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
            if issubclass(component_class, SchedulerMixin):
                _check_scheduler(config, component_class, str(path))
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
    """Refuse a value that has another type than the annotation and the default of its parameter in the constructor.

    diffusers passes any value on: a text such as "false" would count as true, and null fails only in a call. A whole
    number is accepted for a float. Whole sizes of this library's models must be at least 1, or 0 where `MAY_BE_ZERO`
    lists them.
    """
    own = component_class in OWN_MODELS.values()
    for name, parameter in inspect.signature(component_class.__init__).parameters.items():  # type: ignore[misc]
        if name not in config:
            continue
        value, annotation = config[name], str(parameter.annotation)
        may_be_null = parameter.default is None or "None" in annotation or "Optional" in annotation
        if value is None and not may_be_null:
            raise ValueError(f"{where}: {name} must not be null")
        accepted = _accepted(parameter, strict=own)
        if accepted and value is not None and type(value) not in accepted:
            description = " or ".join(dict.fromkeys(TYPE_NAMES[kind] for kind in accepted))
            raise ValueError(f"{where}: {name} must be {description}, got {str(value)[:80]!r}")
        least = 0 if name in MAY_BE_ZERO else 1
        if own and accepted == (int,) and value is not None and value < least:
            raise ValueError(f"{where}: {name} must be at least {least}, got {value}")


MAY_BE_ZERO = (
    "num_prefix_tokens", "num_freqs", "field_num_freqs", "color_channels", "surface_color_channels",
    "decoder_resnet_layers", "color_seam_reach", "num_layers", "encoder_layers", "decoder_layers", "field_layers",
)  # fmt: skip
"""Whole numbers in the config of a model that may be 0: the part that they count is left out."""

TYPE_NAMES: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}


def _accepted(parameter: inspect.Parameter, *, strict: bool) -> tuple[type, ...]:
    """The types of JSON that a parameter accepts besides null; empty for a parameter whose type is not known.

    The annotations of this library's models are exact (`strict`). Those of diffusers are not: a number may be
    annotated as bool, and a list may replace a number.
    """
    text = "str" if "Literal" in str(parameter.annotation) else str(parameter.annotation)
    names = set(re.findall(r"\w+", text))
    if names & {"dict", "Callable", "Any"} or any(name.endswith(("Config", "Mixin")) for name in names):
        return ()
    kinds: dict[str, tuple[type, ...]] = {
        "bool": (bool,),
        "int": (int,) if strict else (int, float),
        "float": (int, float),
        "str": (str,),
        "list": (list,),
        "tuple": (list,),
    }
    accepted: list[type] = []
    for name, types in kinds.items():
        is_default = name == type(parameter.default).__name__
        if name in names or is_default:
            accepted += types
    if names & {"list", "tuple"} and re.match(r"(typing\.)?(list|tuple)|numpy", text):
        return (list,)  # the other names are those of its entries
    if not strict and bool in accepted and parameter.default is None:
        accepted += [int, float]
    return tuple(accepted)


def _check_scheduler(config: Mapping[str, Any], scheduler_class: type[SchedulerMixin], where: str) -> None:
    """Refuse a scheduler that cannot compute steps, so that it does not fail in a call."""
    try:
        try_scheduler(scheduler_class.from_config(dict(config)))
    except (ValueError, *FAULTS) as error:
        raise ValueError(
            f"{where}: {scheduler_class.__name__} with these settings cannot compute steps ({_reason(error)}): "
            "correct them, or pass another scheduler to from_pretrained"
        ) from error


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
