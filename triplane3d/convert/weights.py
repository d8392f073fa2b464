"""Which tensor of a published checkpoint becomes which parameter of ours, with every one of them accounted for."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from re import sub

import torch
from diffusers import ModelMixin
from torch import Tensor

from triplane3d.convert.checkpoint import Tensors
from triplane3d.convert.saving import Entry

SHOWN, SHAPES_SHOWN = 20, 3


@dataclass(frozen=True)
class Origin:
    """Where a parameter comes from: a tensor of the checkpoint, looked at in some way."""

    key: str
    view: Callable[[Tensor], Tensor] = lambda tensor: tensor


def rename(name: str, rules: Sequence[tuple[str, str]]) -> str:
    """`name` after each (pattern, replacement) in turn."""
    for pattern, replacement in rules:
        name = sub(pattern, replacement, name)
    return name


def field_layer(name: str, num_layers: int) -> tuple[int, str]:
    """Of a parameter of the point MLP: the number of its linear layer, from 0, and "weight" or "bias".

    A colour's layer counts as the last, which it shares with the density in a checkpoint.
    """
    layer, _, kind = name.removeprefix("field_decoder.").rpartition(".")
    ends = {"proj_in": 0, "proj_out": num_layers - 1, "color_out": num_layers - 1}
    return (ends[layer] if layer in ends else int(layer.removeprefix("layers.")) + 1), kind


def outline(model_class: type[ModelMixin], config: Mapping[str, object]) -> ModelMixin:
    """The model without its weights: names, shapes and its config, at no cost.

    Raises:
        ValueError: where no network can be as the config has it.
    """
    try:
        with torch.device("meta"):
            return model_class.from_config(dict(config))
    except (IndexError, RuntimeError, ValueError) as error:
        raise ValueError(f"config.yaml describes no network: {error}") from error


def collect(
    model: ModelMixin,
    origin: Callable[[str], Origin],
    source: Tensors,
    *,
    where: str,
    unused: Collection[str] = (),
) -> list[Entry]:
    """Every parameter of `model`, to be read from `source` when its turn comes.

    Raises:
        ValueError: where the checkpoint lacks a tensor, holds one that has no place (and is not among the `unused`), or
            one of another shape than the settings say; it lists them.
    """
    parameters = model.state_dict()
    origins = {name: origin(name) for name in parameters}
    wanted = dict.fromkeys(place.key for place in origins.values())
    missing = [key for key in wanted if key not in source]
    unexpected = [key for key in source if key not in wanted and key not in unused]
    if missing or unexpected:
        raise ValueError(
            f"{where} does not hold what its settings describe:"
            + (f"\n  {len(missing)} missing: {_listed(missing)}" if missing else "")
            + (f"\n  {len(unexpected)} unexpected: {_listed(unexpected)}" if unexpected else "")
            + "\nAre config.yaml and the weights of one release, and of this model?"
        )
    entries, misfits = [], []
    for name, parameter in parameters.items():
        place = origins[name]
        came = tuple(source.shapes[place.key])
        try:
            fits = place.view(torch.empty(came, device="meta")).shape == parameter.shape
        except (RuntimeError, ValueError, IndexError):  # a view of something of another kind
            fits = False
        if not fits:
            misfits.append(f"{place.key} is {came}, for {name} {tuple(parameter.shape)}")
            continue
        read = _reader(source, place)
        entries.append(Entry(name, tuple(parameter.shape), source.dtypes[place.key], read))
    if misfits:
        raise ValueError(
            f"{where} holds tensors of other shapes than its settings say:\n  "
            + _listed(misfits, "\n  ", SHAPES_SHOWN)
            + "\nAre config.yaml and the weights of one release?"
        )
    return entries


def _reader(source: Tensors, place: Origin) -> Callable[[], Tensor]:
    return lambda: place.view(source[place.key])


def _listed(items: Sequence[str], separator: str = ", ", shown: int = SHOWN) -> str:
    more = f"{separator}and {len(items) - shown} more" if len(items) > shown else ""
    return separator.join(items[:shown]) + more
