"""Converted checkpoints against the reference code: time, memory, and equality of the results.

    python benchmarks/checkpoints.py --output runs/checkpoints.json

The weights are random, of the published sizes, and equal on both sides. Both are timed alternately in one run; the
median is reported. The surface is a wavy ball (`converted.py`). Where the published dense query would take minutes, a
part of its chunks is timed and scaled. A whole run is the sum of its stages, with one step multiplied by the number of
steps. Each row names the method. With CUDA everything runs on the GPU.
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
    direct3d_images,
    direct3d_surface,
    guided_step,
    measure,
    photo_encoders,
    surface_stages,
    triposr_image,
    triposr_surface,
    vae_decode,
    view,
    vision_transformer,
)
from converted import SIZES, converted_folder, original, write_checkpoint
from decode import PeakMemory
from torch import Tensor

from triplane3d.convert.direct3d import convert_direct3d
from triplane3d.convert.triposr import convert_triposr

MODELS = ("direct3d", "triposr")
BOTH = ("original", "ours")
GRID = 96
"""Nodes along an edge of the grid on which decoded occupancy is compared."""
EVERY = {256: 16, 512: 64}
"""At each resolution, one in this number of the dense query's chunks is timed."""

Row = dict[str, Any]
Stage = Callable[[Setting, torch.dtype, str], Callable[[], Any]]


