"""A generation job without a command line: requests are checked, results are complete, jobs can be cancelled."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from pipelines.tiny_pipeline import build_tiny, grids, photo

from triplane3d import Triplane3DPipeline
from triplane3d.generation import GenerateRequest, GenerationCancelled, MeshOptions, Progress, generate
from triplane3d.model_loading import ModelRequest, load_model


@pytest.fixture(scope="module")
def pipe() -> Triplane3DPipeline:
    """The tiny pipeline, with a surface at `level` in its random field."""
    pipe = build_tiny()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def level(pipe: Triplane3DPipeline) -> float:
    return float(grids(pipe, num_inference_steps=2, resolution=12).median())


def test_a_request_gives_the_mesh_of_a_call_of_the_pipeline_and_its_files(
    pipe: Triplane3DPipeline, level: float, tmp_path: Path
) -> None:
    reports: list[Progress] = []
    request = GenerateRequest(
        photos=[photo()], seed=3, steps=2, guidance=2.0, resolution=12, level=level, mesh=MeshOptions(up="y", size=50),
        mesh_path=tmp_path / "a.stl", preview_path=tmp_path / "a.png",
    )  # fmt: skip
    result = generate(request, pipe, progress=reports.append)
    expected = pipe(
        photo(), generator=torch.Generator().manual_seed(3), num_inference_steps=2, guidance_scale=2.0, resolution=12,
        level=level,
    ).meshes[0]  # fmt: skip
    np.testing.assert_array_equal(result.mesh.vertices, expected.vertices)
    assert trimesh.load_mesh(result.mesh_path).extents.max() == pytest.approx(50, rel=1e-5)
    assert result.preview_path.read_bytes().startswith(b"\x89PNG")
    assert [(each.stage, each.step, each.steps) for each in reports] == [
        ("generate", 0, 0), ("generate", 1, 2), ("generate", 2, 2), ("finish", 0, 0), ("write", 0, 0), ("preview", 0, 0)
    ]  # fmt: skip
    assert result.mask_reports[0].method == "alpha" and result.warnings == ()
    assert (result.device, result.dtype) == ("cpu", "float32")
    parts = [seconds for stage, seconds in result.seconds.items() if stage != "total"]
    assert len(parts) == 4 and sum(parts) <= result.seconds["total"]


@pytest.mark.parametrize("stop_at", range(1, 7))
def test_a_canceled_job_leaves_complete_files_or_none(
    pipe: Triplane3DPipeline, level: float, stop_at: int, tmp_path: Path
) -> None:
    calls = 0

    def cancelled() -> bool:
        nonlocal calls
        calls += 1
        return calls == stop_at

    request = GenerateRequest(
        photos=[photo()], steps=2, resolution=12, level=level, mesh_path=tmp_path / "a.glb",
        preview_path=tmp_path / "a.webp",
    )  # fmt: skip
    with pytest.raises(GenerationCancelled):
        generate(request, pipe, cancelled=cancelled)
    assert [path.name for path in tmp_path.iterdir()] == (["a.glb"] if stop_at == 6 else [])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"photos": []}, "photos must be a list"),
        ({"photos": "a.png"}, "photos must be a list"),
        ({"photos": ["a.png", "b.png"]}, "2 photos need cameras"),
        ({"cameras": ["front", "left"]}, "1 photo but 2 cameras"),
        ({"seed": -1}, "seed must be from 0"),
        ({"steps": 0}, "steps must be from 1"),
        ({"steps": 10**9}, "steps must be from 1"),
        ({"guidance": float("nan")}, "guidance must be a finite number"),
        ({"resolution": 4096}, "resolution must be from 8 to 2048"),
        ({"level": float("inf")}, "level must be a finite number"),
        ({"background_removal": "magic"}, "background_removal"),
        ({"mesh_path": "a.fbx"}, "is not the name of a mesh file"),
        ({"preview_path": "a.mp4"}, "end the name in one of .webp"),
    ],
)
def test_a_request_out_of_range_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        GenerateRequest(**{"photos": ["a.png"], **values})


def test_mesh_options_out_of_range_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for values in ({"up": "x"}, {"size": 0.0}, {"size": float("nan")}, {"faces": 3}):
        with pytest.raises(ValueError, match=next(iter(values))):
            MeshOptions(**values)
    monkeypatch.setattr("triplane3d.geometry.mesh.simplification.igl", None)
    with pytest.raises(ValueError, match="libigl"):
        MeshOptions(faces=100)


def test_options_that_a_pipeline_does_not_support_are_refused(pipe: Triplane3DPipeline) -> None:
    for values, sentence in (
        ({"quality": "best"}, "quality must be one of balanced, draft"),
        ({"cameras": ["front"]}, "for one photo of each object"),
    ):
        with pytest.raises(ValueError, match=sentence):
            generate(GenerateRequest(photos=["nowhere.png"], **values), pipe)


def test_a_pipeline_is_loaded_by_name_and_bad_names_are_refused(tmp_path: Path) -> None:
    build_tiny().save_pretrained(tmp_path / "tiny")
    lines: list[str] = []
    assert isinstance(load_model(ModelRequest(str(tmp_path / "tiny")), report=lines.append), Triplane3DPipeline)
    assert len(lines) == 1 and lines[0].startswith(f"loading {tmp_path / 'tiny'} on ")
    for model in ("huge", str(tmp_path)):
        with pytest.raises(ValueError, match="there is no pipeline|no model_index.json"):
            load_model(ModelRequest(model))
