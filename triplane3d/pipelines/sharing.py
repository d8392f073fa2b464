"""How our pipelines are shared: pushed with a model card that keeps what is known of them."""

from os import PathLike
from pathlib import Path
from typing import Any

from diffusers.configuration_utils import FrozenDict
from huggingface_hub import ModelCard

HUB_TAGS = ("image-to-3d", "triplane3d", "diffusers")


class SharedByCard:
    """For pipelines, before diffusers' own class."""

    config: FrozenDict

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
            card.save(card_path)
        return super()._upload_folder(working_dir, *args, **kwargs)  # type: ignore[misc]
