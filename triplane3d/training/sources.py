"""What the stages learn from: surfaces and labels, or latents and photos, of stored shapes or of shapes just drawn."""

import torch
from accelerate import Accelerator
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from triplane3d.config import LatentDataConfig, ShapeDataConfig, StreamConfig
from triplane3d.data.procedural import FAMILIES, HOLDOUT_FAMILIES, ShapeBatch
from triplane3d.data.shards import Sample, ShardDataset, sample_shapes
from triplane3d.data.streams import MakeBatch, MakeSamples, ShapeStream, random_rows, take_rows
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.latent_statistics import LatentStatistics
from triplane3d.training.inputs import check_files
from triplane3d.training.latents import Latents, encode_surface


def check_source(data: ShapeDataConfig | LatentDataConfig, *folders: str) -> None:
    """Data are streamed, or read from folders that are all named and hold files; anything else is refused."""
    named = [name for name in folders if getattr(data, name)]
    missing = [name for name in folders if name not in named]
    if data.stream and named:
        raise ValueError(
            f"data.stream draws shapes that no folder holds, but data.{named[0]}={getattr(data, named[0])!r} is given "
            f"too: remove data.{named[0]}, or set data.stream to false"
        )
    if missing and not data.stream:
        raise ValueError(
            f"nothing to train on: data.{missing[0]} is missing; name its folder, or set data.stream to true"
        )
    for name in (*named, *(["validation"] if data.validation else [])):
        pattern, writer = ("latents-*.safetensors", "latents") if name == "latents" else ("*.safetensors", "shards")
        check_files(f"data.{name}", getattr(data, name), pattern, writer)
    if data.families is not None and (unknown := sorted(set(data.families) - set(FAMILIES | HOLDOUT_FAMILIES))):
        raise ValueError(f"data.families: there is no family {', '.join(unknown)} of shapes")


