"""Deprecated name: the function is `triplane3d.geometry.mesh.simplification.simplify`."""

import warnings
from typing import Any

from triplane3d.geometry.mesh import simplification


def __getattr__(name: str) -> Any:
    if name not in ("check_simplify", "simplify"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{__name__}.{name} is deprecated: use {simplification.__name__}.{name}", FutureWarning, stacklevel=2)
    return getattr(simplification, name)
