"""What is printed is what is written: every row, comparison and bar, by the script itself on the tiny pipeline."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from pipelines.tiny_pipeline import build_tiny, photo

from triplane3d.evaluation.report import COLUMNS, Report
from triplane3d.evaluation.summary import Estimate, Row

SCRIPTS = Path(__file__).parents[2] / "scripts"


def row(suite: str, method: str, metric: str, values: list[float]) -> Row:
    return Row(suite, "trained families", method, [{metric: value} for value in values], ["mug"] * len(values))


def test_the_text_and_the_json_say_the_same() -> None:
    report = Report("made up", {"seed": 0})
    report.add(
        [row("steps", "1 step", "volume_iou", [0.5, 0.5])],
        [Estimate("steps", "trained families", "1 step / 50 steps", 0.95, 0.91, 0.98)],
    )
    report.add([row("image", "model", "volume_iou", [0.9] * 4), row("image", "convex hull", "volume_iou", [0.5] * 4)])
    text, written = report.text(), report.to_json()
    assert text.index("image, made up") < text.index("steps, made up") < text.index("bars, ")
    assert "volume_iou of model - convex hull: 0.400 [0.400, 0.400]" in text
    assert [bar["bar"] for bar in written["bars"]] == ["Q4", "Q8"] and all(bar["met"] for bar in written["bars"])
    assert len(written["rows"]) == 3 and written["settings"] == {"seed": 0}
    assert "F@.05" not in text  # nobody measured it


def test_what_is_not_finite_is_none_in_json() -> None:
    report = Report("made up")
    report.add(
        [row("variety", "8 seeds", "volume_iou", [0.5])],
        [Estimate("variety", "trained families", "hidden / visible variance", float("inf"), 2.0, float("inf"))],
    )
    written = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert written["estimates"][0] | {"low": 2.0, "value": None, "high": None} == written["estimates"][0]
    assert written["bars"][0]["met"]


def test_a_report_without_rows_says_nothing() -> None:
    assert Report("made up").text() == ""


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pipeline, a folder with a mesh and one with a photo."""
    folder = tmp_path_factory.mktemp("things")
    for name in ("meshes", "photos"):
        (folder / name).mkdir()
    build_tiny().save_pretrained(folder / "tiny")
    trimesh.creation.box(extents=(2, 1, 0.5)).subdivide().export(folder / "meshes" / "plank.ply")
    photo().save(folder / "photos" / "block.png")
    return folder


def run(things: Path, output: Path, **options) -> dict:
    evaluate = runpy.run_path(str(SCRIPTS / "evaluate.py"))["main"]
    evaluate(
        str(things / "tiny"), shapes=2, surfaces=0, resolution=10, steps=1, output=output / "report.json", **options
    )
    return json.loads((output / "report.json").read_text())


def test_the_script_runs_every_suite(things: Path, tmp_path: Path) -> None:
    report = run(
        things,
        tmp_path,
        suite="all",
        bank=2,
        seeds=2,
        pictures=2,
        step_counts="1,4,50",
        photos=things / "photos",
        teacher=str(things / "tiny"),
    )
    assert {row["suite"] for row in report["rows"]} == set(COLUMNS) - {"views", "learning"}
    assert {bar["bar"] for bar in report["bars"]} == {f"Q{number}" for number in (1, 3, 4, 6, 7, 8, 11, 15)}
    assert [bar["met"] for bar in report["bars"] if bar["bar"] == "Q15"] == [True]
    assert report["remarks"][0].startswith("worst photo: block")
    assert report["settings"]["step_counts"] == "1,4,50"
    # Its own teacher: the last step of both is the same.
    (same,) = (found["value"] for found in report["estimates"] if found["name"] == "50 steps / teacher's 50 steps")
    assert same == 1


def test_the_script_measures_meshes_too(things: Path, tmp_path: Path) -> None:
    report = run(things, tmp_path, suite="autoencoder", meshes=things / "meshes")
    assert [row["data"] for row in report["rows"]][::5] == [
        "trained families",
        "unseen families",
        "free compositions",
        "meshes",
    ]
    assert "trained families - meshes" in {bar["data"] for bar in report["bars"] if bar["bar"] == "Q3"}


def test_a_sheet_of_meshes_has_five_pictures_for_each_of_two_views(things: Path, tmp_path: Path) -> None:
    sheet = runpy.run_path(str(SCRIPTS / "contact_sheet.py"))["main"]
    sheet(
        str(things / "tiny"),
        things / "meshes",
        tmp_path / "sheet.png",
        meshes=True,
        size=24,
        photos_a_row=2,
        resolution=10,
    )
    page = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    assert page.shape == (24 + 2 * 8, 10 * (24 + 8) + 8)
    cells = [page[8:32, 8 + 32 * column :][:, :24] for column in range(10)]
    assert all(cell.min() < 250 for cell in cells)
