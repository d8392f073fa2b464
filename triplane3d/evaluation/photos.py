"""The suite `photos`: meshes generated from real photos, whose true shapes are unknown.

It measures whether the mesh's silhouette fits the photo's mask and whether the mesh is plausible. A good silhouette
alone proves little: an inflated silhouette fits by construction. Read `mask_iou` together with that row and with the
contact sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from PIL import Image

from triplane3d.evaluation.baselines import inflated_silhouette
from triplane3d.evaluation.protocol import GRID_RESOLUTION
from triplane3d.evaluation.shape_metrics import intersection_over_union
from triplane3d.evaluation.summary import Row
from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.isosurface import surface_of_grid
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.render import render
from triplane3d.images.image_processor import frame_foreground
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

PHOTO_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
ELEVATIONS = (0.0, 10.0, 20.0, 30.0, 40.0)
"""Camera elevations in degrees at which the mesh's silhouette is compared with the photo's mask."""
MASK_SIZE = 128
"""Pixels along an edge of the compared masks."""


def photo_paths(folder: Path) -> list[Path]:
    """Image files of a folder, sorted by name. Raises FileNotFoundError if there is none."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"{folder} holds no photo ({', '.join(PHOTO_SUFFIXES)})")
    return paths


def photo_suite(
    pipe: Triplane3DPipeline,
    folder: Path,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    resolution: int = GRID_RESOLUTION,
) -> list[Row]:
    """Two rows over all photos of a folder: the model's mesh, and the inflated silhouette of the photo's mask.

    - `mask_iou`: IoU of the photo's mask and the mesh's silhouette, both framed as the pipeline frames photos, at the
      best of five elevations. Nothing else is fitted.
    - `depth_to_width`: extent of the mesh along the camera's axis (z) divided by its horizontal extent (x).
    - `watertight`: 1 if the mesh is a closed, consistently oriented solid, otherwise 0.
    - `largest_component`: volume of the largest connected component divided by the whole volume.
    - `wall_contact` (model only): 1 if the object reaches a side of the grid, where it is cut off, otherwise 0.

    Raises FileNotFoundError if the folder has no photo, ValueError if the pipeline has no image encoder or does not
    centre photos as the library does.
    """
    paths = photo_paths(folder)
    if pipe.image_processor is None:
        raise ValueError("photos need a pipeline with an image_encoder")
    if pipe.config.framing != "centered":
        raise ValueError(
            f"silhouettes can be compared only for pipelines with framing='centered', got {pipe.config.framing!r}"
        )
    scores, inflated_scores = [], []
    level = pipe.config.level
    for path in paths:
        mask = _mask(pipe.image_processor.preprocess(str(path)).images[0])
        values = pipe(
            str(path),
            num_inference_steps=steps,
            guidance_scale=guidance,
            resolution=resolution,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
            return_dict=False,
        )[0][0]
        mesh = Mesh(*surface_of_grid(values, level)) if values.min() <= level < values.max() else None
        scores.append(_score(mesh, mask) | {"wall_contact": float(touches_wall(values, level))})
        inflated = inflated_silhouette(mask).surface
        assert inflated is not None, "a mask with pixels has an inflated silhouette"
        inflated_scores.append(_score(inflated.require_mesh(), mask))
    names = [path.stem for path in paths]
    return [
        Row("photos", "photos", "model", scores, names),
        Row("photos", "photos", "inflated silhouette", inflated_scores, names),
    ]


def worst_photo(rows: Sequence[Row]) -> str:
    """The name and mask IoU of the photo with the model's lowest mask IoU, as text."""
    row = next(row for row in rows if (row.suite, row.method) == ("photos", "model"))
    score, name = min(zip(row.values("mask_iou"), row.categories))
    return f"worst photo: {name}, mask IoU {score:.3f}"


def touches_wall(values: Float[np.ndarray, "x y z"], level: float) -> bool:
    """Whether any value on the six sides of the grid exceeds `level`."""
    sides = [values.take(end, axis=axis).max() for axis in range(3) for end in (0, -1)]
    return bool(max(sides) > level)


def silhouette_iou(mesh: Mesh, mask: Bool[np.ndarray, "size size"], elevations: Sequence[float] = ELEVATIONS) -> float:
    """IoU of a framed mask and the mesh's silhouette, at the best of several camera elevations (degrees)."""
    scores = []
    for elevation in elevations:
        # Twice the size: framing enlarges the object to fill the mask.
        color = render(mesh, Camera.orbit(elevation=elevation), 2 * MASK_SIZE, supersample=1).color
        framed = frame_foreground(rearrange(color, "row column rgba -> 1 rgba row column"), len(mask))
        scores.append(intersection_over_union(mask, framed[0, 3].numpy() > 0.5))
    return max(scores)


def _score(mesh: Mesh | None, mask: Bool[np.ndarray, "size size"]) -> dict[str, float]:
    if mesh is None:
        return {"mask_iou": 0.0, "depth_to_width": 0.0, "watertight": 0.0, "largest_component": 0.0}
    width, _, depth = mesh.bounds[1] - mesh.bounds[0]
    return {
        "mask_iou": silhouette_iou(mesh, mask),
        "depth_to_width": float(depth / width),
        "watertight": float(mesh.is_solid),
        "largest_component": largest_component(mesh),
    }


def largest_component(mesh: Mesh) -> float:
    """Volume of the component with the most faces divided by the whole volume."""
    components = mesh.face_components
    largest = mesh.select_faces(components == np.bincount(components).argmax())
    return float(largest.volume / max(mesh.volume, 1e-9))


def _mask(framed: Image.Image) -> Bool[np.ndarray, "size size"]:
    """Pixels of the object in a framed photo, at `MASK_SIZE`."""
    alpha = framed.getchannel("A").resize((MASK_SIZE, MASK_SIZE), Image.Resampling.BOX)
    return np.asarray(alpha, dtype=np.float32) / 255 > 0.5
