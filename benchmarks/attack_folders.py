"""Damaged pipeline folders: each must load with the same result or be refused with one sentence, and run no code.

    python benchmarks/attack_folders.py --count 2000

A tiny pipeline is saved, and its files are damaged at random with a seed: JSON values of other types and sizes, deleted
keys, classes of other libraries, flipped bytes, cut files, changed headers of weights. Each copy is read by both
loaders and by `triplane3d info`. The numbers of the weights are not damaged, because no reader can detect that. `--only
17` repeats one folder. The exit code is 1 if a folder ended in another exception, a hang or other latents, or ran code.
"""

import json
import logging
import multiprocessing
import os
import shutil
import struct
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import diffusers
import numpy as np
import torch
import transformers
import typer
from diffusers import DiffusionPipeline
from typer.testing import CliRunner

import triplane3d
from triplane3d import Triplane3DPipeline
from triplane3d.cli import app
from triplane3d.pipelines.checks import FAULTS

TINY = Path(__file__).parents[1] / "pipelines" / "tiny"
TIME_LIMIT = 10.0
VALUES = [
    None, True, False, 0, -1, 1, 2, 3, 7, 1.5, 10**3, 10**6, 10**9, 10**18, 10**400, float("nan"), float("inf"), "",
    "x", "1", "a" * 100_000, "../..", "evil/kernel", [], [[]], [1] * 1_000_000, {}, {"a": 1}, [None], ["x"], "\x1b[2J",
]  # fmt: skip
LIBRARIES = ("os", "subprocess", "evil", "antigravity", "builtins", "torch", "diffusers", "transformers", "triplane3d")
CLASSES = ("system", "Popen", "Evil", "eval", "AutoModel", "ViTModel", "DDIMScheduler", "AutoencoderKL", "CLIPModel")
EVIL = """from pathlib import Path
Path({!r}).write_text("ran")
class Evil:
    from_pretrained = staticmethod(lambda *a, **k: None)
"""


def main(
    count: Annotated[int, typer.Option(help="Number of folders.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the damage.")] = 0,
    only: Annotated[int | None, typer.Option(help="Read only this folder and print the full message.")] = None,
) -> None:
    with tempfile.TemporaryDirectory() as place:
        intact, marker = Path(place) / "intact", Path(place) / "marker"
        save_tiny(intact)
        reader = Reader(marker)
        expected = reader.read(intact)
        kinds: Counter[tuple[str, str]] = Counter()
        for index in range(count) if only is None else [only]:
            folder = Path(place) / f"mutant-{index}"
            shutil.copytree(intact, folder)
            what = damage(folder, np.random.default_rng([seed, index]), marker)
            endings = reader.read(folder)
            for way, (kind, words) in endings.items():
                if kind == "loads":
                    kind = "same result" if words == expected[way][1] else "other result"
                if marker.exists():
                    kind = "code ran"
                kinds[way, kind] += 1
                if only is not None or kind not in ("same result", "sentence"):
                    print(f"number {index}, {way}, {what}: {kind}: {words[-1500 if only else -300 :]}", flush=True)
            marker.unlink(missing_ok=True)
            shutil.rmtree(folder)
        reader.stop()
    ways = sorted({way for way, _ in kinds})
    names = ("same result", "sentence", "other exception", "hang", "other result", "code ran")
    print(f"{'':<20}" + "".join(f"{name:>17}" for name in names))
    for way in ways:
        print(f"{way:<20}" + "".join(f"{kinds[way, name]:>17}" for name in names))
    raise typer.Exit(1 if any(kinds[way, name] for way in ways for name in names[2:]) else 0)


def save_tiny(folder: Path) -> None:
    torch.manual_seed(0)
    components: dict[str, Any] = {}
    index = json.loads((TINY / "model_index.json").read_text())
    for name, entry in index.items():
        if name[0] != "_" and isinstance(entry, list) and entry[0]:
            library = {"triplane3d": triplane3d, "diffusers": diffusers, "transformers": transformers}[entry[0]]
            kind = getattr(library, entry[1])
            config = kind.config_class.from_pretrained(TINY / name) if entry[0] == "transformers" else None
            components[name] = kind(config) if config else kind.from_config(kind.load_config(TINY, subfolder=name))
    Triplane3DPipeline(**components, image_size=index.get("image_size")).save_pretrained(folder)


def damage(folder: Path, rng: np.random.Generator, marker: Path) -> str:
    """Damage one file, and return a description of the damage."""
    (folder / "evil.py").write_text(EVIL.format(str(marker)))
    for part in folder.glob("*/"):
        (part / "evil.py").write_text(EVIL.format(str(marker)))
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
    path = files[rng.integers(len(files))]
    changes = JSON_DAMAGES if path.suffix == ".json" else HEADER_DAMAGES
    change = changes[rng.integers(len(changes))]
    return f"{path.relative_to(folder)} {change.__name__} {change(path, rng)}"


