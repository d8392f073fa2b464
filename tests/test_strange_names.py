"""Strange names of files, in every option of every command that takes one: one sentence, exit code 1 or 2.

Nothing is written, no traceback is shown, and no control character reaches the terminal. Names that a file system
accepts are used as they are; the lines that contain them show escapes.
"""

import os
import re
import runpy
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
from convert.tiny_checkpoints import SMALL_TRIPOSR, SMALL_VIT, random_triposr, save_triposr
from diffusers.utils import logging as diffusers_logging
from pipelines.tiny_pipeline import build_tiny, photo
from safetensors.torch import save_file
from transformers.utils import logging as transformers_logging

from triplane3d.__main__ import main as triplane3d
from triplane3d.data.procedural.samples import write_shape_shard

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs" / "tiny"

TRAINED = "--data.validation data --run.output out --run.trackers tensorboard"
STAGE1 = f"train_autoencoder.py {CONFIGS}/autoencoder.yaml --pipeline model --data.folder data {TRAINED}"
LATENTS = "--pipeline model --data.folder data --data.latents latents --data.vae model/vae"
STAGE2 = f"encode_latents.py {CONFIGS}/latents.yaml --vae model/vae --data data --output out"
STAGE3 = f"train_denoiser.py {CONFIGS}/denoiser.yaml {LATENTS} {TRAINED}"
STAGE4 = f"distill_denoiser.py {CONFIGS}/distill.yaml {LATENTS} --teacher model {TRAINED}"
EVALUATE = "evaluate.py model --suite sanity-checks"

INPUTS = {
    "file": [
        "triplane3d generate NAME --model model",
        "triplane3d generate --views front=photo.png left=NAME --model model",
        "triplane3d convert direct3d checkpoint new --config NAME",
        "triplane3d convert triposr NAME new",
        "triplane3d convert triposr checkpoint new --config NAME",
        "prepare_shapes.py NAME",
        *(f"{script} NAME" for script in ("train_autoencoder.py", "encode_latents.py", "train_denoiser.py")),
    ],
    "folder": [
        "triplane3d generate photo.png --model NAME",
        "triplane3d generate photo.png --model model --background-removal NAME",
        "triplane3d info NAME",
        "evaluate.py NAME",
        f"{EVALUATE} --suite steps --teacher NAME",
        f"{EVALUATE} --meshes NAME",
        f"{EVALUATE} --photos NAME",
        "contact_sheet.py NAME photos sheet.png",
        "contact_sheet.py model NAME sheet.png",
        "contact_sheet.py model NAME sheet.png --meshes",
        "assemble_pipeline.py NAME model model",
        "assemble_pipeline.py model NAME model",
        "assemble_pipeline.py model model NAME",
        "add_refiner.py NAME model",
        "add_refiner.py model NAME",
        *(f"{stage} --pipeline NAME" for stage in (STAGE1, STAGE3, STAGE4)),
        *(f"{stage} --data.folder NAME" for stage in (STAGE1, STAGE3, STAGE4)),
        *(f"{stage} --data.validation NAME" for stage in (STAGE1, STAGE3)),
        *(f"{stage} --run.resume NAME" for stage in (STAGE1, STAGE4)),
        *(f"{stage} --init NAME" for stage in (STAGE1, STAGE3)),
        *(f"{stage} --data.latents NAME" for stage in (STAGE3, STAGE4)),
        *(f"{stage} --data.vae NAME" for stage in (STAGE3, STAGE4)),
        f"{STAGE2} --vae NAME",
        f"{STAGE2} --data NAME",
        f"{STAGE3} --init_image_encoder NAME",
        f"{STAGE4} --teacher NAME",
    ],
}
OUTPUTS = {
    "file": [
        "triplane3d generate photo.png --model model --output NAME.glb",
        "triplane3d generate photo.png --model model --output mesh.glb --preview NAME.webp",
        f"{EVALUATE} --output NAME",
        "contact_sheet.py model photos NAME",
    ],
    "folder": [
        "triplane3d generate photo.png --model model --output NAME/",
        "triplane3d convert triposr checkpoint NAME",
        f"prepare_shapes.py {CONFIGS}/data.yaml --output NAME",
        *(f"{stage} --run.output NAME" for stage in (STAGE1, STAGE3, STAGE4)),
        f"{STAGE2} --output NAME",
    ],
}

