"""Where pipelines are found: diffusers' loader learns our classes, and a bare name means a pipeline that came along."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

from triplane3d.limits import read_json

PACKAGE = Path(__file__).parents[1]
# In an installed package, and in a checkout of the repository.
SHELVES = (PACKAGE / "_pipelines", PACKAGE.parent / "pipelines")


def _concerns_us(record: logging.LogRecord) -> bool:
    """False for what torchao logs at every import beside a newer torch, of compiled kernels that nothing here uses."""
    return not record.getMessage().startswith("Skipping import of cpp extensions")


# diffusers imports torchao wherever it is installed.
logging.getLogger("torchao").addFilter(_concerns_us)


def register_with_diffusers() -> None:
    """Let `DiffusionPipeline.from_pretrained` and `model_index.json` say `["triplane3d", <class>]`. Idempotent.

    Its `from_pretrained` then checks the folders of our pipelines before it loads them (`guarded_loading`).
    The loader looks a library's loading methods up in `LOADABLE_CLASSES` and a pipeline's class on `diffusers` itself.
    """
    import torch

    if not torch.cuda.is_available():
        # diffusers imports xformers wherever it is installed, and that warns of kernels nobody could call here.
        logging.getLogger("xformers").setLevel(logging.ERROR)

    import diffusers
    from diffusers.pipelines import pipeline_loading_utils

    from triplane3d.pipelines.guarded_loading import guard_loading
    from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
    from triplane3d.pipelines.pipeline_triplane_reconstruction import TriplaneReconstructionPipeline

    methods = ["save_pretrained", "from_pretrained"]
    pipeline_loading_utils.LOADABLE_CLASSES.setdefault(
        "triplane3d", {base: list(methods) for base in ("ModelMixin", "SchedulerMixin")}
    )
    diffusers.Triplane3DPipeline = Triplane3DPipeline
    diffusers.TriplaneReconstructionPipeline = TriplaneReconstructionPipeline
    guard_loading((Triplane3DPipeline, TriplaneReconstructionPipeline))


HUB_OPTIONS = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision")


def absent_components(
    pipeline: type[DiffusionPipeline], source: str | PathLike, options: Mapping[str, Any]
) -> dict[str, None]:
    """None for every component that the `model_index.json` at `source` has as `[null, null]`.

    diffusers' loader refuses a pipeline without a required component unless the component is passed, be it as None.
    `source` is a folder or a name on the Hub, `options` are those of `from_pretrained`.

    Raises:
        OSError: where there is no `model_index.json`.
    """
    if options.get("dduf_file") is not None:  # one archive that holds everything
        return {}
    index = pipeline.load_config(source, **{name: options[name] for name in HUB_OPTIONS if name in options})
    return {name: None for name, entry in index.items() if entry == [None, None]}


def embedded_pipeline(name: str) -> Path | None:
    """The folder of the pipeline `name` that ships with the library, e.g. "mini"; None for any other name.

    A local folder of that name that holds a saved pipeline comes first, as it does for every name diffusers loads.
    """
    if not name or Path(name).name != name or (Path(name) / "model_index.json").is_file():
        return None
    for shelf in SHELVES:
        if (shelf / name / "model_index.json").is_file():
            return shelf / name
    return None


def embedded_names() -> list[str]:
    """Names of the pipelines that ship with the library, weights and all."""
    folders = [index.parent for shelf in SHELVES for index in shelf.glob("*/model_index.json")]
    return sorted({folder.name for folder in folders if any(folder.glob("*/*.safetensors"))})


def check_saved(model: str | Path) -> None:
    """Raises `ValueError` if `model` is no saved pipeline with weights: neither a folder, nor an embedded one's name.

    A name on the Hub (owner/name) passes: whether it exists is known when it is loaded.
    """
    folder = embedded_pipeline(str(model)) or Path(model)
    if (folder / "model_index.json").is_file():
        if not any(folder.glob("*/*.safetensors")) and not any(folder.glob("*/*.bin")):
            raise ValueError(f"{folder} describes a pipeline but holds no weights: train or convert it first")
    elif folder.exists():
        raise ValueError(f"{folder} is not a saved pipeline: it has no model_index.json")
    elif str(model).count("/") != 1 or str(model).startswith((".", "/")):
        raise ValueError(
            f"there is no pipeline {str(model)!r}: name one that came along ({', '.join(embedded_names())}), a folder, "
            "or owner/name on the Hugging Face Hub"
        )


def component_class(folder: str | Path, component: str) -> Any:
    """The class that a saved pipeline's `model_index.json` names for an encoder or the scheduler."""
    import diffusers
    import transformers

    index = Path(folder) / "model_index.json"
    entry = read_json(index).get(component)
    library, name = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
    if component == "scheduler":
        home, base, kind, example = diffusers, diffusers.SchedulerMixin, "scheduler of diffusers", "DDIMScheduler"
    else:
        home, base = transformers, transformers.PreTrainedModel
        kind, example = "vision model of transformers", "Dinov2Model"
    found = getattr(home, str(name), None) if library == home.__name__ else None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(
            f'{index}: {component} is {[library, name]}; name a {kind}, such as ["{home.__name__}", "{example}"]'
        )
    return found
