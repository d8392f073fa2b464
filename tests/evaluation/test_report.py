"""Text and JSON of a report hold the same results; `scripts/evaluate.py` runs every suite on the tiny pipeline."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import trimesh
import typer
from PIL import Image
from pipelines.tiny_pipeline import build_tiny, photo

from triplane3d.evaluation.command import main
from triplane3d.evaluation.report import COLUMNS, Report
from triplane3d.evaluation.summary import Estimate, Row

SCRIPTS = Path(__file__).parents[2] / "scripts"


def row(suite: str, method: str, metric: str, values: list[float]) -> Row:
    return Row(suite, "trained families", method, [{metric: value} for value in values], ["mug"] * len(values))


def test_text_and_json_hold_the_same_results() -> None:
    report = Report("made up", {"seed": 0})
    report.add(
        [row("steps", "1 step", "volume_iou", [0.5, 0.5])],
        [Estimate("steps", "trained families", "1 step / 50 steps", 0.95, 0.91, 0.98)],
    )
    report.add([row("image", "model", "volume_iou", [0.9] * 4), row("image", "convex hull", "volume_iou", [0.5] * 4)])
    text, written = report.text(), report.to_json()
    assert text.index("image, made up") < text.index("steps, made up") < text.index("criteria, ")
    assert "volume_iou of model - convex hull: 0.400 [0.400, 0.400]" in text
    assert [result["criterion"] for result in written["criteria"]] == ["image", "steps"]
    assert all(result["passed"] for result in written["criteria"])
    assert len(written["rows"]) == 3 and written["settings"] == {"seed": 0}
    assert "F@.05 [95%]" not in text  # it was not measured


def test_values_that_are_not_finite_become_none_in_json() -> None:
    report = Report("made up")
    report.add(
        [row("variety", "8 seeds", "volume_iou", [0.5])],
        [Estimate("variety", "trained families", "hidden / visible variance", float("inf"), 2.0, float("inf"))],
    )
    written = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert written["estimates"][0] | {"low": 2.0, "value": None, "high": None} == written["estimates"][0]
    assert written["criteria"][0]["passed"]


def test_report_without_rows_is_empty() -> None:
    assert Report("made up").text() == ""


def test_json_also_has_the_keys_of_earlier_reports() -> None:
    report = Report("made up")
    report.add([row("image", "model", "volume_iou", [0.9] * 4)])
    written = report.to_json()
    (former,), (current,) = written["bars"], written["criteria"]
    assert former["bar"] == "Q4" and former["met"] is current["passed"] is True
    assert former["floor_met"] is current["floor_passed"] is True
    assert all(former[key] == current[key] for key in ("title", "data", "value", "low", "high", "target", "floor"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a saved pipeline, a folder of meshes and a folder of photos."""
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("meshes", "photos"):
        (folder / name).mkdir()
    build_tiny().save_pretrained(folder / "tiny")
    trimesh.creation.box(extents=(2, 1, 0.5)).subdivide().export(folder / "meshes" / "plank.ply")
    photo().save(folder / "photos" / "block.png")
    return folder


def run(inputs: Path, output: Path, **options) -> dict:
    evaluate = runpy.run_path(str(SCRIPTS / "evaluate.py"))["main"]
    report = output / "report.json"
    evaluate(str(inputs / "tiny"), shapes=2, surfaces=0, resolution=10, steps=1, output=report, **options)
    return json.loads((output / "report.json").read_text())


def test_script_runs_every_suite(inputs: Path, tmp_path: Path) -> None:
    report = run(
        inputs,
        tmp_path,
        suite="all",
        retrieval_shapes=2,
        seeds=2,
        images=2,
        step_counts="1,4,50",
        photos=inputs / "photos",
        teacher=str(inputs / "tiny"),
    )
    others = {"views", "learning", "agreement", "agreement of cameras", "agreement of photos"}
    assert {row["suite"] for row in report["rows"]} == set(COLUMNS) - others
    groups = {result["criterion"] for result in report["criteria"]}
    assert groups == {
        "reconstruction",
        "generalization",
        "image",
        "photos",
        "variety",
        "steps",
        "meshes of photos",
        "sanity checks",
    }
    assert [result["passed"] for result in report["criteria"] if result["criterion"] == "sanity checks"] == [True]
    assert report["remarks"][0].startswith("worst photo: block")
    assert report["settings"]["step_counts"] == "1,4,50"
    # The pipeline is its own teacher, so both have the same score with the most steps.
    (same,) = (found["value"] for found in report["estimates"] if found["name"] == "50 steps / teacher's 50 steps")
    assert same == 1


