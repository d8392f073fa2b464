"""Malicious files, kills, power cuts, full disks and a second process do not damage a run."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_trainer import Plane, begin, config, fit
from tiny_stages import ROOT, latents_config

from triplane3d.config import ShapesConfig, load_config
from triplane3d.data.procedural.preparation import prepare
from triplane3d.storage import locks
from triplane3d.training.checkpointing import checkpoints, chosen_checkpoint
from triplane3d.training.latents import encode
from triplane3d.training.run_setup import start_run

NAMES = (
    "custom_checkpoint_0.pkl", "custom_checkpoint_1.pkl", "random_states_0.pkl", "optimizer.bin", "optimizer.pt",
    "scheduler.bin", "sampler.bin", "scaler.pt", "dl_state_dict.bin", "pytorch_model.bin", "model.bin", "model.pt",
    "model.pth", "model.ckpt", "diffusion_pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
"""Files that some loader of accelerate, diffusers, transformers or torch looks for."""


def malicious_pickles(marker: Path, folder: Path) -> list[bytes]:
    """Pickles that create `marker` when they are read, plain and as torch writes them."""
    plain = f"c{os.name}\nsystem\n(S'touch {marker}'\ntR.".encode()
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("archive/data.pkl", plain)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return [plain, (folder / "archive.zip").read_bytes()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "line" / "weights.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of six steps with checkpoints at steps 3 and 6."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("whole")
    fit(config(folder))
    return folder


@pytest.fixture
def stopped(whole, tmp_path) -> Path:
    """The same run after three steps."""
    shutil.copytree(whole / "checkpoint-3", tmp_path / "run" / "checkpoint-3")
    return tmp_path / "run"


def test_the_pickles_run_code_if_they_are_read(tmp_path):
    """They create the marker if they are read as accelerate reads custom states."""
    read = "import contextlib, sys, torch\n"
    for number in range(2):
        read += f"with contextlib.suppress(Exception): torch.load(sys.argv[{number + 1}], weights_only=False)\n"
        (tmp_path / str(number)).write_bytes(malicious_pickles(tmp_path / f"marker{number}", tmp_path)[number])
    subprocess.run([sys.executable, "-c", read, tmp_path / "0", tmp_path / "1"], timeout=100)
    assert (tmp_path / "marker0").exists() and (tmp_path / "marker1").exists()


def test_malicious_pickles_beside_a_checkpoint_are_not_read(stopped, whole, tmp_path):
    marker = tmp_path / "marker"
    for name in NAMES:
        for folder in (stopped, stopped / "checkpoint-3", stopped / "checkpoint-3" / "line"):
            (folder / name).write_bytes(malicious_pickles(marker, tmp_path)[0])
    fit(config(stopped))
    assert not marker.exists() and same(weights(stopped), weights(whole))


def test_a_pickle_in_place_of_a_checkpoint_file_is_not_read(stopped, tmp_path):
    marker, checkpoint = tmp_path / "marker", stopped / "checkpoint-3"
    files = [path.relative_to(checkpoint) for path in checkpoint.rglob("*") if path.is_file()]
    assert {"model.safetensors", "optimizer.safetensors", "averages.safetensors", "run.json"} < {*map(str, files)}
    refused = 0
    for content in malicious_pickles(marker, tmp_path):
        for file in files:
            shutil.copytree(checkpoint, tmp_path / "damaged" / "checkpoint-3")
            (tmp_path / "damaged" / "checkpoint-3" / file).write_bytes(content)
            for name in NAMES if file.suffix == ".safetensors" else ():
                (tmp_path / "damaged" / "checkpoint-3" / file.parent / name).write_bytes(content)
            try:
                fit(config(tmp_path / "damaged"))
            except ValueError as error:
                assert "checkpoint-3 is not a whole checkpoint" in str(error)
                refused += 1
            shutil.rmtree(tmp_path / "damaged")
    assert not marker.exists()
    assert refused == 8  # the other files are not needed to resume: averaged weights and a copy of the settings


def test_a_checkpoint_of_pickles_is_refused(stopped):
    checkpoint = stopped / "checkpoint-3"
    (checkpoint / "optimizer.safetensors").rename(checkpoint / "optimizer.bin")
    with pytest.raises(ValueError, match="checkpoint-3 is of an older version, .* can run code.*set `init`"):
        start_run(config(stopped))


def run_until_killed(settings, at: int) -> bool:
    """Trains in a forked process that kills itself before its `at`-th file system call. Returns whether it did."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            calls = 0

            def counted(function):
                def call(*args, **kwargs):
                    nonlocal calls
                    calls += 1
                    if calls == at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*args, **kwargs)

                return call

            for name in ("fsync", "replace", "rename", "unlink", "rmdir"):
                setattr(os, name, counted(getattr(os, name)))
            torch.manual_seed(0)
            fit(settings)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status == signal.SIGKILL


