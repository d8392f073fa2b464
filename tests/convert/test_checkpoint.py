"""Reading public checkpoints: all formats, malicious pickles, damaged files, and settings."""

import importlib
import json
import os
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from triplane3d.convert.checkpoint import Tensors, check_settings, open_checkpoint, read_settings

PARTS = ("vae", "dit")
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # for files that are not pickles
LEGACY = {"_use_new_zipfile_serialization": False}
FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def states() -> dict[str, dict[str, Tensor]]:
    return {
        "vae": {"conv.weight": torch.randn(3, 4, 2), "steps": torch.tensor(7), "half": torch.randn(5).half()},
        "dit": OrderedDict(table=torch.randn(2, 6).bfloat16(), empty=torch.empty(0, 3), mask=torch.ones(3).bool()),
    }


def assert_contains(opened: Tensors, expected: dict[str, Tensor]) -> None:
    assert list(opened) == list(expected) or set(opened) == set(expected)
    assert len(opened) == len(expected)
    for name, tensor in expected.items():
        assert opened.shapes[name] == tuple(tensor.shape) and opened.dtypes[name] == tensor.dtype
        assert opened[name].dtype == tensor.dtype and torch.equal(opened[name], tensor)


@FORMATS
def test_a_pickle_its_folder_and_safetensors_give_the_same_tensors(tmp_path: Path, legacy: bool) -> None:
    expected = states()
    torch.save(expected, tmp_path / "model.ckpt", **LEGACY if legacy else {})
    for path in (tmp_path / "model.ckpt", tmp_path, str(tmp_path)):
        opened = open_checkpoint(path, PARTS)
        assert list(opened) == list(PARTS)
        for part in PARTS:
            assert_contains(opened[part], expected[part])
            assert list(opened[part]) == list(expected[part])  # a pickle keeps the order
    (tmp_path / "model.ckpt").write_bytes(b"safetensors are preferred to this")
    for part in PARTS:
        save_file(expected[part], tmp_path / f"{part}.safetensors")
    for part, opened in open_checkpoint(tmp_path, PARTS).items():
        assert_contains(opened, expected[part])


@FORMATS
def test_a_single_part_is_the_whole_state_dict(tmp_path: Path, legacy: bool) -> None:
    expected = states()["vae"]
    torch.save(expected, tmp_path / "model.ckpt", **LEGACY if legacy else {})
    assert_contains(open_checkpoint(tmp_path, ("triposr",))["triposr"], expected)
    save_file(expected, tmp_path / "anything")
    assert_contains(open_checkpoint(tmp_path / "anything", ("triposr",))["triposr"], expected)


def test_parameters_and_shared_storage_are_read_as_plain_tensors(tmp_path: Path) -> None:
    table = nn.Parameter(torch.randn(4, 6))
    torch.save({"tied": table, "head": table, "columns": table.data.T[1:3]}, tmp_path / "model.ckpt")
    opened = open_checkpoint(tmp_path, ("flat",))["flat"]
    assert not opened["tied"].requires_grad and torch.equal(opened["tied"], opened["head"])
    assert torch.equal(opened["columns"], table.data.T[1:3])
    with pytest.raises(KeyError):
        opened["absent"]


def test_weights_are_memory_mapped(tmp_path: Path) -> None:
    """Tensors show changes to the file that were made after it was opened."""
    torch.save({"table": torch.full((1000, 1000), 1.5)}, tmp_path / "model.ckpt")
    opened = open_checkpoint(tmp_path, ("flat",))["flat"]
    content = (tmp_path / "model.ckpt").read_bytes()

    offset = content.index(struct.pack("<f", 1.5) * 100)
    with (tmp_path / "model.ckpt").open("r+b") as file:
        file.seek(offset)
        file.write(struct.pack("<f", 2.5) * 1_000_000)
    assert torch.equal(opened["table"], torch.full((1000, 1000), 2.5))


