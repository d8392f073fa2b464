"""Converted checkpoints beside the published codes, restated plainly: time, memory, and that both compute the same.

    python benchmarks/checkpoints.py --output runs/checkpoints.json

The weights are random, of the published sizes; both sides have the same and are timed in turns in one run, the median
counts. The surface is a lumpy ball, written into planes and MLP (`converted.py`). Where the published dense query would
take minutes, a part of its chunks is timed and scaled; a whole run is the sum of its stages, steps multiplied. Each row
says which. With CUDA everything runs there.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from checkpoint_memory import memory_rows, offload_rows
from checkpoint_stages import (
    Measured,
    Setting,
    backbone,
    begin,
    direct3d_pictures,
    direct3d_surface,
    guided_step,
    measure,
    photo_encoders,
    surface_stages,
    triposr_picture,
    triposr_surface,
    vae_decode,
    view,
    vision_transformer,
)
from converted import SIZES, converted_place, original, publish
from decode import PeakMemory
from torch import Tensor

from triplane3d.convert.direct3d import convert_direct3d
from triplane3d.convert.triposr import convert_triposr

MODELS = ("direct3d", "triposr")
BOTH = ("original", "ours")
GRID = 96
"""Nodes along the edge of the grid on which decoded occupancy is compared."""
EVERY = {256: 16, 512: 64}
"""Of the dense query's chunks at each resolution, one in so many is timed."""

Row = dict[str, Any]
Stage = Callable[[Setting, torch.dtype, str], Callable[[], Any]]


def main(
    only: Annotated[str, typer.Option(help="direct3d, triposr, or both, by commas.")] = "direct3d,triposr",
    dtypes: Annotated[str, typer.Option(help="Precisions of the networks.")] = "float32,bfloat16",
    size: Annotated[str, typer.Option(help="published, or small for a quick look.")] = "published",
    steps: Annotated[int, typer.Option(help="Denoising steps of a whole run.")] = 50,
    repeats: Annotated[int, typer.Option(help="Timings of which the median counts.")] = 5,
    threads: Annotated[int, typer.Option(help="Threads of the processor.")] = 2,
    memory: Annotated[bool, typer.Option(help="Also measure memory of the stages, in processes of their own.")] = True,
    offload: Annotated[bool, typer.Option(help="Also measure each way of offloading.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Keeps the weights (9 GB); else they are temporary.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to write all figures as JSON.")] = None,
) -> None:
    """Converted checkpoints beside the published codes, restated plainly: time, memory, and sameness."""
    models, precisions = only.split(","), dtypes.split(",")
    if strangers := [name for name in models if name not in MODELS] + [name for name in [size] if name not in SIZES]:
        raise typer.BadParameter(f"{strangers[0]!r} is none of {', '.join((*MODELS, *SIZES))}")
    begin(threads)
    with tempfile.TemporaryDirectory() as temporary:
        setting = Setting((folder or Path(temporary)).resolve(), size, _device(), repeats)
        report = Report()
        report.add("Conversion", conversions(setting, models))
        if "direct3d" in models:
            direct3d(report, setting, precisions, steps)
        if "triposr" in models:
            triposr(report, setting, precisions)
        for model in models if memory else ():
            report.add(f"{model}: memory of a stage", memory_rows(setting, model, precisions, threads))
        if offload and "direct3d" in models:
            report.add("direct3d: offloading, photo to grid", offload_rows(setting, precisions, threads))
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        where = {"device": str(setting.device), "threads": threads, "torch": torch.__version__, "size": size}
        output.write_text(json.dumps({**where, "repeats": repeats, "tables": report.tables}, indent=1) + "\n")


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Report:
    """Tables of rows, printed as they come."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {}

    def add(self, title: str, rows: list[Row]) -> None:
        self.tables[title] = rows
        columns = list(dict.fromkeys(key for row in rows for key in row))
        print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for row in rows:
            print(f"| {' | '.join(_cell(row.get(column, '')) for column in columns)} |", flush=True)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def versus(stage: str, dtype: str, before: float, after: float, how: str = "measured", **more: Any) -> Row:
    return {"stage": stage, "dtype": dtype, "original s": before, "ours s": after, "faster": before / after, "how": how,
            **more}  # fmt: skip


def difference(before: Measured, after: Measured) -> dict[str, float]:
    """Of the answers; largest, and in proportion to the spread."""
    pairs = [(before.answer, after.answer)] if isinstance(before.answer, Tensor) else zip(before.answer, after.answer)
    theirs, own = (torch.cat([tensor.float().flatten().cpu() for tensor in side]) for side in zip(*pairs))
    return {"largest difference": (own - theirs).abs().max().item(), "std": theirs.std().item()}


def compared(setting: Setting, stage: str, dtype: str, make: Stage) -> tuple[Row, dict[str, Measured]]:
    results = measure(setting, {who: make(setting, getattr(torch, dtype), who) for who in BOTH})
    seconds = [results[who].seconds for who in BOTH]
    return versus(stage, dtype, *seconds, **difference(*(results[who] for who in BOTH))), results


def total(name: str, dtype: str, rows: Iterable[tuple[int, Row]], how: str = "sum") -> Row:
    rows = list(rows)
    before, after = (sum(times * row[f"{who} s"] for times, row in rows) for who in BOTH)
    return versus(name, dtype, before, after, how)


def conversions(setting: Setting, models: list[str]) -> list[Row]:
    """What is converted already, in a folder that was kept, is left as it is."""
    rows = []
    for model in models:
        source, target = publish(setting.folder, setting.size, model), converted_place(setting.folder, model)
        if target.exists():
            continue
        start = time.perf_counter()
        with PeakMemory() as peak:
            if model == "direct3d":
                convert_direct3d(source, target, skip_encoders=True)
            else:
                convert_triposr(source, target)
        mib = (source / "model.ckpt").stat().st_size / 2**20
        seconds = time.perf_counter() - start
        rows.append({"checkpoint": model, "on disk MiB": mib, "s": seconds, "more memory, MiB": peak.most})
    return rows


# ---- Direct3D


def direct3d(report: Report, setting: Setting, dtypes: list[str], steps: int) -> None:
    picture, _ = compared(setting, "photo to pixels", "float32", direct3d_pictures)
    guided, decoded, whole = [], [], []
    planes: dict[str, Tensor] = {}
    for dtype in dtypes:
        tokens = measure(setting, {"ours": photo_encoders(setting, getattr(torch, dtype), "ours")})["ours"].seconds
        step_rows, one_step = guided_rows(setting, dtype, steps)
        guided += step_rows
        decode, results = compared(setting, "latents to planes", dtype, vae_decode)
        planes |= {f"{who} {dtype}": results[who].answer.float() for who in BOTH}
        decoded.append(decode)
        surfaces = surface_rows(setting, dtype, direct3d_surface, setting.size.resolutions[-1:])
        encoders = versus("both encoders", dtype, tokens, tokens, "measured once, the same modules")
        parts = [(1, {**picture, "dtype": dtype}), (1, encoders), (steps, one_step), (1, decode)]
        parts += [(1, row) for row in surfaces]
        how = f"sum; {steps} steps are {steps} times the mean step"
        whole += [row for _, row in parts] + [total("photo to mesh", dtype, parts, how)]
    report.add("direct3d: guided step", guided)
    report.add("direct3d: decoding", decoded)
    if "original float32" in planes:
        title = f"direct3d: decoded occupancy, {GRID}³, beside the original's in float32"
        report.add(title, agreement(setting, planes))
    report.add("direct3d: photo to mesh", whole + across(whole, "photo to mesh"))


def guided_rows(setting: Setting, dtype: str, steps: int) -> tuple[list[Row], Row]:
    """The table of steps, and the mean step of a whole run."""
    whose = (*BOTH, "ours, first step", "ours, fused projections")
    results = measure(setting, {who: guided_step(setting, getattr(torch, dtype), who) for who in whose})
    before = results["original"]
    rows = [
        versus(name, dtype, before.seconds, results[who].seconds, **difference(before, results[who]))
        for name, who in (("steps 2 to n", "ours"), ("first step", "ours, first step"),
                          ("steps 2 to n, fused projections", "ours, fused projections"))
    ]  # fmt: skip
    mean = (results["ours, first step"].seconds + (steps - 1) * results["ours"].seconds) / steps
    mean_row = versus(f"mean of {steps} steps", dtype, before.seconds, mean, f"from 1 first and {steps - 1} others")
    return [*rows, mean_row], mean_row


def agreement(setting: Setting, planes: dict[str, Tensor]) -> list[Row]:
    """Which nodes are inside: higher than the original's median, so that there are as many on both sides."""
    model = original(setting.folder, setting.size, "direct3d", "vae").to(setting.device)
    logits = {name: model.dense_grid(some, GRID - 1) for name, some in planes.items()}
    level = logits["original float32"].median()
    truth = logits.pop("original float32") > level
    return [
        {"planes": name, "V-IoU": ((answer > level) & truth).sum().item() / ((answer > level) | truth).sum().item(),
         "share of flipped signs": ((answer > level) != truth).float().mean().item(),
         "mean difference of planes": (planes[name] - planes["original float32"]).abs().mean().item(),
         "largest": (planes[name] - planes["original float32"]).abs().max().item()}
        for name, answer in logits.items()
    ]  # fmt: skip


