"""Weights are written tensor by tensor, under diffusers' file names, and no files remain after an error."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from models.tiny_models import tiny_transformer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from triplane3d.convert.saving import Entry, save_weights
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.storage.durable import writing_folder

ROOT = Path(__file__).parents[2]


def entries(state: dict[str, Tensor]) -> Iterable[Entry]:
    return (Entry(name, tuple(tensor.shape), tensor.dtype, lambda tensor=tensor: tensor)
            for name, tensor in state.items())  # fmt: skip


def mixed() -> dict[str, Tensor]:
    return {
        "bool": torch.tensor([True, False, True]),
        "half": torch.randn(3, 5).half(),
        "scalar": torch.tensor(3.5),
        "steps": torch.tensor([1 << 40]),
        "columns": torch.randn(40, 30).T[3:17],
        "empty": torch.empty(0, 4),
        "bfloat": torch.randn(7).bfloat16(),
        "double": torch.randn(2, 2).double(),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "chunked": torch.randn(3 * 2**20 + 1),
        "bytes": torch.arange(5, dtype=torch.uint8),
        'naïve "name"': torch.zeros(1),
    }


def test_every_type_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    state = mixed()
    save_weights(tmp_path, entries(state))
    loaded = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    assert set(loaded) == set(state)
    for name, tensor in state.items():
        assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], tensor)


def test_the_file_has_the_layout_of_safetensors(tmp_path: Path) -> None:
    state = {name: tensor.detach().contiguous() for name, tensor in mixed().items()}
    save_weights(tmp_path / "ours", entries(state), name="model")
    ours = (tmp_path / "ours" / "model.safetensors").read_bytes()
    length = int.from_bytes(ours[:8], "little")
    assert length % 8 == 0
    header = json.loads(ours[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    end = 0
    for name, tensor in header.items():
        assert tensor["data_offsets"][0] == end and end % state[name].itemsize == 0, "no gaps, and aligned"
        end = tensor["data_offsets"][1]
    assert 8 + length + end == len(ours)
    widths = [state[name].itemsize for name in header]
    assert widths == sorted(widths, reverse=True)
    for width in set(widths):  # tensors of the same width keep their order
        assert [name for name in header if state[name].itemsize == width] == \
            [name for name in state if state[name].itemsize == width]  # fmt: skip


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("max_shard_size", ["10GB", "40KB", 20_000])
def test_diffusers_loads_the_variant(tmp_path: Path, variant: str | None, max_shard_size: int | str) -> None:
    model = tiny_transformer()
    dtype = torch.float16 if variant else None
    model.save_config(tmp_path)
    save_weights(tmp_path, entries(model.state_dict()), variant=variant, dtype=dtype, max_shard_size=max_shard_size)
    loaded, report = TriplaneTransformer.from_pretrained(
        tmp_path, variant=variant, dtype=dtype or torch.float32, output_loading_info=True, use_safetensors=True
    )
    assert not any(report.values())
    assert all(value.dtype == (dtype or torch.float32) for value in loaded.state_dict().values())
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.to(dtype or torch.float32)), name

    model = model.to(dtype or torch.float32)
    model.save_pretrained(tmp_path / "theirs", variant=variant, max_shard_size=max_shard_size)
    files, theirs = set(os.listdir(tmp_path)) - {"theirs"}, set(os.listdir(tmp_path / "theirs"))
    assert files == theirs, "diffusers writes the same names"
    assert (max_shard_size == "10GB") == (len(files) == 2)
    for name in files:
        if ".index." in name:
            assert json.loads((tmp_path / name).read_text())["metadata"]["total_size"] == \
                json.loads((tmp_path / "theirs" / name).read_text())["metadata"]["total_size"]  # fmt: skip
        if name.endswith(".safetensors") and max_shard_size != "10GB":
            with safe_open(tmp_path / name, "pt") as shard:
                assert len(list(shard.keys())) == 1 or (tmp_path / name).stat().st_size < 60_000


def test_only_floating_point_is_cast_and_overflow_raises_an_error(tmp_path: Path) -> None:
    state = {"steps": torch.tensor([70_000]), "on": torch.tensor([True]), "tiny": torch.tensor([-1.0, 1e-9])}
    save_weights(tmp_path, entries(state), dtype=torch.float16)
    loaded = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    assert loaded["steps"].dtype == torch.int64 and loaded["on"].dtype == torch.bool
    assert loaded["tiny"].tolist() == [-1, 0]
    for number in (torch.nan, -torch.inf):
        with pytest.raises(ValueError, match="broken has NaN or infinite values"):
            save_weights(tmp_path, entries({"broken": torch.tensor([0, number])}))
    with pytest.raises(ValueError, match=r"value 7e\+04, above the maximum of torch.float16 \(6.55e\+04\).*bfloat16"):
        save_weights(tmp_path, entries({"large": torch.tensor([1.0, -7e4])}), dtype=torch.float16)
    save_weights(tmp_path, entries({"large": torch.tensor([1.0, -7e4])}), dtype=torch.bfloat16)


def test_wrong_arguments_raise_errors(tmp_path: Path) -> None:
    (entry,) = entries({"a": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match="two tensors are called 'a'"):
        save_weights(tmp_path, [entry, entry])
    with pytest.raises(ValueError, match=r"expected a to be \(3, 2\) of torch.float32, got \(2, 3\)"):
        save_weights(tmp_path, [replace(entry, shape=(3, 2))])
    with pytest.raises(ValueError, match=r"expected a to be \(2, 3\) of torch.int64, got .* torch.float32"):
        save_weights(tmp_path, [replace(entry, dtype=torch.int64)])
    for size in ("10", "10 PB", "GB", "-1GB"):
        with pytest.raises(ValueError, match="max_shard_size must be a number of bytes or a size such as '10GB'"):
            save_weights(tmp_path, [entry], max_shard_size=size)


# glibc keeps freed memory. With this setting it returns large blocks at once, so that only live memory is counted.
RETURN_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536"}

MEMORY = """
import json, sys, threading, time
from functools import partial
from pathlib import Path
import torch
from triplane3d.convert.checkpoint import open_checkpoint
from triplane3d.convert.saving import Entry, save_weights

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

