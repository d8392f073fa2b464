"""How our pipelines are saved and shared: whole, and pushed with a model card that keeps what is known of them."""

from os import PathLike
from pathlib import Path
from typing import Any

from diffusers.configuration_utils import FrozenDict
from huggingface_hub import ModelCard

from triplane3d.durable import write_file

HUB_TAGS = ("image-to-3d", "triplane3d", "diffusers")


class SharedByCard:
    """For pipelines, before diffusers' own class."""

    config: FrozenDict

    @property
    def components(self) -> dict[str, Any]:
        return super().components  # type: ignore[misc]

    def save_pretrained(self, save_directory: str | PathLike, *args: Any, **kwargs: Any) -> None:
        """diffusers' `save_pretrained`; refused while a LoRA is attached, whose weights could not be loaded again."""
        for name, component in self.components.items():
            if getattr(component, "peft_config", None):
                raise ValueError(
                    f"a LoRA is attached to the {name}: keep it in the weights by fusing and then unloading it "
                    "(fuse_lora, unload_lora_weights), or unload it and save it by itself (save_lora_weights)"
                )
        super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]

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
