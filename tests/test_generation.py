"""A generation job without a command line: requests are checked, results are complete, jobs can be cancelled."""

import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from pipelines.tiny_pipeline import build_tiny, grids, photo

from triplane3d import Triplane3DPipeline, model_loading
from triplane3d.cli.models import load
from triplane3d.generation import GenerateRequest, GenerationCancelled, Progress, generate, pipeline_options
from triplane3d.model_loading import ModelRequest, load_model
from triplane3d.pipelines import checks, hub, pipeline_triplane3d
from triplane3d.settings import KEYWORDS, GenerateSettings


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
        photos=[photo()],
        settings=GenerateSettings(seed=3, steps=2, guidance=2.0, resolution=12, level=level, up="y", size=50),
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
    assert [(each.stage, each.step, each.steps) for each in reports if each.stage != "extract"] == [
        ("generate", 0, 0), ("generate", 1, 2), ("generate", 2, 2), ("finish", 0, 0), ("write", 0, 0), ("preview", 0, 0)
    ]  # fmt: skip
    extraction = [(each.step, each.steps) for each in reports if each.stage == "extract"]
    assert extraction == sorted(extraction) and extraction[-1] == (1000, 1000)
    assert result.mask_reports[0].method == "alpha" and result.warnings == ()
    assert (result.device, result.dtype) == ("cpu", "float32")
    parts = [seconds for stage, seconds in result.seconds.items() if stage != "total"]
    assert len(parts) == 5 and sum(parts) == pytest.approx(result.seconds["total"])


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_a_canceled_job_leaves_complete_files_or_none(
    pipe: Triplane3DPipeline, level: float, stop_at: int, tmp_path: Path
) -> None:
    calls = 0

    def cancelled() -> bool:
        nonlocal calls
        calls += 1
        return calls == stop_at

    request = GenerateRequest(
        photos=[photo()],
        settings=GenerateSettings(steps=2, resolution=12, level=level),
        mesh_path=tmp_path / "a.glb",
        preview_path=tmp_path / "a.webp",
    )
    with pytest.raises(GenerationCancelled):
        generate(request, pipe, cancelled=cancelled)
    assert [path.name for path in tmp_path.iterdir()] == (["a.glb"] if stop_at == 8 else [])


def test_a_job_can_be_canceled_between_the_levels_of_the_surface_search(pipe: Triplane3DPipeline, level: float) -> None:
    """Cancelled at the first report of the extraction, the job computes only a part of its samples."""
    settings = GenerateSettings(steps=2, resolution=96, level=level)
    reports: list[Progress] = []
    generate(GenerateRequest(photos=[photo()], settings=settings), pipe, progress=reports.append)
    extraction = [each for each in reports if each.stage == "extract"]
    assert len(extraction) > 3

    seen: list[Progress] = []
    with pytest.raises(GenerationCancelled, match="in the stage 'extract'"):
        generate(
            GenerateRequest(photos=[photo()], settings=settings),
            pipe,
            progress=seen.append,
            cancelled=lambda: sum(each.stage == "extract" for each in seen) == 2,
        )
    assert seen[-1] == extraction[1] and seen[-1].step < seen[-1].steps


