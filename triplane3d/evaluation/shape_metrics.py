"""How close one solid is to another. No network is needed, and nothing is aligned: both stand in the library's frame.

Definitions, for a true solid T and a predicted one P in [-1, 1]³ (longest side 2); all lengths are in this unit:

- `volume_iou` (V-IoU): |T ∩ P| / |T ∪ P| over points uniform in the cube.
- `surface_iou` (S-IoU): the same over points near T's surface, moved by a normal deviate of standard deviation 0.02.
- `point_to_surface`: the mean distance from P's surface to T's and that from T's to P's, averaged. Distances are not
  squared, and run from a sample to the other surface's triangles, so a mesh against itself scores exactly 0.
- `chamfer`: the same mean of both directions, from sample to nearest sample, as most papers print it. It never reaches
  0: with 50,000 samples two samplings of one surface are about 0.005 apart.
- `f_score_t`: harmonic mean of precision (share of P's surface within t of T) and recall (share of T's within t of P),
  by point-to-triangle distances; `f_score_02`, `f_score_05` and `f_score_10` are t = 0.02, 0.05 and 0.1.
- `f_score_05_visible`, `f_score_05_hidden`: F-score at 0.05 of what the picture's camera sees of each surface, and of
  what it does not; each part is measured against the whole of the other surface.
- `normal_consistency`: mean |cosine| between a sample's normal and that of the nearest place on the other surface,
  averaged over both directions. The sign is left out, as is customary.

A prediction without any surface (`None`) scores 0 where more is better and `NO_SURFACE` in the distances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import igl
import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from triplane3d.evaluation.visibility import visible
from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.fields import Field
from triplane3d.geometry.isosurface import evaluate_grid, surface_of_grid
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.inside import points_inside

Occupancy = Callable[[Float[np.ndarray, "points 3"]], Bool[np.ndarray, " points"]]
"""Which of the points lie inside?"""

THRESHOLDS = (0.02, 0.05, 0.1)
SPLIT_THRESHOLD = 0.05
NEAR_STD = 0.02
NO_SURFACE = 2.0
"""The distance charged where there is no surface to be near to: the longest side of an object."""


@dataclass(frozen=True)
class Surface:
    """Samples of a surface with unit normals and, where they are known, the triangles they were drawn from."""

    points: Float[np.ndarray, "samples 3"]
    normals: Float[np.ndarray, "samples 3"]
    vertices: Float[np.ndarray, "vertices 3"] | None = None
    faces: Int[np.ndarray, "faces 3"] | None = None

    @classmethod
    def of_mesh(cls, mesh: Mesh, count: int = 20_000, *, seed: int = 0, outer: Occupancy | None = None) -> Surface:
        """`count` samples uniform by area. Given the solid's occupancy as `outer`, samples inside it are left out:
        meshes of overlapping parts have faces that no one can see."""
        vertices, faces = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
        normals, areas = _face_normals(vertices, faces)
        if outer is not None:
            centers = vertices[faces].mean(1)
            visible = outer(centers + 1e-3 * normals) != outer(centers - 1e-3 * normals)
            faces, normals, areas = faces[visible], normals[visible], areas[visible]

        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(faces), size=count, p=areas / areas.sum())
        u, v = rng.random((2, count, 1))
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
        a, b, c = (vertices[faces[chosen, corner]] for corner in range(3))
        return cls(a + u * (b - a) + v * (c - a), normals[chosen], vertices, faces)

    @property
    def triangles(self) -> tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "faces 3"]]:
        if self.vertices is None or self.faces is None:
            raise ValueError("this surface is known by samples only, its triangles were asked for: use Surface.of_mesh")
        return self.vertices, self.faces

    @cached_property
    def tree(self) -> cKDTree:
        return cKDTree(self.points)

    def nearest(
        self,
        points: Float[np.ndarray, "points 3"],
    ) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, "points 3"]]:
        """Distance from each point to this surface and the surface's normal there; to its samples if it has no mesh."""
        if self.vertices is None or self.faces is None:
            distances, index = self.tree.query(points)
            return distances, self.normals[index]
        squared, index, _ = igl.point_mesh_squared_distance(
            np.asarray(points, dtype=np.float64), self.vertices, self.faces
        )
        return np.sqrt(np.maximum(squared, 0)), _face_normals(self.vertices, self.faces)[0][index]


@dataclass(frozen=True)
class Solid:
    """A solid as evaluation sees it: what is inside, and its surface, which is only made when something asks for it."""

    occupancy: Occupancy
    make_surface: Callable[[], Surface | None]
    field: Field | None = None
    """Where the solid is known by values at points: these, above 0 inside."""

    @cached_property
    def surface(self) -> Surface | None:
        """None where the solid is empty."""
        return self.make_surface()

    @classmethod
    def from_field(
        cls, field: Field, *, resolution: int = 128, count: int = 20_000, seed: int = 0, level: float = 0.0
    ) -> Solid:
        """From values at points, above `level` inside. A field that never crosses it has no surface."""

        def occupancy(points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, " points"]:
            with torch.no_grad():
                return (field(torch.as_tensor(points, dtype=torch.float32)) > level).cpu().numpy()

        def make_surface() -> Surface | None:
            values = evaluate_grid(field, resolution)
            if not values.min() <= level < values.max():
                return None
            return Surface.of_mesh(Mesh(*surface_of_grid(values.cpu().numpy(), level)), count, seed=seed)

        return cls(occupancy, make_surface, lambda points: field(points) - level)

    @classmethod
    def from_mesh(cls, mesh: Mesh, *, count: int = 20_000, seed: int = 0) -> Solid:
        """From triangles; inside is where the winding number exceeds one half, hidden inner faces do not count."""
        occupancy = mesh_occupancy(mesh)
        return cls(occupancy, lambda: Surface.of_mesh(mesh, count, seed=seed, outer=occupancy))