def peak_of(work):
    base = peak = anonymous()
    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        peak = max(peak, anonymous())
        time.sleep(0.0005)
    return (peak - base) / 8_000_000

torch.randn(1000).half().isinf().sum()
peaks = {}
for form in ("zip", "safetensors"):
    tensors = open_checkpoint(Path(sys.argv[1], form), ("flat",))["flat"]
    for how in ("kept", "cast", "cloned"):
        read = tensors.read if how != "cloned" else lambda name: tensors.read(name).clone()
        entries = [Entry(name, tensors.shapes[name], tensors.dtypes[name], partial(read, name)) for name in tensors]
        dtype = None if how == "kept" else torch.float16
        peaks[f"{form} {how}"] = peak_of(partial(
            save_weights, Path(sys.argv[1], form, how), entries, dtype=dtype, max_shard_size="100MB"))
everything = []
peaks["all at once"] = peak_of(lambda: everything.extend(tensors.read(name).clone() for name in tensors))
print(json.dumps(peaks))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from Linux' /proc")
def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path) -> None:
    """Forty tensors of 8 MB each: peak memory besides the mapped file, in units of a tensor."""
    state = {f"layer.{index}": torch.full((1000, 2000), float(index)) for index in range(40)}
    for form in ("zip", "safetensors"):
        (tmp_path / form).mkdir()
    torch.save(state, tmp_path / "zip" / "model.ckpt")
    save_file(state, tmp_path / "safetensors" / "flat.safetensors")
    ran = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True,
                         env={**os.environ, "PYTHONPATH": str(ROOT), **RETURN_FREED_MEMORY})  # fmt: skip
    peaks = json.loads(ran.stdout)
    assert peaks.pop("all at once") > 30, "the measurement works"
    for how, peak in peaks.items():
        assert peak < 1.3, (how, peaks)
    for form in ("zip", "safetensors"):
        assert len(list((tmp_path / form / "kept").glob("*.safetensors"))) == 4
        loaded = load_file(tmp_path / form / "cloned" / "diffusion_pytorch_model-00002-of-00002.safetensors")
        assert all((tensor == int(name.partition(".")[2])).all() for name, tensor in loaded.items())


