"""Reading public checkpoints: the published pickle, or the same weights as safetensors, and their settings.

A pickle can call any function while it is read. Here it is read by `torch.load(weights_only=True)` only, which builds
tensors, numbers, text and containers, and raises an error at the first name of anything else.
"""

import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from triplane3d.config import unknown_key
from triplane3d.convert.saving import DTYPE_NAMES
from triplane3d.errors import PARSER_ERRORS
from triplane3d.limits import BoundedLoader, check, read_json, read_weights_header, read_yaml

PICKLE = "model.ckpt"
SETTINGS_FILES = ("config.yaml", "config.json")


@dataclass(frozen=True, eq=False)
class Tensors(Mapping[str, Tensor]):
    """A state dict in its file. Shapes and types are read at once; a tensor is read at each access."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]
    read: Callable[[str], Tensor]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.shapes:
            raise KeyError(name)
        return self.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def open_checkpoint(path: str | Path, parts: Sequence[str]) -> dict[str, Tensors]:
    """The state dicts called `parts`, from a checkpoint's file or folder.

    A folder contains either `<part>.safetensors` for every part, which is preferred, or the published `model.ckpt`.
    A pickle of several parts is a dict of state dicts; a pickle of one part is that state dict itself.
    The file is memory-mapped, not read. Only pickles older than torch 1.6's zip format are read into memory.

    Raises:
        FileNotFoundError: if the file or one of its parts does not exist.
        ValueError: if the file is damaged, has other content, or would run code.
    """
    path = Path(path)
    if path.is_dir():
        saved = {part: path / f"{part}.safetensors" for part in parts}
        missing = [file.name for file in saved.values() if not file.is_file()]
        if not missing:
            return {part: _open_safetensors(file) for part, file in saved.items()}
        if not (path / PICKLE).is_file():
            raise FileNotFoundError(
                f"{path} contains neither {PICKLE} nor all of {_listed(file.name for file in saved.values())} "
                f"(missing: {_listed(missing)}): download the checkpoint into it"
            )
        path = path / PICKLE
    head = _head(path)
    if _is_safetensors(head):
        if len(parts) > 1:
            raise ValueError(
                f"{path} is one safetensors file, but {_listed(parts)} are needed: pass the folder that contains "
                f"{_listed(f'{part}.safetensors' for part in parts)}"
            )
        return {parts[0]: _open_safetensors(path)}

    content = _load_pickle(path, zipped=head.startswith(b"PK\x03\x04"))
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} must contain a dict of tensors, got {type(content).__name__}: is it this checkpoint?")
    if len(parts) == 1:
        return {parts[0]: _state_dict(content, str(path))}
    if missing := [part for part in parts if part not in content]:
        raise ValueError(
            f"{path} has no {_listed(missing)}; it has {_listed(content)}: is it the checkpoint of another model?"
        )
    return {part: _state_dict(content[part], f"{path}: {part}") for part in parts}


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML or JSON file, or beside the checkpoint at `path`, with OmegaConf's `${…}` resolved.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a mapping, or a reference cannot be resolved.
    """
    path = Path(path)
    if path.suffix not in (".yaml", ".yml", ".json"):
        folder = path if path.is_dir() else path.parent
        path = next((folder / name for name in SETTINGS_FILES if (folder / name).is_file()), folder / SETTINGS_FILES[0])
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: the settings that were published with the checkpoint are "
            f"needed; download them too, or pass their file"
        )
    _head(path)
    # The loader is a SafeLoader, which creates no Python objects.
    values = read_json(path) if path.suffix == ".json" else read_yaml(path, _SettingsLoader)
    if not isinstance(values, dict) or not values:
        found = type(values).__name__ if values else "nothing"
        raise ValueError(f"{path} must contain a mapping of keys to values, got {found}")
    return _References(values, str(path)).resolve(values, ())


