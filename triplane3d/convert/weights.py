"""The mapping of a published checkpoint's tensors to the parameters of our models, with a check that none is left."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from re import sub

import torch
from diffusers import ModelMixin
from torch import Tensor

from triplane3d.convert.checkpoint import Tensors
from triplane3d.convert.saving import Entry

SHOWN, SHAPES_SHOWN = 20, 3
"""The most names, and the most pairs of shapes, in an error message."""


@dataclass(frozen=True)
class Origin:
    """The source of a parameter: a tensor of the checkpoint, and a function from it to the parameter."""

    key: str
    view: Callable[[Tensor], Tensor] = lambda tensor: tensor


def rename(name: str, rules: Sequence[tuple[str, str]]) -> str:
    """`name` after each (pattern, replacement) in turn."""
    for pattern, replacement in rules:
        name = sub(pattern, replacement, name)
    return name


def field_layer(name: str, num_layers: int) -> tuple[int, str]:
    """The index of the linear layer of a parameter of the point MLP, from 0, and "weight" or "bias".

    The colour head counts as the last layer, because a checkpoint has density and colour in one layer.
    """
    layer, _, leaf = name.removeprefix("field_decoder.").rpartition(".")
    ends = {"proj_in": 0, "proj_out": num_layers - 1, "color_out": num_layers - 1}
    return (ends[layer] if layer in ends else int(layer.removeprefix("layers.")) + 1), leaf


def outline(model_class: type[ModelMixin], config: Mapping[str, object]) -> ModelMixin:
    """The model on the meta device: config, names and shapes, without weights.

    Raises:
        ValueError: if no network can be built from the config.
    """
    try:
        with torch.device("meta"):
            return model_class.from_config(dict(config))
    except (IndexError, RuntimeError, ValueError) as error:
        raise ValueError(f"config.yaml does not describe a valid network: {error}") from error


def collect(
    model: ModelMixin,
    origin: Callable[[str], Origin],
    source: Tensors,
    *,
    where: str,
    unused: Collection[str] = (),
) -> list[Entry]:
    """All parameters of `model`, each to be read from `source` when it is written.

    Raises:
        ValueError: if the checkpoint has no tensor for a parameter, has a tensor without a parameter (which is not in
            `unused`), or one of another shape than the settings imply; the message lists them.
    """
    parameters = model.state_dict()
    origins = {name: origin(name) for name in parameters}
    keys = dict.fromkeys(place.key for place in origins.values())
    missing = [key for key in keys if key not in source]
    unexpected = [key for key in source if key not in keys and key not in unused]
    if missing or unexpected:
        raise ValueError(
            f"the tensors of {where} do not match its settings:"
            + (f"\n  {len(missing)} missing: {_listed(missing)}" if missing else "")
            + (f"\n  {len(unexpected)} unexpected: {_listed(unexpected)}" if unexpected else "")
            + "\nAre config.yaml and the weights from one release, and of this model?"
        )
    entries, misfits = [], []
    for name, parameter in parameters.items():
        place = origins[name]
        found = tuple(source.shapes[place.key])
        try:
            fits = place.view(torch.empty(found, device="meta")).shape == parameter.shape
        except (RuntimeError, ValueError, IndexError):  # the function does not apply to this shape
            fits = False
        if not fits:
            misfits.append(f"{place.key} is {found}, for {name} {tuple(parameter.shape)}")
            continue
        if parameter.is_floating_point() and not source.dtypes[place.key].is_floating_point:
            misfits.append(f"{place.key} is {source.dtypes[place.key]}, for {name} {parameter.dtype}")
            continue
        read = _reader(source, place)
        entries.append(Entry(name, tuple(parameter.shape), source.dtypes[place.key], read))
    if misfits:
        raise ValueError(
            f"{where} has tensors of other shapes or types than its settings imply:\n  "
            + _listed(misfits, "\n  ", SHAPES_SHOWN)
            + "\nAre config.yaml and the weights from one release?"
        )
    return entries


def _reader(source: Tensors, place: Origin) -> Callable[[], Tensor]:
    return lambda: place.view(source[place.key])


def _listed(items: Sequence[str], separator: str = ", ", shown: int = SHOWN) -> str:
    more = f"{separator}and {len(items) - shown} more" if len(items) > shown else ""
    return separator.join(items[:shown]) + more
