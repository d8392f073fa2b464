"""Reference code for TripoSR (Tochilkin et al. 2024): what the published code computes, without optimisation.

    model = TripoSR({**settings, "vit": structure_of_the_vit})
    model.load_state_dict(checkpoint)
    planes = model(image)

`settings` is the published config as a dict. The state dict has the published names and shapes; those of the image
tokenizer are of transformers 4. In its frame z is up, and the photo's camera is on +x.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from reference.direct3d import Attention, attend, composite, pad_to_square, sample_planes

PLANE_AXES = ((0, 1), (0, 2), (1, 2))
"""The axes along each plane's width and height: xy, xz, yz."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAMERA_DISTANCE = 1.9
FIELD_OF_VIEW = 40.0
"""Vertical field of view in degrees."""
MARCHED = 0.999
"""The part of the field's box through which rays are marched. Inferred from a published render; the error is 2e-6."""

PUBLISHED: dict[str, Any] = {
    "cond_image_size": 512,
    "vit": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "image_size": 224,
        "patch_size": 16,
        "layer_norm_eps": 1e-12,
    },
    "tokenizer": {"plane_size": 32, "num_channels": 1024},
    "backbone": {"num_attention_heads": 16, "attention_head_dim": 64, "num_layers": 16, "cross_attention_dim": 768},
    "post_processor": {"in_channels": 1024, "out_channels": 40},
    "decoder": {"in_channels": 120, "n_neurons": 64, "n_hidden_layers": 9},
    "renderer": {"radius": 0.87, "density_bias": -1.0, "num_samples_per_ray": 128},
}
"""The settings of the published model that are used here."""


# ---- the image tokenizer: a ViT with the parameter names of transformers 4


class VitLayer(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, dim: int, heads: int, hidden_dim: int, eps: float):
        super().__init__()
        self.heads = heads
        self.attention = nn.ModuleDict(
            {
                "attention": nn.ModuleDict({name: nn.Linear(dim, dim) for name in ("query", "key", "value")}),
                "output": nn.ModuleDict({"dense": nn.Linear(dim, dim)}),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(dim, hidden_dim)})
        self.output = nn.ModuleDict({"dense": nn.Linear(hidden_dim, dim)})
        self.layernorm_before = nn.LayerNorm(dim, eps=eps)
        self.layernorm_after = nn.LayerNorm(dim, eps=eps)

    def forward(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        normed = self.layernorm_before(tokens)
        queries, keys, values = (
            self.attention.get_submodule(f"attention.{name}")(normed) for name in ("query", "key", "value")
        )
        tokens = tokens + self.attention.get_submodule("output.dense")(attend(queries, keys, values, self.heads))
        hidden = F.gelu(self.intermediate["dense"](self.layernorm_after(tokens)))
        return tokens + self.output["dense"](hidden)


class VitEmbeddings(nn.Module):
    """Patches with positions, resampled to the image as in transformers 4.35."""

    def __init__(self, dim: int, image_size: int, patch_size: int, num_channels: int):
        super().__init__()
        self.grid_size = image_size // patch_size
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.position_embeddings = nn.Parameter(torch.randn(1, 1 + self.grid_size**2, dim) * 0.02)
        projection = nn.Conv2d(num_channels, dim, patch_size, stride=patch_size)
        self.patch_embeddings = nn.ModuleDict({"projection": projection})

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch tokens dim"]:
        patches = self.patch_embeddings["projection"](images)
        positions = self._positions(*patches.shape[-2:])
        tokens = rearrange(patches, "batch dim row column -> batch (row column) dim")
        return torch.cat([repeat(self.cls_token, "1 1 dim -> batch 1 dim", batch=len(images)), tokens], 1) + positions

    def _positions(self, rows: int, columns: int) -> Float[Tensor, "1 tokens dim"]:
        if (rows, columns) == (self.grid_size, self.grid_size):
            return self.position_embeddings
        # transformers adds 0.1 so that rounding removes no row. As part of the scale it also shifts each position.
        scale = ((rows + 0.1) / self.grid_size, (columns + 0.1) / self.grid_size)
        cls, patches = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        table = rearrange(patches, "1 (row column) dim -> 1 dim row column", row=self.grid_size)
        table = F.interpolate(table, scale_factor=scale, mode="bicubic", align_corners=False)
        return torch.cat([cls, rearrange(table, "1 dim row column -> 1 (row column) dim")], dim=1)


class Vit(nn.Module):
    """The vision transformer. `forward` returns all tokens, the class token first."""

    def __init__(self, structure: dict[str, Any]):
        super().__init__()
        dim, eps = structure["hidden_size"], structure["layer_norm_eps"]
        self.embeddings = VitEmbeddings(
            dim, structure["image_size"], structure["patch_size"], structure.get("num_channels", 3)
        )
        layers = [
            VitLayer(dim, structure["num_attention_heads"], structure["intermediate_size"], eps)
            for _ in range(structure["num_hidden_layers"])
        ]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})
        self.layernorm = nn.LayerNorm(dim, eps=eps)
        self.pooler = nn.ModuleDict({"dense": nn.Linear(dim, dim)})
        """In the checkpoint, but never called."""

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch tokens dim"]:
        tokens = self.embeddings(images)
        for layer in self.encoder["layer"].children():
            tokens = layer(tokens)
        return self.layernorm(tokens)