def test_script_evaluates_meshes(inputs: Path, tmp_path: Path) -> None:
    report = run(inputs, tmp_path, suite="autoencoder", meshes=inputs / "meshes")
    assert [row["data"] for row in report["rows"]][::5] == [
        "trained families",
        "unseen families",
        "free compositions",
        "meshes",
    ]
    gaps = {result["data"] for result in report["criteria"] if result["criterion"] == "generalization"}
    assert "trained families - meshes" in gaps


@pytest.mark.parametrize("suite", ["image", "steps", "views"])
def test_script_evaluates_images_of_meshes_from_two_sides(inputs: Path, tmp_path: Path, suite: str) -> None:
    report = run(inputs, tmp_path, suite=suite, meshes=inputs / "meshes", step_counts="1", view_counts="1")
    assert "trained families" in {row["data"] for row in report["rows"]}
    scores = [row["metrics"] for row in report["rows"] if row["data"] == "meshes, two views"]
    assert scores and all(metrics["volume_iou"]["count"] == 2 for metrics in scores)
    assert any("aligned_chamfer" in metrics for metrics in scores) == (suite == "image")


def test_script_measures_refinement(inputs: Path, tmp_path: Path) -> None:
    folders = {name: inputs / name for name in ("meshes", "photos")}
    report = run(inputs, tmp_path, suite="agreement", refine=1, noise_seeds="1", **folders)
    of_shapes = [row for row in report["rows"] if row["suite"] == "agreement"]
    assert list(dict.fromkeys(row["data"] for row in of_shapes)) == [
        "trained families",
        "unseen families",
        "free compositions",
        "meshes, two views",
    ]
    truths = [row["metrics"] for row in of_shapes if row["method"] == "truth"]
    assert all(metrics["volume_iou"]["mean"] == 1 and metrics["mask_iou"]["mean"] > 0.9 for metrics in truths)
    # The real photos are measured by this suite's own rows only.
    assert {row["suite"] for row in report["rows"] if row["data"] == "photos"} == {"agreement of photos"}
    assert report["remarks"][0].startswith("lowest of the refined photos: mask IoU")
    # Surfaces are not measured, and the pipeline predicts no camera.
    measured = {(result["title"], result["data"]) for result in report["criteria"]}
    assert ("V-IoU gained by refinement", "meshes, two views") in measured and len(measured) == 6
    missing = {criterion["title"] for criterion in report["unmeasured_criteria"]}
    assert "offset of the predicted camera" in missing and len(missing) == 4
    assert report["settings"]["noise_seeds"] == "1"


def test_criteria_without_data_are_listed_as_not_measured() -> None:
    report = Report("made up")
    report.add([row("agreement of cameras", "predicted camera", "offset_error", [0.02, 0.03])])
    lines = [line for line in report.text().splitlines() if line.startswith("agreement  ")]
    (measured,) = (line for line in lines if "offset" in line)
    assert measured.endswith("passed") and "trained families" in measured
    assert len(lines) == 10 and all(line.endswith("not measured") for line in lines if line != measured)


def test_former_option_names_are_accepted() -> None:
    app = typer.Typer()
    app.command()(main)
    options = {name for parameter in typer.main.get_command(app).params for name in parameter.opts}
    assert {"--bank", "--retrieval-shapes", "--pictures", "--images"} <= options


def test_contact_sheet_of_meshes_has_five_images_for_each_of_two_views(inputs: Path, tmp_path: Path) -> None:
    sheet = runpy.run_path(str(SCRIPTS / "contact_sheet.py"))["main"]
    sheet(
        str(inputs / "tiny"),
        inputs / "meshes",
        tmp_path / "sheet.png",
        meshes=True,
        size=24,
        photos_per_row=2,
        resolution=10,
    )
    page = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    assert page.shape == (24 + 2 * 8, 10 * (24 + 8) + 8)
    cells = [page[8:32, 8 + 32 * column :][:, :24] for column in range(10)]
    assert all(cell.min() < 250 for cell in cells)
