"""Writing converted weights: one tensor in memory at a time."""

import errno
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

DTYPE_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.complex64: "C64",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""The names of torch's types in safetensors."""

CHUNK = 1 << 16
"""Elements that are cast at a time, so that a cast needs no second copy of a tensor."""

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True)
class Entry:
    """A tensor to be written: its name, shape and type, and a function that reads it when it is written."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]


def save_weights(
    folder: str | Path,
    tensors: Iterable[Entry],
    *,
    name: str = "diffusion_pytorch_model",
    variant: str | None = None,
    dtype: torch.dtype | None = None,
    max_shard_size: int | str = "10GB",
) -> None:
    """Writes a safetensors file, or shards and their index, under the names that `from_pretrained` expects.

    Floating-point tensors are cast to `dtype`; others are not. `name` is "model" for transformers' models.

    Raises:
        ValueError: for equal names, a tensor that differs from its entry, and NaN or infinite values.
        OSError: if the disk is too small or full, or a file may not become so large.
    """
    folder = Path(folder)
    entries = [replace(entry, dtype=_stored(entry.dtype, dtype), read=partial(_read, entry)) for entry in tensors]
    if len({entry.name for entry in entries}) < len(entries):
        names = [entry.name for entry in entries]
        raise ValueError(f"two tensors are called {next(key for key in names if names.count(key) > 1)!r}")
    shards = _shards(entries, _bytes(max_shard_size))
    total = sum(_size(entry) for entry in entries)
    stem = f"{name}.{variant}" if variant else name
    files = [f"{stem}.safetensors"] if len(shards) == 1 else [
        f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]  # fmt: skip

    folder.mkdir(parents=True, exist_ok=True)
    if total > (free := shutil.disk_usage(folder).free):
        raise OSError(
            errno.ENOSPC,
            f"{folder} has {_readable(free)} free and the weights take {_readable(total)}: "
            f"make room or choose another disk; half precision takes half of that",
        )
    try:
        for file, shard in zip(files, shards, strict=True):
            _write(folder / file, shard)
        if len(shards) > 1:
            places = {entry.name: file for file, shard in zip(files, shards, strict=True) for entry in shard}
            index = {"metadata": {"total_size": total}, "weight_map": places}
            ending = f"{variant}.json" if variant else "json"
            text = json.dumps(index, indent=2, sort_keys=True) + "\n"
            (folder / f"{name}.safetensors.index.{ending}").write_text(text, encoding="utf-8")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(
                error.errno,
                f"the disk is full: {_readable(total)} of weights were to be written to "
                f"{folder}; make room, raise the quota or choose another disk",
            ) from error
        if error.errno == errno.EFBIG:
            raise OSError(error.errno, f"a file in {folder} must not become so large; {_readable(total)} were to be "
                                       f"written: lower max_shard_size, raise `ulimit -f` or choose another disk"
                          ) from error  # fmt: skip
        raise


def _write(path: Path, entries: Sequence[Entry]) -> None:
    """Writes one safetensors file tensor by tensor. The library's `save_file` needs all tensors in memory at once.

    The format: eight bytes, the header's length, little-endian; the header, JSON, padded with blanks to a multiple of
    eight bytes; the tensors without gaps, the widest types first, so that each tensor is aligned to its type.
    """
    entries = sorted(entries, key=lambda entry: -entry.dtype.itemsize)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in entries:
        start, end = end, end + _size(entry)
        header[entry.name] = {"dtype": DTYPE_NAMES[entry.dtype], "shape": entry.shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for entry in entries:
            _write_tensor(file, entry)


def _write_tensor(file: BinaryIO, entry: Entry) -> None:
    # A function of its own, so that the tensor is freed before the next one is read.
    for chunk in entry.read().reshape(-1).split(CHUNK):
        file.write(_cast(chunk, entry).view(torch.uint8).numpy().data)


def _read(entry: Entry) -> Tensor:
    tensor = entry.read().detach()
    if tuple(tensor.shape) != tuple(entry.shape) or tensor.dtype != entry.dtype:
        raise ValueError(
            f"expected {entry.name} to be {tuple(entry.shape)} of {entry.dtype}, got "
            f"{tuple(tensor.shape)} of {tensor.dtype}"
        )
    return tensor


def _stored(dtype: torch.dtype, requested: torch.dtype | None) -> torch.dtype:
    return requested if requested and dtype.is_floating_point else dtype


def _cast(values: Tensor, entry: Entry) -> Tensor:
    if values.is_floating_point() and not bool(values.isfinite().all()):
        raise ValueError(f"{entry.name} has NaN or infinite values: download the checkpoint again")
    cast = values.to(entry.dtype)
    if cast.dtype != values.dtype and cast.isinf().any():
        raise ValueError(
            f"{entry.name} has the value {values.abs().max():.3g}, above the maximum of {entry.dtype} "
            f"({torch.finfo(entry.dtype).max:.3g}): save in torch.bfloat16 or torch.float32"
        )
    return cast


def _size(entry: Entry) -> int:
    return prod(entry.shape) * entry.dtype.itemsize


def _shards(entries: Iterable[Entry], limit: int) -> list[list[Entry]]:
    """`entries` in shards of at most `limit` bytes, split as diffusers does; a larger tensor has a shard of its own."""
    shards: list[list[Entry]] = []
    open_shard: list[Entry] = []
    filled = 0
    for entry in entries:
        if _size(entry) > limit:
            shards.append([entry])
            continue
        if filled + _size(entry) > limit:
            shards.append(open_shard)
            open_shard, filled = [], 0
        open_shard.append(entry)
        filled += _size(entry)
    return shards + [open_shard] if open_shard or not shards else shards


def _bytes(size: int | str) -> int:
    if isinstance(size, int):
        return size
    number, unit = size[:-2].strip(), size[-2:].upper()
    if unit not in UNITS or not number.replace(".", "", 1).isdecimal():
        raise ValueError(
            f"max_shard_size must be a number of bytes or a size such as '10GB' (KB, MB, GB, TB), got {size!r}"
        )
    return int(float(number) * UNITS[unit])


def _readable(size: int) -> str:
    for unit, bytes_ in reversed(UNITS.items()):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"
