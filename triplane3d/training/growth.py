"""Weights that were trained before their architecture learnt something more."""

from pathlib import Path

from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.training.architecture import check_init

GROWING = ("camera_condition", "interval_condition")
"""What adds modules that answer zero before they are trained, so that weights without them still mean the same."""


def grown_transformer(trained: str | Path, pipeline: str | Path) -> TriplaneTransformer:
    """The architecture of `pipeline` with the weights of `trained`, both folders with `transformer/`.

    What `pipeline` has and `trained` has not may only be what starts as nothing.
    """
    transformer = TriplaneTransformer.from_config(TriplaneTransformer.load_config(pipeline, subfolder="transformer"))
    found = TriplaneTransformer.load_config(trained, subfolder="transformer")
    check_init(f"{trained}/transformer", found, f"{pipeline}/transformer", transformer.config, growing=GROWING)
    weights = TriplaneTransformer.from_pretrained(trained, subfolder="transformer").float().state_dict()
    transformer.load_state_dict(weights, strict=False)
    return transformer
