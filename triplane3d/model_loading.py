"""Loading the pipeline that a user names: one that ships with the library, a folder, or a name on the Hub."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """Where a pipeline computes; auto is a GPU if there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Dtype(StrEnum):
    """Precision of the networks; auto is float32 on the CPU and float16 on a GPU."""

    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


@dataclass(frozen=True)
class ModelRequest:
    """A pipeline, and how it is loaded."""

    model: str
    """The name of a pipeline that ships with the library, a folder, or owner/name on the Hugging Face Hub."""
    device: Device = Device.auto
    dtype: Dtype = Dtype.auto
    variant: str | None = None
    """Variant of the weights, such as fp16. None: plain weights, or the variant that the folder has instead."""
    revision: str | None = None
    """Branch, tag or commit on the Hub."""

    def resolved_device(self) -> "torch.device":
        """The device, with auto resolved.

        Raises:
            ValueError: torch does not find this device.
        """
        import torch

        if self.device is Device.auto:
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device is Device.cuda and not torch.cuda.is_available():
            raise ValueError("device cuda: torch finds no CUDA GPU on this machine; use auto or cpu")
        if self.device is Device.mps and not torch.backends.mps.is_available():
            raise ValueError("device mps: torch finds no Apple GPU on this machine; use auto or cpu")
        return torch.device(self.device.value)

    def resolved_dtype(self, device: "torch.device") -> Dtype:
        """The precision on `device`, with auto resolved."""
        if self.dtype is not Dtype.auto:
            return self.dtype
        return Dtype.float16 if device.type == "cuda" else Dtype.float32


def takes_views(transformer: Mapping[str, Any]) -> bool:
    """Whether a denoiser with this config reads several photos of an object."""
    return bool(transformer.get("camera_condition"))


def find_local(model: str) -> Path | None:
    """The folder of a pipeline that ships with the library or is a local folder; None if there is none."""
    embedded = embedded_pipeline(model)
    if embedded is not None:
        return embedded
    return Path(model) if (Path(model) / INDEX).is_file() else None


def find_model(request: ModelRequest) -> Path | None:
    """The folder of the requested pipeline; None for a name on the Hub, which is not looked up here.

    Raises:
        ValueError: there is no such pipeline, it has no weights, or a revision is given for a folder.
    """
    folder = find_saved(request.model)
    if folder is not None and request.revision is not None:
        raise ValueError(
            f"revision {request.revision} is for a model on the Hugging Face Hub, but {folder} is a folder: "
            "leave it out"
        )
    return folder


def load_model(request: ModelRequest, *, report: Callable[[str], None] | None = None) -> "DiffusionPipeline":
    """Load a pipeline on its device.

    Args:
        request: the pipeline's name, device, precision, variant and revision.
        report: called with a line about what is loaded, before the weights are read.

    Raises:
        ValueError: there is no such pipeline, or its files are damaged or do not fit together.
        OSError: a file cannot be read or downloaded.
    """
    return load_found_model(request, find_model(request), report=report)


def load_found_model(
    request: ModelRequest, folder: Path | None, *, report: Callable[[str], None] | None = None
) -> "DiffusionPipeline":
    """`load_model` with the result `folder` of `find_model`, for callers that report its errors in another way."""
    import torch
    from diffusers import DiffusionPipeline

    import triplane3d
    from triplane3d.pipelines.checks import check_pipeline_folder

    model, device = request.model, request.resolved_device()
    dtype = request.resolved_dtype(device)
    online: list[str] | None = None
    if folder is None:
        folder, online = _find_on_hub(model, request.revision)
    index = read_json(folder / INDEX)
    _check_classes(index, model)
    pipeline_class = getattr(triplane3d, index["_class_name"])
    if online is None:
        check_pipeline_folder(folder, pipeline_class)
    if absent := [name for name in ("image_encoder", "scheduler") if index.get(name) == [None, None]]:
        raise ValueError(f"{model} was saved without its {' and '.join(absent)}: save it whole, or pass them in Python")
    available = variants(online or files_below(folder), component_names(index))
    variant = request.variant
    if variant is None:
        variant = find_variant(available, model)
    else:
        check_variant(available, variant, model)
    if report is not None:
        report(f"loading {model} on {device} ({dtype.value}{', variant ' + variant if variant else ''})")
    options = {"dtype": getattr(torch, dtype.value), "variant": variant}
    if online is None:
        return pipeline_class.from_checked_folder(folder, index, **options).to(device)
    try:
        # A pickle is never read, also where the repository contains nothing else.
        return DiffusionPipeline.from_pretrained(model, revision=request.revision, use_safetensors=True, **options).to(
            device
        )
    except _http_error() as error:
        raise OSError(
            f"{model} was not downloaded completely ({type(error).__name__}): give the command again to continue"
        ) from error


def _check_classes(index: dict[str, Any], model: str) -> None:
    """Refuse a pipeline of another kind, and one with components that the installed libraries do not have."""
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


def _find_on_hub(model: str, revision: str | None) -> tuple[Path, list[str] | None]:
    """The folder of the model's index in the cache, and the names of all its files on the Hub.

    Where the Hub cannot be reached, the cached files are used, and the names are None.

    Raises:
        ValueError: neither the Hub nor the cache has this model.
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
    """The base class of network errors. Its library depends on the version of huggingface_hub."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
