"""Loading, saving and sharing of this library's pipelines: a mixin before diffusers' `DiffusionPipeline`."""

import logging
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard

from triplane3d.limits import parse_yaml, read_text
from triplane3d.pipelines.checks import check_pipeline_folder, loading_errors
from triplane3d.pipelines.saved import absent_components, embedded_pipeline, read_index, saved_variant
from triplane3d.storage.durable import write_file

logger = logging.getLogger(__name__)

HUB_TAGS = ("image-to-3d", "triplane3d", "diffusers")
HALF_PRECISION = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""The types of the weights in diffusers' usual variants, by the variant's name."""

FRONT_MATTER = re.compile(r"---\s*\n(.*?)\n---", re.DOTALL)
"""The YAML at the start of a model card."""


class PipelineHubMixin:
    """`from_pretrained`, `download`, `save_pretrained` and `push_to_hub` with checks.

    After `import triplane3d`, `DiffusionPipeline.from_pretrained` and `.download` call these methods for the pipelines
    of this library (`triplane3d.diffusers_compat.register`), so that both loaders do the same.
    """

    @property
    def components(self) -> dict[str, Any]:
        return super().components  # type: ignore[misc]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike, **kwargs: Any) -> Any:
        """diffusers' `from_pretrained`, with these differences.

        - The files are checked before a network is built, and weights must fit their model.
        - A bare name such as "mini" is the pipeline that ships with the library.
        - `use_safetensors` is True by default: no pickle is read. With `use_safetensors=False` pickled weights
          (`.bin`) are read, by `torch.load(weights_only=True)`, which builds nothing but tensors.
        - If `variant` is not given and a folder has its weights in one variant only, such as fp16, that one is loaded.
        - A component that was not saved, such as an encoder that a converter left out, is None unless it is passed.
          A call that needs it raises a ValueError with its name.

        Raises:
            ValueError: for a pipeline with wrong content; the sentence names the file.
            OSError: if a file or Hub repository is not found or cannot be read.
        """
        source = str(embedded_pipeline(str(pretrained_model_name_or_path)) or pretrained_model_name_or_path)
        if kwargs.get("use_safetensors") is None:
            kwargs["use_safetensors"] = True
        with loading_errors(source):
            index = read_index(source, kwargs) or {}
            if index and Path(source).is_dir():
                check_pipeline_folder(Path(source), cls, given=kwargs)
            if kwargs.get("variant") is None:
                kwargs["variant"] = saved_variant(source)
            return cls._load(source, index, kwargs)

    @classmethod
    def from_checked_folder(cls, folder: Path, index: Mapping[str, Any], *, variant: str | None, **kwargs: Any) -> Any:
        """`from_pretrained` for a folder that `check_pipeline_folder` has accepted. Only safetensors are read.

        Args:
            folder: of the saved pipeline.
            index: the content of its model_index.json.
            variant: of the weights; None for plain ones.
            kwargs: other arguments of diffusers' `from_pretrained`.
        """
        with loading_errors(str(folder)):
            return cls._load(str(folder), index, {**kwargs, "variant": variant, "use_safetensors": True})

    @classmethod
    def _load(cls, source: str, index: Mapping[str, Any], options: dict[str, Any]) -> Any:
        # diffusers refuses a pipeline without a required component unless the component is passed, if only as None.
        absent = dict.fromkeys(absent_components(index))
        return super().from_pretrained(source, **{**absent, **options})  # type: ignore[misc]

    @classmethod
    def download(cls, pretrained_model_name: str | PathLike, **kwargs: Any) -> Any:
        """diffusers' `download`; `from_pretrained` calls it for names on the Hub. Files are checked, as there.

        Returns:
            The folder of the files in the cache.
        """
        if kwargs.get("use_safetensors") is None:
            kwargs["use_safetensors"] = True
        folder = super().download(pretrained_model_name, **kwargs)  # type: ignore[misc]
        check_pipeline_folder(folder, cls, given=kwargs)
        return folder

    def save_pretrained(
        self,
        save_directory: str | PathLike,
        safe_serialization: bool = True,
        variant: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """diffusers' `save_pretrained`.

        As in diffusers, `variant` is part of the file names and does not cast the weights. For "fp16" or "bf16" with
        weights of another precision a warning is logged.

        Raises:
            ValueError: while a LoRA is attached, because its weights could not be loaded again.
        """
        for name, component in self.components.items():
            if getattr(component, "peft_config", None):
                raise ValueError(
                    f"a LoRA is attached to the {name}: keep it in the weights by fusing and then unloading it "
                    "(fuse_lora, unload_lora_weights), or unload it and save it by itself (save_lora_weights)"
                )
        if variant in HALF_PRECISION:
            expected = HALF_PRECISION[variant]
            dtypes = {name: getattr(component, "dtype", expected) for name, component in self.components.items()}
            others = {name: dtype for name, dtype in dtypes.items() if dtype != expected}
            if others:
                logger.warning(
                    'variant="%s" only names the files, and casts no weights: %s. Cast them first: pipe.to(%s)',
                    variant,
                    ", ".join(f"{name} is written in {dtype}" for name, dtype in others.items()),
                    expected,
                )
        super().save_pretrained(save_directory, safe_serialization, variant, *args, **kwargs)  # type: ignore[misc]

    def _upload_folder(self, working_dir: str | PathLike, *args: Any, **kwargs: Any) -> Any:
        """Overrides the step of diffusers' `push_to_hub` and `save_pretrained(push_to_hub=True)` that uploads.

        Both write an empty model card before. If the pipeline was loaded from a folder with a model card, that card
        takes its place. The library's tags are added.
        """
        card_path = Path(working_dir) / "README.md"
        own_card_path = Path(str(self.name_or_path)) / "README.md"  # type: ignore[attr-defined]
        if card_path.is_file():
            card = read_card(card_path)
            if own_card_path.is_file() and "has been automatically generated" in card.text:
                card = read_card(own_card_path)
            data: Any = card.data
            tags = list(data.tags or [])
            data.tags = tags + [tag for tag in HUB_TAGS if tag not in tags]
            write_file(card_path, str(card))
        return super()._upload_folder(working_dir, *args, **kwargs)  # type: ignore[misc]


def read_card(path: Path) -> ModelCard:
    """The model card in a file of limited size, whose YAML may not grow by anchors.

    Raises:
        ValueError: if the text is too long, or its YAML is beyond a limit or wrong.
        OSError: if the file cannot be read.
    """
    text = read_text(path, "card")
    front = FRONT_MATTER.match(text)
    about = parse_yaml(front[1], str(path)) if front else None
    if about is not None and not isinstance(about, dict):
        raise ValueError(f"{path} is not a model card: its head should hold keys and values, got {about!r}")
    return ModelCard(text)