def streamed_surfaces(data: ShapeDataConfig, device: torch.device) -> ShapeStream:
    """For the autoencoder: a batch has the keys and types of `ShardDataset`'s surface and labels."""

    def make(shapes: ShapeBatch, generator: Generator) -> Sample:
        return sample_shapes(shapes, surface_points=data.pool_surface_points, label_points=data.pool_label_points,
                             views=0, image_size=0, generator=generator)  # fmt: skip

    def visit(held: Sample, generator: Generator) -> Sample:
        batch = len(held["surface_points"])
        on_surface = random_rows(batch, data.pool_surface_points, data.surface_points, generator)
        # As in a shard, the first half of the labels is uniform, the other near the surface.
        middle = data.pool_label_points // 2
        uniform, near = (random_rows(batch, middle, data.label_points // 2, generator) for _ in range(2))
        labels = torch.cat([uniform, middle + near], dim=1)
        points, normals = (
            take_rows(held["surface_points"], on_surface).float(),
            take_rows(held["surface_normals"], on_surface),
        )
        asked = take_rows(held["label_points"], labels).float()
        if data.mirror:
            sides = points.new_ones(batch, 1, 3)
            sides[..., 0] -= 2 * torch.randint(2, (batch, 1), generator=generator, device=generator.device)
            points, normals, asked = sides * points, sides * normals, sides * asked
        return {
            "surface_points": points,
            "surface_normals": normals.float() / 127,
            "surface_colors": take_rows(held["surface_colors"], on_surface).float() / 255,
            "label_points": asked,
            "label_distance": take_rows(held["label_distance"], labels).float(),
        }

    for shown, kept in (("surface_points", "pool_surface_points"), ("label_points", "pool_label_points")):
        if getattr(data, shown) > getattr(data, kept):
            raise ValueError(
                f"data.{shown}={getattr(data, shown)} of a shape cannot be taken from data.{kept}="
                f"{getattr(data, kept)}: raise data.{kept}"
            )
    return _stream(data, make, visit, device)


class LatentPhotos:
    """Latents of shapes and photos of each, drawn anew at every visit; every other visit mirrored, if encoded so.

    `photos` are shards of which "views", and perhaps "labels", are read.
    """

    def __init__(self, latents: Latents, photos: ShardDataset) -> None:
        if latents.seeds != photos.seeds:
            raise ValueError(
                f"the latents are of other shapes than the photos ({len(latents)} and {len(photos)} shapes): "
                "encode the latents of data.folder again"
            )
        self.latents, self.photos = latents, photos
        self.mirrored = latents.mirrored

    @property
    def generator(self) -> Generator | None:
        return self.photos.generator

    @generator.setter
    def generator(self, generator: Generator | None) -> None:
        self.photos.generator = generator

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: int) -> Sample:
        mirrored = self.mirrored and bool(torch.rand((), generator=self.generator) < 0.5)
        seen = mirror(self.photos[index], torch.tensor(mirrored))
        return {"latents": self.latents.read(index, mirrored), **seen}


def mirror(seen: Sample, mirrored: Bool[Tensor, "*batch"]) -> Sample:
    """What was seen of the shapes that are `mirrored` in x: pictures flipped, cameras on the other side, points too."""
    sign = torch.where(mirrored, -1.0, 1.0)[..., None]
    flipped = mirrored[..., None, None, None, None]
    changed = {
        "views": torch.where(flipped, seen["views"].flip(-1), seen["views"]),
        "cameras": _scale_first(seen["cameras"], sign),
    }
    if "label_points" in seen:
        changed["label_points"] = _scale_first(seen["label_points"], sign)
    return seen | changed


def _scale_first(
    values: Float[Tensor, "*batch entries axes"], scale: Float[Tensor, "*batch 1"]
) -> Float[Tensor, "*batch entries axes"]:
    """The first of every entry's numbers, an azimuth or an x, times `scale`."""
    return torch.cat([scale[..., None] * values[..., :1], values[..., 1:]], dim=-1)


def latents_and_photos(
    data: LatentDataConfig, vae: AutoencoderKLTriplane, accelerator: Accelerator, *, labels: int = 0
) -> ShapeStream | LatentPhotos:
    """Latents of unit variance and photos of each shape, streamed or from shards; with `labels`, so many of them."""
    if data.stream:
        return streamed_photos(data, vae, accelerator, labels=labels)
    assert data.folder is not None and data.latents is not None, "see check_source"
    keys = ("views", "labels") if labels else ("views",)
    return LatentPhotos(Latents(data.latents, vae.config), ShardDataset(data.folder, keys, label_points=labels))


def held_out_photos(data: LatentDataConfig) -> ShardDataset | None:
    """Photos and labels to validate on, if a folder of them is named."""
    if not data.validation:
        return None
    return ShardDataset(data.validation, keys=("labels", "view"), label_points=data.validation_labels)


def streamed_photos(
    data: LatentDataConfig, vae: AutoencoderKLTriplane, accelerator: Accelerator, *, labels: int = 0
) -> ShapeStream:
    """For the denoiser: latents that the frozen vae makes of the shapes, as stage 2 would, and photos of each.

    Batches are as those of `LatentPhotos`; with `labels` they hold so many, the same at every visit.
    """
    statistics = LatentStatistics.from_config(vae.config)
    sides = (False, True) if data.mirror else (False,)

    @torch.no_grad()
    def make(shapes: ShapeBatch, generator: Generator) -> Sample:
        sample = sample_shapes(shapes, surface_points=data.surface_points, label_points=labels, views=data.views,
                               around=data.random_views, around_size=data.random_view_size, image_size=data.image_size,
                               generator=generator)  # fmt: skip
        surface = [sample["surface_points"].float(), sample["surface_normals"].float() / 127,
                   sample["surface_colors"].float() / 255]  # fmt: skip
        # A few shapes at a time: drawing asks little memory of a device, encoding may not.
        few = list(zip(*(values.split(64) for values in surface)))
        latents = torch.stack(
            [torch.cat([encode_surface(accelerator, vae, *one, mirror=side) for one in few]) for side in sides], dim=1
        )
        kept = ("views", "cameras", *(("label_points", "label_distance") if labels else ()))
        return {"latents": statistics.normalize(latents).half(), **{name: sample[name] for name in kept}}

    def visit(held: Sample, generator: Generator) -> Sample:
        batch, views = held["views"].shape[:2]
        rows = torch.arange(batch, device=generator.device)
        side = torch.randint(len(sides), (batch,), generator=generator, device=generator.device)
        # A photo from azimuth 0 first, then all the others in any order.
        place = torch.rand(batch, views, generator=generator, device=generator.device)
        place[:, : data.views].scatter_(1, place[:, : data.views].argmin(dim=1, keepdim=True), -1.0)
        order = place.argsort(dim=1)
        photos, cameras = take_rows(held["views"], order).float() / 255, take_rows(held["cameras"], order)
        seen = {"views": photos, "cameras": cameras}
        if labels:
            seen |= {name: held[name].float() for name in ("label_points", "label_distance")}
        return {"latents": held["latents"][rows, side].float(), **mirror(seen, side == 1)}

    return _stream(data, make, visit, accelerator.device)


def _stream(data: StreamConfig, make: MakeSamples, visit: MakeBatch, device: torch.device) -> ShapeStream:
    return ShapeStream(make_samples=make, make_batch=visit, group_size=data.group_size, pool=data.pool,
                       reuse=data.reuse, families=data.families, device=device)  # fmt: skip