def check_settings(settings: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raises a ValueError for a key of `settings` that is not in `known`.

    If an unknown setting were ignored, another model would be converted than the settings describe.
    """
    if unknown := [str(key) for key in settings if key not in known]:
        raise ValueError("\n".join(unknown_key(key, dict.fromkeys(known), where) for key in unknown))


class _SettingsLoader(BoundedLoader):
    """YAML as OmegaConf reads it: 1e-4 is a number, although YAML 1.1 requires a dot and a sign (1.0e-4)."""


_SettingsLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")


class _References:
    """Replaces each `${dotted.path}` by the value at that path, with limits on number and size."""

    def __init__(self, settings: dict[str, Any], where: str):
        self.settings = settings
        self.where = where
        self.num_references = self.num_values = 0

    def resolve(self, value: Any, chain: tuple[str, ...]) -> Any:
        """`value` with all references in it replaced. `chain` contains the paths that are being resolved."""
        self.num_values += 1
        check("yaml_nodes", self.num_values, f"{self.where}, with all references written out")
        if isinstance(value, dict):
            return {key: self.resolve(item, chain) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item, chain) for item in value]
        if not isinstance(value, str) or "${" not in value:
            return value
        if whole := _REFERENCE.fullmatch(value):
            return self._follow(whole, chain)
        text = _REFERENCE.sub(lambda reference: str(self._follow(reference, chain)), value)
        check("text", len(text), f"{self.where}: {value[:80]!r}")
        if "${" in text:
            raise ValueError(
                f"{self.where}: {value[:80]!r} is not a reference of the form ${{section.key}}: write the value instead"
            )
        return text

    def _follow(self, reference: re.Match, chain: tuple[str, ...]) -> Any:
        """The value to which `reference` points, with the references in it replaced."""
        name = reference[1].strip()
        if name in chain:
            raise ValueError(f"{self.where}: ${{{name}}} is circular: {' → '.join((*chain, name)[-6:])}")
        self.num_references += 1
        check("references", self.num_references, self.where)
        check("depth", len(chain), f"{self.where}: references that lead to references")
        target: Any = self.settings
        for part in name.split("."):
            if isinstance(target, dict) and part in target:
                target = target[part]
            elif isinstance(target, list) and part.isdecimal() and int(part) < len(target):
                target = target[int(part)]
            else:
                raise ValueError(
                    f"{self.where}: ${{{name[:80]}}} refers to nothing in the file: there is no "
                    f"{part[:80]!r}; write the value instead"
                )
        return self.resolve(target, (*chain, name))


def _head(path: Path) -> bytes:
    """The first bytes of a file, with errors for a missing file and for results of failed downloads."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: pass a downloaded checkpoint, or the folder that contains it")
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise ValueError(f"{path} is empty: download it again")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(
            f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` in its "
            f"repository, or download the file itself"
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ValueError(f"{path} is a web page: download the file itself")
    return head


def _is_safetensors(head: bytes) -> bool:
    # Eight bytes for the length of the header, then the header in JSON. torch.save never writes "{" at this place.
    return head[8:9] == b"{"


def _load_pickle(path: Path, *, zipped: bool) -> object:
    if zipped:
        _check_zip(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except UnpicklingError as error:
        # torch's own message advises to disable this protection; only the cause is passed on.
        if name := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"{path} was refused unread, because reading it would run code: besides tensors it needs "
                f"{name[1]}. Use a file that contains only state dicts, or safetensors"
            ) from None
        fact = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
        reason = fact[1] if fact else "it needs more than tensors"
        raise ValueError(
            f"{path} was refused: it is neither a pickle of tensors nor safetensors, or it is damaged "
            f"({reason}). Download it again"
        ) from None
    except PARSER_ERRORS as error:
        raise ValueError(
            f"{path} is neither a pickle of tensors nor safetensors, or it is damaged "
            f"({_reason(error)}). Download it again"
        ) from error


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            damaged = archive.testzip()  # torch.load compares no checksums
    except (zipfile.BadZipFile, OSError, *PARSER_ERRORS) as error:
        raise ValueError(f"{path} is cut short or damaged ({_reason(error)}): download it again") from error
    if damaged is not None:
        raise ValueError(f"{path} is damaged (the checksum of {damaged} differs): download it again")
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise ValueError(f"{path} was refused unread: it is a TorchScript program, not a state dict")
    # The file is memory-mapped, so compressed bytes would be read as the numbers themselves.
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError(f"{path} is a compressed zip file, which torch.save never writes: download the original")


def _state_dict(content: object, where: str) -> Tensors:
    if not isinstance(content, Mapping):
        raise ValueError(f"{where} must be a state dict, got {type(content).__name__}")
    if not content:
        raise ValueError(f"{where} contains no tensors")
    if others := [f"{key!r} ({type(value).__name__})" for key, value in content.items()
                     if not isinstance(key, str) or not isinstance(value, Tensor)]:  # fmt: skip
        raise ValueError(f"{where} must contain names and tensors only; others are {_listed(others)}")
    check("tensors", len(content), where)
    if refused := [f"{name} ({reason})" for name, value in content.items() if (reason := _why_not_plain(value))]:
        raise ValueError(f"{where} must contain plain tensors of real numbers; others are {_listed(refused)}")
    return Tensors(
        {name: tuple(value.shape) for name, value in content.items()},
        {name: value.dtype for name, value in content.items()},
        lambda name: content[name].detach(),
    )


def _why_not_plain(tensor: Tensor) -> str:
    """Why a tensor cannot be a network's weights, or "" if it can."""
    if tensor.layout != torch.strided:
        return str(tensor.layout).removeprefix("torch.").replace("_", " ")
    if tensor.is_quantized:
        return f"quantised, {tensor.dtype}"
    if tensor.dtype not in DTYPE_NAMES or tensor.is_complex():
        return f"of {tensor.dtype}"
    if tensor.device.type != "cpu":
        return f"without data, on the device {tensor.device}"
    if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        return f"{tuple(tensor.shape)} with fewer numbers than its shape needs"
    return ""


def _open_safetensors(path: Path) -> Tensors:
    dtypes = {name: dtype for dtype, name in DTYPE_NAMES.items() if not dtype.is_complex}
    _head(path)
    headers = read_weights_header(path)
    if not headers:
        raise ValueError(f"{path} contains no tensors")
    if others := [f"{name} ({header.dtype})" for name, header in headers.items() if header.dtype not in dtypes]:
        raise ValueError(f"{path} must contain plain tensors of real numbers; others are {_listed(others)}")
    try:
        file = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({_reason(error)}): download it again") from error
    return Tensors(
        {name: header.shape for name, header in headers.items()},
        {name: dtypes[header.dtype] for name, header in headers.items()},
        file.get_tensor,
    )


def _listed(names: Collection[Any] | Iterator[Any], limit: int = 6) -> str:
    names = [str(name) for name in names]
    shown = ", ".join(names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(line.strip() for line in lines[:4]).rstrip(".") or type(error).__name__
