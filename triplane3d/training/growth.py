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
    # As a model, not as the JSON of its config: keys that are younger than the file then say what they mean by default.
    weights = TriplaneTransformer.from_pretrained(trained, subfolder="transformer").float()
    names = f"{trained}/transformer", f"{pipeline}/transformer"
    check_init(names[0], weights.config, names[1], transformer.config, growing=GROWING)
    transformer.load_state_dict(weights.state_dict(), strict=False)
    return transformer
