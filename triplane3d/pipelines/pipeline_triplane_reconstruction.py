"""Photos to meshes in one pass: photo → planes → radiance field → mesh with colours, or rendered views."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from diffusers import DiffusionPipeline
from jaxtyping import Float
from torch import Tensor

from triplane3d.arguments import check_number, check_whole
from triplane3d.geometry.cameras import Camera, orbit_cameras
from triplane3d.geometry.color import linear_from_srgb
from triplane3d.geometry.fields import BrickValues
from triplane3d.geometry.isosurface import evaluate_grids, extract_surfaces
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.render.volume import VolumeRendering, render_volume
from triplane3d.images.background import check_background_removal
from triplane3d.images.image_processor import PreparedPhotos, Triplane3DImageProcessor, prepare_photos
from triplane3d.images.photo_batch import PhotoBatch
from triplane3d.images.reading import Photo
from triplane3d.models.radiance import TriplaneRadianceField
from triplane3d.models.reconstructor_triplane import TriplaneReconstructor
from triplane3d.pipelines.arguments import check_progress, check_tensor
from triplane3d.pipelines.calls import Calls, ReconstructionState
from triplane3d.pipelines.hub import PipelineHubMixin
from triplane3d.pipelines.pipeline_output import Triplane3DPipelineOutput
from triplane3d.pipelines.presets import MAX_GRID, MAX_RESOLUTION, check_presets
from triplane3d.settings import DEFAULT_QUALITY

OUTPUT_TYPES = ("mesh", "trimesh", "pt", "np", "planes")
PRESETS = {"draft": {"resolution": 128}, "balanced": {"resolution": 256}, "high": {"resolution": 512}}

TO_WORLD = [1, 2, 0]
"""Indices of the coordinates in the network's frame (z up, the photo's camera on +x) that are x, y and z here."""

FROM_WORLD = [2, 0, 1]

FIELD_OF_VIEW, DISTANCE = 40.0, 1.9
"""Field of view in degrees, and distance from the origin, of the cameras of TripoSR's training views."""


@dataclass
class TriplaneReconstructionPipelineOutput(Triplane3DPipelineOutput):
    """As `Triplane3DPipelineOutput`, with the planes from which the meshes were extracted."""

    planes: Tensor | None = None


