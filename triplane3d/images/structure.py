"""Limits on the parts of a photo's file (scans, segments, chunks, comments), checked before it is decoded.

Decoders have no such limits: a JPEG of 11 kB with 1,000 scans takes 17 s, a text PPM of 96 MB takes minutes.
"""

import io
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from triplane3d.limits import check

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# In a JPEG 0xFF starts a marker, unless a zero or a restart marker (D0 to D7) follows: then it is data of a scan.
MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
WITHOUT_LENGTH = (0x01, 0xD8)
END, SCAN, FRAMES = 0xD9, 0xDA, {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# Portable anymaps: P1 to P3 have their values as text. The header has three or four words.
ANYMAP, TEXT_ANYMAP = re.compile(rb"P[1-7fF]\s"), re.compile(rb"P[123]\s")
ANYMAP_HEADER = 64 << 10


def check_structure(file: BinaryIO, name: str) -> None:
    """Refuse a photo with more parts than `limits` allows. The position in `file` does not change.

    Raises:
        ValueError: the message has the photo's `name`, the number of parts and the limit.
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
    except (OSError, ValueError):  # a file in memory has no descriptor, an empty file cannot be mapped
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
        marker_type, place = marker[1][0], marker.end()
        if marker_type == END:
            break
        if marker_type in WITHOUT_LENGTH:
            continue
        segments += 1
        check("segments", segments, name)
        if marker_type in FRAMES:
            height, width = (int.from_bytes(content[place + at : place + at + 2]) for at in (3, 5))
            pixels = max(pixels, height * width)
        if marker_type == SCAN:
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
