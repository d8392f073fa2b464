"""A pipeline from its parts: classes that an index names, settings, and writing `model_index.json`.

Used where a pipeline is put together outside of diffusers' loader: in training, by `scripts/assemble_pipeline.py` and
by the converters.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import transformers
from diffusers import SchedulerMixin
from transformers import PreTrainedModel

from triplane3d.pipelines.saved import INDEX, read_json


def component_class(folder: str | Path, component: str) -> Any:
    """The class that a saved pipeline's `model_index.json` names for an encoder or the scheduler.

    Raises:
        ValueError: if it is no scheduler of diffusers ("scheduler") or no model of transformers (other components).
    """
    index = Path(folder) / INDEX
    entry = read_json(index).get(component)
    library, name = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
    if component == "scheduler":
        home, base, noun, example = diffusers, SchedulerMixin, "scheduler of diffusers", "DDIMScheduler"
    else:
        home, base, noun, example = transformers, PreTrainedModel, "vision model of transformers", "Dinov2Model"
    found = getattr(home, str(name), None) if library == home.__name__ else None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(
            f'{index}: {component} is {[library, name]}; name a {noun}, such as ["{home.__name__}", "{example}"]'
        )
    return found


def write_index(folder: Path, class_name: str, components: Mapping[str, Any], **settings: Any) -> None:
    """Write `model_index.json`.

    Args:
        class_name: of the pipeline.
        components: by name an object, a class, or None for a component that is not saved.
        settings: the pipeline's other constructor arguments.
    """
    index: dict[str, Any] = {"_class_name": class_name, "_diffusers_version": diffusers.__version__, **settings}
    for name, component in components.items():
        component_type = component if isinstance(component, type) else type(component)
        if component is None:
            index[name] = [None, None]
        elif issubclass(component_type, PreTrainedModel):
            index[name] = ["transformers", component_type.__name__]
        else:
            library = "diffusers" if issubclass(component_type, SchedulerMixin) else "triplane3d"
            index[name] = [library, component_type.__name__]
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
