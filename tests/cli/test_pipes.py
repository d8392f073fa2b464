"""Standard input and output, unusual file names, and consoles with a limited encoding."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trimesh
from pipelines.tiny_pipeline import photo

from triplane3d.cli import main


def encoded(name: str) -> bytes:
    content = io.BytesIO()
    photo().save(content, name)
    return content.getvalue()


@pytest.mark.parametrize(("options", "kind"), [([], "glb"), (["--format", "stl"], "stl"), (["--format", "obj"], "obj")])
def test_a_photo_from_standard_input_to_a_mesh_on_standard_output(
    model: Path, image: Path, run: Callable, options: list[str], kind: str
) -> None:
    result = run("generate", "-", "-o", "-", "--model", model, *options, given=encoded("PNG"))
    assert result.exit_code == 0, result.stderr
    mesh = trimesh.load_mesh(io.BytesIO(result.stdout_bytes), file_type=kind)
    assert len(mesh.faces) > 0, "standard output has the mesh and nothing else"
    assert "standard output  (" in result.stderr and "background: alpha" in result.stderr
    assert run("generate", "block.png", "-o", "stdin.glb", "--model", model).exit_code == 0
    if kind == "glb":
        assert (image.parent / "stdin.glb").read_bytes() == result.stdout_bytes
    assert sorted(path.name for path in image.parent.iterdir()) == ["block.png", "stdin.glb"]


def test_a_photo_from_standard_input_among_others(model: Path, image: Path, run: Callable) -> None:
    result = run("generate", "block.png", "-", "-o", "meshes/", "--model", model, given=encoded("WEBP"))
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (image.parent / "meshes").iterdir()) == ["block.glb", "stdin.glb"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (b"", "error: standard input is empty"),
        (b"<html>404</html>", "error: standard input is a web page"),
        (encoded("PNG")[:80], "error: standard input is damaged or cut short"),
    ],
)
def test_the_error_of_a_bad_photo_names_standard_input(
    model: Path, run: Callable, tmp_path: Path, given: bytes, sentence: str
) -> None:
    result = run("generate", "-", "-o", tmp_path / "x.glb", "--model", model, given=given)
    assert result.exit_code == 2 and sentence in result.stderr and "/standard input" not in result.stderr


def test_closed_streams_and_terminals_are_refused(image: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    for stream, expected in ((None, "is closed"), (Terminal(io.BytesIO()), "is a terminal")):
        for name, arguments in (("stdin", ["-", "-o", "x.glb"]), ("stdout", ["block.png", "-o", "-"])):
            errors = io.StringIO()
            with monkeypatch.context() as patch:
                patch.setattr(sys, "argv", ["triplane3d", "generate", *arguments])
                patch.setattr(sys, "stderr", errors)
                patch.setattr(sys, name, stream)
                with pytest.raises(SystemExit) as ended:
                    main()
            assert ended.value.code == 2
            assert (
                f"{'reads' if name == 'stdin' else 'writes to'}" in errors.getvalue() and expected in errors.getvalue()
            )


def test_a_camera_may_begin_with_a_minus(tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photo().save("a.png")
    for view, sentence in (
        ("-90=nowhere.png", "nowhere.png does not exist"),
        ("-90,-100=a.png", "must be from -90 to 90 degrees, got -100"),
        ("-.5=nowhere.png", "nowhere.png does not exist"),
        ("-x=a.png", "No such option: -x"),
        ("--nope", "No such option: --nope"),
    ):
        result = run("generate", "--views", "front=a.png", view, "-o", "-90=x.glb")
        assert result.exit_code == 2 and sentence in result.stderr and result.stderr.startswith("error: ")


def test_photos_of_any_name_are_read(
    model: Path, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [
        "-a.png",
        "-5.png",
        "-",
        "two words.png",
        "stuhl \u6905.png",
        "new\nline.png",
        "a=b.png",
        "x" * 251 + ".png",
    ]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"bytes\xff.png"))
    for name in names:
        photo().save(name, format="PNG")
    arguments = ["./-" if name == "-" else name for name in names]
    result = run("generate", *arguments, "-o", "meshes/", "--model", model)
    assert result.exit_code == 0, result.output
    made = {path.name for path in (tmp_path / "meshes").iterdir()}
    assert made == {f"{name.removesuffix('.png')}.glb" for name in names}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_name_that_the_console_cannot_encode_is_printed(
    encoding: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["stuhl \u6905\U0001fa91.png", os.fsdecode(b"bytes\xff.png") if sys.platform == "linux" else "b.png"]
    for name in names:
        photo().save(name, format="PNG")
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setattr(sys, "argv", ["triplane3d", "generate", *names, "-o", "meshes", "--model", str(model)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0, "both meshes were written and reported"
    lines = streams["stdout"].buffer.getvalue().decode("utf-8", errors="replace").splitlines()
    assert len(lines) == 2 and all("faces" in line for line in lines)
    assert len(list((tmp_path / "meshes").iterdir())) == 2


class FailingOutput(io.BytesIO):
    """Standard output whose reader has closed it, or on a full disk."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, _: object) -> int:
        raise self.error

    def fileno(self) -> int:
        return 1


@pytest.mark.parametrize("output", ["x.glb", "-"])
@pytest.mark.parametrize(
    ("error", "expected"),
    [(BrokenPipeError(32, "FailingOutput pipe"), ""), (OSError(28, "No space left"), "standard output: No space left")],
)
def test_an_error_of_standard_output_gives_at_most_one_line(
    output: str, error: OSError, expected: str, model: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = io.StringIO()
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(FailingOutput(error), encoding="utf-8", write_through=True))
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(sys, "argv", ["triplane3d", "generate", "block.png", "-o", output, "--model", str(model)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    messages = [line for line in errors.getvalue().splitlines() if not line.startswith("loading ")]
    assert [expected in line for line in messages] == [True] * bool(expected), messages
