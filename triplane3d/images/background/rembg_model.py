"""Background removal by rembg, with a model file that is on this machine and has the published checksum.

rembg downloads a model whose file is missing. Some versions (2.0.60) also replace a file with a wrong checksum by a
download, others (2.0.86) use such a file without a check. Therefore the file is found and checked here, and a session
of rembg gets its path.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from triplane3d.images.background.arrays import Opacity, Rgb

REMBG_MODELS = {
    "birefnet-general": "7a35a0141cbbc80de11d9c9a28f52697",
    "isnet-general-use": "fc16ebd8b0c10d971d3513d564d01e29",
    "birefnet-general-lite": "4fab47adc4ff364be1713e97b7e66334",
    "u2net": "60024c5c889badc19c04ad937298a77b",
    "silueta": "55e59e0d8062d2f5d013f4725ee84782",
    "u2netp": "8e83ca70e441ab06c318d82300c84806",
}
"""rembg's models for objects of any kind under permissive licences, best first, with the MD5 that rembg publishes."""


def rembg_missing() -> str | None:
    """What has to be done before rembg can run; None where it can."""
    # The file first: this check takes no time, and without the file the package is of no use.
    if _model_file() is None:
        return (
            "rembg needs one of its models in its cache, and nothing is downloaded from here; run "
            "`pip install 'triplane3d[rembg]'` and `rembg d isnet-general-use`"
        )
    return rembg_checksum_error() if find_spec("rembg") else "pip install 'triplane3d[rembg]'"


def rembg_checksum_error() -> str | None:
    """What to do about a model file that is not the one that rembg publishes; None where it is, or is missing."""
    file = _model_file()
    if file is None:
        return None
    state = file.stat()
    found, expected = _md5(file, state.st_mtime_ns, state.st_size), REMBG_MODELS[file.stem]
    if found == expected:
        return None
    return (
        f"{file} is not the file that rembg publishes (its MD5 is {found}, not {expected}); delete it and run "
        f"`rembg d {file.stem}`"
    )


def rembg_opacity(rgb: Rgb) -> Opacity:
    """The object's opacity by rembg, with the best of its models that is in its cache.

    Raises:
        ValueError: the model's file is gone, or its checksum is wrong.
    """
    from rembg import remove  # the optional extra `rembg`; its first import takes seconds

    if (missing := rembg_missing()) is not None:
        raise ValueError(missing)
    picture = Image.fromarray((rgb * 255).round().astype(np.uint8))
    mask = remove(picture, session=_session(_model_file()), only_mask=True)
    return np.array(mask.convert("L")).astype(np.float32) / np.float32(255)


def _model_file() -> Path | None:
    """The file of the best model in rembg's cache.

    Newer versions of rembg keep a file in a folder of its own, older ones beside all others in `.u2net`.
    """
    data = os.environ.get("XDG_DATA_HOME")
    old_home = os.environ.get("U2NET_HOME") or os.path.join(data or "~", ".u2net")
    new_home = (
        os.environ.get("U2NET_HOME")
        or os.environ.get("REMBG_HOME")
        or (os.path.join(data, "rembg") if data else os.path.join("~", ".rembg"))
    )
    places = [
        Path(place).expanduser()
        for model in REMBG_MODELS
        for place in (f"{new_home}/models/{model}/{model}.onnx", f"{old_home}/{model}.onnx")
    ]
    return next((place for place in places if place.is_file()), None)


@lru_cache(maxsize=4)
def _md5(file: Path, modified: int, size: int) -> str:
    """The file's MD5; `modified` and `size` distinguish a changed file from the one that was read before."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@lru_cache(maxsize=1)
def _session(file: Path) -> Any:
    """A session of rembg that runs this file. It cannot download: the method that does so returns the file's path."""
    import onnxruntime
    from rembg.sessions import sessions_class

    session_class = next(each for each in sessions_class if each.name() == file.stem)
    local = type(
        session_class.__name__,
        (session_class,),
        {"download_models": classmethod(lambda cls, *args, **options: str(file))},
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return local(file.stem, options)
