"""Mistakes in any script's arguments end with one sentence and exit code 2, before anything is computed or written."""

import runpy
import shutil
from pathlib import Path

import pytest

from triplane3d.config import ShapesConfig, load_config, save_config
from triplane3d.data.procedural.samples import write_shape_shard

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [script, *map(str, arguments)])
        runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys, as_users_run_it):
    """Runs a script in an empty folder; returns its error message."""
    monkeypatch.chdir(tmp_path)

    def refuse(script: str, *arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(script, *arguments)
        printed = capsys.readouterr().err
        lines = [line for line in printed.splitlines() if line.startswith("error: ")]
        assert ended.value.code == 2 and len(lines) == 1 and "Traceback" not in printed, printed
        assert sorted(tmp_path.rglob("*")) == before
        return lines[0]

    return refuse


TINY = ROOT / "configs" / "tiny"
STAGES = {
    "train_autoencoder.py": TINY / "autoencoder.yaml",
    "encode_latents.py": TINY / "latents.yaml",
    "train_denoiser.py": TINY / "denoiser.yaml",
    "distill_denoiser.py": TINY / "distill.yaml",
}


def test_a_missing_earlier_stage_is_named_with_its_script(refused, work, tmp_path):
    """Each stage names the next missing input, which is then provided."""
    stage0, stage1 = "stage 0, scripts/prepare_shapes.py, writes it", "stage 1, scripts/train_autoencoder.py, writes it"
    vae = "there is no folder runs/tiny/autoencoder/vae; " + stage1
    assert f"data.folder: there is no folder data/tiny/train; {stage0}" in refused(*list(STAGES.items())[0])
    assert f"vae: {vae}" in refused(*list(STAGES.items())[1])
    shutil.copytree(work / "data", tmp_path / "data" / "tiny" / "train")
    for name in ("train_denoiser.py", "distill_denoiser.py"):
        assert "data.latents: there is no folder data/tiny/latents; stage 2, scripts/enc" in refused(name, STAGES[name])
    (tmp_path / "data" / "tiny" / "latents").mkdir()
    assert "data.latents: no latents-*.safetensors in data" in refused("train_denoiser.py", STAGES["train_denoiser.py"])
    (tmp_path / "data" / "tiny" / "latents" / "latents-0.safetensors").write_bytes(b"")
    pipeline = ("--pipeline", ROOT / "pipelines" / "tiny")
    for name in ("train_denoiser.py", "distill_denoiser.py"):
        assert f"data.vae: {vae}" in refused(name, STAGES[name], *pipeline)
    shutil.copytree(ROOT / "pipelines" / "tiny" / "vae", tmp_path / "vae")
    without = ("--data.vae", "vae", *pipeline)
    assert "data.vae: vae describes a model but holds no weights" in refused(*list(STAGES.items())[2], *without)
    assert "vae: . holds no saved model (no config.json); do you mean vae?" in refused(
        "encode_latents.py", STAGES["encode_latents.py"], "--vae", ".")  # fmt: skip


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["--pipeline", "mini"], "pipeline=mini is not a folder: name one of pipelines/, such as pipelines/mini"),
        (["--pipeline", ROOT / "pipelines" / "triposr"], "triposr has no vae/config.json, which this stage needs"),
        (["--run.resume", "runs/x"], "run.resume=runs/x: runs/x is not a checkpoint folder of this trainer"),
        (["--mixed_precision", "fp16"], "command line, --mixed_precision: run.mixed_precision takes 'no' or 'bf16'"),
        (["--lr", "-1"], "command line, --lr: optim.lr takes a number above 0 and at most 10, not '-1'"),
        (
            ["--run.steps", "0"],
            "--run.steps: run.steps takes a whole number from 1 to 1,000,000,000, not '0'",
        ),
        (["--trackers", "crayon"], "run.trackers: accelerate has no tracker crayon"),
        (["--compile", "1", "--compile_backend", "magic"], "run.compile_backend=magic is none of "),
        (["--train_encoder", "no"], "train_encoder=false keeps the encoder of `init`, but none is given"),
        (["--init", "vae"], "init: there is no folder vae; stage 1"),
        (["--validation", "held"], "data.validation: there is no folder held; stage 0"),
        (["--stream", "yes"], "is given too: remove data.folder"),
    ],
)
def test_a_wrong_flag_is_refused(refused, work, flags, sentence):
    paths = ["--pipeline", ROOT / "pipelines" / "tiny", "--folder", work / "data", "--validation", work / "data"]
    assert sentence in refused("train_autoencoder.py", TINY / "autoencoder.yaml", *paths, *flags)


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["--device", "gpu"], "device=gpu cannot be used here"),
        (["--families", "car,dragon"], "families: there is no family dragon of shapes"),
        (["--views", "0", "--random-views", "1"], "set views to 1"),
        (["--first_seed", 2**31], "are for evaluation: choose a smaller first_seed"),
        (["--workers", "0"], "workers takes a whole number from 1 to 512"),
    ],
)
def test_shapes_that_cannot_be_prepared_are_refused(refused, flags, sentence):
    assert sentence in refused("prepare_shapes.py", TINY / "data.yaml", *flags)


