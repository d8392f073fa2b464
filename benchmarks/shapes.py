"""Speed and validity of the shape generator.

    python benchmarks/shapes.py --seeds 2000

Valid means: one closed, bounded solid (its pieces on a grid hang together and none touches the walls of a slightly
larger box), filling 0.002 to 0.5 of the cube, with its longest side at 2. Speed is that of drawing shapes with surface
samples and labels, per second of processor time on one core.
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
REACH = 1.05
SPECK = 0.01
"""Pieces below this share of the solid are put down to the grid, which cuts wires thinner than a cell."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a shape (nothing, if it is valid), and its measures."""

    faults: tuple[str, ...]
    fill: float
    extent: tuple[float, float, float]


def main(
    seeds: Annotated[int, typer.Option(help="Shapes to check.")] = 2000,
    first: Annotated[int, typer.Option(help="First seed.")] = 0,
    resolution: Annotated[int, typer.Option(help="Cells of the grid that validity is judged on.")] = 64,
    surface_points: Annotated[int, typer.Option(help="Surface samples per shape, when timing.")] = 4096,
    labels: Annotated[int, typer.Option(help="Labels per shape, when timing.")] = 8192,
    timed: Annotated[int, typer.Option(help="Shapes to time.")] = 128,
) -> None:
    """Speed and validity of the shape generator."""
    torch.set_num_threads(1)
    speeds = [shapes_per_second(first, timed, surface_points, labels) for _ in range(3)]
    print(
        f"{np.median(speeds):.1f} shapes per second of one core, each with {surface_points} surface samples and "
        f"{labels} labels (median of 3 runs of {timed}; {min(speeds):.1f} to {max(speeds):.1f})\n"
    )

    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    for name, verdict in judged(range(first, first + seeds), None, resolution):
        verdicts[name].append(verdict)
    for name in sorted(HOLDOUT_FAMILIES):
        some = range(first, first + max(16, seeds // 20))
        verdicts[name] += [verdict for _, verdict in judged(some, [name], resolution)]

    print(f"{'family':20s} {'n':>5s} {'valid':>7s} {'fill 5% … 95%':>16s} {'mean width, height, depth':>26s}  faults")
    for name, group in sorted(verdicts.items()):
        fills, extents = np.array([v.fill for v in group]), np.array([v.extent for v in group])
        faults = Counter(fault for verdict in group for fault in verdict.faults)
        low, high = np.quantile(fills, [0.05, 0.95])
        size = ", ".join(f"{length:.2f}" for length in extents.mean(0))
        print(
            f"{name:20s} {len(group):5d} {valid_share(group):7.1%} {low:7.3f} … {high:.3f}  {size:>26s}  "
            + ", ".join(f"{fault} {count}" for fault, count in faults.most_common())
        )
    for title, names in (("trained on", FAMILIES), ("held out", HOLDOUT_FAMILIES)):
        group = [verdict for name in names for verdict in verdicts.get(name, [])]
        if group:
            print(f"{title}: {len(names)} families, {len(group)} shapes, {valid_share(group):.2%} valid")


def shapes_per_second(first: int, count: int, surface_points: int, labels: int, batch_size: int = 16) -> float:
    generator = torch.Generator().manual_seed(0)
    start = time.process_time()
    for low in range(first, first + count, batch_size):
        batch = generate_shapes(range(low, min(low + batch_size, first + count)), azimuths="random")
        points, _ = sample_surface(batch, surface_points, generator)
        sample_labels(batch, labels, points, generator)
    return count / (time.process_time() - start)


def judged(
    seeds: range, families: list[str] | None, resolution: int, batch_size: int = 8
) -> Iterator[tuple[str, Verdict]]:
    """(family, verdict) of every seed."""
    for low in range(seeds.start, seeds.stop, batch_size):
        batch = generate_shapes(range(low, min(low + batch_size, seeds.stop)), families=families, azimuths="random")
        for name, distance in zip(batch.names, distances(batch, resolution)):
            yield name, judge(distance.numpy())


def distances(batch: ShapeBatch, resolution: int) -> torch.Tensor:
    """Signed distance on a grid that reaches a little beyond the cube."""
    axis = torch.linspace(-REACH, REACH, resolution + 1)
    nodes = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    return batch.distance(repeat(nodes, "node xyz -> batch node xyz", batch=len(batch))).unflatten(1, [len(axis)] * 3)


def judge(distance: np.ndarray) -> Verdict:
    """Judge a shape by its distances on the grid."""
    cell = 2 * REACH / (len(distance) - 1)
    # Half a cell of slack keeps what is thinner than the grid in one piece.
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
    elif (sizes > SPECK * sizes.max()).sum() > 1:
        faults.append("several pieces")
    if min(wall.min() for wall in walls) <= 0:
        faults.append("leaves the box")
    if not FILL[0] <= fill <= FILL[1]:
        faults.append("fill")
    if abs(max(extent) - 2) > 2.5 * cell:
        faults.append("size")
    return Verdict(tuple(faults), fill, extent)


def valid_share(verdicts: list[Verdict]) -> float:
    return sum(not verdict.faults for verdict in verdicts) / len(verdicts)


if __name__ == "__main__":
    typer.run(main)
