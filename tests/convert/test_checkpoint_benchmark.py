"""The benchmark of converted checkpoints: both implementations give the same results. Every stage is reported."""

import json
from collections.abc import Iterator
from pathlib import Path

import checkpoints
import pytest
import torch


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[dict]]]:
    output = tmp_path_factory.mktemp("benchmark") / "report.json"
    threads = torch.get_num_threads()
    checkpoints.main(
        only="direct3d,triposr",
        dtypes="float32,bfloat16",
        size="small",
        steps=3,
        repeats=1,
        threads=threads,
        memory=False,
        offload=False,
        folder=None,
        output=output,
    )
    torch.set_grad_enabled(True)
    yield json.loads(Path(output).read_text())["tables"]


def test_both_implementations_give_the_same_results(tables: dict[str, list[dict]]) -> None:
    rows = [row for rows in tables.values() for row in rows if row.get("dtype") == "float32"]
    differences = [row["largest difference"] for row in rows if "largest difference" in row]
    relative = [row["largest relative difference"] for row in rows if "largest relative difference" in row]
    overlaps = [row["V-IoU"] for row in rows if "V-IoU" in row]
    assert len(differences) >= 8 and max(differences) < 1e-4
    assert len(relative) == 3 and max(relative) < 1e-4
    assert len(overlaps) == 3 and min(overlaps) == 1


def test_half_precision_changes_little(tables: dict[str, list[dict]]) -> None:
    (agreement,) = (rows for title, rows in tables.items() if "occupancy" in title)
    share = {row["planes"]: row["share of flipped signs"] for row in agreement}
    assert share["ours float32"] < 1e-4
    assert share["ours bfloat16"] < 2 * share["original bfloat16"] < 0.05
    rows = [row for rows in tables.values() for row in rows if row.get("dtype") == "bfloat16"]
    assert all(row["V-IoU"] > 0.98 for row in rows if "V-IoU" in row)


def test_every_stage_has_a_row(tables: dict[str, list[dict]]) -> None:
    assert [row["checkpoint"] for row in tables["Conversion"]] == ["direct3d", "triposr"]
    stages = {title: [row["stage"] for row in rows if "stage" in row] for title, rows in tables.items()}
    names = ["steps 2 to n", "first step", "steps 2 to n, fused projections", "mean of 3 steps"]
    assert stages["direct3d: guided step"] == names * 2
    assert stages["direct3d: photo to mesh"][:8] == [
        "photo to pixels",
        "both encoders",
        "mean of 3 steps",
        "latents to planes",
        "query, 48³",
        "marching cubes, 48³",
        "mesh object, 48³",
        "photo to mesh",
    ]
    assert stages["triposr: photo to coloured mesh"][:2] == [
        "photo to coloured mesh, 32³",
        "photo to coloured mesh, 48³",
    ]
    for rows in tables.values():
        for row in rows:
            if "faster" in row:
                assert row["faster"] == pytest.approx(row["original s"] / row["ours s"])
                assert row["how"]


def test_a_total_is_the_sum_of_its_rows(tables: dict[str, list[dict]]) -> None:
    rows = [row for row in tables["direct3d: photo to mesh"] if row["dtype"] == "float32"]
    *parts, whole = rows
    times = [3 if row["stage"].startswith("mean of") else 1 for row in parts]
    assert whole["ours s"] == pytest.approx(sum(n * row["ours s"] for n, row in zip(times, parts, strict=True)))
