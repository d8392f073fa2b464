"""Texture coordinates for a mesh: charts by xatlas, within a time limit, or by box projection.

xatlas (Young 2018, https://github.com/jpcy/xatlas) makes few charts with little distortion, but its time grows with the
square of the number of faces, and on some meshes it does not end. It runs in a process of its own, which is stopped at
the limit. Box projection (`box_projection.py`) makes more charts, in a time proportional to the number of faces.
"""

import io
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np

from triplane3d.arguments import check_number, check_whole
from triplane3d.assets import xatlas_process
from triplane3d.assets.box_projection import box_projection
from triplane3d.assets.texels import check_texture_size
from triplane3d.assets.uv_map import UVMap, unit_normals
from triplane3d.geometry.mesh import Mesh

MOST_CHART_FACES = 30_000
"""Most faces for which xatlas is started."""

MOST_FACES = 5_000_000
"""Most faces that can be unwrapped."""

METHODS = ("auto", "charts", "boxes")


def unwrap(mesh: Mesh, *, size: int = 1024, padding: int = 4, method: str = "auto", seconds: int = 30) -> UVMap:
    """Texture coordinates of `mesh` for a texture of `size` × `size` texels. No two faces overlap in the texture.

    Args:
        padding: texels between charts, so that filtered and reduced copies of the texture do not mix them. Less where
            many charts would leave no room.
        method: "charts" by xatlas, "boxes" by projection along the axes; "auto" tries charts up to 30,000 faces, and
            takes boxes for larger meshes and where xatlas fails.
        seconds: limit on the time of xatlas.

    Raises:
        ValueError: a wrong argument, a mesh without area or with more than five million faces, or more charts than
            the texture has room for.
        RuntimeError: with method "charts", where xatlas fails or needs longer than `seconds`.
    """
    check_texture_size(size)
    check_whole("padding", padding, 0, 64)
    check_number("seconds", seconds, 1, 86_400)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if len(mesh.faces) > MOST_FACES:
        raise ValueError(
            f"a mesh of {len(mesh.faces):,} faces is too large for a texture, the limit is {MOST_FACES:,}: reduce its "
            "faces first, with `decimate`"
        )
    if len(mesh.faces) == 0 or not mesh.area > 0:
        raise ValueError(f"a surface without area cannot be unwrapped: {mesh!r}")
    if method == "charts" or (method == "auto" and len(mesh.faces) <= MOST_CHART_FACES):
        try:
            return _charts(mesh, size, padding, int(seconds))
        except RuntimeError as error:
            if method == "charts":
                raise
            warnings.warn(f"{error}: unwrapped by box projection instead", stacklevel=2)
    return box_projection(mesh, size=size, padding=padding)


def _charts(mesh: Mesh, size: int, padding: int, seconds: int) -> UVMap:
    """Charts by xatlas. Raises RuntimeError where it crashes, takes too long or returns something else."""
    arrays = io.BytesIO()
    # xatlas compares lengths with constants. A mesh of any size is brought to the size for which these were chosen.
    low, high = mesh.bounds
    scale = 2 / max(float((high - low).max()), 1e-30)
    np.savez(
        arrays,
        vertices=((mesh.vertices.astype(np.float64) - low) * scale).astype(np.float32),
        faces=np.asarray(mesh.faces).astype(np.uint32),
        normals=unit_normals(mesh),
    )
    # -P: the folder of the script, whose files have names of their own, is not searched for modules.
    command = [sys.executable, "-P", str(Path(xatlas_process.__file__)), *map(str, (seconds, size, padding))]
    try:
        ended = subprocess.run(command, input=arrays.getvalue(), capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"xatlas did not end within {seconds} s on {len(mesh.faces):,} faces") from error
    except OSError as error:
        raise RuntimeError(f"xatlas could not be started ({error})") from error
    if ended.returncode != 0:
        reason = ended.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"xatlas failed (exit code {ended.returncode}: {reason[0]})")
    try:
        with np.load(io.BytesIO(ended.stdout)) as charts:
            uv, vertices, faces = charts["uv"], charts["vertices"], charts["faces"]
            atlases = int(charts["atlases"])
        uv_map = UVMap(np.clip(uv, 0, 1), vertices, faces)
        uv_map.check(mesh)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise RuntimeError(f"xatlas returned charts that do not belong to the mesh ({error})") from error
    if atlases != 1:
        raise RuntimeError(f"xatlas needs {atlases} textures for its charts")
    return uv_map