class TriplaneReconstructionPipeline(PipelineHubMixin, DiffusionPipeline):
    """Turns photos of objects into meshes with colours in a single pass of the network.

    ```python
    pipe = TriplaneReconstructionPipeline.from_pretrained("my-triposr")
    out = pipe("chair.png")
    out.meshes[0].save("chair.glb")
    pictures = pipe.render(24, out.planes)      # colour, depth and opacity from all around
    ```

    Args:
        reconstructor: the network.
        framing, foreground_ratio, background: how photos are framed; the background is a grey value in 0..1.
        level: the density at which the surface lies.
        presets: the `resolution` for each name of `quality`.

    All but the reconstructor are settings that are saved in `model_index.json`.
    """

    model_cpu_offload_seq = "reconstructor"

    def __init__(
        self,
        reconstructor: TriplaneReconstructor | None,
        foreground_ratio: float = 0.85,
        background: float = 0.5,
        framing: str = "triposr",
        level: float = 25.0,
        presets: dict | None = None,
    ):
        super().__init__()
        self._calls = Calls(ReconstructionState)
        self.register_modules(reconstructor=reconstructor)
        self.register_to_config(
            foreground_ratio=foreground_ratio,
            background=background,
            framing=framing,
            level=level,
            presets=check_presets(PRESETS if presets is None else presets, PRESETS),
        )
        _check_level(level)
        # The property checks the settings.
        _ = self.image_processor

    @property
    def image_processor(self) -> Triplane3DImageProcessor | None:
        """Prepares photos for the network, in 0..1 (it normalises them itself); None without a reconstructor."""
        if self.reconstructor is None:
            return None
        return Triplane3DImageProcessor(
            self.reconstructor.config.image_size,
            foreground_ratio=self.config.foreground_ratio,
            background=self.config.background,
            statistics="none",
            mask_channel=False,
            framing=self.config.framing,
        )

    def check_inputs(
        self,
        *,
        image: Photo | Sequence[Photo] | None,
        planes: Tensor | None,
        resolution: int,
        level: float,
        output_type: str,
        background_removal: str = "auto",
        callback_on_extraction: Callable[[int, int], object] | None = None,
    ) -> PhotoBatch | None:
        """Check all arguments of a call before any work, and parse its photos; None for a call with `planes`.

        Raises:
            ValueError: for an argument that is not acceptable.
        """
        self._check_reconstructor()
        check_background_removal(background_removal)
        if (image is None) == (planes is None):
            raise ValueError("pass either `image` or `planes`" + (", not both" if image is not None else ""))
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type must be one of {OUTPUT_TYPES}, got {output_type!r}")
        check_whole("resolution", resolution, 2, MAX_GRID if output_type in ("pt", "np") else MAX_RESOLUTION)
        _check_level(level)
        check_progress("callback_on_extraction", callback_on_extraction)
        if image is not None:
            return PhotoBatch.of_single_photos(image)
        self._check_planes(planes)
        return None

    @torch.no_grad()
    def __call__(
        self,
        image: Photo | Sequence[Photo] | None = None,
        planes: Float[Tensor, "photos 3 channels rows columns"] | None = None,
        resolution: int | None = None,
        level: float | None = None,
        output_type: str = "mesh",
        return_dict: bool = True,
        quality: str = DEFAULT_QUALITY,
        background_removal: str = "auto",
        callback_on_extraction: Callable[[int, int], object] | None = None,
    ) -> TriplaneReconstructionPipelineOutput | tuple:
        """One mesh for each photo.

        Args:
            image: a photo (path, PIL, array (height, width, channels), tensor (channels, height, width) in 0..1), a
                list of them, or a batched array or tensor. The background is removed if there is no alpha.
            planes: from an earlier call, instead of `image`: to extract another surface.
            resolution: cells along an edge of the grid for the surface, 2 to 2048 (1024 if the grid itself is
                returned); None: that of `quality`.
            level: the density at which the surface lies; a higher one gives a thinner object. None: the pipeline's.
            output_type: "mesh" (`Mesh`), "trimesh", "pt" or "np" (density on the grid, (photos, n, n, n) with
                n = resolution + 1 samples per axis over ±`radius` of the network's config, axes x, y, z), or "planes".
            quality: the name of one of the pipeline's presets: "draft", "balanced" or "high".
            background_removal, callback_on_extraction: as `Triplane3DPipeline` has them.

        Raises:
            ValueError: for an argument that is not acceptable, before any work; for a photo without an object; for a
                field without a surface.
            TypeError: for a photo of another type.
            OSError: for a file that cannot be read.
        """
        if not isinstance(quality, str) or quality not in self.config.presets:
            raise ValueError(f"quality must be one of {sorted(self.config.presets)}, got {quality!r}")
        resolution = self.config.presets[quality]["resolution"] if resolution is None else resolution
        level = self.config.level if level is None else level
        photos = self.check_inputs(
            image=image,
            planes=planes,
            resolution=resolution,
            level=level,
            output_type=output_type,
            background_removal=background_removal,
            callback_on_extraction=callback_on_extraction,
        )
        with self._begin_call():
            prepared: PreparedPhotos | None = None
            if photos is not None:
                processor = self.image_processor
                assert processor is not None, "check_inputs requires the reconstructor"
                prepared = prepare_photos(photos, [processor], background_removal)[0]
                planes = self.reconstruct(prepared.pixel_values)
            assert planes is not None, "check_inputs accepts exactly one of both"
            planes = self._where_the_field_is(planes)
            self._calls.current.planes = planes
            made = planes
            if output_type != "planes":
                fields = self.reconstructor.field(planes)
                made = self._meshes_or_grids(fields, int(resolution), level, output_type, callback_on_extraction)
        if not return_dict:
            return (made,)
        return TriplaneReconstructionPipelineOutput(
            meshes=made,
            images=None if prepared is None else prepared.images,
            mask_reports=None if prepared is None else prepared.mask_reports,
            planes=planes,
        )

    def reconstruct(
        self, pixel_values: Float[Tensor, "photos 3 height width"]
    ) -> Float[Tensor, "photos 3 channels rows columns"]:
        """Planes of prepared photos in 0..1. Differentiable, for training."""
        self._check_reconstructor()
        return self.reconstructor(pixel_values.to(self._execution_device), return_dict=False)[0]

    def render(
        self,
        views: int | Camera | Sequence[Camera] = 24,
        planes: Float[Tensor, "photos 3 channels rows columns"] | None = None,
        *,
        size: int = 256,
        num_samples: int | None = None,
        stratified: bool = False,
        generator: torch.Generator | None = None,
        background: float | tuple[float, float, float] | None = 1.0,
        recompute: bool = False,
    ) -> VolumeRendering:
        """Render the radiance field by volume rendering.

        Args:
            views: cameras, or a number of cameras evenly around the object; the first is the photo's.
            planes: those of a call's output or of `reconstruct`. Pictures have a gradient if the planes have one.
                None: those of this thread's last call.
            size: of the pictures, in pixels.
            num_samples: on each ray; None: as many as in training.
            stratified: sample at random places, from `generator`, in place of even ones.
            background: a grey value or colour in sRGB, 0..1; None: transparent.
            recompute: compute samples again in the backward pass, which needs less memory.

        Returns:
            `color` (photos, views, size, size, 3) in sRGB; `depth` along each camera's axis and `opacity`, both
            (photos, views, size, size). Depth is infinite in empty pixels.
        """
        self._check_reconstructor()
        planes = self._calls.current.planes if planes is None else planes
        if planes is None:
            raise ValueError("there is nothing to render yet: call the pipeline with a photo first, or pass `planes`")
        self._check_planes(planes)
        if isinstance(views, Integral) and not isinstance(views, bool):
            check_whole("views", views, 1)
            views = orbit_cameras(int(views), elevation=0.0, field_of_view=FIELD_OF_VIEW, distance=DISTANCE)
        cameras = [views] if isinstance(views, Camera) else views
        if not isinstance(cameras, Sequence) or not cameras or not all(isinstance(each, Camera) for each in cameras):
            raise ValueError(f"views must be a Camera, a list of them, or a number of views; got {views!r}")
        check_whole("size", size, 1)
        if num_samples is not None:
            check_whole("num_samples", num_samples, 1)
        config = self.reconstructor.config
        with self._begin_call():
            # A graph of the field takes gigabytes for a picture; it is kept only if the planes need a gradient.
            with torch.set_grad_enabled(torch.is_grad_enabled() and planes.requires_grad):
                pictures = [
                    render_volume(
                        _InWorld(field),
                        camera,
                        size,
                        radius=config.radius,
                        num_samples=config.num_samples_per_ray if num_samples is None else num_samples,
                        stratified=stratified,
                        generator=generator,
                        background=background,
                        step="normalized",
                        recompute=recompute,
                    )
                    for field in self.reconstructor.field(self._where_the_field_is(planes))
                    for camera in cameras
                ]
        color, depth, opacity = (
            torch.stack(parts).unflatten(0, (len(planes), len(cameras)))
            for parts in zip(*((each.color, each.depth, each.opacity) for each in pictures), strict=True)
        )
        return VolumeRendering(color, depth, opacity)

    @contextmanager
    def _begin_call(self) -> Iterator[None]:
        """A call with its own state. It begins with the planes of this thread's previous call.

        At its end, also after an error, offloaded models leave the device.
        """
        last = self._calls.current.planes
        with self._calls.run([self.reconstructor]) as state:
            state.planes = last
            try:
                yield
            finally:
                self.maybe_free_model_hooks()

    def _check_reconstructor(self) -> None:
        if self.reconstructor is None:
            raise ValueError("this pipeline was loaded without its reconstructor, which every call needs")

    def _where_the_field_is(self, planes: Tensor) -> Tensor:
        """Planes on the device and in the precision of the point MLP."""
        return planes.to(self._execution_device, next(self.reconstructor.field_decoder.parameters()).dtype)

    def _check_planes(self, planes: object) -> None:
        side = 2 * self.reconstructor.config.plane_size
        shape = ("photos", 3, self.reconstructor.config.field_channels, side, side)
        check_tensor("planes", planes, shape, "they are `planes` of an earlier call's output")

    def _meshes_or_grids(
        self,
        fields: TriplaneRadianceField,
        resolution: int,
        level: float,
        output_type: str,
        progress: Callable[[int, int], object] | None = None,
    ) -> Any:
        """The batch of fields as meshes or as grids of densities, in the library's frame."""
        radius = self.reconstructor.config.radius
        surfaces = [_Surface(field) for field in fields]
        if output_type in ("pt", "np"):
            grids = evaluate_grids(surfaces, resolution, (-radius, radius), progress=progress)
            densities = torch.stack([fields.activate(grid) for grid in grids])
            densities = densities.permute(0, *(1 + axis for axis in TO_WORLD))
            return densities if output_type == "pt" else densities.cpu().numpy()
        found = extract_surfaces(
            surfaces,
            resolution,
            level=fields.raw_density_at(level),
            bounds=(-radius, radius),
            activation=fields.activate,
            progress=progress,
        )
        meshes = [Mesh(mesh.vertices[:, TO_WORLD], mesh.faces, mesh.vertex_colors) for mesh in found]
        return meshes if output_type == "mesh" else [mesh.to_trimesh() for mesh in meshes]


