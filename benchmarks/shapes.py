"""Speed and validity of the shape generator.

    python benchmarks/shapes.py --seeds 2000

A shape is valid if it is one closed, bounded solid. It is evaluated on a grid over a box that is slightly larger than
the cube. The solid must not touch the walls of the box, its pieces must be connected, it must fill a share of 0.002 to
0.5 of the cube, and its longest side must be 2.

The speed is that of generating shapes with surface samples and labels, per second of processor time on one core.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import typer
from einops import repeat
from scipy import ndimage

from triplane3d.data.procedural import (
    FAMILIES,
    HOLDOUT_FAMILIES,
    ShapeBatch,
    generate_shapes,
    sample_labels,
    sample_surface,
)

FILL = (0.002, 0.5)
"""Valid shares of the cube that a shape fills."""
REACH = 1.05
"""Half the edge of the box on which shapes are evaluated."""
SMALL_PIECE = 0.01
"""Pieces below this share of the largest one are ignored: the grid cuts wires that are thinner than a cell."""


@dataclass(frozen=True)
class Check:
    """The faults of a shape (none if it is valid) and its measures."""

    faults: tuple[str, ...]
    fill: float
    """Share of the cube that it fills."""
    extent: tuple[float, float, float]
    """Width, height and depth."""


def main(
    seeds: Annotated[int, typer.Option(help="Number of shapes to check.")] = 2000,
    first: Annotated[int, typer.Option(help="First seed.")] = 0,
    resolution: Annotated[int, typer.Option(help="Cells along an edge of the grid for the checks.")] = 64,
    surface_points: Annotated[int, typer.Option(help="Surface points of each shape when timing.")] = 4096,
    labels: Annotated[int, typer.Option(help="Labels of each shape when timing.")] = 8192,
    timed: Annotated[int, typer.Option(help="Number of shapes to time.")] = 128,
) -> None:
    """Speed and validity of the shape generator."""
    torch.set_num_threads(1)
    speeds = [shapes_per_second(first, timed, surface_points, labels) for _ in range(3)]
    print(
        f"{np.median(speeds):.1f} shapes per second of one core, each with {surface_points} surface samples and "
        f"{labels} labels (median of 3 runs of {timed}; {min(speeds):.1f} to {max(speeds):.1f})\n"
    )

    checks: dict[str, list[Check]] = defaultdict(list)
    for name, check in check_seeds(range(first, first + seeds), None, resolution):
        checks[name].append(check)
    for name in sorted(HOLDOUT_FAMILIES):
        some_seeds = range(first, first + max(16, seeds // 20))
        checks[name] += [check for _, check in check_seeds(some_seeds, [name], resolution)]

    print(f"{'family':20s} {'n':>5s} {'valid':>7s} {'fill 5% … 95%':>16s} {'mean width, height, depth':>26s}  faults")
    for name, group in sorted(checks.items()):
        fills, extents = np.array([check.fill for check in group]), np.array([check.extent for check in group])
        faults = Counter(fault for check in group for fault in check.faults)
        low, high = np.quantile(fills, [0.05, 0.95])
        size = ", ".join(f"{length:.2f}" for length in extents.mean(0))
        print(
            f"{name:20s} {len(group):5d} {valid_share(group):7.1%} {low:7.3f} … {high:.3f}  {size:>26s}  "
            + ", ".join(f"{fault} {count}" for fault, count in faults.most_common())
        )
    for title, names in (("training", FAMILIES), ("held out", HOLDOUT_FAMILIES)):
        group = [check for name in names for check in checks.get(name, [])]
        if group:
            print(f"{title}: {len(names)} families, {len(group)} shapes, {valid_share(group):.2%} valid")


def shapes_per_second(first: int, count: int, surface_points: int, labels: int, batch_size: int = 16) -> float:
    """Shapes that are generated and sampled per second of processor time."""
    generator = torch.Generator().manual_seed(0)
    start = time.process_time()
    for low in range(first, first + count, batch_size):
        batch = generate_shapes(range(low, min(low + batch_size, first + count)), azimuths="random")
        points, _ = sample_surface(batch, surface_points, generator)
        sample_labels(batch, labels, points, generator)
    return count / (time.process_time() - start)


def check_seeds(
    seeds: range, families: list[str] | None, resolution: int, batch_size: int = 8
) -> Iterator[tuple[str, Check]]:
    """The family and the check of the shape of every seed."""
    for low in range(seeds.start, seeds.stop, batch_size):
        batch = generate_shapes(range(low, min(low + batch_size, seeds.stop)), families=families, azimuths="random")
        for name, distance in zip(batch.names, distances(batch, resolution)):
            yield name, check_shape(distance.numpy())


def distances(batch: ShapeBatch, resolution: int) -> torch.Tensor:
    """Signed distances on a grid over the box: (shapes, resolution + 1, resolution + 1, resolution + 1)."""
    axis = torch.linspace(-REACH, REACH, resolution + 1)
    nodes = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    return batch.distance(repeat(nodes, "node xyz -> batch node xyz", batch=len(batch))).unflatten(1, [len(axis)] * 3)


def check_shape(distance: np.ndarray) -> Check:
    """The faults and measures of a shape, from its distances on the grid."""
    cell = 2 * REACH / (len(distance) - 1)
    # With a tolerance of half a cell, parts that are thinner than the grid stay in one piece.
    pieces, count = ndimage.label(distance < cell / 2, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())[1:]
    fill = float(np.clip(0.5 - distance / cell, 0, 1).mean() * REACH**3)
    occupied = [np.flatnonzero((distance < cell / 2).any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    extent = tuple(float(max(where[-1] - where[0] - 1, 0) * cell) if len(where) else 0.0 for where in occupied)
    walls = [distance[0], distance[-1], distance[:, 0], distance[:, -1], distance[:, :, 0], distance[:, :, -1]]

    faults = []
    if not np.isfinite(distance).all():
        faults.append("not finite")
    if count == 0:
        faults.append("empty")
    elif (sizes > SMALL_PIECE * sizes.max()).sum() > 1:
        faults.append("several pieces")
    if min(wall.min() for wall in walls) <= 0:
        faults.append("leaves the box")
    if not FILL[0] <= fill <= FILL[1]:
        faults.append("fill")
    if abs(max(extent) - 2) > 2.5 * cell:
        faults.append("size")
    return Check(tuple(faults), fill, extent)


def valid_share(checks: list[Check]) -> float:
    return sum(not check.faults for check in checks) / len(checks)


if __name__ == "__main__":
    typer.run(main)