def main(
    only: Annotated[str, typer.Option(help="Models, separated by commas.")] = "direct3d,triposr",
    dtypes: Annotated[str, typer.Option(help="Precisions of the networks, separated by commas.")] = "float32,bfloat16",
    size: Annotated[str, typer.Option(help="Size of the models: published or small.")] = "published",
    steps: Annotated[int, typer.Option(help="Denoising steps of a whole run.")] = 50,
    repeats: Annotated[int, typer.Option(help="Timings per call; the median is reported.")] = 5,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    memory: Annotated[bool, typer.Option(help="Also measure the memory of stages, each in its own process.")] = True,
    offload: Annotated[bool, typer.Option(help="Also measure each mode of offloading.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Folder in which to keep the weights (9 GB).")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for all results.")] = None,
) -> None:
    """Compare converted checkpoints with the reference code: time, memory and results."""
    models, precisions = only.split(","), dtypes.split(",")
    if unknown := [name for name in models if name not in MODELS] + [name for name in [size] if name not in SIZES]:
        raise typer.BadParameter(f"{unknown[0]!r} must be one of {', '.join((*MODELS, *SIZES))}")
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
    """Tables of rows, printed as they are added."""

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
    """The largest difference of the results, and the standard deviation of the original's."""
    pairs = [(before.result, after.result)] if isinstance(before.result, Tensor) else zip(before.result, after.result)
    theirs, own = (torch.cat([tensor.float().flatten().cpu() for tensor in side]) for side in zip(*pairs))
    return {"largest difference": (own - theirs).abs().max().item(), "std": theirs.std().item()}


def compare(setting: Setting, stage: str, dtype: str, make: Stage) -> tuple[Row, dict[str, Measured]]:
    results = measure(setting, {code: make(setting, getattr(torch, dtype), code) for code in BOTH})
    seconds = [results[code].seconds for code in BOTH]
    return versus(stage, dtype, *seconds, **difference(*(results[code] for code in BOTH))), results


def total(name: str, dtype: str, rows: Iterable[tuple[int, Row]], how: str = "sum") -> Row:
    rows = list(rows)
    before, after = (sum(times * row[f"{code} s"] for times, row in rows) for code in BOTH)
    return versus(name, dtype, before, after, how)


def conversions(setting: Setting, models: list[str]) -> list[Row]:
    """Converts the checkpoints that are not converted yet, and measures time and memory."""
    rows = []
    for model in models:
        source, target = write_checkpoint(setting.folder, setting.size, model), converted_folder(setting.folder, model)
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
    image, _ = compare(setting, "photo to pixels", "float32", direct3d_images)
    guided, decoded, whole = [], [], []
    planes: dict[str, Tensor] = {}
    for dtype in dtypes:
        tokens = measure(setting, {"ours": photo_encoders(setting, getattr(torch, dtype), "ours")})["ours"].seconds
        step_rows, one_step = guided_step_rows(setting, dtype, steps)
        guided += step_rows
        decode, results = compare(setting, "latents to planes", dtype, vae_decode)
        planes |= {f"{code} {dtype}": results[code].result.float() for code in BOTH}
        decoded.append(decode)
        surfaces = surface_rows(setting, dtype, direct3d_surface, setting.size.resolutions[-1:])
        encoders = versus("both encoders", dtype, tokens, tokens, "measured once, the same modules")
        parts = [(1, {**image, "dtype": dtype}), (1, encoders), (steps, one_step), (1, decode)]
        parts += [(1, row) for row in surfaces]
        how = f"sum; {steps} steps are {steps} times the mean step"
        whole += [row for _, row in parts] + [total("photo to mesh", dtype, parts, how)]
    report.add("direct3d: guided step", guided)
    report.add("direct3d: decoding", decoded)
    if "original float32" in planes:
        title = f"direct3d: decoded occupancy, {GRID}³, beside the original's in float32"
        report.add(title, agreement(setting, planes))
    report.add("direct3d: photo to mesh", whole + across(whole, "photo to mesh"))


def guided_step_rows(setting: Setting, dtype: str, steps: int) -> tuple[list[Row], Row]:
    """The table of guided steps, and the mean step of a whole run."""
    codes = (*BOTH, "ours, first step", "ours, fused projections")
    results = measure(setting, {code: guided_step(setting, getattr(torch, dtype), code) for code in codes})
    before = results["original"]
    rows = [
        versus(name, dtype, before.seconds, results[code].seconds, **difference(before, results[code]))
        for name, code in (("steps 2 to n", "ours"), ("first step", "ours, first step"),
                          ("steps 2 to n, fused projections", "ours, fused projections"))
    ]  # fmt: skip
    mean = (results["ours, first step"].seconds + (steps - 1) * results["ours"].seconds) / steps
    mean_row = versus(f"mean of {steps} steps", dtype, before.seconds, mean, f"from 1 first and {steps - 1} others")
    return [*rows, mean_row], mean_row


def agreement(setting: Setting, planes: dict[str, Tensor]) -> list[Row]:
    """Agreement of occupancy. A node is inside if its logit is above the original's median, so half of them are."""
    model = original(setting.folder, setting.size, "direct3d", "vae").to(setting.device)
    logits = {name: model.dense_grid(some, GRID - 1) for name, some in planes.items()}
    level = logits["original float32"].median()
    truth = logits.pop("original float32") > level
    return [
        {"planes": name, "V-IoU": ((values > level) & truth).sum().item() / ((values > level) | truth).sum().item(),
         "share of flipped signs": ((values > level) != truth).float().mean().item(),
         "mean difference of planes": (planes[name] - planes["original float32"]).abs().mean().item(),
         "largest": (planes[name] - planes["original float32"]).abs().max().item()}
        for name, values in logits.items()
    ]  # fmt: skip


# ---- TripoSR


def triposr(report: Report, setting: Setting, dtypes: list[str]) -> None:
    image, _ = compare(setting, "photo to pixels", "float32", triposr_image)
    stages, whole = [], []
    for dtype in dtypes:
        networks = [
            compare(setting, name, dtype, make)[0]
            for name, make in (("image tokens", vision_transformer), ("tokens to planes", backbone))
        ]
        stages += [*networks, compare(setting, f"view, {setting.size.view}²", dtype, view)[0]]
        for resolution in setting.size.resolutions:
            surfaces = surface_rows(setting, dtype, triposr_surface, (resolution,))
            parts = [{**image, "dtype": dtype}, *networks, *surfaces]
            name = f"photo to coloured mesh, {resolution}³"
            stages += surfaces
            whole.append(total(name, dtype, ((1, row) for row in parts)))
    report.add("triposr: stages", [image, *stages])
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
    """Rows that compare ours in half precision with the original in float32."""
    found = {row["dtype"]: row for row in rows if row["stage"] == stage}
    return [
        versus(f"{stage}: ours in {dtype}, original in float32", "differs", found["float32"]["original s"],
               row["ours s"], "sum")
        for dtype, row in found.items() if dtype != "float32" and "float32" in found
    ]  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
