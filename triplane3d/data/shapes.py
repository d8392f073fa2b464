"""Former name of `triplane3d.data.procedural`; its public names stay importable from here."""

from triplane3d.data.procedural import *  # noqa: F403
from triplane3d.data.procedural import __all__ as __all__
