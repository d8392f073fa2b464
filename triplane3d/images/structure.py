"""What a photo's file says of its parts, counted before it is decoded: scans, segments, chunks, notes.

Decoders bound neither: a JPEG of 11 kB with 1,000 scans takes 17 s, a text PPM of 96 MB minutes.
"""

import io
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from triplane3d.limits import check

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Between scans 0xFF is data where a zero or a restart marker (D0 to D7) follows.
MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
WITHOUT_LENGTH = (0x01, 0xD8)
END, SCAN, FRAMES = 0xD9, 0xDA, {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# A portable anymap: P1 to P3 hold their numbers as text. Its header ends after three or four words.
ANYMAP, TEXT_ANYMAP = re.compile(rb"P[1-7fF]\s"), re.compile(rb"P[123]\s")
ANYMAP_HEADER = 64 << 10


def check_structure(file: BinaryIO, name: str) -> None:
    """Refuse a photo whose parts are too many for its decoder; `file` is left where it was.

    Raises:
        ValueError: it names the photo, what was counted and what is accepted.
    """
    with _mapped(file, name) as content:
        head = bytes(content[:8])
        if head.startswith(JPEG):
            _check_jpeg(content, name)
        elif head == PNG:
            _check_png(content, name)
        elif ANYMAP.match(head):
            if TEXT_ANYMAP.match(head):
                check("text_photo", len(content), name)
            header = re.sub(rb"#[^\r\n]*", b"", bytes(content[:ANYMAP_HEADER]))
            if len(header.split()) < 4 and len(content) > ANYMAP_HEADER:
                raise ValueError(f"{name} begins with more than {ANYMAP_HEADER} bytes of comments: save it as PNG")


@contextmanager
def _mapped(file: BinaryIO, name: str) -> Iterator[mmap.mmap | bytes]:
    try:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # a file in memory has no number, an empty one cannot be mapped
        place = file.tell()
        file.seek(0, io.SEEK_END)
        check("photo", file.tell(), name)
        file.seek(0)
        yield file.read()
        file.seek(place)
        return
    with content:
        check("photo", len(content), name)
        yield content


def _check_jpeg(content: mmap.mmap | bytes, name: str) -> None:
    place = 2
    segments = scans = pixels = 0
    while (marker := MARKER.search(content, place)) is not None:
        kind, place = marker[1][0], marker.end()
        if kind == END:
            break
        if kind in WITHOUT_LENGTH:
            continue
        segments += 1
        check("segments", segments, name)
        if kind in FRAMES:
            height, width = (int.from_bytes(content[place + at : place + at + 2]) for at in (3, 5))
            pixels = max(pixels, height * width)
        if kind == SCAN:
            scans += 1
            check("scans", scans, name)
            check("scan_pixels", scans * pixels, name)
        place += max(2, int.from_bytes(content[place : place + 2]))


def _check_png(content: mmap.mmap | bytes, name: str) -> None:
    place, chunks = 8, 0
    while place + 8 <= len(content) and content[place + 4 : place + 8] != b"IEND":
        chunks += 1
        check("chunks", chunks, name)
        place += 12 + int.from_bytes(content[place : place + 4])