def test_a_run_that_is_killed_anywhere_resumes_from_complete_files(whole, tmp_path):
    """One checkpoint is kept. The last kills happen while the final weights are written.

    Every third call to the file system is tried; `make attack` tries every one.
    """
    killed, steps = 0, set()
    for at in range(1, 400, int(os.environ.get("TRIPLANE3D_KILL_STRIDE", 3))):
        folder = tmp_path / str(at)
        settings = config(folder, checkpoint_limit=1)
        if not run_until_killed(settings, at):
            break
        killed += 1
        found = checkpoints(folder)
        if found:
            chosen_checkpoint(settings.run)
        elif killed > 1:
            assert not steps, "an earlier checkpoint is missing"
        steps |= {path.name for path in found}
        if at % 4 == 0:
            torch.manual_seed(0)
            fit(settings)
            assert same(weights(folder), weights(whole))
            assert not list(folder.glob(".*.partial")) and not list(folder.glob(".*.outdated"))
    assert killed > 15 and steps == {"checkpoint-3", "checkpoint-6"}


def test_after_a_power_cut_every_named_file_is_complete(tmp_path, monkeypatch):
    """Contents are synced before the rename, and the rename before the old file is removed."""
    events: list[tuple[str, Path]] = []
    fsync, rename, replace, rmtree = os.fsync, os.rename, os.replace, shutil.rmtree

    def synced(descriptor):
        events.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def renamed(function):
        def call(source, target, **options):
            if Path(source).is_dir() and not str(target).endswith((".outdated", ".partial")):
                done = {path for kind, path in events if kind == "sync"}
                inside = [path for path in Path(source).rglob("*")] + [Path(source)]
                assert set(inside) <= done, f"not synced: {set(inside) - done}"
            events.append(("rename", Path(target)))
            function(source, target, **options)

        return call

    def removed(path, *args, **kwargs):
        events.append(("remove", Path(path)))
        rmtree(path, *args, **kwargs)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed(rename))
    monkeypatch.setattr(os, "replace", renamed(replace))
    monkeypatch.setattr(shutil, "rmtree", removed)
    fit(config(tmp_path, checkpoint_limit=1))

    (removal,) = [place for place, (kind, _) in enumerate(events) if kind == "remove"]
    named = events.index(("rename", tmp_path / "checkpoint-6"))
    hidden = next(place for place in range(named + 1, removal) if events[place][0] == "rename")
    assert ("sync", tmp_path) in events[named:hidden]  # the new name is on the disk before the old folder is renamed
    assert ("sync", tmp_path) in events[hidden:removal]
    assert ("sync", tmp_path / "log.jsonl") in events[:named]
    assert ("rename", tmp_path / "line") in events[removal:] and events[-1][0] == "sync"


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "config.yaml"])
def test_a_full_disk_is_named_and_the_last_checkpoint_is_complete(stopped, whole, file):
    """Files may be one byte smaller than this file of a checkpoint: safetensors and Python report that differently."""
    run = begin(config(stopped, checkpoint_every=1, log_every=100))
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((whole / "checkpoint-3" / file).stat().st_size - 1, unlimited[1]))
    try:
        with pytest.raises(OSError, match=r"checkpoint-4 could not be written to .*run: .*permits .* MB are free"):
            for batch in run.batches(Plane()):
                run.update(run.losses(**batch))
                run.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert [path.name for path in checkpoints(stopped)] == ["checkpoint-3"]
    fit(config(stopped))
    assert same(weights(stopped), weights(whole))