# ---- from image tokens to planes


class Block(nn.Module):
    """Pre-norm self-attention, cross-attention and feed-forward."""

    def __init__(self, dim: int, heads: int, context_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, context_dim, heads)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, activation_fn="geglu")

    def forward(
        self, tokens: Float[Tensor, "batch tokens dim"], context: Float[Tensor, "batch context width"]
    ) -> Float[Tensor, "batch tokens dim"]:
        normed = self.norm1(tokens)
        tokens = tokens + self.attn1(normed, normed)
        tokens = tokens + self.attn2(self.norm2(tokens), context)
        return tokens + self.ff(self.norm3(tokens))


class Backbone(nn.Module):
    """The transformer from plane tokens and image tokens to plane tokens."""

    def __init__(self, channels: int, heads: int, head_dim: int, num_layers: int, context_dim: int):
        super().__init__()
        dim = heads * head_dim
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, dim)
        self.transformer_blocks = nn.ModuleList([Block(dim, heads, context_dim) for _ in range(num_layers)])
        self.proj_out = nn.Linear(dim, channels)

    def forward(
        self, plane_tokens: Float[Tensor, "batch channels tokens"], context: Float[Tensor, "batch context width"]
    ) -> Float[Tensor, "batch channels tokens"]:
        tokens = self.proj_in(rearrange(self.norm(plane_tokens), "batch channel token -> batch token channel"))
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return plane_tokens + rearrange(self.proj_out(tokens), "batch token channel -> batch channel token")


class TripoSR(nn.Module):
    """A photo → scene codes (three planes) → density and colour at any point. Nothing is random."""

    def __init__(self, settings: dict[str, Any]):
        super().__init__()
        vit, backbone, mlp = settings["vit"], settings["backbone"], settings["decoder"]
        channels, size = settings["tokenizer"]["num_channels"], settings["tokenizer"]["plane_size"]
        upsampler = settings["post_processor"]
        self.image_size = settings["cond_image_size"]
        self.radius = settings["renderer"]["radius"]
        self.density_bias = settings["renderer"]["density_bias"]
        self.num_samples = settings["renderer"]["num_samples_per_ray"]

        self.image_tokenizer = nn.ModuleDict({"model": Vit(vit)})
        self.tokenizer = nn.ParameterDict({"embeddings": torch.randn(3, channels, size, size) * channels**-0.5})
        self.backbone = Backbone(
            channels,
            backbone["num_attention_heads"],
            backbone["attention_head_dim"],
            backbone["num_layers"],
            backbone["cross_attention_dim"],
        )
        self.post_processor = nn.ModuleDict(
            {"upsample": nn.ConvTranspose2d(upsampler["in_channels"], upsampler["out_channels"], 2, stride=2)}
        )
        widths = [mlp["in_channels"]] + [mlp["n_neurons"]] * mlp["n_hidden_layers"] + [4]
        layers = [layer for pair in zip(widths, widths[1:]) for layer in (nn.Linear(*pair), nn.SiLU())]
        self.decoder = nn.ModuleDict({"layers": nn.Sequential(*layers[:-1])})
        self.gains = {
            "post_processor.upsample.weight": 4.0,
            "decoder.layers.0.weight": 1.5,
            f"decoder.layers.{2 * mlp['n_hidden_layers']}.weight": 3.0,
        }
        """Factors for random weights, so that the field varies in space."""

    def forward(self, images: Float[Tensor, "batch height width 3"]) -> Float[Tensor, "batch 3 channels rows columns"]:
        """Scene codes of images in 0..1."""
        context = self.image_tokens(self.resize(images))
        return self.scene_codes(self.backbone(self.plane_tokens(len(images)), context))

    def resize(self, images: Float[Tensor, "batch height width 3"]) -> Float[Tensor, "batch size size 3"]:
        size = (self.image_size, self.image_size)
        if images.shape[1:3] == size:
            return images
        pixels = rearrange(images, "batch row column channel -> batch channel row column")
        pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
        return rearrange(pixels, "batch channel row column -> batch row column channel")

    def image_tokens(self, images: Float[Tensor, "batch size size 3"]) -> Float[Tensor, "batch tokens dim"]:
        """All of the ViT's tokens, the class token first."""
        normalized = (images - images.new_tensor(IMAGENET_MEAN)) / images.new_tensor(IMAGENET_STD)
        return self.image_tokenizer["model"](rearrange(normalized, "batch row column c -> batch c row column"))

    def plane_tokens(self, batch: int) -> Float[Tensor, "batch channels tokens"]:
        embeddings = self.tokenizer["embeddings"]
        return repeat(embeddings, "plane channel row column -> batch channel (plane row column)", batch=batch)

    def scene_codes(
        self, tokens: Float[Tensor, "batch channels tokens"]
    ) -> Float[Tensor, "batch 3 features rows columns"]:
        planes = rearrange(
            tokens,
            "batch channel (plane row column) -> (batch plane) channel row column",
            plane=3,
            row=self.tokenizer["embeddings"].shape[-1],
        )
        return rearrange(self.post_processor["upsample"](planes), "(batch plane) c h w -> batch plane c h w", plane=3)

    # ---- the field

    def query(
        self, scene_code: Float[Tensor, "3 features rows columns"], points: Float[Tensor, "points 3"]
    ) -> tuple[
        Float[Tensor, "points 1"], Float[Tensor, "points 3"], Float[Tensor, "points 1"], Float[Tensor, "points 3"]
    ]:
        """Raw density, raw colour, density and colour at points in world units."""
        features = sample_planes(scene_code[None], points[None] / self.radius, PLANE_AXES)[0]
        raw_density, raw_color = self.decoder["layers"](features).split([1, 3], dim=-1)
        return raw_density, raw_color, torch.exp(raw_density + self.density_bias), torch.sigmoid(raw_color)

    def dense_density(
        self, scene_code: Float[Tensor, "3 features rows columns"], resolution: int, chunk_size: int = 8192
    ) -> Float[Tensor, "x y z"]:
        """Density at resolution³ nodes of the box, faces included, in chunks that are collected in a list."""
        axis = torch.linspace(-self.radius, self.radius, resolution, device=scene_code.device)
        nodes = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        densities = [self.query(scene_code, chunk)[2] for chunk in nodes.split(chunk_size)]
        return torch.cat(densities).reshape((resolution,) * 3)

    def render(
        self,
        scene_code: Float[Tensor, "3 features rows columns"],
        *,
        height: int = 256,
        width: int = 256,
        azimuth: float = 0.0,
        elevation: float = 0.0,
    ) -> Float[Tensor, "height width 3"]:
        """Volume rendering (NeRF) in front of white; angles in degrees, azimuth 0 is the photo's camera."""
        origin, directions = camera_rays(height, width, azimuth, elevation, scene_code.device)
        half = MARCHED * self.radius
        to_faces = torch.stack([(bound - origin) / directions for bound in (-half, half)])
        near, far = to_faces.amin(dim=0).amax(dim=-1), to_faces.amax(dim=0).amin(dim=-1)
        hit = near < far
        near, far = near[hit, None], far[hit, None]

        steps = torch.linspace(0, 1, self.num_samples + 1, device=scene_code.device)
        middles = (steps[:-1] + steps[1:]) / 2
        depths = near * (1 - middles) + far * middles
        points = origin + depths[..., None] * directions[hit][:, None]
        _, _, density, color = self.query(scene_code, points.flatten(0, 1))
        density, color = density.view(depths.shape), color.view(points.shape)

        # The step is relative to the ray's length in the box, not a length.
        alpha = 1 - torch.exp(-density * steps.diff())
        transmittance = torch.cumprod(torch.cat([torch.ones_like(near), 1 - alpha[:, :-1] + 1e-10], dim=1), dim=1)
        weights = alpha * transmittance
        image = torch.ones(height, width, 3, device=scene_code.device)
        image[hit] = (weights[..., None] * color).sum(dim=1) + 1 - weights.sum(dim=1, keepdim=True)
        return image


