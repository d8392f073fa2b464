"""Quality of background removal and of its warnings, measured on photos whose object is known.

    python benchmarks/background.py
    python benchmarks/background.py --method border --sheet masks.png
    python benchmarks/background.py --photos PHOTOS

Forty rendered objects, of eight kinds, are placed before backdrops of five kinds (`background_scenes.py`). `--number`
determines all random numbers; it is 0 for the table in docs/photos.md. The weights of
triplane3d/images/background/segmentation.py were fitted on other numbers. A mask is wrong where its intersection
over union with the object is below 0.85. `--photos` takes a folder of photos that are cut out already (RGBA) and sets
each of them before each kind of backdrop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from background_scenes import BACKDROPS, KINDS, Scene, draw_round, photo_scene
from PIL import Image, ImageDraw
from scipy import ndimage

from triplane3d.geometry.render import image_grid
from triplane3d.images.background import MaskReport, remove_background

WRONG = 0.85
SEE_THROUGH = "show through"
"""Part of the warning for glass, which is correct for any mask."""


@dataclass(frozen=True)
class Result:
    scene: Scene
    report: MaskReport
    found: np.ndarray
    seconds: float

    @property
    def overlap(self) -> float:
        truth = self.scene.coverage > 0.5
        return float((self.found & truth).sum() / (self.found | truth).sum())

    @property
    def wrong(self) -> bool:
        return self.overlap < WRONG

    @property
    def warned(self) -> bool:
        """Whether there is a warning other than the one that the background shows through glass."""
        warning = self.report.warning or ""
        only_clear = self.scene.kind == "glass" and SEE_THROUGH in warning and "Also" not in warning
        return bool(warning) and not only_clear


def main(
    method: Annotated[str, typer.Option(help="The method of `remove_background`.")] = "grabcut",
    number: Annotated[int, typer.Option(help="Number of the first round of scenes.")] = 0,
    rounds: Annotated[int, typer.Option(help="Number of rounds of forty scenes.")] = 1,
    contrast: Annotated[float, typer.Option(help="Below 1, object and backdrop are more similar in colour.")] = 1.0,
    photos: Annotated[Path | None, typer.Option(help="A folder of RGBA photos instead of rendered objects.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="File for a picture of all outlines.")] = None,
) -> None:
    logging.disable(logging.WARNING)
    if photos is None:
        scenes = [scene for turn in range(rounds) for scene in draw_round(number + turn, contrast=contrast)]
    else:
        paths = sorted(photos.glob("*.png"))
        scenes = [
            photo_scene(path.stem, Image.open(path).convert("RGBA"), backdrop, number)
            for backdrop in BACKDROPS
            for path in paths
        ]
    results = [remove(scene, method) for scene in scenes]
    print_table(results, BACKDROPS, lambda result: result.scene.backdrop)
    print()
    print_table(results, tuple(KINDS) if photos is None else ("photo",), lambda result: result.scene.kind)
    for result in results:
        if result.wrong or result.warned:
            print(
                f"{result.scene.name}: {result.overlap:.2f}, confidence {result.report.confidence:.2f}, "
                f"{result.report.warning}"
            )
    if sheet is not None:
        image_grid([picture(result) for result in results], len(KINDS)).save(sheet)


def remove(scene: Scene, method: str) -> Result:
    rgb = torch.from_numpy(np.moveaxis(scene.photo, -1, 0).copy())
    start = time.process_time()
    rgba, report = remove_background(torch.cat([rgb, torch.ones_like(rgb[:1])]), method=method, name=scene.name)
    return Result(scene, report, rgba[3].numpy() > 0.5, time.process_time() - start)


def print_table(results: Sequence[Result], groups: Sequence[str], group_of: Callable[[Result], str]) -> None:
    """A table in Markdown; see `Result.warned`."""
    print("| group | photos | IoU mean | worst | wrong, warned | right, warned | seconds of one core |")
    print("|---|---|---|---|---|---|---|")
    for group in (*groups, "all"):
        chosen = [result for result in results if group in (group_of(result), "all")]
        overlaps = [result.overlap for result in chosen]
        wrong = [result.warned for result in chosen if result.wrong]
        right = [result.warned for result in chosen if not result.wrong]
        print(
            f"| {group} | {len(chosen)} | {np.mean(overlaps):.3f} | {min(overlaps):.3f} "
            f"| {sum(wrong)} of {len(wrong)} | {sum(right)} of {len(right)} "
            f"| {np.mean([result.seconds for result in chosen]):.2f} |"
        )


def picture(result: Result, side: int = 220) -> Image.Image:
    """The photo with the mask's outline: green if the mask is right, red if wrong. A yellow corner marks a warning."""
    pixels = (result.scene.photo * 255).astype(np.uint8)
    outline = ndimage.binary_dilation(result.found, iterations=2) & ~result.found
    pixels[outline] = (255, 0, 0) if result.wrong else (0, 220, 0)
    page = Image.fromarray(pixels)
    page.thumbnail((side, side))
    square = Image.new("RGB", (side, side), "white")
    square.paste(page, ((side - page.width) // 2, (side - page.height) // 2))
    draw = ImageDraw.Draw(square)
    if result.warned:
        draw.polygon([(0, 0), (24, 0), (0, 24)], fill="gold")
    draw.text((28, 2), f"{result.overlap:.2f}", fill="black")
    return square


if __name__ == "__main__":
    typer.run(main)
