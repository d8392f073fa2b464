"""From planes to a mesh: time, queries, memory and agreement, compared with the published dense procedure.

    python benchmarks/decode.py --fits runs/decode --plot docs/images/decode.png

The dense procedure is that of Direct3D (Wu et al. 2024), implemented again here: all points of the grid in chunks of
50,000, three calls of `grid_sample`, a five-layer MLP, marching cubes over the full grid. At 512³ its list of chunks
exceeds the memory of most machines. A timing of it at 512³ evaluates every fiftieth chunk and is scaled up. Timings of
the dense procedure and of ours alternate.

Planes of Direct3D's published size (256², 32 channels, MLP of width 64) are fitted to three solids with thin parts in
the first run, a minute each. Two further fields are outputs of `mini` for photos of held-out shapes.

Memory is the peak of a process beyond its start (Linux), including the returned mesh. For the dense procedure it counts
only its points, logits and marching cubes.
"""

import logging
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import mcubes
import numpy as np
import torch
import torch.nn.functional as F
import typer
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from triplane3d import Triplane3DPipeline
from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.evaluation_shapes import held_out_shapes
from triplane3d.geometry.isosurface import evaluate_grid, extract_surface, surface_of_grid
from triplane3d.geometry.isosurface.field_sampling import FieldSampler
from triplane3d.geometry.mesh import Mesh
from triplane3d.models.embeddings import PLANE_AXES
from triplane3d.models.triplane import TriplaneField, TriplaneFieldDecoder

CHUNK = 50_000
BAND = 1 / 128
"""Half the width of the band in which targets change from outside to inside."""

app = typer.Typer(add_completion=False)


# ---- solids with thin parts, as signed distances (positive inside), and planes fitted to them