def test_every_setting_reaches_the_pipeline_under_its_keyword_or_is_used_after_it(pipe: Triplane3DPipeline) -> None:
    settings = GenerateSettings(steps=3, guidance=1.5, resolution=16, level=0.25, seed=5, background_removal="alpha")
    options = pipeline_options(GenerateRequest(photos=["a.png"], settings=settings), pipe)
    assert options.pop("generator").initial_seed() == 5
    assert options == {
        "quality": "balanced", "num_inference_steps": 3, "guidance_scale": 1.5, "resolution": 16, "level": 0.25,
        "background_removal": "alpha",
    }  # fmt: skip
    assert set(KEYWORDS.values()) <= set(inspect.signature(pipe.__call__).parameters)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"photos": []}, "photos must be a list"),
        ({"photos": "a.png"}, "photos must be a list"),
        ({"photos": ["a.png", "b.png"]}, "2 photos need cameras"),
        ({"cameras": ["front", "left"]}, "1 photo but 2 cameras"),
        ({"settings": GenerateSettings(background_removal="magic")}, "background_removal"),
        ({"mesh_path": "a.fbx"}, "is not the name of a mesh file"),
        ({"preview_path": "a.mp4"}, "end the name in one of .webp"),
    ],
)
def test_a_request_out_of_range_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        GenerateRequest(**{"photos": ["a.png"], **values})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"seed": -1}, "seed must be from 0"),
        ({"steps": 0}, "steps must be from 1"),
        ({"steps": 10**9}, "steps must be from 1"),
        ({"guidance": float("nan")}, "guidance must be a finite number"),
        ({"guidance": -1.0}, "guidance must be a finite number of at least 0"),
        ({"resolution": 4096}, "resolution must be from 8 to 2048"),
        ({"level": float("inf")}, "level must be a finite number"),
        ({"up": "x"}, "up must be"),
        ({"size": 0.0}, "size is the longest side"),
        ({"size": float("nan")}, "size is the longest side"),
        ({"faces": 3}, "faces must be at least 4"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        GenerateSettings(**values)


def test_fewer_faces_without_libigl_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triplane3d.geometry.mesh.simplification.igl", None)
    with pytest.raises(ValueError, match="faces 100: .*libigl"):
        GenerateRequest(photos=["a.png"], settings=GenerateSettings(faces=100))


def test_the_command_and_the_settings_are_read_without_torch() -> None:
    modules = "triplane3d.settings, triplane3d.file_formats, triplane3d.cli"
    code = f"import sys, {modules}; print([name for name in ('torch', 'numpy', 'diffusers') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_options_that_a_pipeline_does_not_support_are_refused(pipe: Triplane3DPipeline) -> None:
    for values, sentence in (
        ({"settings": GenerateSettings(quality="best")}, "quality must be one of balanced, draft"),
        ({"cameras": ["front"]}, "for one photo of each object"),
    ):
        with pytest.raises(ValueError, match=sentence):
            generate(GenerateRequest(photos=["nowhere.png"], **values), pipe)


def test_a_folder_is_found_and_checked_once_when_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny().save_pretrained(tmp_path / "tiny")
    calls: list[str] = []
    for module, name in (
        (checks, "check_pipeline_folder"),
        (hub, "check_pipeline_folder"),
        (model_loading, "find_saved"),
    ):
        function = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda *some, function=function, name=name, **more: (calls.append(name), function(*some, **more))[1],
        )
    load(ModelRequest(str(tmp_path / "tiny")))
    assert sorted(calls) == ["check_pipeline_folder", "find_saved"]


def test_a_pipeline_is_loaded_by_name_and_bad_names_are_refused(tmp_path: Path) -> None:
    build_tiny().save_pretrained(tmp_path / "tiny")
    lines: list[str] = []
    assert isinstance(load_model(ModelRequest(str(tmp_path / "tiny")), report=lines.append), Triplane3DPipeline)
    assert len(lines) == 1 and lines[0].startswith(f"loading {tmp_path / 'tiny'} on ")
    for model in ("huge", str(tmp_path)):
        with pytest.raises(ValueError, match="there is no pipeline|no model_index.json"):
            load_model(ModelRequest(model))


def test_warnings_of_the_refinement_are_those_of_the_result(
    pipe: Triplane3DPipeline, level: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note about a pass that was not possible reaches the caller."""
    refine_fields = pipeline_triplane3d.refine_fields

    def noted(*arguments: Any, **options: Any) -> list[Any]:
        return [replace(each, notes=("a note",)) for each in refine_fields(*arguments, **options)]

    monkeypatch.setattr(pipeline_triplane3d, "refine_fields", noted)
    settings = GenerateSettings(steps=2, resolution=12, level=level, refine=1)
    result = generate(GenerateRequest(photos=[photo()], settings=settings), pipe)
    assert result.refinement_warnings[0] == "a note" and "a note" in result.warnings
    assert result.agreement is not None
    plain = generate(GenerateRequest(photos=[photo()], settings=replace(settings, refine=0)), pipe)
    assert plain.agreement is None and plain.refinement_warnings == ()