def _change_values(path: Path, rng: np.random.Generator) -> str:
    values = json.loads(path.read_text())
    key = str(rng.choice(sorted(values)))
    values[key] = VALUES[rng.integers(len(VALUES))]
    path.write_text(json.dumps(values))
    return f"{key} = {str(values[key])[:30]}"


def _delete_key(path: Path, rng: np.random.Generator) -> str:
    values = json.loads(path.read_text())
    del values[key := str(rng.choice(sorted(values)))]
    path.write_text(json.dumps(values))
    return key


def _name_a_class(path: Path, rng: np.random.Generator) -> str:
    path = next(parent for parent in path.parents if (parent / "model_index.json").is_file()) / "model_index.json"
    values = json.loads(path.read_text())
    key = str(rng.choice([name for name, entry in values.items() if isinstance(entry, list)] + ["_class_name"]))
    values[key] = [str(rng.choice(LIBRARIES)), str(rng.choice(CLASSES))]
    path.write_text(json.dumps(values))
    return f"{key} = {values[key]}"


def _nest(path: Path, rng: np.random.Generator) -> str:
    levels = int(rng.choice([80, 5_000, 200_000]))
    path.write_text('{"a": ' + "[" * levels + "]" * levels + "}")
    return str(levels)


def _cut(path: Path, rng: np.random.Generator) -> str:
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(len(content))])
    return ""


def _flip(path: Path, rng: np.random.Generator) -> str:
    content = bytearray(path.read_bytes())
    end = len(content) if path.suffix == ".json" else 8 + struct.unpack("<Q", content[:8])[0]
    for place in rng.integers(end, size=int(rng.integers(1, 6))):
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    return ""


def _remove(path: Path, rng: np.random.Generator) -> str:
    path.unlink()
    return ""


def _rewrite_header(path: Path, rng: np.random.Generator) -> str:
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


JSON_DAMAGES: list[Callable[[Path, np.random.Generator], str]] = [
    _change_values, _change_values, _change_values, _delete_key, _name_a_class, _nest, _cut, _flip, _remove,
]  # fmt: skip
HEADER_DAMAGES: list[Callable[[Path, np.random.Generator], str]] = [_cut, _flip, _remove, _rewrite_header]


class Reader:
    """A process that reads one folder after another. It is replaced when it crashes or hangs."""

    def __init__(self, marker: Path) -> None:
        self.context = multiprocessing.get_context("fork")
        self.start()

    def start(self) -> None:
        self.ours, theirs = self.context.Pipe()
        self.process = self.context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()

    def read(self, folder: Path) -> dict[str, tuple[str, str]]:
        endings = {}
        for way in WAYS:
            self.ours.send((way, folder))
            try:
                arrived = self.ours.poll(6 * TIME_LIMIT)
                kind, words, seconds = self.ours.recv() if arrived else ("hang", "", TIME_LIMIT)
                endings[way] = ("hang", words) if seconds > TIME_LIMIT else (kind, words)
            except EOFError:
                arrived, endings[way] = False, ("other exception", "the process ended")
            if not arrived:
                self.stop()
                self.start()
        return endings


def _serve(theirs: Connection) -> None:
    torch.set_num_threads(1)
    logging.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    while True:
        way, folder = theirs.recv()
        started = time.process_time()
        try:
            kind, words = "loads", WAYS[way](folder)
        except (ValueError, OSError) as error:
            kind, words = "sentence" if str(folder) in str(error) else "other exception", str(error) + repr(type(error))
        except FAULTS:
            kind, words = "other exception", traceback.format_exc()
        theirs.send((kind, words, time.process_time() - started))


def _load(loader: type[DiffusionPipeline], folder: Path) -> str:
    pipe = loader.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    embeds = torch.linspace(-1, 1, 5 * pipe.transformer.config.cross_attention_dim).view(1, 5, -1)
    latents = pipe(
        image_embeds=embeds, generator=torch.Generator().manual_seed(0), num_inference_steps=1, output_type="latent"
    )[0]
    return f"{float(latents.float().norm()):.4f}"


def _info(folder: Path) -> str:
    result = CliRunner().invoke(app, ["info", str(folder)])
    if result.exit_code == 2:
        raise ValueError(f"{folder}: {result.output}")
    if result.exception is not None:
        raise RuntimeError(repr(result.exception))
    return ""


WAYS: dict[str, Callable[[Path], str]] = {
    "Triplane3DPipeline": lambda folder: _load(Triplane3DPipeline, folder),
    "DiffusionPipeline": lambda folder: _load(DiffusionPipeline, folder),
    "info": _info,
}


if __name__ == "__main__":
    typer.run(main)
