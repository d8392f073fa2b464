"""Writing a saved pipeline component by component, so that it is never in memory as a whole."""

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import ModelMixin
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


def write_card(folder: Path, card: str) -> None:
    """Writes the model card, with the origin of the weights and their licence."""
    (folder / "README.md").write_text(card, encoding="utf-8")
