"""Former name of `triplane3d.data.procedural`. All its public names stay importable from here."""

from triplane3d.data import procedural
from triplane3d.data.procedural import *  # noqa: F403
from triplane3d.data.procedural import __all__ as __all__


def __getattr__(name: str) -> object:
    return getattr(procedural, name)
