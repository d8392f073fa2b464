"""A saved pipeline, written component by component without ever being in memory as one."""

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
    """Config and weights of a component; those of an outline come from `entries`, tensor by tensor."""
    if variant is not None and variant not in VARIANTS:
        raise ValueError(f"variant must be one of {sorted(VARIANTS)}, got {variant!r}")
    if entries is None:
        try:
            model.save_pretrained(folder, max_shard_size=max_shard_size)
            if variant is not None:
                config = (folder / "config.json").read_bytes()
                model.to(VARIANTS[variant]).save_pretrained(folder, variant=variant, max_shard_size=max_shard_size)
                # It now names half precision, in which transformers would then open the full weights too.
                (folder / "config.json").write_bytes(config)
        except SafetensorError as error:  # what its writer makes of a disk that is full
            raise OSError(
                f"{folder.name} could not be written to {folder.parent} ({error}): is the disk full?"
            ) from error
        return
    model.save_config(folder)
    save_weights(folder, entries, max_shard_size=max_shard_size)
    if variant is not None:
        save_weights(folder, entries, variant=variant, dtype=VARIANTS[variant], max_shard_size=max_shard_size)


def write_card(folder: Path, card: str) -> None:
    """The model card: where the weights come from and under which licence they are."""
    (folder / "README.md").write_text(card, encoding="utf-8")
