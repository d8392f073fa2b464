"""Seeded damage to files: each function changes one file and returns a description of the change."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pipelines.pickles import malicious_pickle

Damage = Callable[[Path, np.random.Generator, Path], str]
"""A function of a file, a random generator, and the marker file that code in the file would create."""

VALUES = [
    None, True, False, 0, -1, 1, 2, 3, 7, 1.5, 10**3, 10**6, 10**9, 10**18, 10**400, float("nan"), float("inf"), "",
    "x", "1", "a" * 100_000, "../..", "evil/kernel", [], [[]], [1] * 1_000_000, {}, {"a": 1}, [None], ["x"], "\x1b[2J",
]  # fmt: skip
LIBRARIES = ("os", "subprocess", "evil", "antigravity", "builtins", "torch", "diffusers", "transformers", "triplane3d")
CLASSES = ("system", "Popen", "Evil", "eval", "AutoModel", "ViTModel", "DDIMScheduler", "AutoencoderKL", "CLIPModel")
YAML_TEXTS = (
    "!!python/object/apply:os.system ['touch {marker}']\n",
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)),
    "a: " + "[" * 3000 + "]" * 3000 + "\n",
    "a: ${b}${b}\nb: ${c}${c}\nc: ${a}\n",
    "\x00\x1b[2J",
    "- 1\n- 2\n",
    "",
)
MODULE = """from pathlib import Path
Path({!r}).write_text("ran")
class Evil:
    from_pretrained = staticmethod(lambda *a, **k: None)
"""


def change_value(path: Path, rng: np.random.Generator, marker: Path) -> str:
    """One value of a JSON object becomes another type or size."""
    values = json.loads(path.read_text())
    if not isinstance(values, dict) or not values:
        return cut(path, rng, marker)
    key = str(rng.choice(sorted(values)))
    values[key] = VALUES[rng.integers(len(VALUES))]
    path.write_text(json.dumps(values))
    return f"{key} = {str(values[key])[:30]}"


def delete_key(path: Path, rng: np.random.Generator, marker: Path) -> str:
    values = json.loads(path.read_text())
    if not isinstance(values, dict) or not values:
        return cut(path, rng, marker)
    del values[key := str(rng.choice(sorted(values)))]
    path.write_text(json.dumps(values))
    return key


def name_a_class(path: Path, rng: np.random.Generator, marker: Path) -> str:
    """A component of a pipeline becomes a class of another library."""
    places = [parent / "model_index.json" for parent in path.parents if (parent / "model_index.json").is_file()]
    if not places:
        return change_value(path, rng, marker)
    values = json.loads(places[0].read_text())
    key = str(rng.choice([name for name, entry in values.items() if isinstance(entry, list)] + ["_class_name"]))
    values[key] = [str(rng.choice(LIBRARIES)), str(rng.choice(CLASSES))]
    places[0].write_text(json.dumps(values))
    return f"{key} = {values[key]}"


def nest(path: Path, rng: np.random.Generator, marker: Path) -> str:
    levels = int(rng.choice([80, 5_000, 200_000]))
    path.write_text('{"a": ' + "[" * levels + "]" * levels + "}")
    return f"{levels} levels"


def cut(path: Path, rng: np.random.Generator, marker: Path) -> str:
    content = path.read_bytes()
    keep = int(rng.integers(len(content))) if content else 0
    path.write_bytes(content[:keep])
    return f"{keep} of {len(content)} bytes"


def flip(path: Path, rng: np.random.Generator, marker: Path) -> str:
    """Bits change anywhere; in safetensors files only in the header, since no reader can detect another weight."""
    content = bytearray(path.read_bytes())
    end = len(content)
    if path.suffix == ".safetensors" and end >= 8:
        end = min(end, 8 + struct.unpack("<Q", content[:8])[0])
    places = rng.integers(end, size=int(rng.integers(1, 6))) if end else []
    for place in places:
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    return f"{len(places)} bits"


def splice(path: Path, rng: np.random.Generator, marker: Path) -> str:
    """A piece of the file is copied to another position."""
    content = bytearray(path.read_bytes())
    if len(content) < 4:
        return cut(path, rng, marker)
    start, target = (int(rng.integers(len(content))) for _ in range(2))
    piece = content[start : start + int(rng.integers(1, 64))]
    content[target : target + (len(piece) if rng.random() < 0.5 else 0)] = piece
    path.write_bytes(content)
    return f"{len(piece)} bytes from {start} at {target}"


def remove(path: Path, rng: np.random.Generator, marker: Path) -> str:
    path.unlink()
    return ""


def become_a_folder(path: Path, rng: np.random.Generator, marker: Path) -> str:
    path.unlink()
    path.mkdir()
    return ""


def link_in_a_loop(path: Path, rng: np.random.Generator, marker: Path) -> str:
    path.unlink()
    path.symlink_to(path.name)
    return ""


def rewrite_header(path: Path, rng: np.random.Generator, marker: Path) -> str:
    """One entry of a safetensors header gets another type, shape or position."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    name = str(rng.choice([key for key in header if key != "__metadata__"]))
    key = str(rng.choice(["dtype", "shape", "data_offsets"]))
    options = {
        "dtype": ["F16", "BF16", "F64", "I32", "F8_E4M3", "C64", "X", 3, None],
        "shape": [[0], [-1], [2**62, 2**62], [10**30], "x", None, [1] * 1000, list(reversed(header[name]["shape"]))],
        "data_offsets": [[0, 0], [-1, 4], [4, 0], [0, 2**63], [0], None],
    }[key]
    header[name][key] = options[rng.integers(len(options))]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    return f"{name}.{key} = {str(header[name][key])[:30]}"


