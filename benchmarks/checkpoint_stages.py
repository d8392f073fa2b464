"""The stages that `benchmarks/checkpoints.py` times, in the reference code ("original") and in this library ("ours").

Each stage is a function of (setting, dtype, code). It loads the model and returns the call to be timed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mcubes
import numpy as np
import torch
import torch.nn.functional as F
from converted import LEVELS, SIZES, Size, converted_direct3d, converted_triposr, fused, original, solid_planes
from decode import overlap
from diffusers.utils.logging import disable_progress_bar
from jaxtyping import Float, UInt8
from reference import Direct3DVAE, TripoSR, direct3d_preprocess, foreground
from reference.direct3d import PLANE_AXES as DIRECT3D_AXES
from reference.triposr import IMAGENET_MEAN, IMAGENET_STD
from reference.triposr import PLANE_AXES as TRIPOSR_AXES
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from trimesh import Trimesh

from triplane3d.evaluation.timing import time_calls
from triplane3d.geometry.isosurface.field_sampling import FieldSampler, SampledSurface, color_at, evaluate_grid
from triplane3d.geometry.mesh import Mesh
from triplane3d.images.image_processor import prepare_photos
from triplane3d.images.photo_batch import PhotoBatch
from triplane3d.models.image_encoder import image_tokens
from triplane3d.pipelines.guidance import GuidedPrediction
from triplane3d.pipelines.pipeline_triplane_reconstruction import _Surface

GUIDANCE = 4.0
TIME = 500.0
MARGIN = 0.75
"""The default `margin` of `extract_surface`."""

Call = Callable[[], Any]


@dataclass(frozen=True)
class Setting:
    """The folder of the weights, the size of the models, the device, and the number of timings."""

    folder: Path
    size_name: str
    device: torch.device
    repeats: int = 5

    @property
    def size(self) -> Size:
        return SIZES[self.size_name]

    def noise(self, *shape: int) -> Float[Tensor, "..."]:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(self.device)


@dataclass(frozen=True)
class Measured:
    """The median time of a call, and its last result."""

    seconds: float
    result: Any


def begin(threads: int) -> None:
    """Settings of every process that measures."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    disable_progress_bar()


def measure(setting: Setting, calls: Mapping[str, Call]) -> dict[str, Measured]:
    """Times all calls alternately, after running each once."""
    results: dict[str, Any] = {}

    def synchronized(name: str, call: Call) -> Call:
        def run() -> None:
            results[name] = call()
            if setting.device.type == "cuda":
                torch.cuda.synchronize(setting.device)

        return run

    timings = time_calls({name: synchronized(name, call) for name, call in calls.items()}, baseline=next(iter(calls)),
                         repeats=setting.repeats)  # fmt: skip
    return {name: Measured(timing.seconds, results[name]) for name, timing in timings.items()}


# ---- networks


def guided_step(setting: Setting, dtype: torch.dtype, code: str) -> Call:
    """A guided step for one photo. Ours runs as in the pipeline; "ours" is a step after the first."""
    size = setting.size
    latents = setting.noise(1, size.dit["in_channels"], *size.dit["sample_size"])
    tokens = {
        "encoder_hidden_states": setting.noise(1, token_count(size.clip), size.dit["semantic_channels"]).to(dtype),
        "pixel_hidden_states": setting.noise(1, token_count(size.dino), size.dit["pixel_channels"]).flip(1).to(dtype),
    }
    if code == "original":
        transformer = original(setting.folder, size, "direct3d", "dit").to(setting.device, dtype)
        return lambda: transformer.guided_step(latents.to(dtype), TIME, *tokens.values(), GUIDANCE).float()

    pipe = converted_direct3d(setting.folder, setting.size_name, dtype, setting.device)
    transformer = fused(pipe.transformer) if code == "ours, fused projections" else pipe.transformer
    predict = GuidedPrediction(transformer, num_steps=1)
    timestep = torch.tensor(TIME, device=setting.device)

    def step() -> Tensor:
        if code == "ours, first step":
            predict.clear_caches()
        return predict(latents, 0, timestep, tokens, guidance_scale=GUIDANCE)

    return step