class Call:
    """Unpickling this object without protection calls `function` with `arguments`."""

    def __init__(self, function: Callable, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def malicious(marker: Path) -> dict[str, tuple[Call, str]]:
    """Calls that would create `marker`, each with the name that the error message must contain."""
    code = f"open({str(marker)!r}, 'w').close()"
    system = f"{os.name}.system"
    return {
        "system": (Call(os.system, f"touch {marker}"), system),
        "eval": (Call(eval, code), "needs eval."),
        "exec": (Call(exec, code), "needs exec."),
        "open": (Call(open, str(marker), "w"), "open"),
        "touch": (Call(Path.touch, marker), "getattr"),
        "import": (Call(importlib.import_module, "colorsys"), "importlib.import_module"),
        "rebuilt": (Call(torch.hub.load_state_dict_from_url, f"file://{marker}"), "torch.hub.load_state_dict_from_url"),
    }


@FORMATS
@pytest.mark.parametrize("attack", ["system", "eval", "exec", "open", "touch", "import", "rebuilt"])
@pytest.mark.parametrize("place", ["top", "part", "value", "key"])
def test_a_malicious_pickle_raises_an_error_and_runs_nothing(
    tmp_path: Path, attack: str, place: str, legacy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # must have no effect here
    marker = tmp_path / "code ran"
    call, name = malicious(marker)[attack]
    content = {
        "top": call,
        "part": {"vae": call, "dit": {}},
        "value": {"vae": {"a": torch.ones(2), "b": call}},
        "key": {"vae": {call: torch.ones(2)}},
    }[place]
    torch.save(content, tmp_path / "model.ckpt", **LEGACY if legacy else {})
    with pytest.raises(ValueError, match=rf"model\.ckpt was refused unread.*run code.*{re.escape(name)}") as error:
        open_checkpoint(tmp_path, PARTS)
    assert "weights_only" not in str(error.value), "the message must not suggest to disable the protection"
    assert not marker.exists() and set(os.listdir(tmp_path)) == {"model.ckpt"}


def test_the_malicious_calls_create_the_marker(tmp_path: Path) -> None:
    """If the calls did not create the marker, its absence would prove nothing."""
    for attack in ("system", "eval", "exec", "open", "touch"):
        marker = tmp_path / attack
        function, arguments = malicious(marker)[attack][0].call
        function(*arguments)
        assert marker.exists()


@pytest.mark.parametrize("pickled", [
    b"cposix\nsystem\n(S'touch MARKER'\ntR.",                            # protocol 0
    b"\x80\x02cposix\nsystem\nX\x0c\x00\x00\x00touch MARKER\x85R.",      # protocol 2
    b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x0ctouch MARKER\x85R.",
    b"(S'touch MARKER'\niposix\nsystem\n.",
], ids=["0", "2", "4", "instance"])  # fmt: skip
def test_pickles_written_without_torch_run_nothing(
    tmp_path: Path, pickled: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.ckpt").write_bytes(pickled)
    with pytest.raises(ValueError, match="was refused"):
        open_checkpoint(tmp_path, PARTS)
    assert os.listdir(tmp_path) == ["model.ckpt"]


@FORMATS
def test_a_pickled_module_is_refused_by_its_class(tmp_path: Path, legacy: bool) -> None:
    torch.save(nn.Linear(2, 3), tmp_path / "model.ckpt", **LEGACY if legacy else {})
    with pytest.raises(ValueError, match=r"refused unread.*torch\.nn\.modules\.linear\.Linear.*state dicts"):
        open_checkpoint(tmp_path, ("flat",))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 3)), tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match="refused unread: it is a TorchScript program"):
        open_checkpoint(tmp_path, ("flat",))


@pytest.mark.parametrize(("parts", "content", "message"), [
    (PARTS, [torch.ones(2)], "must contain a dict of tensors, got list"),
    (("flat",), torch.ones(2), "must contain a dict of tensors, got Tensor"),
    (PARTS, {"vae": {"a": torch.ones(2)}, "ema": {}}, "has no dit; it has vae, ema"),
    (PARTS, {f"layer.{i}": torch.ones(1) for i in range(9)}, "has no vae, dit; it has layer.0, .* and 3 more"),
    (PARTS, {"vae": {"a": torch.ones(2)}, "dit": torch.ones(2)}, "dit must be a state dict, got Tensor"),
    (PARTS, {"vae": {}, "dit": {}}, "vae contains no tensors"),
    (("flat",), {}, "contains no tensors"),
    (("flat",), {"a": torch.ones(2), "epoch": 3, "b": [torch.ones(1)]}, r"others are 'epoch' \(int\), 'b' \(list\)"),
    (("flat",), {5: torch.ones(2)}, r"others are 5 \(Tensor\)"),
    (("flat",), {"state_dict": {"a": torch.ones(2)}}, r"others are 'state_dict' \(dict\)"),
])  # fmt: skip
@FORMATS
def test_wrong_content_raises_an_error(
    tmp_path: Path, parts: tuple, content: object, message: str, legacy: bool
) -> None:
    torch.save(content, tmp_path / "model.ckpt", **LEGACY if legacy else {})
    with pytest.raises(ValueError, match=message):
        open_checkpoint(tmp_path, parts)


