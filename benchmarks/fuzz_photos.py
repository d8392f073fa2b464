"""Fuzz test of reading photos: every damaged file gives pixels or an error of one sentence, within 10 s and 1 GiB.

    python benchmarks/fuzz_photos.py --count 2000

Valid files of every format that can be written here are changed at random, with a seed: bits are flipped, sizes are
replaced by extreme values, ranges of bytes are removed, repeated or moved. Checksums are often corrected, so that the
decoder reads the changed content. Each file gets a random extension. The image processor reads it in a separate
process, whose crash or hang does not end the run. `--only 17` repeats file 17. The exit code is 1 if any file gave
neither a tensor nor an error message that names the file.
"""

import io
import logging
import multiprocessing
import os
import resource
import struct
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image, ImageCms

from triplane3d.images.image_processor import Triplane3DImageProcessor
from triplane3d.images.reading import DAMAGE

# Limits in seconds: of CPU time, which does not depend on other programs, and of wall-clock time.
CPU_SECONDS, WALL_SECONDS = 10.0, 60.0
MEGABYTES = 1024
SUFFIXES = (".png", ".jpg", ".webp", ".gif", ".tif", ".bmp", ".ppm", ".tga", ".ico", ".jp2", ".avif", ".txt", "")
EXTREMES = (0, 1, 0xFF, 0x7FFF, 0xFFFF, 30_000, 11_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Outcome:
    """How reading a file ended ("tensor", "sentence" or a fault), the message, CPU time and growth of memory."""

    kind: str
    message: str
    seconds: float
    megabytes: float


def main(
    count: Annotated[int, typer.Option(help="Files to read.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the random changes.")] = 0,
    only: Annotated[int | None, typer.Option(help="Read only the file of this number and print its message.")] = None,
) -> None:
    seeds = valid_files()
    outcomes: dict[int, Outcome] = {}
    names: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader()
        for index in range(count) if only is None else [only]:
            names[index], content = damaged_file(seeds, seed, index)
            path = Path(folder) / f"{index}{np.random.default_rng([seed, index]).choice(SUFFIXES)}"
            path.write_bytes(content)
            outcomes[index] = reader.read(path)
            path.unlink()
        reader.stop()

    kinds = Counter(outcome.kind for outcome in outcomes.values())
    print(
        f"{len(outcomes)} damaged files of {len(seeds)} valid files: "
        + ", ".join(f"{n} {k}" for k, n in kinds.most_common())
    )
    slowest = max(outcomes, key=lambda index: outcomes[index].seconds)
    largest = max(outcomes, key=lambda index: outcomes[index].megabytes)
    print(f"slowest {outcomes[slowest].seconds:.2f} s (number {slowest}, {names[slowest]})")
    print(f"most memory {outcomes[largest].megabytes:.0f} MiB (number {largest}, {names[largest]})")
    faults = {index: outcome for index, outcome in outcomes.items() if outcome.kind not in ("tensor", "sentence")}
    for index, outcome in outcomes.items() if only is not None else faults.items():
        print(f"number {index}, {names[index]}: {outcome.kind}: {outcome.message}")
    raise typer.Exit(1 if faults else 0)


class Reader:
    """A process that reads files one after another. It is replaced after a crash, a hang or a growth of its memory."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("fork")
        self.start()

    def start(self) -> None:
        self.ours, theirs = self.context.Pipe()
        self.process = self.context.Process(target=_read_files, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.ours.close()

    def read(self, path: Path) -> Outcome:
        self.ours.send(path)
        try:
            if not self.ours.poll(WALL_SECONDS):
                outcome = Outcome("hang", f"still reading after {WALL_SECONDS:.0f} s", WALL_SECONDS, 0)
            else:
                kind, message, seconds, grown = self.ours.recv()
                kind = "hang" if seconds > CPU_SECONDS else "memory" if grown > MEGABYTES else kind
                outcome = Outcome(kind, message, seconds, grown)
        except EOFError:
            self.process.join()
            outcome = Outcome("crash", f"exit code {self.process.exitcode}", 0, 0)
        # The peak of a process never decreases. A new process is needed to measure that of the next file.
        if outcome.kind in ("hang", "crash") or outcome.megabytes > 50:
            self.stop()
            self.start()
        return outcome


def _read_files(theirs: Connection) -> None:
    torch.set_num_threads(1)
    logging.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C libraries print their warnings there
    processor = Triplane3DImageProcessor(64)
    before = _peak()
    while True:
        path = theirs.recv()
        started = time.process_time()
        try:
            pixels = processor.preprocess(path).pixel_values
            whole = pixels.shape == (1, 4, 64, 64) and bool(pixels.isfinite().all())
            kind, message = ("tensor" if whole else "wrong tensor"), str(tuple(pixels.shape))
        except (ValueError, OSError) as error:
            message = str(error)
            kind = "sentence" if path.name in message and "\n" not in message else "error without the file's name"
        except DAMAGE as error:
            kind, message = "traceback", f"{type(error).__name__}: {error}"
        theirs.send((kind, message, time.process_time() - started, _peak() - before))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def valid_files() -> dict[str, bytes]:
    """Small pictures in every format and mode. The object is on a plain backdrop, so that a mask can be found."""
    rng = np.random.default_rng(0)
    pixels = np.full((32, 48, 3), 230) + rng.integers(-6, 7, (32, 48, 3))
    pixels[8:24, 14:36] = (180, 60, 30) + rng.integers(-20, 21, (16, 22, 3))
    rgb = Image.fromarray(pixels.astype(np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray((pixels[..., 1] < 150).astype(np.uint8) * 255))
    gray, palette = rgb.convert("L"), rgb.quantize(16)
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    float_gray = gray.convert("F")
    frames = [rgba.rotate(angle) for angle in (90, 180)]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    variants: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("PNG", rgb, {"exif": exif}),
        ("PNG", rgba, {}),
        ("PNG", palette, {"transparency": 0}),
        ("PNG", gray, {}),
        ("PNG", rgba.convert("LA"), {}),
        ("PNG", rgb.convert("1"), {}),
        ("PNG", deep, {}),
        ("PNG", rgba, {"save_all": True, "append_images": frames}),
        ("JPEG", rgb, {"exif": exif}),
        ("JPEG", rgb, {"progressive": True, "subsampling": 0}),
        ("JPEG", rgb, {"icc_profile": profile}),
        ("JPEG", gray, {}),
        ("JPEG", rgb.convert("CMYK"), {}),
        ("WEBP", rgb, {"exif": exif}),
        ("WEBP", rgba, {"lossless": True}),
        ("WEBP", rgba, {"save_all": True, "append_images": frames}),
        ("GIF", palette, {}),
        ("GIF", rgba, {"save_all": True, "append_images": frames}),
        ("BMP", rgb, {}),
        ("BMP", palette, {}),
        ("BMP", rgb.convert("1"), {}),
        ("TIFF", rgb, {}),
        ("TIFF", rgba, {"compression": "tiff_lzw", "icc_profile": profile}),
        ("TIFF", rgb, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", rgb, {"compression": "jpeg"}),
        ("TIFF", rgb.convert("1"), {"compression": "group4"}),
        ("TIFF", rgb.convert("CMYK"), {}),
        ("TIFF", deep, {}),
        ("TIFF", float_gray, {}),
        ("PPM", rgb, {}),
        ("PPM", gray, {}),
        ("PPM", rgb.convert("1"), {}),
        ("PPM", float_gray, {}),
        ("TGA", rgba, {"compression": "tga_rle"}),
        ("TGA", rgb, {}),
        ("ICO", rgba, {"sizes": [(32, 32)]}),
        ("JPEG2000", rgb, {}),
        ("AVIF", rgb, {}),
    ]
    Image.init()
    files = {}
    for format, picture, options in variants:
        if format in Image.SAVE:
            file = io.BytesIO()
            picture.save(file, format, **options)
            files[f"{format} {picture.mode} {len(files)}"] = file.getvalue()
    return files


def damaged_file(seeds: dict[str, bytes], seed: int, index: int) -> tuple[str, bytes]:
    """A description of damaged file number `index`, and its content."""
    rng = np.random.default_rng([seed, index])
    names = list(seeds)
    name = names[rng.integers(len(names))]
    content = bytearray(seeds[name])
    applied = []
    for _ in range(rng.integers(1, 4)):
        change = CHANGES[rng.integers(len(CHANGES))]
        content = change(content, rng) if len(content) > 8 else content
        applied.append(change.__name__)
    if rng.random() < 0.1:
        content += seeds[names[rng.integers(len(names))]]
        applied.append("another picture appended")
    if content[:8] == b"\x89PNG\r\n\x1a\n" and rng.random() < 0.7:
        content = fix_checksums(content)
        applied.append("checksums corrected")
    return f"{name}: {', '.join(applied)}", bytes(content)


def flip_bits(content: bytearray, rng: np.random.Generator) -> bytearray:
    for position in rng.integers(len(content), size=rng.integers(1, 17)):
        content[position] ^= 1 << int(rng.integers(8))
    return content


def flip_header_bits(content: bytearray, rng: np.random.Generator) -> bytearray:
    for position in rng.integers(min(64, len(content)), size=rng.integers(1, 5)):
        content[position] ^= 1 << int(rng.integers(8))
    return content


def write_extremes(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Writes one or two extreme integers near the start, where formats have sizes, counts and offsets."""
    for _ in range(rng.integers(1, 3)):
        value, order = EXTREMES[rng.integers(len(EXTREMES))], "<>"[rng.integers(2)]
        word = struct.pack(order + "I", value) if rng.random() < 0.5 else struct.pack(order + "H", value & 0xFFFF)
        position = int(rng.integers(min(256, len(content) - 4)))
        content[position : position + len(word)] = word
    return content


def write_other_size(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Replaces the picture's width and height (48 and 32), where they are found as integers."""
    for side in (48, 32):
        for code in ("<I", ">I", "<H", ">H"):
            position = content.find(struct.pack(code, side), 4, 400)
            if position > 0 and rng.random() < 0.7:
                size = int(rng.choice([0, 1, 9_999, 12_000, 32_767, 65_500]))
                content[position : position + struct.calcsize(code)] = struct.pack(code, size)
                break
    return content


def truncate(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: rng.integers(len(content))]


def remove_range(content: bytearray, rng: np.random.Generator) -> bytearray:
    start, end = _random_range(content, rng)
    return content[:start] + content[end:]


def repeat_range(content: bytearray, rng: np.random.Generator) -> bytearray:
    start, end = _random_range(content, rng)
    return content[:end] + content[start:end] * int(rng.integers(1, 9)) + content[end:]


def move_range_to_end(content: bytearray, rng: np.random.Generator) -> bytearray:
    start, end = _random_range(content, rng)
    return content[:start] + content[end:] + content[start:end]


def insert_noise(content: bytearray, rng: np.random.Generator) -> bytearray:
    position = int(rng.integers(len(content)))
    return content[:position] + rng.bytes(int(rng.integers(1, 200))) + content[position:]


def _random_range(content: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    start, end = sorted(int(position) for position in rng.integers(len(content), size=2))
    return start, end


def fix_checksums(content: bytearray) -> bytearray:
    """PNG chunks with the correct checksums of their changed contents."""
    position = 8
    while position + 12 <= len(content):
        end = position + 8 + int.from_bytes(content[position : position + 4], "big")
        if end + 4 > len(content):
            break
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[position + 4 : end]))
        position = end + 4
    return content


CHANGES: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    flip_bits,
    flip_header_bits,
    write_extremes,
    write_other_size,
    truncate,
    remove_range,
    repeat_range,
    move_range_to_end,
    insert_noise,
)


if __name__ == "__main__":
    typer.run(main)
