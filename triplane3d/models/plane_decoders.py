"""Decoders from latents to planes: a transformer over tokens, or an image decoder over the planes side by side."""

from collections.abc import Sequence
from itertools import product
from math import gcd

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.resnet import ResnetBlock2D
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from triplane3d.models.attention import TriplaneAttentionBlock, cast_for_autocast, run_blocks


class TokenDecoder(nn.Module):
    """A transformer over latent patches, with a linear head that maps each token to a patch of the planes.

    Neighbouring patches are related only by their tokens, so there may be a seam between them. `resnet_layers` residual
    blocks of convolutions after the head can remove seams. They are initialised to add zero.
    """

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        num_layers: int,
        latent_channels: int,
        latent_size: int,
        patch_size: int,
        plane_channels: int,
        plane_size: int,
        activation_fn: str,
        resnet_layers: int = 0,
    ):
        super().__init__()
        self.patch_size = patch_size
        self.grid_size = latent_size // patch_size
        self.plane_patch = plane_size // self.grid_size
        self.proj_in = nn.Linear(latent_channels * patch_size**2, dim)
        self.positions = nn.Parameter(torch.randn(3 * self.grid_size**2, dim) * 0.02)
        self.blocks = nn.ModuleList(
            [TriplaneAttentionBlock(dim, heads, dim // heads, activation_fn=activation_fn) for _ in range(num_layers)]
        )
        self.norm_out = nn.LayerNorm(dim)
        self.proj_out = nn.Linear(dim, plane_channels * self.plane_patch**2)
        groups = gcd(plane_channels, 8)
        resnets = [
            ResnetBlock2D(in_channels=plane_channels, temb_channels=None, groups=groups) for _ in range(resnet_layers)
        ]
        # The second convolution is zero at first, so a block starts as the identity.
        for block in resnets:
            for parameter in block.conv2.parameters():
                nn.init.zeros_(parameter)
        self.resnets = nn.ModuleList(resnets)
        self.gradient_checkpointing = False

    def forward(
        self, latents: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch 3 plane_channels plane_height plane_width"]:
        # Unlike the denoiser's, the sequence has plane after plane; its positions are learnt.
        hidden_states = rearrange(
            latents,
            "batch channel (row i) (plane column j) -> batch (plane row column) (channel i j)",
            plane=3,
            i=self.patch_size,
            j=self.patch_size,
        )
        hidden_states = self.proj_in(hidden_states) + self.positions.to(latents.dtype)
        hidden_states = run_blocks(self, self.blocks, hidden_states)
        patches = self.proj_out(cast_for_autocast(self.norm_out(hidden_states)))
        planes = rearrange(
            patches,
            "batch (plane row column) (channel i j) -> (batch plane) channel (row i) (column j)",
            plane=3,
            row=self.grid_size,
            i=self.plane_patch,
            j=self.plane_patch,
        )
        planes = run_blocks(self, self.resnets, planes, None)
        return rearrange(planes, "(batch plane) channel row column -> batch plane channel row column", plane=3)


class UpsamplingConv(nn.Conv2d):
    """Nearest-neighbour upsampling by 2 and a 3 × 3 convolution, with 4/9 of the multiplications.

    After upsampling, a 3 × 3 window covers only 2 × 2 distinct pixels, because repeated ones are equal. Which ones
    depends on the parity of row and column. For each of the four parities, this computes one 2 × 2 convolution of the
    original image, with the weights of equal pixels summed.
    """

    def forward(self, pixels: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels2 _ _"]:
        height, width = pixels.shape[-2:]
        padded = F.pad(pixels, (1, 1, 1, 1))
        # Channels last in memory, the layout that `ConvDecoder` uses.
        doubled = pixels.new_empty(len(pixels), 2 * height, 2 * width, self.out_channels).permute(0, 3, 1, 2)
        for row, column in product((0, 1), repeat=2):
            # The 2 × 2 window of the new pixels of this parity, for all old pixels at once.
            window = padded[:, :, row : row + height + 1, column : column + width + 1]
            kernel = _merge_repeated(_merge_repeated(self.weight, 2, row), 3, column)
            kernel = kernel.contiguous(memory_format=torch.channels_last)
            doubled[:, :, row::2, column::2] = F.conv2d(window, kernel, self.bias)
        return doubled


def _merge_repeated(kernel: Tensor, axis: int, second: int) -> Tensor:
    """The three weights along an axis as two, for the first or the `second` new pixel of a pair.

    The first new pixel's window covers the previous pixel once and its own pixel twice; the second one's covers its own
    pixel twice and the next pixel once.
    """
    before, here, after = kernel.unbind(axis)
    return torch.stack((before + here, after) if second else (before, here + after), axis)


class ConvDecoder(nn.Module):
    """Stable Diffusion's image decoder over the planes laid side by side (Direct3D's decoder)."""

    def __init__(
        self,
        *,
        dim: int,
        latent_channels: int,
        plane_channels: int,
        block_out_channels: Sequence[int],
        mid_block_attention: bool,
    ):
        super().__init__()
        self.conv_latent = nn.Conv2d(latent_channels, dim, kernel_size=1)
        self.image_decoder = Decoder(
            in_channels=dim,
            out_channels=plane_channels,
            up_block_types=("UpDecoderBlock2D",) * len(block_out_channels),
            block_out_channels=tuple(block_out_channels),
            layers_per_block=2,
            mid_block_add_attention=mid_block_attention,
        )
        # Two changes for speed that keep the result: activations in place, and no convolution of repeated pixels.
        self.image_decoder.conv_act = nn.SiLU(inplace=True)
        for module in self.image_decoder.modules():
            if isinstance(module, ResnetBlock2D):
                module.nonlinearity = nn.SiLU(inplace=True)
        for block in self.image_decoder.up_blocks[:-1]:
            upsampler, conv = block.upsamplers[0], block.upsamplers[0].conv
            upsampler.conv = UpsamplingConv(conv.in_channels, conv.out_channels, kernel_size=3)
            upsampler.interpolate = False

    def forward(
        self, latents: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch 3 plane_channels plane_height plane_width"]:
        hidden_states = self.conv_latent(latents)
        if hidden_states.device.type != "mps":
            # In this layout convolutions are faster; in bfloat16 on a CPU they take less than half of the time.
            hidden_states = hidden_states.contiguous(memory_format=torch.channels_last)
        planes = self.image_decoder(hidden_states).contiguous()
        return rearrange(planes, "batch channel row (plane column) -> batch plane channel row column", plane=3)
