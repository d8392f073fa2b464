"""How our pipelines are saved and shared: whole, and pushed with a model card that keeps what is known of them."""

import logging
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import FrozenDict
from huggingface_hub import ModelCard

from triplane3d.storage.durable import write_file

logger = logging.getLogger(__name__)

HUB_TAGS = ("image-to-3d", "triplane3d", "diffusers")
HALF_PRECISION = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""What the names of diffusers' usual variants promise."""


class SharedByCard:
    """For pipelines, before diffusers' own class."""

    config: FrozenDict

    @property
    def components(self) -> dict[str, Any]:
        return super().components  # type: ignore[misc]

    def save_pretrained(
        self,
        save_directory: str | PathLike,
        safe_serialization: bool = True,
        variant: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """diffusers' `save_pretrained`.

        `variant` is part of the files' names and casts nothing, as in diffusers. "fp16" or "bf16" for weights of
        another precision logs a warning with the way out.

        Raises:
            ValueError: while a LoRA is attached, whose weights could not be loaded again.
        """
        for name, component in self.components.items():
            if getattr(component, "peft_config", None):
                raise ValueError(
                    f"a LoRA is attached to the {name}: keep it in the weights by fusing and then unloading it "
                    "(fuse_lora, unload_lora_weights), or unload it and save it by itself (save_lora_weights)"
                )
        if variant in HALF_PRECISION:
            promised = HALF_PRECISION[variant]
            dtypes = {name: getattr(component, "dtype", promised) for name, component in self.components.items()}
            others = {name: dtype for name, dtype in dtypes.items() if dtype != promised}
            if others:
                logger.warning(
                    'variant="%s" only names the files, and casts no weights: %s. Cast them first: pipe.to(%s)',
                    variant,
                    ", ".join(f"{name} is written in {dtype}" for name, dtype in others.items()),
                    promised,
                )
        super().save_pretrained(save_directory, safe_serialization, variant, *args, **kwargs)  # type: ignore[misc]

    def _upload_folder(self, working_dir: str | PathLike, *args: Any, **kwargs: Any) -> Any:
        """Every push passes here: the model card keeps what it says of a local pipeline and gains our tags."""
        card_path = Path(working_dir) / "README.md"
        own_card = Path(str(self.config.get("_name_or_path", ""))) / "README.md"
        if card_path.is_file():
            card = ModelCard.load(card_path)
            if own_card.is_file() and "has been automatically generated" in card.text:
                card = ModelCard.load(own_card)
            tags = list(card.data.tags or [])
            card.data.tags = tags + [tag for tag in HUB_TAGS if tag not in tags]
            write_file(card_path, str(card))
        return super()._upload_folder(working_dir, *args, **kwargs)  # type: ignore[misc]
