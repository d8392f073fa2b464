"""Weights that were trained before their architecture learnt something more."""

from pathlib import Path

from triplane3d.models.transformer_triplane import TriplaneTransformer

STARTS_AS_NOTHING = ("camera_embed", "interval_embed")
"""Modules that answer zero before they are trained, so that weights without them still mean the same."""


def grown_transformer(trained: str | Path, pipeline: str | Path) -> TriplaneTransformer:
    """The architecture of `pipeline` with the weights of `trained`, both folders with `transformer/`.

    What `pipeline` has and `trained` has not may only be what starts as nothing.
    """
    weights = TriplaneTransformer.from_pretrained(trained, subfolder="transformer").float().state_dict()
    transformer = TriplaneTransformer.from_config(TriplaneTransformer.load_config(pipeline, subfolder="transformer"))
    own = transformer.state_dict()
    misfits = [name for name in sorted(own.keys() | weights.keys())
               if (name not in weights and name.split(".")[0] not in STARTS_AS_NOTHING)
               or name not in own
               or (name in weights and weights[name].shape != own[name].shape)]  # fmt: skip
    if misfits:
        raise ValueError(
            f"{trained}/transformer is of another architecture than {pipeline}/transformer: {len(misfits)} tensors do "
            f"not fit, the first is {misfits[0]}; begin with weights of this architecture, or without `init`"
        )
    transformer.load_state_dict(weights, strict=False)
    return transformer