def camera_rays(
    height: int, width: int, azimuth: float, elevation: float, device: torch.device
) -> tuple[Float[Tensor, "3"], Float[Tensor, "height width 3"]]:
    """The camera's position, and the direction through the centre of each pixel; z is up."""
    theta, phi = math.radians(azimuth), math.radians(elevation)
    backward = torch.tensor(
        [math.cos(phi) * math.cos(theta), math.cos(phi) * math.sin(theta), math.sin(phi)], device=device
    )
    right = F.normalize(torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0], device=device), backward), dim=0)
    up = torch.linalg.cross(backward, right)
    focal = 0.5 * height / math.tan(0.5 * math.radians(FIELD_OF_VIEW))
    x = (torch.arange(width, device=device) + 0.5 - width / 2) / focal
    y = (torch.arange(height, device=device) + 0.5 - height / 2) / focal
    directions = x[None, :, None] * right - y[:, None, None] * up - backward
    return CAMERA_DISTANCE * backward, F.normalize(directions, dim=-1)


# ---- preprocessing of images


def resize_foreground(
    rgba: UInt8[np.ndarray, "height width 4"], ratio: float = 0.85
) -> UInt8[np.ndarray, "size size 4"]:
    """Crops to the opaque part, without its last row and column, in the middle of a transparent square."""
    rows, columns = np.nonzero(rgba[..., 3] > 0)
    square = pad_to_square(rgba[rows.min() : rows.max(), columns.min() : columns.max()], color=(0, 0, 0, 0))
    border = int(len(square) / ratio) - len(square)
    margin = (border // 2, border - border // 2)
    return np.pad(square, (margin, margin, (0, 0)))


def foreground(rgba: UInt8[np.ndarray, "height width 4"]) -> UInt8[np.ndarray, "size size 3"]:
    """The model's input for a photo without background: the object in front of grey."""
    return composite(resize_foreground(rgba).astype(np.float32) / 255, background=0.5)