def test_shards_of_other_settings_or_seeds_are_not_mixed(refused, tmp_path):
    settings = load_config(ShapesConfig, TINY / "data.yaml")
    sizes = {"surface_points": 512, "label_points": 2048, "views": 2, "image_size": 32}
    for folder in ("train", "validation"):
        (tmp_path / settings.output / folder).mkdir(parents=True)
    write_shape_shard(tmp_path / settings.output / "train" / "shapes-00001.safetensors", range(5, 8), **sizes)
    save_config(settings, tmp_path / settings.output / "config.yaml")
    changed = refused("prepare_shapes.py", TINY / "data.yaml", "--image_size", "64", "--views", "1")
    assert "data/tiny holds shards of other settings (views: 2, now 1; image_size: 32, now 64)" in changed
    more = refused("prepare_shapes.py", TINY / "data.yaml", "--shapes", "10")
    assert (
        "shapes-00001.safetensors holds 3 shapes from seed 5 on, but this configuration has 5 shapes from seed 5 on"
        in more
    )


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (
            ["nothing"],
            "there is no pipeline 'nothing': name one that ships with the library (mini), a folder, or owner/name",
        ),
        (["."], ". is not a saved pipeline: it has no model_index.json"),
        ([ROOT / "pipelines" / "base"], "base describes a pipeline but holds no weights: train it"),
        (["mini", "--teacher", "nothing"], "there is no pipeline 'nothing'"),
        (["mini", "--suite", "everything"], "--suite must be one of sanity-checks, autoencoder"),
        (["mini", "--meshes", "nowhere"], "--meshes nowhere is not a folder"),
        (["mini", "--photos", "."], "--photos . holds none of *.jpeg, *.jpg"),
        (["mini", "--step-counts", "1,two"], "--step-counts takes whole numbers of 1 or more with commas between them"),
        (["mini", "--guidances", "nan"], "--guidances takes numbers of 0 or more with commas between them, got 'nan'"),
        (["mini", "--output", "."], "--output: . is a folder: name a file"),
    ],
)
def test_wrong_arguments_of_evaluate_are_refused(refused, arguments, sentence):
    assert sentence in refused("evaluate.py", *arguments)


def test_wrong_arguments_of_assemble_and_contact_sheet_are_refused(refused, work, autoencoder, latents, tmp_path):
    tiny = ROOT / "pipelines" / "tiny"
    assert "pipeline=tiny is not a folder" in refused("assemble_pipeline.py", autoencoder, "runs", "tiny")
    assert "autoencoder: there is no folder runs/vae; stage 1" in refused("assemble_pipeline.py", "runs", "runs", tiny)
    assert "denoiser: there is no folder runs/transformer; stage 3, scripts/train_denoiser.py" in refused(
        "assemble_pipeline.py", autoencoder, "runs", tiny)  # fmt: skip
    assert "photos is not a folder of photos" in refused("contact_sheet.py", "mini", "photos", "sheet.png")
    assert ". holds no photo" in refused("contact_sheet.py", "mini", ".", "sheet.png")


def test_an_output_that_cannot_be_written_is_refused(refused, work, autoencoder, tmp_path):
    """Before any model is loaded or shape is encoded."""
    (tmp_path / "file").touch()
    pipeline = ["--pipeline", ROOT / "pipelines" / "tiny", "--folder", work / "data", "--validation", work / "data"]
    sentence = "is a file, not a folder: choose another output"
    stage1 = refused("train_autoencoder.py", TINY / "autoencoder.yaml", *pipeline, "--run.output", "file/run")
    assert stage1.startswith("error: run.output: ") and sentence in stage1
    stage2 = refused(
        "encode_latents.py", TINY / "latents.yaml", "--vae", autoencoder / "vae", "--data", work / "data",
        "--output", "file/latents",
    )  # fmt: skip
    assert stage2.startswith("error: output: ") and sentence in stage2