# ---- TripoSR


def triposr(report: Report, setting: Setting, dtypes: list[str]) -> None:
    picture, _ = compared(setting, "photo to pixels", "float32", triposr_picture)
    stages, whole = [], []
    for dtype in dtypes:
        networks = [
            compared(setting, name, dtype, make)[0]
            for name, make in (("image tokens", vision_transformer), ("tokens to planes", backbone))
        ]
        stages += [*networks, compared(setting, f"view, {setting.size.view}²", dtype, view)[0]]
        for resolution in setting.size.resolutions:
            surfaces = surface_rows(setting, dtype, triposr_surface, (resolution,))
            parts = [{**picture, "dtype": dtype}, *networks, *surfaces]
            name = f"photo to coloured mesh, {resolution}³"
            stages += surfaces
            whole.append(total(name, dtype, ((1, row) for row in parts)))
    report.add("triposr: stages", [picture, *stages])
    names = dict.fromkeys(row["stage"] for row in whole)
    report.add("triposr: photo to coloured mesh", whole + [row for name in names for row in across(whole, name)])


# ---- both


def surface_rows(setting: Setting, dtype: str, make: Callable[..., Any], resolutions: Iterable[int]) -> list[Row]:
    return [
        versus(f"{stage}, {resolution}³", dtype, before, after, **more)
        for resolution in resolutions
        for stage, (before, after, more) in surface_stages(
            setting, make(setting, getattr(torch, dtype), resolution), EVERY.get(resolution, 1)).items()
    ]  # fmt: skip


def across(rows: list[Row], stage: str) -> list[Row]:
    """Ours in half precision against the original in full."""
    found = {row["dtype"]: row for row in rows if row["stage"] == stage}
    return [
        versus(f"{stage}: ours in {dtype}, original in float32", "differs", found["float32"]["original s"],
               row["ours s"], "sum")
        for dtype, row in found.items() if dtype != "float32" and "float32" in found
    ]  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