class _InWorld:
    """A radiance field as a function of points in the library's frame."""

    def __init__(self, field: TriplaneRadianceField):
        self.field = field
        self.device = field.device

    def density_and_color(self, points: Float[Tensor, "points 3"]) -> tuple[Tensor, Tensor]:
        return self.field.density_and_color(points[:, FROM_WORLD])


class _Surface:
    """A radiance field in the interface of surface extraction: density before activation, in the network's frame."""

    has_color = True

    def __init__(self, field: TriplaneRadianceField):
        self.field = field
        self.device = field.device

    def __call__(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        return self.field.unit(self.field.to_unit(points))

    def grid(self, *axes: Float[Tensor, " samples"]) -> Float[Tensor, "1 x y z"]:
        return self.field.unit.grid(*map(self.field.to_unit, axes))

    def lattice(self, axis: Float[Tensor, " samples"]) -> BrickValues:
        return self.field.unit.lattice(self.field.to_unit(axis))

    def color(self, points: Float[Tensor, "1 points 3"]) -> Float[Tensor, "1 points 3"]:
        return linear_from_srgb(self.field.color(points).float())


def _check_level(level: object) -> None:
    check_number("level", level, 0)
    if not level:
        raise ValueError("level is a density, which surfaces have above 0; got 0")
