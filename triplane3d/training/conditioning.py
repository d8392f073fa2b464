"""Conditions of the denoiser in training: which photos of a shape are used, and their image tokens.

Stages 3 and 4 prepare photos in the same way as the pipeline does for inference (`pixel_values`).
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional

from triplane3d.config import ViewsConfig
from triplane3d.images.image_processor import Triplane3DImageProcessor, normalize_framed
from triplane3d.models.image_encoder import image_tokens
from triplane3d.models.pixels import FOREGROUND_RATIO, resize_square
from triplane3d.models.transformer_triplane import TriplaneTransformer


def check_views(config: ViewsConfig, transformer: TriplaneTransformer) -> None:
    """Raises `ValueError` if training uses several photos of a shape but the transformer supports only one."""
    declared = transformer.config
    if config.max_views > 1 and (not declared.camera_condition or declared.pixel_attention_dim is not None):
        raise ValueError(
            f"views.max_views={config.max_views} needs a transformer with camera_condition and without a second stream "
            f"of tokens, but this one has camera_condition={declared.camera_condition} and pixel_attention_dim="
            f"{declared.pixel_attention_dim}; set views.max_views=1, or write camera_condition=true into the "
            "pipeline's transformer/config.json"
        )


def choose_views(
    views: Float[Tensor, "batch stored 4 height width"],
    cameras: Float[Tensor, "batch stored 2"],
    config: ViewsConfig,
    common: Generator | None = None,
) -> tuple[Float[Tensor, "batch views 4 height width"], Float[Tensor, "batch views 2"]]:
    """The first photos of each shape, and their cameras (azimuth, elevation in degrees) with some values hidden as NaN.

    Their number is random. It comes from `common`, which is the same on all processes, so that no process waits for one
    with more photos. The first azimuth is always 0 and never hidden.
    """
    most = min(config.max_views, views.shape[1])
    several = most > 1 and torch.rand((), generator=common) >= config.single
    count = int(torch.randint(2, most + 1, (), generator=common)) if several else 1
    views, cameras = views[:, :count], cameras[:, :count]
    hidden = torch.rand(cameras.shape, device=cameras.device) < cameras.new_tensor(
        [config.unknown_azimuth, config.unknown_elevation]
    )
    hidden[:, 0, 0] = False
    return views, cameras.masked_fill(hidden, torch.nan)


def view_tokens(
    encoder: nn.Module, pixel_values: Float[Tensor, "batch *views channels size size"]
) -> Float[Tensor, "batch tokens features"]:
    """Image tokens of one photo or of several photos of each shape; those of several are concatenated."""
    if pixel_values.ndim == 4:
        return image_tokens(encoder, pixel_values)
    tokens = image_tokens(encoder, rearrange(pixel_values, "batch view ... -> (batch view) ..."))
    return rearrange(tokens, "(batch view) token feature -> batch (view token) feature", view=pixel_values.shape[1])


def pixel_values(
    processor: Triplane3DImageProcessor | None, framed: Float[Tensor, "batch 4 size size"]
) -> Float[Tensor, "batch channels image_size image_size"]:
    """Premultiplied photos of the shards as the pipeline's image processor would pass them to its encoder."""
    assert processor is not None, "trained pipelines have their encoders"
    size, side = processor.image_size, framed.shape[-1]
    # Photos in shards have the border of the library's default framing. Other framings have a larger or smaller one.
    border = round(side * (1 - FOREGROUND_RATIO / processor.filled) / 2)
    framed = functional.pad(framed, (-border,) * 4)
    return normalize_framed(
        resize_square(framed, (size, size)),
        background=processor.background,
        statistics=processor.statistics,
        mask_channel=processor.mask_channel,
    )
