"""Failures of the machine give a sentence and an exit code, and the next photo is processed."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pipelines.tiny_pipeline import photo

from triplane3d.cli import generate, main
from triplane3d.errors import is_out_of_memory
from triplane3d.geometry.isosurface import extract_surface
from triplane3d.images.reading import decode_photo

ROOT = Path(__file__).parents[2]
CPU_ALLOCATION = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"


def raised_by(call: Callable, *arguments: object) -> BaseException:
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        call(*arguments)
    return caught.value


class MockPipeline:
    """A mock pipeline: for each photo it raises the next of `errors`, or returns a ball if that is None."""

    config = SimpleNamespace(presets={"balanced": {}})
    dtype = torch.float32

    def __init__(self, errors: list[BaseException | None], device: str = "cpu") -> None:
        self.errors, self.device = list(errors), torch.device(device)

    def set_progress_bar_config(self, **_: object) -> None:
        pass

    def __call__(self, image: Path, quality: str, background_removal: str) -> SimpleNamespace:
        error = self.errors.pop(0)
        if error is not None:
            raise error
        mesh = extract_surface(lambda points: 0.8 - points.norm(dim=-1), resolution=8)
        return SimpleNamespace(meshes=[mesh], mask_reports=None, save_preview=self.preview)

    def preview(self, path: Path) -> None:
        error = self.errors.pop(0)
        if error is not None:
            raise error


@pytest.fixture
def script(image: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Runs generate on as many photos as there are errors."""

    def go(*errors: BaseException | None, device: str = "cpu", options: tuple[str, ...] = ()):
        monkeypatch.setattr(generate, "load", lambda *_, **__: MockPipeline(list(errors), device))
        names = [f"{index}.png" for index in range(1 if "--preview" in options else len(errors))]
        for name in names:
            photo().save(name)
        return run("generate", *names, "-o", "meshes/", *options)

    return go


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        raised_by(np.zeros, 2**58),
        raised_by(torch.zeros, 2**58),
        RuntimeError(CPU_ALLOCATION),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}"[:40],
)
def test_out_of_memory_gives_advice_and_the_next_photo_is_processed(
    error: BaseException, script: Callable, tmp_path: Path
) -> None:
    assert is_out_of_memory(error)
    result = script(error, None, device="cuda")
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert result.stderr == (
        "error: 0.png: there is not enough memory: on cuda try --quality draft, a lower --resolution, "
        "--dtype bfloat16 or --device cpu\n"
    )
    assert [path.name for path in (tmp_path / "meshes").iterdir()] == ["1.glb"]


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("memory of a photo"), OSError(2, "gone")])
def test_other_errors_are_not_out_of_memory(error: BaseException) -> None:
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("errors", "code", "sentences"),
    [
        ([None, None], 0, []),
        ([ValueError("1.png is flat"), None], 2, ["error: 0.png: 1.png is flat"]),
        ([ValueError("0.png is flat"), None], 2, ["error: 0.png is flat"]),
        ([ValueError("flat"), MemoryError()], 1, ["error: 0.png: flat", "error: 1.png: there is not enough memory"]),
        ([RuntimeError("CUDA error:\nno kernel"), None], 1, ["error: 0.png: CUDA error: no kernel (RuntimeError; TRI"]),
        ([ImportError("onnxruntime is missing"), None], 1, ["error: 0.png: onnxruntime is missing (ImportError"]),
        ([OSError(errno.EIO, "Input/output error", "0.png"), None], 1, ["error: 0.png: Input/output error"]),
    ],
)
def test_every_photo_is_processed_and_the_exit_code_is_that_of_the_worst_error(
    errors: list, code: int, sentences: list[str], script: Callable
) -> None:
    result = script(*errors)
    lines = result.stderr.splitlines()
    assert result.exit_code == code
    assert len(lines) == len(sentences) and all(map(str.startswith, lines, sentences)), result.stderr
    assert result.stdout.count("faces") == errors.count(None)


