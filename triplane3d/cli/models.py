"""Which pipeline `--model` names, and loading it."""

from collections.abc import Mapping
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triplane3d.cli.console import tell
from triplane3d.cli.errors import errors_are_sentences, fail
from triplane3d.pipelines.saved import (
    INDEX,
    OWN_PIPELINES,
    check_variant,
    component_names,
    embedded_pipeline,
    files_below,
    find_saved,
    find_variant,
    read_json,
    variants,
)

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Dtype(StrEnum):
    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


def takes_views(transformer: Mapping[str, Any]) -> bool:
    """A denoiser of this config reads several photos of an object."""
    return bool(transformer.get("camera_condition"))


def find_local(model: str) -> Path | None:
    embedded = embedded_pipeline(model)
    if embedded is not None:
        return embedded
    return Path(model) if (Path(model) / INDEX).is_file() else None


def load(
    model: str, device: Device, dtype: Dtype, *, variant: str | None = None, revision: str | None = None
) -> "DiffusionPipeline":
    """The pipeline on its device. Where weights are there only in a variant, that variant is loaded unasked."""
    try:
        folder = find_saved(model)
    except ValueError as error:
        fail(str(error))
    if folder is not None and revision is not None:
        fail(f"--revision {revision} is for a model on the Hugging Face Hub, but {folder} is a folder: leave it out")
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    import triplane3d
    from triplane3d.pipelines.checks import check_pipeline_folder

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    chosen = _choose_device(device)
    if dtype is Dtype.auto:
        dtype = Dtype.float16 if chosen.type == "cuda" else Dtype.float32
    with errors_are_sentences(model, memory_advice(chosen, full_precision=dtype is Dtype.float32, loading=True)):
        online: list[str] | None = None
        if folder is None:
            folder, online = _find_on_hub(model, revision)
        index = read_json(folder / INDEX)
        _check_classes(index, model)
        if online is None:
            check_pipeline_folder(folder, getattr(triplane3d, index["_class_name"]))
        if absent := [name for name in ("image_encoder", "scheduler") if index.get(name) == [None, None]]:
            fail(f"{model} was saved without its {' and '.join(absent)}: save it whole, or pass them in Python")
        held = variants(online or files_below(folder), component_names(index))
        if variant is None:
            variant = find_variant(held, model)
        else:
            check_variant(held, variant, model)
        tell(f"loading {model} on {chosen} ({dtype.value}{', variant ' + variant if variant else ''})")
        # A pickle is never read, not even where the folder holds nothing else.
        options = {"dtype": getattr(torch, dtype.value), "variant": variant, "use_safetensors": True}
        if online is None:
            return DiffusionPipeline.from_pretrained(folder, **options).to(chosen)
        try:
            return DiffusionPipeline.from_pretrained(model, revision=revision, **options).to(chosen)
        except _http_error() as error:
            raise OSError(
                f"{model} was not downloaded to its end ({type(error).__name__}): give the command again to go on"
            ) from error


def _check_classes(index: dict[str, Any], model: str) -> None:
    """Refuse a pipeline that makes no meshes, and one with parts that the installed libraries do not have."""
    name = index.get("_class_name")
    if name not in OWN_PIPELINES:
        raise ValueError(
            f"{model} is a pipeline of class {name}, which makes no meshes: expected a {' or a '.join(OWN_PIPELINES)}"
        )
    for component in component_names(index):
        library, name = index[component]
        if library in ("triplane3d", "diffusers", "transformers") and not hasattr(import_module(library), str(name)):
            raise ValueError(
                f"{model} has a {component} of class {name}, which the installed {library} does not have: update it"
            )


def memory_advice(device: "torch.device", *, full_precision: bool, loading: bool = False) -> str:
    """What may help where memory ran out on `device`."""
    ways = [] if loading else ["--quality draft", "a lower --resolution"]
    if full_precision:
        ways.append("--dtype bfloat16")
    if device.type != "cpu":
        ways.append("--device cpu")
    return f"on {device} try {' or '.join(filter(None, [', '.join(ways[:-1]), *ways[-1:]]))}" if ways else ""


def _find_on_hub(model: str, revision: str | None) -> tuple[Path, list[str] | None]:
    """The folder in the cache with the model's index, and the files on the Hub; None for these where it is not reached.

    Without the Hub, what the cache holds is the pipeline. Raises ValueError with a sentence where there is none.
    """
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        listed = [file.rfilename for file in HfApi().model_info(model, revision=revision).siblings or []]
        return Path(hf_hub_download(model, INDEX, revision=revision)).parent, listed
    except HFValidationError as error:
        raise ValueError(f"there is no pipeline {model!r}, and no model on the Hub has such a name") from error
    except GatedRepoError as error:
        raise ValueError(f"{model} is for registered users only: accept its terms on the Hub, and log in") from error
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"there is no folder {model!r} here and no such model on the Hugging Face Hub: check the name; "
            "log in (hf auth login) if it is private"
        ) from error
    except RevisionNotFoundError as error:
        raise ValueError(f"{model} has no revision {revision!r}: name a branch, a tag or a commit") from error
    except RemoteEntryNotFoundError as error:
        raise ValueError(f"{model} on the Hugging Face Hub is not a saved pipeline: it has no {INDEX}") from error
    except (OSError, _http_error()) as error:
        cached = try_to_load_from_cache(model, INDEX, revision=revision)
        if isinstance(cached, str):
            return Path(cached).parent, None
        offline = isinstance(error, OfflineModeIsEnabled)
        why = "HF_HUB_OFFLINE is set" if offline else f"the Hub cannot be reached ({type(error).__name__})"
        raise ValueError(
            f"{model} is not on this machine: there is no such folder, the Hugging Face cache does not hold it"
            f"{f' at revision {revision}' if revision else ''}, and {why}"
        ) from error


def _http_error() -> Any:
    """What a network raises that fails. The library it comes from depends on the version of huggingface_hub."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")


def _choose_device(device: Device) -> "torch.device":
    import torch

    if device is Device.auto:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device is Device.cuda and not torch.cuda.is_available():
        fail("--device cuda: this machine's torch sees no CUDA GPU; leave the option out")
    if device is Device.mps and not torch.backends.mps.is_available():
        fail("--device mps: this machine's torch sees no Apple GPU; leave the option out")
    return torch.device(device.value)