def test_missing_files_raise_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist: pass a downloaded checkpoint"):
        open_checkpoint(tmp_path / "nowhere", PARTS)
    with pytest.raises(FileNotFoundError, match=r"neither model.ckpt nor all of vae.safetensors, dit.safetensors"):
        open_checkpoint(tmp_path, PARTS)
    save_file({"a": torch.ones(2)}, tmp_path / "vae.safetensors")
    with pytest.raises(FileNotFoundError, match=r"missing: dit.safetensors"):
        open_checkpoint(tmp_path, PARTS)
    with pytest.raises(ValueError, match=r"one safetensors file, but vae, dit are needed: pass the folder"):
        open_checkpoint(tmp_path / "vae.safetensors", PARTS)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is empty"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS pointer.*git lfs pull"),
    (b"\n<!DOCTYPE html><html>", "is a web page"),
    (b"garbage, of no format at all", "neither a pickle of tensors nor safetensors"),
    (bytes(range(256)) * 9, "neither a pickle of tensors nor safetensors"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["model.ckpt", "flat.safetensors", "config.yaml"])
def test_results_of_failed_downloads_raise_errors(tmp_path: Path, content: bytes, message: str, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    if "neither" in message:
        message = {"model.ckpt": message, "flat.safetensors": "not a complete safetensors file"}.get(
            name, "config.yaml"
        )
    with pytest.raises(ValueError, match=message):
        read_settings(tmp_path) if name == "config.yaml" else open_checkpoint(tmp_path, ("flat",))


@FORMATS
def test_a_truncated_pickle_raises_a_clear_error(tmp_path: Path, legacy: bool) -> None:
    torch.save(states(), tmp_path / "whole", **LEGACY if legacy else {})
    whole = (tmp_path / "whole").read_bytes()
    for length in [*range(1, len(whole), 37), len(whole) - 1]:
        (tmp_path / "model.ckpt").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="model.ckpt is|model.ckpt was refused"):
            open_checkpoint(tmp_path, PARTS)


@FORMATS
def test_damaged_bytes_give_tensors_or_a_clear_error(tmp_path: Path, legacy: bool) -> None:
    torch.save(states(), tmp_path / "whole", **LEGACY if legacy else {})
    whole = (tmp_path / "whole").read_bytes()
    generator = torch.Generator().manual_seed(0)
    errors = 0
    for _ in range(200):
        damaged = bytearray(whole)
        places = torch.randint(len(whole), (int(torch.randint(1, 30, (1,), generator=generator)),), generator=generator)
        for place in places:
            damaged[place] = int(torch.randint(256, (1,), generator=generator))
        (tmp_path / "model.ckpt").write_bytes(damaged)
        try:
            open_checkpoint(tmp_path, PARTS)
        except ValueError as error:
            assert "model.ckpt" in str(error)
            errors += 1
    assert errors > 20


def test_a_compressed_zip_file_raises_an_error(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "stored")
    with zipfile.ZipFile(tmp_path / "stored") as stored, \
            zipfile.ZipFile(tmp_path / "model.ckpt", "w", zipfile.ZIP_DEFLATED) as packed:  # fmt: skip
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with pytest.raises(ValueError, match="compressed zip file"):
        open_checkpoint(tmp_path, ("flat",))
    with zipfile.ZipFile(tmp_path / "model.ckpt", "w") as other:
        other.writestr("word/document.xml", "a text")
    with pytest.raises(ValueError, match="neither a pickle of tensors nor safetensors"):
        open_checkpoint(tmp_path, ("flat",))


