"""What the surface of a finished asset looks like."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from triplane3d.geometry.mesh.files import ROUGHNESS


@dataclass(frozen=True, eq=False)
class Material:
    """What a surface looks like, by glTF's metallic-roughness model. The first row of a picture is its upper one."""

    base_color: UInt8[np.ndarray, "height width 3"]
    """sRGB."""
    metallic: float = 0.0
    roughness: float = ROUGHNESS
    normal_map: UInt8[np.ndarray, "rows columns 3"] | None = None
    """Normals in tangent space: (n + 1) · 127.5 with x along the tangent, y along the bitangent, z outwards. Linear."""
    occlusion: UInt8[np.ndarray, "tall wide"] | None = None
    """The share of the ambient light that reaches the surface, times 255. Linear."""

    def __post_init__(self) -> None:
        for name in ("metallic", "roughness"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, got {getattr(self, name)}")
