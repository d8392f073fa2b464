"""The families of shapes, by name: each is a function from a random generator to a list of parts.

To add a family, write the function in the module of its subject and add it to one of the tables below. The name of the
function is the name of the family. A new name in `FAMILIES` changes the shapes of all seeds for which
`generate_shapes` gets no `families`: it chooses among the sorted names.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from triplane3d.data.procedural.families.aircraft import airplane, helicopter, rocket
from triplane3d.data.procedural.families.animals import bird, fish, quadruped
from triplane3d.data.procedural.families.appliances import appliance
from triplane3d.data.procedural.families.boats import boat
from triplane3d.data.procedural.families.buildings import bridge_or_arch, house, tower_or_castle
from triplane3d.data.procedural.families.clothing import hat, shoe
from triplane3d.data.procedural.families.compositions import (
    blobs,
    carved,
    primitives,
    revolutions,
    superquadrics,
    wires,
)
from triplane3d.data.procedural.families.devices import camera_or_gadget
from triplane3d.data.procedural.families.figures import head_or_bust, humanoid_figure
from triplane3d.data.procedural.families.fruit import fruit
from triplane3d.data.procedural.families.furniture import bed, desk, shelf, table
from triplane3d.data.procedural.families.holdout import (
    bicycle_or_scooter,
    eyeglasses,
    giraffe_like_animal,
    scissors,
    spiral_or_helix,
    teapot,
    windmill,
)
from triplane3d.data.procedural.families.household import book_stack, clock, hydrant, tank
from triplane3d.data.procedural.families.instruments import drum_or_trumpet, guitar_or_violin
from triplane3d.data.procedural.families.lighting import candle, lamp, lantern
from triplane3d.data.procedural.families.luggage import box_or_case
from triplane3d.data.procedural.families.outdoors import hydrant_or_bollard, sign_or_post, tree
from triplane3d.data.procedural.families.plants import cactus, potted_plant
from triplane3d.data.procedural.families.prepared_food import cake_or_burger, donuts
from triplane3d.data.procedural.families.road_vehicles import car, truck_or_bus
from triplane3d.data.procedural.families.seating import armchair, chair, sofa, stool
from triplane3d.data.procedural.families.small_items import key_or_ring, umbrella_or_mushroom
from triplane3d.data.procedural.families.tools import (
    gear_or_bolt,
    hammer,
    power_drill_like,
    screwdriver_or_knife,
    wrench_or_spanner,
)
from triplane3d.data.procedural.families.toys import snowman_or_blob, teddy_or_plush
from triplane3d.data.procedural.families.trains import train_or_tram
from triplane3d.data.procedural.families.vessels import (
    bottle,
    bowl_or_plate,
    bucket_or_basket,
    goblet,
    jug,
    kettle,
    mug,
    vase,
)
from triplane3d.data.procedural.parts import Part

Family = Callable[[np.random.Generator], list[Part]]


def _by_name(*families: Family) -> dict[str, Family]:
    return {family.__name__: family for family in families}


FAMILIES: dict[str, Family] = _by_name(
    *(teddy_or_plush, humanoid_figure, snowman_or_blob, head_or_bust),
    *(quadruped, bird, fish),
    *(appliance,),
    *(house, tower_or_castle, bridge_or_arch),
    *(hat, shoe),
    *(donuts, cake_or_burger, fruit),
    *(primitives, carved, superquadrics, revolutions, wires, blobs),
    *(table, desk, shelf, bed),
    *(hammer, screwdriver_or_knife, wrench_or_spanner, power_drill_like, gear_or_bolt),
    *(guitar_or_violin, drum_or_trumpet, camera_or_gadget, umbrella_or_mushroom, key_or_ring),
    *(clock, book_stack, tank, hydrant),
    *(lamp, candle, lantern),
    *(box_or_case,),
    *(sign_or_post, hydrant_or_bollard, tree),
    *(cactus, potted_plant),
    *(chair, armchair, sofa, stool),
    *(car, truck_or_bus, train_or_tram),
    *(airplane, helicopter, boat, rocket),
    *(mug, bowl_or_plate, bottle, vase, kettle, jug, goblet, bucket_or_basket),
)
"""Families for training, and for evaluation on the families of training."""

HOLDOUT_FAMILIES: dict[str, Family] = _by_name(
    *(teapot, scissors, giraffe_like_animal, bicycle_or_scooter),
    *(eyeglasses, spiral_or_helix, windmill),
)
"""Families that training never uses: they measure generalisation to objects of a new kind."""
