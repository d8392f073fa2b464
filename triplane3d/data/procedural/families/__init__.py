"""Families of shapes: each is a function from a random generator to a list of parts, registered by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from triplane3d.data.procedural.parts import Part

Family = Callable[[np.random.Generator], list[Part]]

FAMILIES: dict[str, Family] = {}
HOLDOUT_FAMILIES: dict[str, Family] = {}


def family(function: Family) -> Family:
    """Register a family that training draws from."""
    FAMILIES[function.__name__] = function
    return function


def holdout(function: Family) -> Family:
    """Register a family that training never sees; it measures generalisation."""
    HOLDOUT_FAMILIES[function.__name__] = function
    return function


# Reading the modules fills the two tables; they come last because each of them needs `family` or `holdout`.
from triplane3d.data.procedural.families import (  # noqa: E402, F401
    animals,
    appliances,
    buildings,
    clothing,
    creatures,
    food,
    free,
    furniture,
    gadgets,
    household,
    lighting,
    luggage,
    outdoors,
    plants,
    seating,
    tools,
    unseen,
    vehicles,
    vessels,
)
