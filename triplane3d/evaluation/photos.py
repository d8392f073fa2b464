"""Real photos have no true shape: all that can be asked is whether the silhouette fits and the rest is plausible.

A silhouette alone proves nothing: the row of inflated silhouettes fits by construction. Read `mask_iou` beside it, and
beside the contact sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from triplane3d.evaluation.baselines import inflated_silhouette
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
SIZE = 128


def photo_suite(
    pipe: Triplane3DPipeline,
    folder: Path,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    resolution: int = 128,
) -> list[Row]:
    """Two rows: for every photo of the folder, how the mesh fits it, and how its silhouette does, blown up.

    `mask_iou` compares the photo's mask with the mesh's silhouette, both framed as the pipeline frames photos, from the
    best of five elevations; nothing else is fitted. `depth_to_width` is the mesh's extent along the camera over that
    across it. `watertight` and `largest_component` (its share of the volume) say whether it is one closed solid, and
    `wall_contact` whether it runs into the wall of the cube, where it was cut off.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"no photos ({', '.join(PHOTO_SUFFIXES)}) in {folder}")
    if pipe.image_processor is None:
        raise ValueError("photos need a pipeline with an image_encoder")
    if pipe.config.framing != "centered":
        raise ValueError(f"silhouettes are compared in the library's own framing, not in {pipe.config.framing!r}")
    scores, inflated = [], []
    for path in paths:
        framed = pipe.image_processor.preprocess(str(path)).images[0]
        values = pipe(
            str(path),
            num_inference_steps=steps,
            guidance_scale=guidance,
            resolution=resolution,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
            return_dict=False,
        )[0][0]
        level = pipe.config.level
        mesh = Mesh(*surface_of_grid(values, level)) if values.min() <= level < values.max() else None
        mask = _alpha(framed).numpy() > 0.5
        scores.append(_score(mesh, mask) | {"wall_contact": float(touches_wall(values, level))})
        balloon = inflated_silhouette(mask).surface
        assert balloon is not None, "a mask that is not empty has a solid"
        inflated.append(_score(Mesh(*balloon.triangles), mask))
    names = [path.stem for path in paths]
    return [
        Row("photos", "photos", "model", scores, names),
        Row("photos", "photos", "inflated silhouette", inflated, names),
    ]


def worst_photo(rows: Sequence[Row]) -> str:
    """A sentence that names the photo whose mask the model's mesh fits least."""
    row = next(row for row in rows if (row.suite, row.method) == ("photos", "model"))
    score, name = min(zip(row.values("mask_iou"), row.categories))
    return f"worst photo: {name}, mask IoU {score:.3f}"


def touches_wall(values: Float[np.ndarray, "x y z"], level: float) -> bool:
    """Does what lies above `level` reach a side of the grid?"""
    sides = [values.take(end, axis=axis).max() for axis in range(3) for end in (0, -1)]
    return bool(max(sides) > level)


def silhouette_iou(mesh: Mesh, mask: Bool[np.ndarray, "size size"], elevations: Sequence[float] = ELEVATIONS) -> float:
    """Best agreement of the mesh's silhouette with a framed mask over some elevations of the camera."""
    seen = []
    for elevation in elevations:
        color = render(mesh, Camera.orbit(elevation=elevation), 2 * SIZE, supersample=1).color
        framed = frame_foreground(rearrange(color, "row column rgba -> 1 rgba row column"), len(mask))
        seen.append(intersection_over_union(mask, framed[0, 3].numpy() > 0.5))
    return max(seen)


def _score(mesh: Mesh | None, mask: Bool[np.ndarray, "size size"]) -> dict[str, float]:
    if mesh is None:
        return {"mask_iou": 0.0, "depth_to_width": 0.0, "watertight": 0.0, "largest_component": 0.0}
    width, _, depth = mesh.bounds[1] - mesh.bounds[0]
    largest = np.bincount(mesh.face_components).argmax()
    share = mesh.select_faces(mesh.face_components == largest).volume / max(mesh.volume, 1e-9)
    return {
        "mask_iou": silhouette_iou(mesh, mask),
        "depth_to_width": float(depth / width),
        "watertight": float(mesh.check().ok),
        "largest_component": float(share),
    }


def _alpha(framed: Image.Image) -> Float[Tensor, "size size"]:
    resized = framed.getchannel("A").resize((SIZE, SIZE), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(resized, dtype=np.float32) / 255)
