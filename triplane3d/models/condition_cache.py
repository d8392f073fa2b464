"""What the denoiser computes from image tokens alone, kept from the first denoising step for all others.

Image tokens do not change between steps. Their projections, their place on the planes, and the keys and values of every
layer are therefore the same at each step.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from triplane3d.models.attention import KeyValueCache


@dataclass(frozen=True)
class PreparedConditions:
    """The conditions in the form in which the transformer's blocks use them."""

    tokens: Float[Tensor, "photos context width"]
    """Image tokens with their camera embedding, projected; cross-attention attends to them.

    Their width is `cross_attention_dim` without a `condition_projection`, and otherwise that of the blocks.
    """

    null_token: Float[Tensor, "1 1 width"]
    """The projection of a token of zeros, which stands for "no photo"."""

    pixels: Float[Tensor, "photos pixels dim"] | None = None
    """Tokens of the second image encoder, projected; self-attention attends to them."""

    null_pixel: Float[Tensor, "1 1 dim"] | None = None
    """As `null_token`, for `pixels`."""

    plane_tokens: Float[Tensor, "photos tokens dim"] | None = None
    """Image features at the latent tokens over which the cameras see them; see `FrontPlaneCondition`."""


@dataclass
class LayerCache:
    """The keys and values of a transformer block's two attention layers."""

    attn: KeyValueCache = field(default_factory=KeyValueCache)
    cross_attn: KeyValueCache = field(default_factory=KeyValueCache)


class ConditionCache:
    """Prepared conditions, and the keys and values of each layer. The first call of the transformer fills it.

    It is valid for one set of image tokens, cameras and weights. Begin with a new one if any of them changes.

    Layers are filled while they run, not in advance, because offloading may hold a layer's weights on the device only
    during its own call, and a block cache may leave a layer out.
    """

    def __init__(self) -> None:
        self.prepared: PreparedConditions | None = None
        self.layers: defaultdict[int, LayerCache] = defaultdict(LayerCache)
