"""Writing a saved pipeline component by component, so that it is never in memory as a whole."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import ModelMixin, SchedulerMixin
from safetensors import SafetensorError
from transformers import PreTrainedModel

from triplane3d.convert.saving import Entry, save_weights

VARIANTS: dict[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}


def write_model(
    folder: Path,
    model: ModelMixin | PreTrainedModel,
    entries: Sequence[Entry] | None,
    variant: str | None,
    max_shard_size: int | str,
) -> None:
    """Writes config and weights of a component.

    Args:
        folder: the component's folder.
        model: the component; without its weights (see `outline`) if `entries` are given.
        entries: the weights, written tensor by tensor; None: those of `model`.
        variant: "fp16" or "bf16" also writes half-precision weights.
        max_shard_size: larger files are split.
    """
    if variant is not None and variant not in VARIANTS:
        raise ValueError(f"variant must be one of {sorted(VARIANTS)}, got {variant!r}")
    if entries is None:
        try:
            model.save_pretrained(folder, max_shard_size=max_shard_size)
            if variant is not None:
                config = (folder / "config.json").read_bytes()
                model.to(VARIANTS[variant]).save_pretrained(folder, variant=variant, max_shard_size=max_shard_size)
                # The config now has dtype half, in which transformers would also load the full weights; restore it.
                (folder / "config.json").write_bytes(config)
        except SafetensorError as error:  # raised by its writer if the disk is full
            raise OSError(
                f"{folder.name} could not be written to {folder.parent} ({error}): is the disk full?"
            ) from error
        return
    model.save_config(folder)
    save_weights(folder, entries, max_shard_size=max_shard_size)
    if variant is not None:
        save_weights(folder, entries, variant=variant, dtype=VARIANTS[variant], max_shard_size=max_shard_size)


def write_index(folder: Path, class_name: str, components: Mapping[str, Any], **settings: Any) -> None:
    """Writes `model_index.json`: the pipeline's class, those of its components, and its settings.

    A component that is None has to be passed when the pipeline is loaded.
    """
    index: dict[str, Any] = {"_class_name": class_name, "_diffusers_version": diffusers.__version__, **settings}
    for name, component in components.items():
        component_class = component if isinstance(component, type) else type(component)
        if component is None:
            index[name] = [None, None]
        elif issubclass(component_class, PreTrainedModel):
            index[name] = ["transformers", component_class.__name__]
        else:
            index[name] = [
                "diffusers" if issubclass(component_class, SchedulerMixin) else "triplane3d",
                component_class.__name__,
            ]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_card(folder: Path, card: str) -> None:
    """Writes the model card, with the origin of the weights and their licence."""
    (folder / "README.md").write_text(card, encoding="utf-8")