def rename_tensor(path: Path, rng: np.random.Generator, marker: Path) -> str:
    """A tensor of a safetensors file gets another name, or a second one refers to the same bytes."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    name = str(rng.choice([key for key in header if key != "__metadata__"]))
    entry = header[name] if rng.random() < 0.3 else header.pop(name)
    other = str(rng.choice([name + "x", "", "../" + name, "a" * 5_000, name.upper()]))
    header[other] = entry
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    return f"{name} = {other[:30]}"


def grow_header(path: Path, rng: np.random.Generator, marker: Path) -> str:
    """The header declares another size."""
    content = bytearray(path.read_bytes())
    size = [0, 1, 2**31, 2**40, 2**63 - 1, len(content)][rng.integers(6)]
    content[:8] = struct.pack("<Q", size)
    path.write_bytes(content)
    return str(size)


def plant_pickle(path: Path, rng: np.random.Generator, marker: Path) -> str:
    """The file becomes a pickle that creates the marker when it is read, plain or as torch writes it.

    The same pickle is written beside it under the names that torch, diffusers, transformers and accelerate read.
    """
    content = malicious_pickle(marker)
    if rng.random() < 0.5:
        with zipfile.ZipFile(path.parent / "archive.zip", "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")
        content = (path.parent / "archive.zip").read_bytes()
        (path.parent / "archive.zip").unlink()
    for name in (
        "diffusion_pytorch_model.bin", "pytorch_model.bin", "model.bin", "model.pt", "model.ckpt", "adapter_model.bin",
        "pytorch_lora_weights.bin", "custom_checkpoint_0.pkl", "random_states_0.pkl", "optimizer.bin", "scheduler.bin",
    ):  # fmt: skip
        if not (path.parent / name).exists():
            (path.parent / name).write_bytes(content)
    if rng.random() < 0.5:
        path.unlink()
    else:
        path.write_bytes(content)
    return ""


def plant_module(path: Path, rng: np.random.Generator, marker: Path) -> str:
    """Python modules are written to every folder, and a config names one of them."""
    top = next((parent for parent in path.parents if (parent / "model_index.json").is_file()), path.parent)
    for folder in (top, *(child for child in top.glob("*/") if not child.is_symlink())):
        (folder / "evil.py").write_text(MODULE.format(str(marker)))
    if path.suffix == ".json":
        values = json.loads(path.read_text())
        if isinstance(values, dict):
            values[str(rng.choice(["auto_map", "_class_name", "custom_pipeline", "_auto_class"]))] = (
                {"AutoModel": "evil.Evil"} if rng.random() < 0.5 else "evil.Evil"
            )
            path.write_text(json.dumps(values))
    return ""


def write_yaml(path: Path, rng: np.random.Generator, marker: Path) -> str:
    """The file becomes, or ends with, YAML that runs code, grows exponentially, nests deeply or is not a mapping."""
    number = int(rng.integers(len(YAML_TEXTS)))
    text = YAML_TEXTS[number].replace("{marker}", str(marker))
    path.write_text(text if rng.random() < 0.5 else path.read_text() + text)
    return f"text {number}"


def change_yaml_value(path: Path, rng: np.random.Generator, marker: Path) -> str:
    """A line `key: value` gets another value."""
    lines = path.read_text().splitlines()
    places = [number for number, line in enumerate(lines) if ": " in line and not line.lstrip().startswith("#")]
    if not places:
        return cut(path, rng, marker)
    place = places[rng.integers(len(places))]
    key = lines[place].split(":")[0]
    value = VALUES[rng.integers(len(VALUES))]
    lines[place] = f"{key}: {json.dumps(value)[:200_000]}"
    path.write_text("\n".join(lines) + "\n")
    return f"{key.strip()} = {str(value)[:30]}"


ANY: list[Damage] = [cut, flip, flip, splice, remove, become_a_folder, link_in_a_loop, plant_pickle]
DAMAGES: dict[str, list[Damage]] = {
    ".json": [change_value, change_value, change_value, delete_key, name_a_class, nest, plant_module, *ANY],
    ".safetensors": [rewrite_header, rewrite_header, rename_tensor, grow_header, cut, flip, remove, become_a_folder,
                     link_in_a_loop, plant_pickle, plant_module],
    ".yaml": [change_yaml_value, change_yaml_value, change_yaml_value, write_yaml, *ANY],
}  # fmt: skip


def damage(path: Path, rng: np.random.Generator, marker: Path) -> str:
    """Damages the file by one function for its suffix, and returns a description of the damage."""
    choices = DAMAGES.get(path.suffix, ANY)
    change = choices[rng.integers(len(choices))]
    return f"{path.name} {change.__name__} {change(path, rng, marker)}"