def torus_knot(points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """A tube of radius 0.09 around a (2, 3) torus knot."""
    angle = torch.linspace(0, 2 * math.pi, 513)[:-1]
    radius = 0.45 + 0.2 * torch.cos(3 * angle)
    core = torch.stack(
        [radius * torch.cos(2 * angle), radius * torch.sin(2 * angle), 0.25 * torch.sin(3 * angle)], dim=-1
    )
    return 0.09 - torch.cdist(points, core, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)


def gyroid_shell(points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """A gyroid of period 1, five cells of the 256³ grid thick, inside a ball."""
    wave = 2 * math.pi
    s, c = torch.sin(wave * points), torch.cos(wave * points)
    gyroid = (s * c.roll(-1, dims=1)).sum(dim=-1)
    return torch.minimum(0.02 - gyroid.abs() / (1.2 * wave), 0.8 - points.norm(dim=-1))


def wire_chair(points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """A chair of rods with a diameter of two to four cells of the 256³ grid."""
    thick, thin = 0.015, 0.0075
    rods = [((x, -0.85, z), (x, 0, z), thick) for x in (-0.4, 0.4) for z in (-0.4, 0.4)]
    rods += [((x, -0.5, -0.4), (x, -0.5, 0.4), 0.009) for x in (-0.4, 0.4)]
    for i in range(9):
        x = -0.4 + 0.1 * i
        radius = thick if i in (0, 8) else thin
        rods += [((x, 0, -0.4), (1.1 * x, 0.85, -0.5), radius), ((x, 0, -0.4), (x, 0, 0.4), radius)]
    rods += [((-0.4, 0, z), (0.4, 0, z), thick) for z in (-0.4, 0.4)]
    rods += [((-0.44, 0.85, -0.5), (0.44, 0.85, -0.5), thick)]
    nearest = torch.full_like(points[:, 0], -9.0)
    for start, end, radius in rods:
        a, b = points.new_tensor(start), points.new_tensor(end)
        along = ((points - a) @ (b - a) / (b - a).square().sum()).clamp(0, 1)[:, None]
        nearest = torch.maximum(nearest, radius - (points - a - along * (b - a)).norm(dim=-1))
    return nearest


SOLIDS = {"torus knot": torus_knot, "gyroid shell": gyroid_shell, "wire chair": wire_chair}


def surface_points(sdf: Callable[[Tensor], Tensor], count: int, generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """Random points on the surface, by Newton's method from random points near it."""
    found: list[Tensor] = []
    while sum(map(len, found)) < count:
        points = torch.rand(400_000, 3, generator=generator) * 2 - 1
        points = points[sdf(points).abs() < 0.1]
        for _ in range(3):
            with torch.enable_grad():
                values = sdf(points.requires_grad_())
                (slope,) = torch.autograd.grad(values.sum(), points)
            step = (values / slope.square().sum(dim=-1).clamp_min(1e-8)).clamp(-0.2, 0.2)
            points = (points - slope * step[:, None]).detach()
        found.append(points[(sdf(points).abs() < 2e-3) & (points.abs().amax(dim=1) < 1)])
    return torch.cat(found)[:count]


def fit(sdf: Callable[[Tensor], Tensor], batch: int = 16384, seed: int = 0) -> TriplaneField:
    """Planes of Direct3D's published size whose field approximates the solid.

    Coarse planes are fitted first, then fine ones; a penalty keeps both smooth.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    surface = surface_points(sdf, 200_000, generator)
    decoder = new_decoder()
    planes = 0.1 * torch.randn(3, 32, 64, 64, generator=generator)
    for size, steps in ((64, 300), (256, 200)):
        planes = nn.Parameter(F.interpolate(planes.detach(), size=(size, size), mode="bicubic"))
        groups = [{"params": [planes], "lr": 2e-2}, {"params": list(decoder.parameters()), "lr": 3e-3}]
        optimizer = torch.optim.Adam(groups, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            spread = torch.tensor([0.01, 0.04])[torch.randint(2, (batch // 2, 1), generator=generator)]
            near = surface[torch.randint(len(surface), (batch // 2,), generator=generator)]
            near = near + spread * torch.randn(batch // 2, 3, generator=generator)
            points = torch.cat([near.clamp(-1, 1), torch.rand(batch // 2, 3, generator=generator) * 2 - 1])
            with torch.no_grad():
                target = (0.5 + sdf(points) / (2 * BAND)).clamp(0, 1)
            rough = planes.diff(dim=-1).square().mean() + planes.diff(dim=-2).square().mean()
            loss = F.binary_cross_entropy_with_logits(decoder.occupancy(planes[None], points[None])[0], target)
            optimizer.zero_grad()
            (loss + (size / 64) ** 2 * rough).backward()
            optimizer.step()
            schedule.step()
    return TriplaneField(planes.detach()[None], decoder.requires_grad_(False))


def new_decoder() -> TriplaneFieldDecoder:
    return TriplaneFieldDecoder(32, hidden_dim=64, num_layers=5, padding_mode="zeros")


def fitted(name: str, folder: Path) -> TriplaneField:
    """The planes fitted to a solid, from the folder; they are fitted and saved there at the first call."""
    path = folder / f"{name.replace(' ', '_')}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        field = fit(SOLIDS[name])
        save_file({"planes": field.planes, **field.decoder.state_dict()}, path)
        print(f"fitted planes to the {name} in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    tensors = load_file(path)
    decoder = new_decoder()
    planes = tensors.pop("planes")
    decoder.load_state_dict(tensors)
    return TriplaneField(planes, decoder.requires_grad_(False))


def outputs_of_mini(count: int) -> Iterator[tuple[str, TriplaneField]]:
    """Fields that `mini` generates from photos of held-out shapes."""
    pipe = Triplane3DPipeline.from_pretrained("mini")
    pipe.set_progress_bar_config(disable=True)
    for number, case in enumerate(held_out_shapes(count, list(FAMILIES), seed=0, resolution=16)):
        latents = pipe(case.pil_image, output_type="latent", generator=torch.Generator().manual_seed(0)).meshes
        yield f"mini's output {number + 1}", pipe.decode_latents(latents)[0]


# ---- the published procedure


class Published:
    """The published procedure: three calls of `grid_sample`, concatenated, and the MLP, layer by layer."""

    def __init__(self, field: TriplaneField):
        decoder = field.decoder
        self.field, self.planes, self.padding_mode = field, field.planes[0], decoder.padding_mode
        self.layers = [decoder.proj_in, *decoder.layers, decoder.proj_out]
        self.activation = decoder.activation
        self.position = decoder._project_coordinates if decoder.place_in is not None else None

    def query(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        features = [
            F.grid_sample(
                plane[None],
                points[None, None, :, list(axes)],
                mode="bilinear",
                padding_mode=self.padding_mode,
                align_corners=False,
            )[0, :, 0].T
            for plane, axes in zip(self.planes, PLANE_AXES, strict=True)
        ]
        hidden = self.layers[0](torch.cat(features, dim=-1))
        if self.position is not None:
            hidden = hidden + self.position(self.field.planes, points)
        for layer in self.layers[1:]:
            hidden = layer(self.activation(hidden))
        return hidden[:, 0]

    def decode(self, resolution: int, every: int = 1) -> float:
        """Seconds for the whole grid, extrapolated from every `every`-th chunk."""
        points = grid_points(resolution)
        start = time.perf_counter()
        values = torch.cat(
            [self.query(points[first : first + CHUNK]) for first in range(0, len(points), CHUNK)[::every]]
        )
        return (time.perf_counter() - start) * len(points) / len(values)


def grid_points(resolution: int) -> Float[Tensor, "points 3"]:
    axis = np.linspace(-1, 1, resolution + 1, dtype=np.float32)
    return torch.from_numpy(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3))


# ---- ours, stage by stage


@dataclass
class Run:
    """One extraction."""

    search: float
    marching: float
    samples: int
    mesh: Mesh

    @property
    def seconds(self) -> float:
        return self.search + self.marching


def extract(field: TriplaneField, resolution: int) -> Run:
    start = time.perf_counter()
    sampler = FieldSampler(field, torch.linspace(-1, 1, resolution + 1, dtype=torch.float64).float().to(field.device))
    found = sampler.search(0.75)
    searched = time.perf_counter()
    mesh = Mesh(*found.triangulate(resolution, (-1.0, 1.0)))
    return Run(searched - start, time.perf_counter() - searched, sampler.count, mesh)


def overlap(mesh: Mesh, values: Float[np.ndarray, "x y z"]) -> float:
    """V-IoU of the inside of the mesh with that of the dense grid, at the grid's samples.

    Along each column of samples the inside changes exactly at the vertices on the edges between two samples.
    """
    resolution = len(values) - 1
    positions = (mesh.vertices.astype(np.float64) + 1) / 2 * resolution
    samples = np.rint(positions)
    at_sample = np.abs(positions - samples) < 5e-4
    # On the walls every sample inside has a vertex; only those at the lower end of a column change the state.
    counts = at_sample[:, :2].all(axis=1) & (~at_sample[:, 2] | (samples[:, 2] == 0))
    x, y = samples[counts, :2].astype(np.int64).T
    z = np.where(at_sample[counts, 2], 0, np.ceil(positions[counts, 2])).astype(np.int64)
    changes = np.zeros(values.shape, dtype=np.int8)
    np.add.at(changes, (x, y, z), 1)
    inside = np.cumsum(changes, axis=2, dtype=np.int8) % 2 == 1
    truth = values > 0
    return float((inside & truth).sum() / max(1, (inside | truth).sum()))


# ---- memory, each measurement in a new process


class PeakMemory:
    """Peak of the process's anonymous memory while the block runs, minus that before the block, in MiB."""

    def __enter__(self) -> "PeakMemory":
        self.start, self.most, self.running = self.used(), 0.0, True
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.running = False
        self.thread.join()

    def watch(self) -> None:
        while self.running:
            self.most = max(self.most, self.used() - self.start)
            time.sleep(0.002)

    @staticmethod
    def used() -> float:
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) / 1024


@app.command(hidden=True)
def memory(procedure: str, name: str, resolution: int, fits: Path) -> None:
    """Print the peak memory of one decode. For the dense procedure, a hundredth of the points is computed."""
    torch.set_grad_enabled(False)
    field = fitted(name, fits)
    extract_surface(field, 96)
    with PeakMemory() as peak:
        if procedure == "ours":
            extract_surface(field, resolution)
        else:
            points = grid_points(resolution)
            values = evaluate_grid(field, resolution).flatten()
            for first in range(0, len(points), 100 * CHUNK):
                values[first : first + CHUNK] = Published(field).query(points[first : first + CHUNK])
            mcubes.marching_cubes(values.view([resolution + 1] * 3).numpy(), 0.0)
    print(peak.most)


def peak_memory(procedure: str, name: str, resolution: int, fits: Path) -> float:
    command = [sys.executable, __file__, "memory", procedure, name, str(resolution), str(fits)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


# ---- the report


@app.command()
def compare(
    fits: Annotated[Path, typer.Option(help="Folder of the fitted planes.")] = Path("runs/decode"),
    photos: Annotated[int, typer.Option(help="Number of mini's outputs to decode.")] = 2,
    resolutions: Annotated[str, typer.Option(help="Resolutions to compare.")] = "256,512",
    curve: Annotated[str, typer.Option(help="Resolutions of the scaling measurement.")] = "128,256,512,1024",
    repeats: Annotated[int, typer.Option(help="Timings per row; the median is printed.")] = 5,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    plot: Annotated[Path | None, typer.Option(help="File of a plot of time and memory against resolution.")] = None,
) -> None:
    """From planes to a mesh: time, queries, memory and agreement, compared with the published dense procedure."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    with torch.enable_grad():
        fields = {name: fitted(name, fits) for name in SOLIDS}
    cases = [*fields.items(), *outputs_of_mini(photos)]
    print("| planes | grid | dense s | ours s | faster | queries | V-IoU | pieces | Euler | marching cubes |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for resolution in map(int, resolutions.split(",")):
        for name, field in cases:
            print(row(name, field, resolution, repeats), flush=True)

    print("\nMemory beyond the start, MiB:")
    for name in SOLIDS:
        for resolution in map(int, resolutions.split(",")):
            dense, ours = (peak_memory(procedure, name, resolution, fits) for procedure in ("dense", "ours"))
            print(f"  {name} {resolution}³: dense {dense:,.0f}, ours {ours:,.0f}: 1/{dense / ours:.1f}", flush=True)

    print("\nScaling:")
    times = {}
    for name in SOLIDS:
        grids = [int(resolution) for resolution in curve.split(",")]
        times[name] = [median(extract(fields[name], grid).seconds for _ in range(3)) for grid in grids]
        exponent = np.polyfit(np.log(grids), np.log(times[name]), 1)[0]
        print(
            f"  {name}: "
            + ", ".join(f"{grid}³ {t:.2f} s" for grid, t in zip(grids, times[name], strict=True))
            + f"; time grows as resolution^{exponent:.2f}",
            flush=True,
        )

    print("\nLower bound, in one run:")
    lower_bound(fields["gyroid shell"], 512)

    print("\nRefinement of the vertices (`refine=True`), 256³:")
    logging.basicConfig(level=logging.INFO, format="  %(message)s", stream=sys.stdout)
    for _, field in cases:
        extract_surface(field, 256, refine=True)
    if plot is not None:
        draw(plot, [int(grid) for grid in curve.split(",")], times, fields["torus knot"], fits)


def row(name: str, field: TriplaneField, resolution: int, repeats: int) -> str:
    """One line of the table. Timings of our procedure and of the published one (on a whole grid: two) alternate."""
    published = Published(field)
    every = 1 if resolution <= 256 else 50
    extract(field, resolution)
    runs, dense = [], []
    for repeat in range(repeats):
        runs.append(extract(field, resolution))
        if every > 1 or repeat < 2:
            dense.append(published.decode(resolution, every))
    values = evaluate_grid(field, resolution).numpy()
    start = time.perf_counter()
    mcubes.marching_cubes(values, 0.0)
    full = time.perf_counter() - start
    reference = Mesh(*surface_of_grid(values))
    seconds, marching = median(run.seconds for run in runs), median(run.marching for run in runs)
    before, after = reference.check(), runs[-1].mesh.check()
    return (
        f"| {name} | {resolution}³ | {median(dense) + full:.1f} | {seconds:.2f} | "
        f"{(median(dense) + full) / seconds:.0f}x | {runs[-1].samples / (resolution + 1) ** 3:.2%} | "
        f"{overlap(runs[-1].mesh, values):.6f} | {before.components} / {after.components} | "
        f"{before.euler_number} / {after.euler_number} | {marching:.2f} s, 1/{full / marching:.1f} |"
    )


def lower_bound(field: TriplaneField, resolution: int) -> None:
    """The time of the matrix products alone and of copying alone, at the rates that this machine reaches."""
    run = min((extract(field, resolution) for _ in range(3)), key=lambda run: run.seconds)
    rows = torch.randn(8192, 64)
    weight = torch.randn(64, 64, 1, 1)
    pixels = rows.view(1, -1, 1, 64).permute(0, 3, 1, 2)
    multiply = rate(partial(F.conv2d, pixels, weight), 2 * rows.shape[0] * 64 * 64)
    source, target = torch.empty(1 << 26), torch.empty(1 << 26)
    copy = rate(partial(target.copy_, source), 2 * source.numel() * 4)
    work = run.samples * 2 * (3 * 64 * 64 + 64)
    moved = run.mesh.vertices.nbytes + run.mesh.faces.nbytes + field.planes.numel() * 4
    print(
        f"  {run.samples:,} queries are {work / 1e9:.0f} GFLOP: {work / multiply:.2f} s at "
        f"{multiply / 1e9:.0f} GFLOP/s; the search takes {run.search:.2f} s, {work / multiply / run.search:.0%} of "
        f"that rate\n"
        f"  reading the planes and writing the mesh moves {moved / 2**20:.0f} MiB: {moved / copy:.3f} s at "
        f"{copy / 2**30:.1f} GiB/s; "
        f"marching cubes takes {run.marching:.2f} s"
    )


def rate(call: Callable[[], object], amount: float) -> float:
    """`amount` per second of a call, by the median of 20 calls."""
    call()
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return amount / median(seconds)


def draw(path: Path, grids: list[int], times: dict[str, list[float]], field: TriplaneField, fits: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    dense = Published(field)
    below = [grid for grid in grids if grid <= 512]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    style = {"color": "black", "linestyle": "--", "marker": "o", "label": "dense, published"}
    left.plot(below, [dense.decode(grid, 1 if grid <= 256 else 50) for grid in below], **style)
    right.plot(below, [peak_memory("dense", "torus knot", grid, fits) for grid in below], **style)
    for name, seconds in times.items():
        left.plot(grids, seconds, "-o", label=name)
        right.plot(grids, [peak_memory("ours", name, grid, fits) for grid in grids], "-o", label=name)
    for axes, what in ((left, "seconds, planes to mesh (dense: to logits)"), (right, "MiB beyond the start")):
        axes.set(xscale="log", yscale="log", xlabel="resolution (cells along an edge)", ylabel=what)
        axes.set_xticks(grids, [str(grid) for grid in grids], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    left.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    app()