def mesh_occupancy(mesh: Mesh) -> Occupancy:
    """Inside by the generalised winding number, after turning every connected piece of the mesh outwards."""
    welded = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    trimesh.repair.fix_normals(welded, multibody=True)
    outward = Mesh(np.asarray(welded.vertices), np.asarray(welded.faces))
    return lambda points: points_inside(outward, points)


def uniform_points(count: int = 40_000, *, seed: int = 0) -> Float[np.ndarray, "{count} 3"]:
    """Points uniform in [-1, 1]³."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3))


def near_points(
    surface: Surface, count: int = 40_000, *, std: float = NEAR_STD, seed: int = 0
) -> Float[np.ndarray, "{count} 3"]:
    """Points near a surface: its samples, moved by a normal deviate."""
    rng = np.random.default_rng(seed)
    points = surface.points[rng.integers(len(surface.points), size=count)]
    return np.clip(points + std * rng.standard_normal((count, 3)), -1, 1)


def intersection_over_union(truth: Bool[np.ndarray, "*points"], prediction: Bool[np.ndarray, "*points"]) -> float:
    """Share of the points inside either that are inside both; two empty solids agree."""
    union = np.count_nonzero(truth | prediction)
    return float(np.count_nonzero(truth & prediction) / union) if union else 1.0


def volume_iou(truth: Occupancy, prediction: Occupancy, *, count: int = 40_000, seed: int = 0) -> float:
    """V-IoU, see the head of this file."""
    points = uniform_points(count, seed=seed)
    return intersection_over_union(truth(points), prediction(points))


def surface_iou(
    truth: Occupancy, prediction: Occupancy, surface: Surface, *, count: int = 40_000, seed: int = 0
) -> float:
    """S-IoU near the true `surface`, see the head of this file."""
    points = near_points(surface, count, seed=seed)
    return intersection_over_union(truth(points), prediction(points))


def compare_surfaces(truth: Surface, prediction: Surface | None, *, camera: Camera | None = None) -> dict[str, float]:
    """Point-to-surface distance, Chamfer distance, F-scores and normal consistency, see the head of this file.

    Given the picture's `camera`, F-scores of what it sees and of what it does not as well.
    """
    f_names = [f"f_score_{round(100 * threshold):02d}" for threshold in THRESHOLDS]
    split_names = [] if camera is None else ["f_score_05_visible", "f_score_05_hidden"]
    if prediction is None:
        return {
            "point_to_surface": NO_SURFACE,
            "chamfer": NO_SURFACE,
            **dict.fromkeys(f_names, 0.0),
            "normal_consistency": 0.0,
            **dict.fromkeys(split_names, 0.0),
        }

    accuracy, true_normals = truth.nearest(prediction.points)
    completeness, predicted_normals = prediction.nearest(truth.points)
    cosines = [np.abs((prediction.normals * true_normals).sum(1)), np.abs((truth.normals * predicted_normals).sum(1))]
    clouds = [truth.tree.query(prediction.points)[0], prediction.tree.query(truth.points)[0]]
    scores = {
        "point_to_surface": (accuracy.mean() + completeness.mean()) / 2,
        "chamfer": (clouds[0].mean() + clouds[1].mean()) / 2,
        "normal_consistency": (cosines[0].mean() + cosines[1].mean()) / 2,
    }
    for name, threshold in zip(f_names, THRESHOLDS):
        scores[name] = _f_score(accuracy, completeness, threshold)
    if camera is not None:
        seen = [visible(surface.points, surface.normals, *surface.triangles, camera) for surface in (prediction, truth)]
        for name, of_pred, of_truth in zip(split_names, (seen[0], ~seen[0]), (seen[1], ~seen[1])):
            scores[name] = _f_score(accuracy[of_pred], completeness[of_truth], SPLIT_THRESHOLD)
    return {name: float(value) for name, value in scores.items()}


def _f_score(
    accuracy: Float[np.ndarray, " predicted"], completeness: Float[np.ndarray, " true"], threshold: float
) -> float:
    """From distances of the prediction's samples to the truth, and of the truth's to the prediction.

    A part that neither surface has agrees; one that only one of them has does not.
    """
    if len(accuracy) == 0 or len(completeness) == 0:
        return float(len(accuracy) == len(completeness))
    precision, recall = (accuracy <= threshold).mean(), (completeness <= threshold).mean()
    return float(2 * precision * recall / max(precision + recall, 1e-12))


def compare_solids(truth: Solid, prediction: Solid, *, count: int = 40_000, seed: int = 0) -> dict[str, float]:
    """Every metric of this file. `truth` must have a surface."""
    if truth.surface is None:
        raise ValueError("the true solid is empty: nothing can be compared with it")
    return {
        "volume_iou": volume_iou(truth.occupancy, prediction.occupancy, count=count, seed=seed),
        "surface_iou": surface_iou(truth.occupancy, prediction.occupancy, truth.surface, count=count, seed=seed),
        **compare_surfaces(truth.surface, prediction.surface),
    }


def _face_normals(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
) -> tuple[Float[np.ndarray, "faces 3"], Float[np.ndarray, " faces"]]:
    """Unit normals and areas; a degenerate face has the normal 0."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    cross = np.cross(b - a, c - a)
    doubled = np.linalg.norm(cross, axis=1)
    return cross / np.maximum(doubled, 1e-30)[:, None], doubled / 2
