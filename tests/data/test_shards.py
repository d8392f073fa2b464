"""Shards: the values read are the values written, and the error for a damaged file names it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from triplane3d.data.procedural import generate_shapes
from triplane3d.data.procedural.samples import write_shape_shard
from triplane3d.data.shards import ShardDataset, write_shard


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    sizes = {"surface_points": 256, "label_points": 512, "views": 1, "image_size": 32}
    write_shape_shard(folder / "00000.safetensors", range(3), **sizes)
    write_shape_shard(folder / "00003.safetensors", range(3, 5), **sizes)
    return folder


def test_labels_are_the_signed_distances_of_the_seeds(folder: Path) -> None:
    dataset = ShardDataset(folder, surface_points=256, label_points=512)
    shapes = generate_shapes(dataset.seeds, azimuths="random")
    assert dataset.seeds == [0, 1, 2, 3, 4] and tuple(dataset.families) == shapes.names
    for i in range(len(dataset)):
        sample = dataset[i]
        truth = shapes[i : i + 1].distance(sample["label_points"][None])[0]
        assert torch.allclose(sample["label_distance"], truth, atol=3e-3)
        assert shapes[i : i + 1].distance(sample["surface_points"][None]).abs().max() < 5e-3
        assert sample["surface_normals"].norm(dim=-1).sub(1).abs().max() < 0.02
        assert sample["view"].shape == (4, 32, 32) and 0 <= sample["view"].min() and sample["view"].max() <= 1


def test_each_read_samples_other_points_and_half_of_the_labels_are_uniform(folder: Path) -> None:
    dataset = ShardDataset(folder, keys=("labels",), label_points=128)
    first, again = dataset[0]["label_points"], dataset[0]["label_points"]
    assert first.shape == (128, 3) and not torch.equal(first, again)
    near = dataset[0]["label_distance"].abs()
    assert near[64:].median() < near[:64].median()


def test_the_same_seeds_give_the_same_file(folder: Path, tmp_path: Path) -> None:
    write_shape_shard(
        tmp_path / "again.safetensors", range(3), surface_points=256, label_points=512, views=1, image_size=32
    )
    assert (tmp_path / "again.safetensors").read_bytes() == (folder / "00000.safetensors").read_bytes()


def test_a_truncated_shard_and_an_empty_folder_are_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no shards"):
        ShardDataset(tmp_path)
    (tmp_path / "half.safetensors").write_bytes((folder / "00000.safetensors").read_bytes()[:5000])
    with pytest.raises(ValueError, match="half.safetensors is not a whole shard"):
        ShardDataset(tmp_path)


def test_a_shard_can_come_from_any_source_if_its_fields_are_valid(folder: Path, tmp_path: Path) -> None:
    with safe_open(folder / "00003.safetensors", framework="pt") as shard:
        batch = {name: shard.get_tensor(name) for name in shard.keys() if name != "seeds"}
    write_shard(tmp_path / "copy.safetensors", batch, seeds=[3, 4], families=["scan", "photo"])
    copy = ShardDataset(tmp_path, generator=torch.Generator().manual_seed(0))
    assert copy.seeds == [3, 4] and copy.families == ["scan", "photo"]
    original = ShardDataset(folder, generator=torch.Generator().manual_seed(0))
    assert copy[0]["surface_points"].shape == original[3]["surface_points"].shape
    with pytest.raises(ValueError, match="2 shapes come with 3 seeds"):
        write_shard(tmp_path / "wrong.safetensors", batch, seeds=[3, 4, 5], families=["scan", "photo"])
    with pytest.raises(ValueError, match="label_distance must be torch.float16"):
        wrong = batch | {"label_distance": batch["label_distance"].float()}
        write_shard(tmp_path / "wrong.safetensors", wrong, seeds=[3, 4], families=["scan", "photo"])
    assert not (tmp_path / "wrong.safetensors").exists()


def test_a_shard_written_before_cameras_were_stored_has_views_from_the_front(folder: Path, tmp_path: Path) -> None:
    with safe_open(folder / "00003.safetensors", framework="pt") as shard:
        tensors = {name: shard.get_tensor(name) for name in shard.keys() if name != "cameras"}
        save_file(tensors, tmp_path / "old.safetensors", metadata=shard.metadata())
    sample = ShardDataset(tmp_path, keys=("views",))[0]
    assert sample["views"].shape == (1, 4, 32, 32)
    assert sample["cameras"][0, 0] == 0 and sample["cameras"][0, 1].isnan()


def test_a_shard_without_a_needed_field_is_an_error(folder: Path, tmp_path: Path) -> None:
    write_shape_shard(tmp_path / "blind.safetensors", range(2), surface_points=64, label_points=64, views=0)
    assert len(ShardDataset(tmp_path, keys=("surface", "labels"))) == 2
    with pytest.raises(ValueError, match="blind.safetensors lacks views, which this stage reads.*prepare_shapes.py"):
        ShardDataset(tmp_path)


def end_by_kill(command: subprocess.Popen) -> None:
    command.kill()
    command.wait()


def end_by_interrupt(command: subprocess.Popen) -> None:
    """Sends the signal as a terminal does: the workers receive it too."""
    os.killpg(command.pid, signal.SIGINT)
    _, printed = command.communicate(timeout=60)
    last = printed.splitlines()[-1]
    assert command.returncode == 130 and "Traceback" not in printed, printed
    assert last.startswith("stopped by SIGINT; ") and last.endswith("The same command writes the others")


@pytest.mark.parametrize("end", [end_by_kill, end_by_interrupt])
def test_an_ended_command_leaves_no_worker_running(end: Callable[[subprocess.Popen], None], tmp_path: Path) -> None:
    settings = {"output": tmp_path / "shapes", "shapes": 4096, "validation_shapes": 2, "shard_size": 2, "views": 1,
                "surface_points": 64, "label_points": 64, "image_size": 16, "workers": 1, "device": "cpu"}  # fmt: skip
    config = tmp_path / "data.yaml"
    config.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    command = subprocess.Popen([sys.executable, "scripts/prepare_shapes.py", config], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("shapes/train/*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = psutil.Process(command.pid).children()
    assert workers, "workers are running"
    end(command)
    assert not psutil.wait_procs(workers, timeout=30)[1]
    assert end is end_by_kill or not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("metadata", [None, {}, {"families": "[1, 2]"}, {"families": '["car"]'}, {"families": "[["}])
def test_damaged_names_of_families_are_refused_where_they_are_read(metadata, folder: Path, tmp_path: Path) -> None:
    with safe_open(folder / "00003.safetensors", framework="pt") as shard:
        tensors = {name: shard.get_tensor(name) for name in shard.keys()}
    save_file(tensors, tmp_path / "names.safetensors", metadata=metadata)
    dataset = ShardDataset(tmp_path)
    assert len(dataset) == 2  # training does not need the names
    with pytest.raises(ValueError, match="names.safetensors .* families.*prepare_shapes"):
        list(dataset.families)