def test_truncated_or_unsupported_safetensors_raise_errors(tmp_path: Path) -> None:
    path = tmp_path / "flat.safetensors"
    save_file({"a": torch.ones(100)}, path)
    whole = path.read_bytes()
    for length in (4, 8, 20, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not a complete safetensors file"):
            open_checkpoint(tmp_path, ("flat",))
    save_file({}, path)
    with pytest.raises(ValueError, match="contains no tensors"):
        open_checkpoint(tmp_path, ("flat",))
    header = json.dumps({"a": {"dtype": "F8_E8M0", "shape": [8], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(ValueError, match=r"plain tensors of real numbers; others are a \(F8_E8M0\)"):
        open_checkpoint(tmp_path, ("flat",))


def write(folder: Path, text: str, name: str = "config.yaml") -> Path:
    (folder / name).write_text(text)
    return folder


SETTINGS = """
image: 512
plain: {a: 1e-4, b: 1.0e-6, c: -2E3, d: +.5e+2, e: 1_0e1, f: 1.5, g: 3, h: e4, i: 0x1e4, j: "1e-4", k: 1e-4x, l: .inf}
tokenizer: {num_channels: 64, sizes: [4, "${image}"]}
backbone: {in_channels: "${tokenizer.num_channels}", name: "c${tokenizer.num_channels}-${image}"}
post: {in_channels: "${backbone.in_channels}", all: "${tokenizer}", first: "${ tokenizer.sizes.1 }", none: ~, yes: true}
"""


def test_settings_are_read_as_omegaconf_reads_them(tmp_path: Path) -> None:
    write(tmp_path, SETTINGS)
    (tmp_path / "model.ckpt").touch()
    settings = read_settings(tmp_path)
    assert settings["plain"] == {"a": 1e-4, "b": 1e-6, "c": -2000.0, "d": 50.0, "e": 100.0, "f": 1.5, "g": 3, "h": "e4",
                                 "i": 0x1E4, "j": "1e-4", "k": "1e-4x", "l": float("inf")}  # fmt: skip
    assert all(type(settings["plain"][key]) is float for key in "abcdef")
    assert settings["tokenizer"] == {"num_channels": 64, "sizes": [4, 512]}
    assert settings["backbone"] == {"in_channels": 64, "name": "c64-512"}
    assert settings["post"] == {"in_channels": 64, "all": settings["tokenizer"], "first": 512, "none": None, True: True}
    assert read_settings(tmp_path / "config.yaml") == read_settings(tmp_path / "model.ckpt") == settings


def test_settings_can_be_json_in_any_folder(tmp_path: Path) -> None:
    values = {"vae": {"target": "a.B", "params": {"lr": 1e-4, "size": "${dit.size}"}}, "dit": {"size": [2, 3]}}
    write(tmp_path, json.dumps(values), "config.json")
    values["vae"]["params"]["size"] = [2, 3]
    assert read_settings(tmp_path) == values
    write(tmp_path, json.dumps(values, indent="\t"), "other.json")
    assert read_settings(tmp_path / "other.json") == values


@pytest.mark.parametrize(("text", "message"), [
    ("- 1\n- 2", "a mapping of keys to values, got list"),
    ("just words", "got str"),
    ("# nothing", "got nothing"),
    ("{}", "got nothing"),
    ("a: [1, 2", "no plain YAML.*line 1"),
    ("a: 1\n\tb: 2", "no plain YAML"),
    ("a: !!python/object/apply:os.system ['touch MARKER']", "no plain YAML.*python/object/apply:os.system"),
    ("a: !!python/name:os.system", "no plain YAML"),
    ("a: ${b}\nb: ${c.0}\nc: ['${a}']", r"\$\{b\} is circular: b → c.0 → a → b"),
    ("a: ${a}", "circular: a → a"),
    ("a: {b: '${a}'}", "circular: a → a"),
    ("a: {b: 1}\nc: ${a.d}", r"\$\{a.d\} refers to nothing in the file: there is no 'd'"),
    ("a: [1]\nc: x${a.1}", r"\$\{a.1\} refers to nothing"),
    ("a: ${oc.env:HOME}", r"\$\{oc.env:HOME\} refers to nothing"),
    ("a: ${.b}\nb: 1", r"\$\{.b\} refers to nothing"),
    ("a: x\nx: 1\nb: ${${a}}", "not a reference of the form"),
    ("a: ${b", "not a reference of the form"),
    ("a: &me [*me]", "contains itself"),
    ("a: &me {b: *me}", "contains itself"),
])  # fmt: skip
def test_invalid_settings_raise_errors(
    tmp_path: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        read_settings(write(tmp_path, text))
    assert "config.yaml" in str(error.value)
    assert os.listdir(tmp_path) == ["config.yaml"]


def test_missing_settings_raise_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config.yaml does not exist: the settings that were published"):
        read_settings(tmp_path)
    with pytest.raises(ValueError, match="other.json is no JSON"):
        read_settings(write(tmp_path, "{'a': 1}", "other.json") / "other.json")


def test_unknown_settings_are_named_with_similar_ones() -> None:
    check_settings({"num_freqs": 8, "heads": 2}, {"num_freqs", "heads", "layers"}, "vae.params")
    with pytest.raises(ValueError) as error:
        check_settings({"num_freq": 8, "heads": 2, "layer": 1}, ("num_freqs", "heads", "layers"), "vae.params")
    assert str(error.value).splitlines() == [
        "vae.params: unknown key 'num_freq'; did you mean 'num_freqs'?",
        "vae.params: unknown key 'layer'; did you mean 'layers'?",
    ]