def test_a_folder_is_written_completely(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "deeper" / "target"
    with writing_folder(target) as folder:
        (folder / "vae").mkdir()
        (folder / "vae" / "config.json").write_text("{}")
        assert folder.parent == tmp_path and not target.exists()
    assert (target / "vae" / "config.json").read_text() == "{}"
    (tmp_path / "plain").mkdir()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    with writing_folder(tmp_path / "plain") as folder:  # an empty folder may exist
        (folder / "a").touch()
    assert os.listdir(tmp_path / "plain") == ["a"]
    assert set(os.listdir(tmp_path)) == {"deep", "plain"}


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("exists", [False, True])
def test_an_interruption_leaves_no_files(tmp_path: Path, interruption: type, exists: bool) -> None:
    target = tmp_path / "target" if exists else tmp_path / "deep" / "target"
    if exists:
        target.mkdir()
    before = set(tmp_path.rglob("*"))
    with pytest.raises(interruption), writing_folder(target) as folder:
        save_weights(folder / "vae", entries({"a": torch.ones(3)}))
        raise interruption("interrupted")
    assert set(tmp_path.rglob("*")) == before


def test_an_impossible_folder_raises_an_error_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").touch()
    (tmp_path / "file").touch()

    def assert_error(target: Path, error: type[OSError], message: str) -> None:
        with pytest.raises(error, match=message), writing_folder(target):
            raise AssertionError("the block was run")

    assert_error(tmp_path / "full", FileExistsError, "full exists and is not empty: name a new folder")
    assert_error(tmp_path / "file", FileExistsError, "file exists and is no folder")
    assert_error(
        tmp_path / "file" / "below", NotADirectoryError, "file cannot be written to .*below cannot be made there"
    )
    assert_error(Path("/proc/triplane3d"), OSError, "/proc cannot be written to .*name another folder")
    monkeypatch.setattr(Path, "is_mount", lambda path: True)
    (tmp_path / "empty").mkdir()
    assert_error(tmp_path / "empty", FileExistsError, "where a disk is mounted: name a new folder inside it")
    assert set(os.listdir(tmp_path)) == {"full", "file", "empty"} and os.listdir(tmp_path / "full") == ["notes"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    target = tmp_path / "locked" / "target"
    with pytest.raises(PermissionError, match="locked cannot be written to"), writing_folder(target):
        raise AssertionError("the block was run")


def test_a_disk_that_is_too_small_raises_an_error_at_once(tmp_path: Path) -> None:
    def read() -> Tensor:
        raise AssertionError("the block was run")

    with pytest.raises(OSError, match=r"free and the weights take 4000000.0 TB: make room") as error:
        save_weights(tmp_path, [Entry("a", (10**12, 10**6), torch.float32, read)])
    assert error.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_raises_an_error_and_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"disk is full: 8.0 MB of weights were to be written to .*make room") as error, \
            writing_folder(tmp_path / "target") as folder:  # fmt: skip
        (folder / "diffusion_pytorch_model-00002-of-00002.safetensors").symlink_to("/dev/full")
        save_weights(folder, entries({"a": torch.ones(10**6), "b": torch.ones(10**6)}), max_shard_size="4MB")
    assert error.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_file_size_limit_raises_an_error_and_leaves_no_files(tmp_path: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))  # Python ignores the signal, the write fails
    try:
        with pytest.raises(OSError, match="must not become so large; 8.0 MB were to be written: lower") as error, \
                writing_folder(tmp_path / "target") as folder:  # fmt: skip
            save_weights(folder, entries({"a": torch.ones(10**6), "b": torch.ones(10**6)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())
