"""Deprecated names: the functions are in `triplane3d.geometry.mesh`, in `sampling`, `inside` and `normalization`."""

import warnings
from typing import Any

from triplane3d.geometry.mesh.inside import points_inside
from triplane3d.geometry.mesh.normalization import normalize_mesh
from triplane3d.geometry.mesh.sampling import sample_mesh

_MOVED = {"normalize": normalize_mesh, "occupancy": points_inside, "sample_surface": sample_mesh}


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = _MOVED[name]
    warnings.warn(
        f"{__name__}.{name} is deprecated: use {function.__module__}.{function.__name__}", FutureWarning, stacklevel=2
    )
    return function
