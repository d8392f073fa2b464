"""Binary glTF 2.0 (GLB): one mesh, one material, pictures inside the file.

The specification's sections are cited where they decide something:
https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from triplane3d.assets.material import Material
from triplane3d.assets.pictures import MIME_TYPES, encode_picture
from triplane3d.geometry.mesh.files import ROUGHNESS

try:
    import DracoPy
except ImportError:  # in the `draco` extra
    DracoPy = None

GENERATOR = "triplane3d"
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
COMPONENT_TYPES = {np.dtype(np.float32): 5126, np.dtype(np.uint32): 5125, np.dtype(np.uint16): 5123}
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071


@dataclass(frozen=True, eq=False)
class Primitive:
    """The arrays of a mesh as they are stored in a GLB."""

    positions: Float[np.ndarray, "vertices 3"]
    normals: Float[np.ndarray, "vertices 3"]
    faces: Integer[np.ndarray, "faces 3"]
    uv: Float[np.ndarray, "vertices 2"] | None = None
    tangents: Float[np.ndarray, "vertices 4"] | None = None
    colors: Float[np.ndarray, "vertices 3"] | None = None
    """Linear (section 3.7.2.1)."""


@dataclass
class _Buffer:
    """The header and the binary part of a GLB while it is put together."""

    header: dict[str, Any] = field(default_factory=dict)
    binary: bytearray = field(default_factory=bytearray)

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """Append to an array of the header; the index of the entry."""
        entries = self.header.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def add_view(self, content: bytes, target: int | None = None) -> int:
        """A buffer view. Views start at multiples of four bytes (section 3.6.2.4)."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content)}
        if target is not None:
            view["target"] = target
        self.binary += content
        return self.add("bufferViews", view)

    def add_accessor(self, array: np.ndarray, target: int | None, **more: Any) -> int:
        """The accessor of an array; without a target the data is elsewhere (Draco)."""
        shape = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}[1 if array.ndim == 1 else array.shape[1]]
        entry = {"componentType": COMPONENT_TYPES[array.dtype], "count": len(array), "type": shape, **more}
        if target is not None:
            entry = {"bufferView": self.add_view(np.ascontiguousarray(array).tobytes(), target)} | entry
        return self.add("accessors", entry)

    def add_picture(self, picture: np.ndarray, form: str, name: str) -> dict[str, Any]:
        """The reference to a new texture."""
        self.header.setdefault("samplers", [_sampler()])
        view = self.add_view(encode_picture(picture, form))
        source = self.add("images", {"bufferView": view, "mimeType": MIME_TYPES[form], "name": name})
        texture: dict[str, Any] = {"sampler": 0, "source": source}
        if form == "webp":
            texture = {"sampler": 0, "extensions": {"EXT_texture_webp": {"source": source}}}
            self.require("EXT_texture_webp")
        return {"index": self.add("textures", texture)}

    def require(self, extension: str) -> None:
        for kind in ("extensionsUsed", "extensionsRequired"):
            if extension not in self.header.setdefault(kind, []):
                self.header[kind].append(extension)

    def content(self) -> bytes:
        """The file (section 4.4): a header, a JSON chunk padded with spaces, a binary chunk padded with zeros."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        self.header["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps(self.header, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(self.binary), b"BIN\0") + bytes(self.binary)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def encode_glb(
    primitive: Primitive,
    material: Material | None,
    *,
    name: str,
    texture_format: str = "jpeg",
    draco: bool = False,
    extras: Mapping[str, Any] | None = None,
) -> bytes:
    """The content of a GLB. `extras` is stored in `asset.extras` and must be JSON.

    Raises ValueError for extras that are not JSON, ImportError for `draco` without DracoPy.
    """
    buffer = _Buffer()
    asset: dict[str, Any] = {"version": "2.0", "generator": GENERATOR}
    if extras:
        asset["extras"] = _as_json(extras)
    buffer.header = {
        "asset": asset,
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
    }
    arrays: dict[str, np.ndarray] = {
        "POSITION": primitive.positions.astype(np.float32),
        "NORMAL": primitive.normals.astype(np.float32),
    }
    if primitive.uv is not None:
        arrays["TEXCOORD_0"] = primitive.uv.astype(np.float32)
    if primitive.tangents is not None and material is not None and material.normal_map is not None:
        arrays["TANGENT"] = primitive.tangents.astype(np.float32)
    if primitive.colors is not None:
        # 16 bits, because 8 linear bits show steps in dark colours. Opaque, because rows must be multiples of 4 bytes.
        opaque = np.pad(primitive.colors.clip(0, 1), ((0, 0), (0, 1)), constant_values=1)
        arrays["COLOR_0"] = np.rint(opaque * 65535).astype(np.uint16)
    stored = _draco(buffer, arrays, primitive.faces) if draco else _plain(buffer, arrays, primitive.faces)
    stored["material"] = buffer.add("materials", _material(buffer, material, name, texture_format))
    buffer.header["meshes"] = [{"name": name, "primitives": [stored]}]
    return buffer.content()


def _plain(buffer: _Buffer, arrays: Mapping[str, np.ndarray], faces: np.ndarray) -> dict[str, Any]:
    attributes = {key: buffer.add_accessor(array, ARRAY_BUFFER, **_bounds(key, array)) for key, array in arrays.items()}
    # The largest number of a type restarts strips, so it may not be an index (section 3.7.2.1).
    kind = np.uint16 if len(arrays["POSITION"]) <= 65535 else np.uint32
    indices = buffer.add_accessor(faces.astype(kind).ravel(), ELEMENT_ARRAY_BUFFER)
    return {"attributes": attributes, "indices": indices, "mode": 4}


def _draco(buffer: _Buffer, arrays: Mapping[str, np.ndarray], faces: np.ndarray) -> dict[str, Any]:
    """The triangles compressed: positions and texture coordinates with 14 bits, normals with 10.

    Raises ImportError without DracoPy.
    """
    check_draco()
    others = {number: arrays[key] for number, key in enumerate(("COLOR_0", "TANGENT"), start=8) if key in arrays}
    compressed = DracoPy.encode(
        arrays["POSITION"],
        faces=faces.astype(np.uint32),
        quantization_bits=14,
        compression_level=7,
        normals=arrays["NORMAL"].astype(np.float64),
        normal_quantization_bits=10,
        tex_coord=arrays["TEXCOORD_0"].astype(np.float64) if "TEXCOORD_0" in arrays else None,
        tex_coord_quantization_bits=14,
        generic_attributes=others or None,
    )
    decoded = DracoPy.decode(compressed)
    # Draco's types of attributes: 0 position, 1 normal, 3 texture coordinate. Others have the numbers given above.
    numbers = {attribute["attribute_type"]: attribute["unique_id"] for attribute in decoded.attributes}
    places = {"POSITION": numbers[0], "NORMAL": numbers[1], "TEXCOORD_0": numbers.get(3), "COLOR_0": 8, "TANGENT": 9}
    points = np.asarray(decoded.points, np.float32)
    attributes = {}
    for key, array in arrays.items():
        rows = points if key == "POSITION" else np.zeros((len(points), array.shape[1]), array.dtype)
        attributes[key] = buffer.add_accessor(rows, None, **_bounds(key, rows))
    indices = buffer.add_accessor(np.asarray(decoded.faces, np.uint32).ravel(), None)
    view = buffer.add_view(compressed)
    buffer.require("KHR_draco_mesh_compression")
    extension = {"bufferView": view, "attributes": {key: places[key] for key in arrays}}
    return {
        "attributes": attributes,
        "indices": indices,
        "mode": 4,
        "extensions": {"KHR_draco_mesh_compression": extension},
    }


def check_draco() -> None:
    """Raise ImportError without DracoPy."""
    if DracoPy is None:
        raise ImportError("Draco compression needs DracoPy: pip install 'triplane3d[draco]'")


def _bounds(key: str, array: np.ndarray) -> dict[str, Any]:
    if key == "POSITION":  # required (section 3.7.2.1)
        return {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
    return {"normalized": True} if key == "COLOR_0" else {}


def _material(buffer: _Buffer, material: Material | None, name: str, texture_format: str) -> dict[str, Any]:
    if material is None:
        return {"name": name, "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": ROUGHNESS}}
    entry: dict[str, Any] = {
        "name": name,
        "pbrMetallicRoughness": {
            "baseColorTexture": buffer.add_picture(material.base_color, texture_format, "base_color"),
            "metallicFactor": material.metallic,
            "roughnessFactor": material.roughness,
        },
    }
    if material.normal_map is not None:  # JPEG's noise would be visible in reflections
        entry["normalTexture"] = buffer.add_picture(material.normal_map, "png", "normal")
    if material.occlusion is not None:
        entry["occlusionTexture"] = buffer.add_picture(material.occlusion, "png", "occlusion")
    return entry


def _sampler() -> dict[str, int]:
    return {
        "magFilter": LINEAR,
        "minFilter": LINEAR_MIPMAP_LINEAR,
        "wrapS": CLAMP_TO_EDGE,
        "wrapT": CLAMP_TO_EDGE,
    }


def _as_json(extras: Mapping[str, Any]) -> Any:
    try:
        return json.loads(json.dumps(dict(extras), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"extras must be JSON (text, finite numbers, lists, dictionaries): {error}") from error