def token_count(encoder: Mapping[str, int]) -> int:
    return 1 + (encoder["image_size"] // encoder["patch_size"]) ** 2


def vae_decode(setting: Setting, dtype: torch.dtype, code: str) -> Call:
    """Latents → planes."""
    vae = setting.size.vae
    latents = setting.noise(1, vae["latent_dim"], vae["triplane_res"], 3 * vae["triplane_res"]).to(dtype)
    if code == "original":
        model = original(setting.folder, setting.size, "direct3d", "vae").to(setting.device, dtype)
        return lambda: model.decode(latents)
    pipe = converted_direct3d(setting.folder, setting.size_name, dtype, setting.device)
    return lambda: pipe.vae.decode(latents).planes


def photo_encoders(setting: Setting, dtype: torch.dtype, code: str) -> Call:
    """CLIP and DINOv2: the same modules in the reference code and in this library."""
    pipe = converted_direct3d(setting.folder, setting.size_name, dtype, setting.device, with_encoders=True)
    images = [setting.noise(1, 3, *[side["image_size"]] * 2) for side in (setting.size.clip, setting.size.dino)]
    both = list(zip((pipe.image_encoder, pipe.pixel_encoder), images, strict=True))
    return lambda: [image_tokens(encoder, image.to(dtype)) for encoder, image in both]


def vision_transformer(setting: Setting, dtype: torch.dtype, code: str) -> Call:
    """TripoSR's image tokens."""
    side = setting.size.triposr["cond_image_size"]
    image = setting.noise(1, 3, side, side).sigmoid()
    if code == "original":
        model = original(setting.folder, setting.size, "triposr").to(setting.device, dtype)
        pixels = image.permute(0, 2, 3, 1).to(dtype)
        return lambda: model.image_tokens(pixels)
    reconstructor = converted_triposr(setting.folder, dtype, setting.device).reconstructor
    return lambda: reconstructor.encode_image(image)


def backbone(setting: Setting, dtype: torch.dtype, code: str) -> Call:
    """Image tokens → TripoSR's planes."""
    vit, side = setting.size.triposr["vit"], setting.size.triposr["cond_image_size"]
    tokens = setting.noise(1, 1 + (side // vit["patch_size"]) ** 2, vit["hidden_size"]).to(dtype)
    if code == "original":
        model = original(setting.folder, setting.size, "triposr").to(setting.device, dtype)
        return lambda: model.scene_codes(model.backbone(model.plane_tokens(1), tokens))
    reconstructor = converted_triposr(setting.folder, dtype, setting.device).reconstructor
    return lambda: reconstructor.decode(tokens)


# ---- images


def photo(side: int = 512) -> UInt8[np.ndarray, "side side 4"]:
    """A shaded disc on a transparent background."""
    row, column = np.indices((side, side)) / side
    inside = (row - 0.5) ** 2 + (column - 0.45) ** 2 < 0.12
    return np.stack([255 * row, 255 * column, 127 + 128 * row * column, 255 * inside], axis=-1).astype(np.uint8)


def direct3d_images(setting: Setting, dtype: torch.dtype, code: str) -> Call:
    """A cut-out photo, prepared for both encoders."""
    rgba, size = photo(), setting.size
    if code == "original":
        encoders = (size.clip, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD), (size.dino, IMAGENET_MEAN, IMAGENET_STD)

        def prepare() -> list[Tensor]:
            framed = direct3d_preprocess(rgba)[None]
            resized = (F.interpolate(framed, [encoder["image_size"]] * 2, mode="bilinear", antialias=True)
                       for encoder, _, _ in encoders)  # fmt: skip
            return [(image - image.new_tensor(mean).view(3, 1, 1)) / image.new_tensor(std).view(3, 1, 1)
                    for image, (_, mean, std) in zip(resized, encoders, strict=True)]  # fmt: skip

        return prepare
    pipe = converted_direct3d(setting.folder, setting.size_name, dtype, setting.device, with_encoders=True)

    def prepare_ours() -> list[Tensor]:
        photos = prepare_photos(PhotoBatch.parse(rgba), [pipe.image_processor, pipe.pixel_processor])
        return [each.pixel_values for each in photos]

    return prepare_ours


def triposr_image(setting: Setting, dtype: torch.dtype, code: str) -> Call:
    """A cut-out photo in front of grey, in 0..1."""
    rgba, side = photo(), setting.size.triposr["cond_image_size"]
    if code == "original":

        def prepare() -> Tensor:
            pixels = torch.from_numpy(foreground(rgba)).permute(2, 0, 1)[None].float() / 255
            return F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False, antialias=True)

        return prepare
    pipe = converted_triposr(setting.folder, dtype, setting.device)
    return lambda: pipe.image_processor.preprocess(rgba).pixel_values


def view(setting: Setting, dtype: torch.dtype, code: str) -> Call:
    """A view of TripoSR's field from the photo's camera. The published query supports float32 only."""
    planes, side = triposr_planes(setting, dtype), setting.size.view
    if code == "original":
        model = original(setting.folder, setting.size, "triposr").to(setting.device)
        return lambda: model.render(planes[0].float(), height=side, width=side)
    pipe = converted_triposr(setting.folder, dtype, setting.device)
    return lambda: pipe.render(1, planes, size=side).color[0, 0]


def triposr_planes(setting: Setting, dtype: torch.dtype) -> Float[Tensor, "1 3 channels size size"]:
    settings = setting.size.triposr
    channels, side = settings["post_processor"]["out_channels"], 2 * settings["tokenizer"]["plane_size"]
    return solid_planes(channels, side, TRIPOSR_AXES).to(setting.device, dtype)


# ---- from planes to a mesh


@dataclass(frozen=True, eq=False)
class Surface:
    """The field of one model's `solid_planes` in both codes, and the grid of the published procedure."""

    query: Callable[[Float[Tensor, "points 3"]], Float[Tensor, " points"]]
    """The values at points on which the published code runs marching cubes."""
    color: Callable[[Float[Tensor, "points 3"]], Float[Tensor, "points 3"]] | None
    field: Any
    reference: Any
    """`field` in float32."""
    threshold: float
    """The level in values of `query`. `level` is the level in values of `field`; `activation` maps one to the other."""
    level: float
    activation: Callable[[Tensor], Tensor] | None
    radius: float
    nodes: int
    """Number of nodes along an edge."""
    chunk: int
    device: torch.device

    @property
    def resolution(self) -> int:
        return self.nodes - 1

    @cached_property
    def axis(self) -> Float[Tensor, " nodes"]:
        return torch.linspace(-self.radius, self.radius, self.nodes, dtype=torch.float64).float().to(self.device)

    def chunks(self, every: int) -> list[Float[Tensor, "points 3"]]:
        """One in `every` of the published procedure's chunks of points."""
        chosen = []
        for start in range(0, self.nodes**3, every * self.chunk):
            index = torch.arange(start, min(start + self.chunk, self.nodes**3), device=self.device)
            indices = (index // self.nodes**2, index // self.nodes % self.nodes, index % self.nodes)
            chosen.append(torch.stack([self.axis[along] for along in indices], dim=-1))
        return chosen

    def search(self) -> SampledSurface:
        return FieldSampler(self.field, self.axis, self.level).search(MARGIN, self.activation)

    def march(self, found: SampledSurface) -> tuple[np.ndarray, np.ndarray]:
        return found._replace(values=found.values.copy()).triangulate(self.resolution, (-self.radius, self.radius))

    def dense(self) -> Float[np.ndarray, "x y z"]:
        """The published procedure's grid minus its threshold, evaluated by our field in float32."""
        values = evaluate_grid(self.reference, self.resolution, (-self.radius, self.radius))
        return ((values if self.activation is None else self.activation(values)) - self.threshold).cpu().numpy()


def direct3d_surface(setting: Setting, dtype: torch.dtype, resolution: int) -> Surface:
    """The surface of Direct3D's field. The published query supports float32 only."""
    model: Direct3DVAE = original(setting.folder, setting.size, "direct3d", "vae").to(setting.device)
    vae = setting.size.vae
    side = vae["triplane_res"] * 2 ** (len(vae["block_out_channels"]) - 1)
    planes = solid_planes(vae["triplane_dim"], side, DIRECT3D_AXES).to(setting.device)
    reference, field = (
        converted_direct3d(setting.folder, setting.size_name, precision, setting.device).vae.field(planes.to(precision))
        for precision in (torch.float32, dtype)
    )
    level = LEVELS["direct3d"]
    return Surface(
        lambda points: model.occupancy(planes, points[None])[0], None, field, reference,
        level, level, None, 1.0, resolution + 1, 50_000, setting.device,
    )  # fmt: skip


def triposr_surface(setting: Setting, dtype: torch.dtype, resolution: int) -> Surface:
    """The surface of TripoSR's field. There, `resolution` counts nodes. The published query supports float32 only."""
    model: TripoSR = original(setting.folder, setting.size, "triposr").to(setting.device)
    planes = triposr_planes(setting, torch.float32)
    reference, field = (
        converted_triposr(setting.folder, precision, setting.device).reconstructor.field(planes.to(precision))
        for precision in (torch.float32, dtype)
    )
    threshold = LEVELS["triposr"]
    return Surface(
        lambda points: model.query(planes[0], points)[2][:, 0], lambda points: model.query(planes[0], points)[3],
        _Surface(field), _Surface(reference), threshold, field.raw_density_at(threshold), field.activate,
        field.radius, resolution, 8192, setting.device,
    )  # fmt: skip


def surface_stages(setting: Setting, surface: Surface, every: int) -> dict[str, tuple[float, float, dict[str, Any]]]:
    """Seconds of both procedures for each stage, and how much their surfaces differ."""
    chunks = surface.chunks(every)
    num_points = sum(map(len, chunks))
    queries = measure(setting, {
        "original": lambda: torch.cat([surface.query(chunk) for chunk in chunks]),
        "ours": surface.search,
    })  # fmt: skip
    ours = surface.field if surface.activation is None else lambda points: surface.activation(surface.field(points))
    theirs, own = (field(chunks[len(chunks) // 2]).float() for field in (surface.query, ours))
    difference = ((own - theirs).abs() / theirs.abs().clamp(min=1)).max().item()

    dense, searched = surface.dense(), queries["ours"].result
    marching = measure(setting, {
        "original": lambda: mcubes.marching_cubes(dense, 0.0),
        "ours": lambda: surface.march(searched),
    })  # fmt: skip
    (vertices, faces), found = marching["original"].result, marching["ours"].result
    points = (vertices * (2 * surface.radius / surface.resolution) - surface.radius).astype(np.float32)
    mesh = measure(setting, {
        "original": lambda: Trimesh(points, faces.astype(np.int64)),
        "ours": lambda: Mesh(*found),
    })  # fmt: skip
    scaled = queries["original"].seconds * surface.nodes**3 / num_points
    same = overlap(Mesh(found[0] / surface.radius, found[1]), dense)
    how = "measured" if every == 1 else f"original: scaled from 1/{every} of its chunks; ours: measured"
    stages = {
        "query": (scaled, queries["ours"].seconds, {"how": how, "largest relative difference": difference}),
        "marching cubes": (marching["original"].seconds, marching["ours"].seconds,
                           {"how": "measured", "V-IoU": same}),
        "mesh object": (mesh["original"].seconds, mesh["ours"].seconds, {"how": "measured"}),
    }  # fmt: skip
    if surface.color is not None:
        colors = measure(setting, {
            "original": lambda: surface.color(torch.from_numpy(points).to(setting.device)),
            "ours": lambda: color_at(surface.field, found[0]),
        })  # fmt: skip
        stages["colours"] = (colors["original"].seconds, colors["ours"].seconds, {"how": "measured"})
    return stages