LONG = {"long": "n" * 300, "long path": "d/" * 2100 + "x", "long below": "d/" + "n" * 300}
LINKS = {"loop": "loop", "in a loop": "loop/x", "in a dangling link": "nothing/x"}
MISPLACED = {"in a file": "plain/x", "in a system folder": "/proc/x", "home": "~/new"}
UNUSUAL = {
    "bytes": os.fsdecode(b"bytes\xff"),
    "escape sequences": "\x1b[2J\x1b]0;t\x07",
    "line feeds": "a\nb\r\tc",
    "C1": "\x9b2J",
    "right to left": "\u202egnp",
    "line separator": "a\u2028b",
    "dash": "-x",
    "tilde": "~/x",
    "user": "~nobody",
    "percent": "%s{}%(x)s",
    "blank": " ",
}
ABSENT = {"dangling link": "nothing", "device": "/dev/full", "unreadable": "/proc/self/mem"}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an input of every kind."""
    folder = tmp_path_factory.mktemp("material")
    pipe = build_tiny()
    channels = pipe.vae.config.latent_channels
    pipe.vae.register_to_config(latents_mean=[0.0] * channels, latents_std=[1.0] * channels)
    pipe.save_pretrained(folder / "model")
    for name in ("data", "latents", "photos", "empty"):
        (folder / name).mkdir()
    write_shape_shard(folder / "data" / "shapes-0.safetensors", range(2), surface_points=256, label_points=512, views=1,
                      image_size=32, batch_size=2)  # fmt: skip
    save_file({"seeds": torch.arange(2)}, folder / "latents" / "latents-0.safetensors")
    photo().save(folder / "photo.png")
    photo().save(folder / "photos" / "photo.png")
    save_triposr(folder / "checkpoint", SMALL_TRIPOSR, SMALL_VIT,
                 random_triposr(SMALL_TRIPOSR, SMALL_VIT, 0).state_dict())  # fmt: skip
    (folder / "plain").touch()
    (folder / "loop").symlink_to("loop")
    (folder / "nothing").symlink_to("missing")
    return folder


@pytest.fixture
def launch(
    material: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, as_users_run_it: None
) -> Callable[[str, str], tuple[int, str, str]]:
    """Runs a command line in process, in the folder of the inputs; returns exit code, standard output and error."""
    monkeypatch.chdir(material)
    # The command disables these bars for the whole process, the scripts do not. Tests must not depend on their order.
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()

    def run(command: str, name: str) -> tuple[int, str, str]:
        program, *arguments = (word.replace("NAME", name) for word in command.split(" "))
        monkeypatch.setattr("sys.argv", [program, *arguments])
        capfd.readouterr()
        code = 0
        try:
            if program == "triplane3d":
                triplane3d()
            else:
                runpy.run_path(str(ROOT / "scripts" / program), run_name="__main__")
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capfd.readouterr()

    return run


def check_refusal(code: int, out: str, err: str) -> None:
    """One line that begins with "error:", exit code 1 or 2, and only printable characters."""
    assert code in (1, 2), out + err
    lines = [line for line in err.split("\n") if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in err, out + err
    assert len(lines[0].removeprefix("error: ").split(" ")) > 2, f"no sentence: {lines[0]}"
    check_printable(out + err)


def check_printable(text: str) -> None:
    """No characters that change a terminal."""
    assert not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")], text


def cases(table: dict[str, list[str]], names: dict[str, dict[str, str]]) -> list:
    found = []
    for kind, commands in table.items():
        for command in commands:
            short = command.replace(f"{CONFIGS}/", "").split(" --")
            for label, name in names[kind].items():
                place = " --".join([short[0], *(part for part in short[1:] if "NAME" in part)])
                found.append(pytest.param(command, name, id=f"{place}-{label}"))
    return found


REFUSED = {**LONG, **LINKS, **MISPLACED, **UNUSUAL, **ABSENT, "empty": ""}


@pytest.mark.parametrize(
    ("command", "name"),
    cases(INPUTS, {"file": {**REFUSED, "folder": "empty"}, "folder": {**REFUSED, "file": "plain", "none": "empty"}}),
)
def test_an_input_of_a_strange_name_is_refused(launch: Callable, material: Path, command: str, name: str) -> None:
    before = sorted(material.rglob("*"))
    check_refusal(*launch(command, name))
    assert sorted(material.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "name"),
    cases(OUTPUTS, {"file": {**LONG, "in a loop": "loop/x", **MISPLACED},
                    "folder": {**LONG, **LINKS, **MISPLACED, "file": "plain", "device": "/dev/full"}}),
)  # fmt: skip
def test_an_output_of_a_strange_name_is_refused(launch: Callable, material: Path, command: str, name: str) -> None:
    before = sorted(material.rglob("*"))
    check_refusal(*launch(command, name))
    assert sorted(material.rglob("*")) == before


STRANGE = "é\x1b[2J\x9b0m\u202e\r\n\t"
USED = {
    "generate": "triplane3d generate NAME.png NAME.png --model NAME -o OUT.glb --preview OUT.webp",
    "generate into a folder": "triplane3d generate photo.png NAME.png --model model -o OUT/",
    "info": "triplane3d info NAME",
    "convert": "triplane3d convert triposr NAME-checkpoint OUT",
    "evaluate": "evaluate.py NAME --suite sanity-checks --photos NAME-photos --shapes 1 --surfaces 0 --steps 1 "
    "--output OUT",
    "contact sheet": "contact_sheet.py NAME NAME-photos OUT --size 8",
    "assemble": "assemble_pipeline.py NAME NAME OUT",
    "prepare": f"prepare_shapes.py {CONFIGS}/data.yaml --output OUT --shapes 1 --validation_shapes 1",
    "former key": "prepare_shapes.py NAME.yaml --output OUT --shapes 1 --validation_shapes 1",
    "autoencoder": f"{STAGE1} --run.steps 1 --run.output OUT --data.folder NAME-data --pipeline NAME --init NAME/vae",
    "latents": f"{STAGE2} --vae NAME/vae --data NAME-data --output OUT",
}


BYTES = os.fsdecode(b"\xff\x1b[2J")


@pytest.fixture
def named(material: Path) -> Callable[[str], None]:
    """Makes the inputs of `USED` under a name, by links, and a photo and settings with it."""

    def make(name: str) -> None:
        for source, ending in (("model", ""), ("photo.png", ".png"), ("checkpoint", "-checkpoint"), ("data", "-data")):
            (material / f"{name}{ending}").unlink(missing_ok=True)
            (material / f"{name}{ending}").symlink_to(material / source)
        photos = material / f"{name}-photos"
        photos.mkdir(exist_ok=True)
        photo(1).save(photos / f"{name}.png")
        settings = (CONFIGS / "data.yaml").read_text().replace("views:", "around: 1\nviews:")
        (material / f"{name}.yaml").write_text(settings)

    return make


@pytest.mark.parametrize("command", USED.values(), ids=USED)
def test_a_strange_name_is_used_as_it_is_and_printed_with_escapes(
    launch: Callable, named: Callable, material: Path, tmp_path: Path, command: str
) -> None:
    named(STRANGE)
    out = tmp_path / STRANGE
    if "assemble" in command:
        shutil.copytree(material / "model", out)
    code, printed, err = launch(command.replace("OUT", str(out)), STRANGE)
    assert code == 0, printed + err
    check_printable(re.sub(r"\r? *\d+%[^\n]*", "", printed + err))  # without progress bars
    assert "OUT" not in command or list(tmp_path.glob("*"))
    if "encode_latents" not in command:
        assert "\\x1b[2J" in printed + err


@pytest.mark.parametrize(
    "command",
    ["triplane3d generate NAME.png -o OUT.glb --preview OUT.png", "triplane3d info NAME",
     f"{EVALUATE} --photos NAME-photos --shapes 1 --surfaces 0 --output OUT", "contact_sheet.py model NAME-photos OUT"],
)  # fmt: skip
def test_names_that_are_not_utf8_are_used_where_no_weights_are_opened(
    launch: Callable, named: Callable, tmp_path: Path, command: str
) -> None:
    named(BYTES)
    code, printed, err = launch(command.replace("OUT", str(tmp_path / BYTES)), BYTES)
    assert code == 0, printed + err
    check_printable(re.sub(r"\r? *\d+%[^\n]*", "", printed + err))


WEIGHTS = [
    "triplane3d generate photo.png --model NAME",
    "triplane3d convert triposr NAME-checkpoint new",
    "triplane3d convert triposr checkpoint NAME/new",
    "evaluate.py NAME",
    "contact_sheet.py NAME photos sheet.png",
    "assemble_pipeline.py NAME model model",
    "assemble_pipeline.py model model NAME",
    "add_refiner.py NAME model",
    "add_refiner.py model NAME",
    f"prepare_shapes.py {CONFIGS}/data.yaml --output NAME/o",
    f"{STAGE1} --run.output NAME/out",
    f"{STAGE1} --init NAME/vae",
    f"{STAGE2} --data NAME-data",
]


@pytest.mark.parametrize("command", WEIGHTS)
def test_names_that_are_not_utf8_are_refused_where_weights_are_opened(
    launch: Callable, named: Callable, material: Path, command: str
) -> None:
    """safetensors cannot open them; its own message would name another reason."""
    named(BYTES)
    before = sorted(material.rglob("*"))
    code, printed, err = launch(command, BYTES)
    check_refusal(code, printed, err)
    assert "UTF-8" in err
    assert sorted(material.rglob("*")) == before


IMPORTED = (
    *("triplane3d.generation", "triplane3d.convert.triposr", "triplane3d.evaluation.command", "zoneinfo"),
    *("triplane3d.evaluation.contact_sheets", "triplane3d.training.assemble_pipeline", "triplane3d.pipelines.checks"),
    *("triplane3d.data.procedural.preparation", "concurrent.futures.process", "triplane3d.training.autoencoder"),
    *("triplane3d.training.latents", "triplane3d.training.denoiser", "encodings.utf_8_sig"),
)


@pytest.fixture
def forbidden(material: Path) -> Iterator[Path]:
    """A folder with files and folders that may be neither read nor written.

    Root may read and write everything. The process therefore runs as another user until the end of the test.
    """
    for module in IMPORTED:  # the other user may not read Python's own files everywhere
        import_module(module)
    place = Path(tempfile.mkdtemp())
    shutil.copytree(material, place, symlinks=True, dirs_exist_ok=True)
    for name in ("model", "data", "photos", "photo.png", "checkpoint"):
        copy = shutil.copytree if (place / name).is_dir() else shutil.copy
        copy(place / name, place / f"no-{name}")
        (place / f"no-{name}").chmod(0)
    shutil.copy(CONFIGS / "data.yaml", place / "no-data.yaml")
    (place / "no-data.yaml").chmod(0)
    (place / "closed").mkdir(mode=0o555)
    (place / "closed" / "file.glb").touch(mode=0o444)
    place.chmod(0o777)
    before = os.getcwd()
    os.chdir(place)
    if os.getuid() == 0:
        os.setresuid(65534, 65534, 0)
    yield place
    if os.getresuid()[2] == 0:
        os.setresuid(0, 0, 0)
    os.chdir(before)
    for path in place.glob("no-*"):
        path.chmod(0o755)
    shutil.rmtree(place)


FORBIDDEN = [
    "triplane3d generate no-photo.png --model model -o mesh.glb",
    "triplane3d generate photo.png --model no-model",
    "triplane3d generate photo.png --model model -o closed/new.glb",
    "triplane3d generate photo.png --model model -o closed/file.glb",
    "triplane3d generate photo.png --model model -o no-data/new.glb",
    "triplane3d generate photo.png --model model -o no-data/",
    "triplane3d info no-model",
    "triplane3d convert triposr no-checkpoint new",
    "triplane3d convert triposr checkpoint closed/new",
    "triplane3d convert triposr checkpoint no-data/new",
    "evaluate.py no-model",
    "evaluate.py model --photos no-photos",
    "evaluate.py model --meshes no-photos",
    "evaluate.py model --suite sanity-checks --output closed/file.glb",
    "evaluate.py model --suite sanity-checks --output no-data/new.json",
    "contact_sheet.py model no-photos sheet.png",
    "contact_sheet.py model photos closed/new.png",
    "assemble_pipeline.py no-model model model",
    "assemble_pipeline.py model model no-model",
    "prepare_shapes.py no-data.yaml",
    f"prepare_shapes.py {CONFIGS}/data.yaml --output closed/new",
    f"prepare_shapes.py {CONFIGS}/data.yaml --output no-data/new",
    f"{STAGE1} --pipeline no-model",
    f"{STAGE1} --data.folder no-data",
    f"{STAGE1} --init no-model/vae",
    f"{STAGE1} --run.output closed/new",
    f"{STAGE1} --run.output no-data",
    f"{STAGE1} --run.resume no-data",
    f"{STAGE2} --vae no-model/vae",
    f"{STAGE2} --output closed",
    f"{STAGE3} --data.latents no-data",
]


@pytest.mark.parametrize("command", FORBIDDEN)
def test_what_may_not_be_read_or_written_is_refused(launch: Callable, forbidden: Path, command: str) -> None:
    os.chdir(forbidden)
    code, printed, err = launch(command, "")
    check_refusal(code, printed, err)
    assert re.search("Permission denied|read-only|not readable", err), err
