"""Commands end with one sentence and an exit code: after a wrong input, a failure, a signal."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from triplane3d import errors
from triplane3d.errors import CHECKOUT, errors_as_sentences, missing_path_message
from triplane3d.signals import Stopped, StopRequest
from triplane3d.training.inputs import check_pipeline

SIGNALS = Path(__file__).parents[1] / "triplane3d" / "signals.py"
WORKER_ERROR = """Caught ValueError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "worker.py", line 1, in loop
ValueError: a.safetensors is not whole"""


@pytest.mark.parametrize(
    "error, code, line",
    [
        (ValueError("lr takes\n  a number"), 2, "error: lr takes a number"),
        (FileNotFoundError(2, "No such file or directory", "a.yaml"), 2, "error: a.yaml: No such file or directory"),
        (ValueError(WORKER_ERROR), 2, "error: a.safetensors is not whole"),
        (RuntimeError("no memory"), 1, "error: no memory (RuntimeError; TRIPLANE3D_TRACEBACK=1 shows where)"),
        (FloatingPointError("not finite"), 1, "error: not finite (FloatingPointError; "),
        (Stopped(signal.SIGTERM, "stopped at step 3"), 143, "stopped at step 3"),
        (Stopped(signal.SIGINT), 130, "stopped by SIGINT"),
    ],
)
@pytest.mark.parametrize("shown", [False, True])
def test_an_error_gives_one_line_and_an_exit_code(error, code, line, shown, capsys, monkeypatch):
    monkeypatch.setenv("TRIPLANE3D_TRACEBACK", str(int(shown)))
    with pytest.raises(SystemExit) as ended, errors_as_sentences():
        raise error
    assert ended.value.code == code
    *traceback, last = capsys.readouterr().err.splitlines()
    assert last.startswith(line) and any(text.startswith("Traceback") for text in traceback) == shown


def test_a_bug_keeps_its_traceback_and_success_raises_nothing():
    with pytest.raises(TypeError), errors_as_sentences():
        raise TypeError("a bug")
    with errors_as_sentences():
        pass


def test_the_main_process_prints_the_error_first(capsys, monkeypatch):
    waited: list[float] = []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(errors.time, "sleep", waited.append)
    for error in (ValueError("mistake"), Stopped(signal.SIGTERM, "stopped")):
        with pytest.raises(SystemExit), errors_as_sentences():
            raise error
    assert waited == [errors.SECONDS_FOR_MAIN_PROCESS] and capsys.readouterr().err == "error: mistake\n"


@pytest.mark.parametrize("signum, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_even_where_a_shell_ignores_it(signum, code):
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as ended, errors_as_sentences():
            os.kill(os.getpid(), signum)
            time.sleep(5)
        assert ended.value.code == code and signal.getsignal(signum) is signal.SIG_IGN
    finally:
        signal.signal(signum, before)


def test_the_first_signal_is_stored(capfd):
    request, before = StopRequest(), signal.getsignal(signal.SIGTERM)
    request.install()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)
    request.restore()
    assert request.signum == signal.SIGTERM and signal.getsignal(signal.SIGTERM) is before
    assert capfd.readouterr().err == "SIGTERM: stopping after this update; a second signal stops at once\n"


def program(code: str) -> list[str]:
    """A command that runs `code` with the contents of signals.py, without importing the package."""
    begin = f"import runpy, subprocess, time; globals().update(runpy.run_path({str(SIGNALS)!r}))"
    return [sys.executable, "-c", f"{begin}\n{code}"]


def start(code: str, **environment: str) -> subprocess.Popen:
    inherited = {name: value for name, value in os.environ.items() if name not in ("RANK", "TORCHELASTIC_RUN_ID")}
    process = subprocess.Popen(program(code), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**inherited, **environment})  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


LOOP = """
request = StopRequest()
request.install()
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""


def test_a_second_signal_ends_at_once():
    with start(LOOP) as process:
        process.terminate()
        assert "SIGTERM: stopping" in process.stderr.readline()
        process.terminate()
        assert process.wait(10) == 143


def test_a_signal_that_torchrun_repeats_counts_once():
    with start(LOOP, TORCHELASTIC_RUN_ID="none") as process:
        process.send_signal(signal.SIGINT)
        assert "SIGINT: stopping" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.kill()


def test_a_process_ends_with_its_launcher(tmp_path):
    """`accelerate launch` ends on SIGTERM without forwarding it."""
    received = tmp_path / "received"
    child = f"""
try:
    with stops_at_once():
        print("ready", flush=True)
        time.sleep(60)
except Stopped as stopped:
    with open({str(received)!r}, "w") as file:
        file.write(stopped.name)
"""
    with start(f"subprocess.run({program(child)!r})", ACCELERATE_MIXED_PRECISION="no") as launcher:
        launcher.terminate()
        deadline = time.monotonic() + 20
        while not (received.exists() and received.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert received.read_text() == "SIGTERM"


def test_names_that_the_console_cannot_encode_or_that_control_it_are_escaped(monkeypatch):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="ascii") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    with pytest.raises(SystemExit), errors_as_sentences():
        print("runs/\udcff \u6905", flush=True)
        raise ValueError("runs/\x1b[2J \u202e \udcff")
    assert streams["stdout"].buffer.getvalue() == b"runs/\\udcff \\u6905\n"
    assert streams["stderr"].buffer.getvalue() == b"error: runs/\\x1b[2J \\u202e \\udcff\n"


def test_the_error_names_a_path_of_the_checkout_if_the_command_starts_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = [sys.executable, str(CHECKOUT / "scripts" / "train_denoiser.py")]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    arguments = [*script, "configs/tiny/denoiser.yaml"]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 2 and done.stderr.startswith("error: configs/tiny/denoiser.yaml is not in")
    assert f"but in {CHECKOUT}: start" in done.stderr and done.stderr.count("\n") == 1
    with pytest.raises(ValueError, match=f"pipeline: pipelines/tiny is not in .* but in {CHECKOUT}"):
        check_pipeline("pipelines/tiny")
    assert missing_path_message("nowhere").startswith(f"nowhere is not in {tmp_path}, where the command was started")
