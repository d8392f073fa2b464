"""Readers of mesh files, written from the formats' specifications, independent of the library that writes them."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

GLTF_TYPES = {5123: "<u2", 5125: "<u4", 5126: "<f4"}
GLTF_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
PLY_TYPES = {"float": "<f4", "uchar": "u1", "int": "<i4"}


@dataclass
class FileContent:
    """The values of a file without conversion; colours in the integers or floats of the format."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    colors: np.ndarray | None = None
    header: dict[str, Any] = field(default_factory=dict)


def read_file(path: Path) -> FileContent:
    return {".glb": read_glb, ".obj": read_obj, ".ply": read_ply, ".stl": read_stl}[path.suffix](path)


def read_glb(path: Path) -> FileContent:
    """glTF 2.0, sections 3.6 and 4.4: one mesh of one primitive."""
    content = path.read_bytes()
    magic, version, length, json_length, json_kind = struct.unpack_from("<4sIII4s", content)
    assert (magic, version, length, json_kind) == (b"glTF", 2, len(content), b"JSON") and json_length % 4 == 0
    header = json.loads(content[20 : 20 + json_length])
    assert struct.unpack_from("<4s", content, 24 + json_length) == (b"BIN\0",)
    binary = content[28 + json_length :]

    def accessor(index: int) -> np.ndarray:
        entry = header["accessors"][index]
        view = header["bufferViews"][entry["bufferView"]]
        dtype, width = np.dtype(GLTF_TYPES[entry["componentType"]]), GLTF_WIDTHS[entry["type"]]
        start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
        assert start % dtype.itemsize == 0 and view.get("byteStride", dtype.itemsize * width) % 4 == 0
        values = np.frombuffer(binary, dtype, entry["count"] * width, start).reshape(-1, width)
        np.testing.assert_array_equal(values.max(axis=0), np.asarray(entry["max"], dtype))
        return values

    (mesh,) = header["meshes"]
    (primitive,) = mesh["primitives"]
    attributes = primitive["attributes"]
    return FileContent(
        accessor(attributes["POSITION"]),
        accessor(primitive["indices"]).reshape(-1, 3),
        accessor(attributes["NORMAL"]),
        accessor(attributes["COLOR_0"]) if "COLOR_0" in attributes else None,
        header,
    )


def read_ply(path: Path) -> FileContent:
    """Binary little-endian PLY of vertices and triangles, by the properties that its header lists."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    counts = {line.split()[1]: int(line.split()[2]) for line in lines if line.startswith("element")}
    fields = [
        (name, PLY_TYPES[kind])
        for line in lines
        if line.startswith("property") and "list" not in line
        for _, kind, name in [line.split()]
    ]
    vertices = np.frombuffer(body, np.dtype(fields), counts["vertex"])
    assert "property list uchar int vertex_indices" in lines
    faces = np.frombuffer(body, np.dtype([("count", "u1"), ("corners", "<i4", 3)]), counts["face"], vertices.nbytes)
    assert (faces["count"] == 3).all() and vertices.nbytes + faces.nbytes == len(body)

    def columns(*names: str) -> np.ndarray | None:
        return np.stack([vertices[name] for name in names], axis=1) if names[0] in vertices.dtype.names else None

    return FileContent(
        columns("x", "y", "z"), faces["corners"], columns("nx", "ny", "nz"), columns("red", "green", "blue")
    )


def read_obj(path: Path) -> FileContent:
    """`v x y z [r g b]`, `vn x y z` and `f vertex//normal`, counted from one."""
    rows: dict[str, list[list[str]]] = {"v": [], "vn": [], "f": []}
    for line in path.read_text().splitlines():
        if line.split():
            rows[line.split()[0]].append(line.split()[1:])
    vertices, normals = np.array(rows["v"], np.float32), np.array(rows["vn"], np.float32)
    corners = np.array([[corner.split("//") for corner in face] for face in rows["f"]], np.int64) - 1
    np.testing.assert_array_equal(corners[..., 0], corners[..., 1])
    return FileContent(vertices[:, :3], corners[..., 0], normals, vertices[:, 3:] if vertices.shape[1] > 3 else None)


def read_stl(path: Path) -> FileContent:
    """Binary STL: a normal and three corners for each face."""
    content = path.read_bytes()
    (count,) = struct.unpack_from("<I", content, 80)
    facets = np.frombuffer(content, np.dtype([("values", "<f4", (4, 3)), ("spare", "<u2")]), count, 84)
    assert 84 + facets.nbytes == len(content)
    return FileContent(
        facets["values"][:, 1:].reshape(-1, 3), np.arange(3 * count).reshape(-1, 3), facets["values"][:, 0]
    )
