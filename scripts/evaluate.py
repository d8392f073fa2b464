"""Measure a saved pipeline, trivial answers beside every row.

    python scripts/evaluate.py pipelines/mini --suite all --shapes 64 --output runs/eval/mini.json

Suites: `autoencoder` (shapes through the autoencoder and back), `image` (one picture to a shape, in the camera's frame,
without alignment), `retrieval` (as `image`, also beside the training shapes with the most similar pictures), `all`.
`--meshes FOLDER` adds closed meshes to each suite (seen from two sides), `--photos FOLDER` says how the meshes made of
real photos fit them.
Metrics are defined in triplane3d/evaluation/shape_metrics.py. Cells say: mean [95% interval of the mean] mean of the
worst tenth. The row "truth" is the self-test.
"""

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from triplane3d import Triplane3DPipeline
from triplane3d.data.shapes import HELD_OUT_SEED
from triplane3d.evaluation.cases import Case, family_groups, held_out_cases, mesh_cases
from triplane3d.evaluation.photos import photo_suite
from triplane3d.evaluation.suites import Bank, autoencoder_suite, image_suite
from triplane3d.evaluation.summary import Row, format_table, margins

SUITES = ("autoencoder", "image", "retrieval", "all")
COLUMNS = {
    "autoencoder": {"volume_iou": "V-IoU", "surface_iou": "S-IoU", "f_score_02": "F@.02", "normal_consistency": "NC",
                    "chamfer": "CD", "point_to_surface": "P2S"},
    "image": {"volume_iou": "V-IoU", "f_score_05": "F@.05", "f_score_10": "F@.1", "normal_consistency": "NC",
              "chamfer": "CD", "point_to_surface": "P2S"},
    "photos": {"mask_iou": "mask IoU", "depth_to_width": "depth/width", "watertight": "watertight",
               "largest_component": "largest piece"},
}


def main(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a saved pipeline.")],
    suite: Annotated[str, typer.Option(help=f"One of {', '.join(SUITES)}.")] = "all",
    shapes: Annotated[int, typer.Option(help="Held-out procedural shapes per row.")] = 64,
    surfaces: Annotated[int, typer.Option(help="How many of them are also measured on surfaces (slower).")] = 16,
    resolution: Annotated[int, typer.Option(help="Cells along the edge of the grids that surfaces come from.")] = 128,
    bank: Annotated[int, typer.Option(help="Training shapes to retrieve from.")] = 1024,
    steps: Annotated[int | None, typer.Option(help="Denoising steps; the pipeline's own default if not given.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; the pipeline's own default likewise.")] = None,
    seed: Annotated[int, typer.Option(help="Picks the held-out shapes and the noise.")] = 0,
    meshes: Annotated[Path | None, typer.Option(help="Folder of closed meshes to measure on as well.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Folder of photos of single objects, likewise.")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for everything that is printed, and more.")] = None,
) -> None:
    """Measure a saved pipeline, trivial answers beside every row."""
    if suite not in SUITES:
        raise typer.BadParameter(f"--suite must be one of {', '.join(SUITES)}, got {suite!r}")
    pipe = Triplane3DPipeline.from_pretrained(pipeline)
    pipe.set_progress_bar_config(disable=True)

    groups: dict[str, list[Case]] = {}
    for name, families in family_groups().items():
        if families:
            groups[name] = held_out_cases(shapes, families, seed=seed, resolution=resolution)

    rows: list[Row] = []
    if suite in ("autoencoder", "all"):
        solids = groups | ({"meshes": mesh_cases(meshes)} if meshes else {})
        for name, cases in solids.items():
            rows += autoencoder_suite(pipe.vae, name, cases, surfaces=len(cases) if name == "meshes" else surfaces,
                                      resolution=resolution, progress=tell)
    if suite in ("image", "retrieval", "all"):
        training = None if suite == "image" else Bank.of_training_shapes(pipe, bank, progress=tell)
        seen = {"meshes, two views": mesh_cases(meshes, azimuths=(30, 210), image_size=256)} if meshes else {}
        for name, cases in (groups | seen).items():
            retrievals = training.retrieve(pipe, cases, resolution) if training else None
            rows += image_suite(pipe, name, cases, steps=steps, guidance=guidance, seed=seed, surfaces=surfaces,
                                resolution=resolution, retrievals=retrievals, progress=tell)

    if photos:
        tell("photos")
        rows += photo_suite(pipe, photos, steps=steps, guidance=guidance, seed=seed, resolution=resolution)

    for part, columns in COLUMNS.items():
        of_part = [row for row in rows if row.suite == part]
        if of_part:
            print(f"\n{part}, {pipeline}, seed {seed}, shapes from {HELD_OUT_SEED + 1_000_000 * seed} on\n")
            print(format_table(of_part, columns))
            print("\n".join(["", *margins(of_part)]))
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        settings = {"pipeline": pipeline, "shapes": shapes, "surfaces": surfaces, "resolution": resolution,
                    "bank": bank, "steps": steps, "guidance": guidance, "seed": seed}
        report = {"settings": settings, "rows": [row.to_json() for row in rows]}
        output.write_text(json.dumps(report, indent=1))
        tell(f"written to {output}")


def tell(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