def test_a_folder_in_use_is_refused_with_the_process_id(tmp_path):
    """The lock ends with that process, even if a process that it forked is still running."""
    program = (
        "import os, runpy, sys, time\n"
        "runpy.run_path(sys.argv[1])['lock_folder'](sys.argv[2])\n"
        "child = os.fork()\n"
        "print(child, flush=True) if child else None\n"
        "time.sleep(100)\n"
    )
    command = [sys.executable, "-c", program, locks.__file__, str(tmp_path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    orphan = int(holder.stdout.readline())
    try:
        with pytest.raises(ValueError, match=rf"is in use by another process \(pid {holder.pid} on .*name another"):
            start_run(config(tmp_path))
        assert not (tmp_path / "config.yaml").exists()
        holder.kill()
        holder.wait()
        assert fit(config(tmp_path, steps=1)).step == 1
    finally:
        holder.kill()
        os.kill(orphan, signal.SIGKILL)
    assert fit(config(tmp_path, steps=2, resume="changed")).step == 2  # the process's own lock does not block it


@contextmanager
def in_use(folder: Path) -> Iterator[int]:
    """The id of a process that has locked the folder."""
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            locks.lock_folder(folder)
            os.write(done, b".")
            signal.pause()
        finally:
            os._exit(1)
    os.close(done)
    try:
        assert os.read(ready, 1) == b"."
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)


def test_folders_of_shards_and_latents_in_use_are_refused(work, autoencoder, tmp_path):
    shapes = load_config(ShapesConfig, ROOT / "configs" / "tiny" / "data.yaml", {"output": tmp_path})
    with in_use(tmp_path) as holder:
        for stage in (partial(prepare, shapes), partial(encode, latents_config(work, output=tmp_path))):
            with pytest.raises(ValueError, match=rf"is in use by another process \(pid {holder} on "):
                stage()
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("damaged", ['{"step": 2, "lo', "\0\0\0\0", "17", '{"loss": 1.0}'])
def test_a_damaged_line_of_the_log_is_dropped_with_a_warning(stopped, whole, damaged, capsys):
    (stopped / "log.jsonl").write_text('{"step": 2, "loss": 0.5}\n{"step": 4, "loss": 0.4}\n' + damaged)
    fit(config(stopped))
    lines = [json.loads(line) for line in (stopped / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6] and lines[0]["loss"] == 0.5
    assert "log.jsonl: 1 of 3 lines are damaged" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"a: [", b"\xff\xfe"])
def test_a_damaged_configuration_does_not_prevent_resuming(stopped, whole, content, capsys):
    for folder in (stopped, stopped / "checkpoint-3"):
        (folder / "config.yaml").write_bytes(content)
    fit(config(stopped))
    assert "config.yaml is missing or damaged" in capsys.readouterr().err
    assert same(weights(stopped), weights(whole))


def test_optimizer_settings_come_from_the_configuration_and_a_new_optimizer_has_no_state(stopped, capsys):
    settings = config(stopped, muon=True, resume="changed")
    settings = replace(settings, optim=replace(settings.optim, weight_decay=0.3))
    run = begin(settings)
    assert {group["weight_decay"] for group in run.optimizer.param_groups} == {0.3, 0.0}
    assert "1 of the weights were trained by another optimizer before" in capsys.readouterr().err
