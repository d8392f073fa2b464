"""Loading an image encoder from a folder, with the check that its weights fit and are finite.

transformers only logs a missing or surplus tensor, and fills a missing one with random numbers.
"""

from os import PathLike
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from triplane3d.models.weights import check_finite, check_keys, check_types


def check_encoder(encoder: PreTrainedModel) -> None:
    """Checks the weights of an image encoder of a saved pipeline.

    Encoders from other folders are not checked, because their files may contain more than the encoder.

    Raises:
        ValueError: if the weights lack a tensor, have one too many or one of another shape, or are not finite.
    """
    if not is_saved(encoder):
        return
    folder = Path(str(encoder.config._name_or_path))
    check_encoder_folder(folder, type(encoder))
    check_finite(str(folder), encoder)


def is_saved(encoder: PreTrainedModel) -> bool:
    """Whether the encoder was loaded from the folder of a saved pipeline."""
    folder = Path(str(encoder.config._name_or_path))
    return (folder.parent / "model_index.json").is_file() and folder.is_dir()


def load_encoder(folder: str | PathLike, model_class: type[PreTrainedModel], **options: Any) -> PreTrainedModel:
    """`model_class.from_pretrained(folder)`, for an encoder that was saved alone.

    Raises:
        ValueError: if the weights lack a tensor, have one too many or one of another shape, or are not finite.
    """
    where = "/".join(filter(None, [str(folder), options.get("subfolder")]))
    loaded: Any = model_class.from_pretrained(folder, output_loading_info=True, ignore_mismatched_sizes=True, **options)
    encoder, info = loaded
    check_keys(where, info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"])
    check_types(Path(where), encoder)
    check_finite(where, encoder)
    return encoder


def check_encoder_folder(folder: Path, model_class: type[PreTrainedModel]) -> None:
    """Compares the tensors of the safetensors files in a folder with those of the model, by name and shape.

    Raises:
        ValueError: if they differ.
    """
    for variant in _variants(folder):
        # On the meta device only the headers of the files are read.
        model, info = model_class.from_pretrained(
            folder,
            variant=variant,
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
            use_safetensors=True,
        )
        check_types(folder, model)
        check_keys(str(folder), info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"])


def _variants(folder: Path) -> list[str | None]:
    """The variants of the weights in the folder: None for `model.safetensors`, "fp16" for `model.fp16…`."""
    names = {path.name.split(".")[1].split("-")[0] for path in folder.glob("model*.safetensors")}
    return [None if name == "safetensors" else name for name in sorted(names)]