def test_a_full_disk_is_named_and_the_next_photo_is_processed(
    script: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written = []

    def write(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.parent.mkdir(exist_ok=True)
        path.touch()

    monkeypatch.setattr("triplane3d.geometry.mesh.mesh.write_file", write)
    result = script(None, None)
    assert result.exit_code == 1
    place = Path("meshes") / "0.glb"
    assert result.stderr == f"error: 0.png: {place} cannot be written: No space left on device\n"
    assert [path.name for path in (tmp_path / "meshes").iterdir()] == ["1.glb"]


def test_the_mesh_is_kept_if_its_preview_fails(script: Callable, tmp_path: Path) -> None:
    result = script(None, MemoryError(), options=("--preview", "turn.webp"))
    assert result.exit_code == 1 and "the mesh is written, but turn.webp cannot be: there is not" in result.stderr
    assert (tmp_path / "meshes" / "0.glb").is_file()


def test_an_interruption_ends_with_130_at_any_moment(
    script: Callable, image: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = script(None, KeyboardInterrupt(), None)
    assert result.exit_code == 130 and "stopped at 1.png; files that were written before are complete" in result.stderr
    assert result.stdout.count("faces") == 1

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(generate, "load", stop)
    result = run("generate", image)
    assert result.exit_code == 130 and result.stderr == "stopped\n"


@pytest.mark.parametrize("replacement", [RecursionError, AttributeError])
def test_an_interruption_that_a_library_replaces_by_another_error_ends_with_130(
    replacement: type, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise replacement("maximum recursion depth exceeded") from None

    monkeypatch.setattr(generate, "load", interrupted)
    monkeypatch.setattr(sys, "argv", ["triplane3d", "generate", "block.png"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130 and "error" not in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_traceback_is_printed_on_request(script: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPLANE3D_TRACEBACK", "1")
    result = script(RuntimeError("shapes differ"), None)
    assert result.exit_code == 1 and "Traceback" in result.stderr and "error: 0.png: shapes differ" in result.stderr


def test_out_of_memory_while_a_photo_is_decoded_is_not_reported_as_damage(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError(CPU_ALLOCATION)

    monkeypatch.setattr("triplane3d.images.reading._bytes_to_rgba", refuse)
    with pytest.raises(ValueError, match="block.png cannot be unpacked in the memory that is free"):
        decode_photo(image)


INTERRUPTED_IMPORT = """
import builtins, os, signal, sys

original = builtins.__import__

def interrupted(name, *arguments):
    if name == "typer":
        os.kill(os.getpid(), signal.SIGINT)
    return original(name, *arguments)

builtins.__import__ = interrupted
from triplane3d.__main__ import main
main()
"""


def test_an_interruption_during_the_import_prints_no_traceback() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    command = [sys.executable, "-c", INTERRUPTED_IMPORT, "info", "mini"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


LIMITED = """
import functools, resource, sys
from pathlib import Path
import torch
from triplane3d.cli import generate, main

load = generate.load

def load_and_limit(*arguments, **options):
    pipe = load(*arguments, **options)
    kind, call = type(pipe), type(pipe).__call__

    @functools.wraps(call)
    def call_with_a_gigabyte(self, image, **options):
        torch.zeros(2**28 if image.name == "large.png" else 1)
        return call(self, image, **options)

    kind.__call__ = call_with_a_gigabyte
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28,) * 2)
    return pipe

generate.load = load_and_limit
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
def test_an_address_space_limit_gives_advice_and_the_next_photo_is_processed(
    model: Path, image: Path, tmp_path: Path
) -> None:
    photo(1).save("large.png")
    arguments = ["generate", "large.png", "block.png", "--model", str(model), "-o", "meshes/"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 1, done.stderr
    loading, message = done.stderr.splitlines()
    advice = "there is not enough memory: on cpu try --quality draft, a lower --resolution or --dtype bfloat16"
    assert loading.startswith("loading ") and message == f"error: large.png: {advice}"
    assert [path.name for path in (tmp_path / "meshes").iterdir()] == ["block.glb"]
