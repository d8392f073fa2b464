"""Appliances: televisions, radios, cameras, toasters and telephones."""

from __future__ import annotations

from math import cos, radians, sin

import numpy as np

from triplane3d.data.procedural.materials import contrasting, metal, plastic, tinted, wood
from triplane3d.data.procedural.parts import Material, Part, bezier, box, capsule, cylinder, ellipsoid, torus, tube


def appliance(rng: np.random.Generator) -> list[Part]:
    """A television, laptop, radio, loudspeaker, camera, toaster or telephone."""
    return (_television, _radio, _camera, _toaster, _telephone)[rng.integers(5)](rng)


def _television(rng: np.random.Generator) -> list[Part]:
    """A flat screen, a laptop, or an old television with legs and aerials."""
    u = rng.uniform
    case, screen = (plastic if rng.random() < 0.6 else wood)(rng), Material(tuple(u(0.01, 0.15, 3)), gloss=0.8)
    wide, high = u(0.7, 1.0), u(0.45, 0.6)
    kind = rng.integers(3)
    if kind == 0:
        return [
            box((wide, high, 0.06), round=0.03, material=case),
            box((wide * 0.94, high * 0.9, 0.03), center=(0, 0.02, 0.05), material=screen),
            box((0.1, 0.2, 0.05), center=(0, -high - 0.1, -0.02), material=case),
            box((wide * u(0.3, 0.6), 0.04, 0.22), round=0.02, center=(0, -high - 0.28, 0), material=case),
        ]
    if kind == 1:
        lean = u(5, 35)
        back = np.array([0, cos(radians(lean)), -sin(radians(lean))]) * high
        return [
            box((wide, 0.045, high), round=0.03, material=case),
            box((wide * 0.88, 0.02, high * 0.45), center=(0, 0.04, -high * 0.25), material=contrasting(rng, case)),
            box(
                (wide, high, 0.04), round=0.02, center=back + (0, 0, -high + 0.04), rotate=(-lean, 0, 0), material=case
            ),
            box(
                (wide * 0.93, high * 0.88, 0.03),
                center=back + (0, 0.01, -high + 0.07),
                rotate=(-lean, 0, 0),
                material=screen,
            ),
        ]
    deep = u(0.25, 0.4)
    parts = [
        box((wide * 0.9, high, deep), round=u(0.03, 0.15), material=case),
        ellipsoid(
            (wide * 0.6, high * 0.78, 0.12), exponents=(0.5, 0.4), center=(-wide * 0.2, 0, deep), material=screen
        ),
        cylinder(0.09, 0.06, center=(wide * 0.62, high * 0.4, deep), rotate=(90, 0, 0), material=metal(rng)),
        cylinder(0.09, 0.06, center=(wide * 0.62, 0, deep), rotate=(90, 0, 0), material=metal(rng)),
    ]
    if rng.random() < 0.6:
        parts.append(
            capsule((0, high * 0.95, 0), (u(0.2, 0.6), high + u(0.4, 0.8), 0), 0.035, mirror="x", material=metal(rng))
        )
    if rng.random() < 0.6:
        parts.append(
            capsule(
                (wide * 0.65, -high * 0.9, deep * 0.5),
                (wide * 0.8, -high * 1.5, deep * 0.8),
                0.05,
                mirror="xz",
                material=wood(rng),
            )
        )
    return parts


def _radio(rng: np.random.Generator) -> list[Part]:
    """A radio with a handle, or an upright loudspeaker."""
    u = rng.uniform
    case, cone = (plastic if rng.random() < 0.5 else wood)(rng), Material(tuple(np.full(3, u(0.01, 0.1))), gloss=0.3)
    if rng.random() < 0.4:
        wide, high, deep = u(0.45, 0.6), u(0.85, 1.1), u(0.35, 0.5)
        return [
            box((wide, high, deep), round=0.03, material=case),
            cylinder(wide * 0.75, 0.06, center=(0, -high * 0.4, deep), rotate=(90, 0, 0), material=cone),
            torus(wide * 0.72, 0.07, center=(0, -high * 0.4, deep), rotate=(90, 0, 0), material=metal(rng)),
            ellipsoid((wide * 0.4, wide * 0.4, 0.12), center=(0, high * 0.45, deep), material=cone),
        ]
    wide, high, deep = u(0.8, 1.0), u(0.35, 0.55), u(0.2, 0.3)
    parts = [
        box((wide, high, deep), round=u(0.03, 0.15), material=case),
        cylinder(high * 0.68, 0.05, center=(-wide * 0.45, 0, deep), rotate=(90, 0, 0), material=cone),
        cylinder(0.1, 0.08, center=(wide * 0.65, -high * 0.4, deep), rotate=(90, 0, 0), material=metal(rng)),
        box(
            (wide * 0.35, high * 0.2, 0.04),
            round=0.02,
            center=(wide * 0.45, high * 0.4, deep),
            material=contrasting(rng, case),
        ),
    ]
    if rng.random() < 0.7:
        rise = u(0.15, 0.35)
        parts.append(
            tube(
                [(wide * 0.75, high * 0.9, 0), (wide * 0.72, high + rise, 0), (0, high + rise, 0)],
                0.045,
                mirror="x",
                material=cone,
            )
        )
    if rng.random() < 0.5:
        parts.append(
            capsule(
                (wide * 0.8, high * 0.9, -deep * 0.6),
                (wide * u(0.3, 1.1), high + u(0.5, 0.9), -deep * 0.6),
                0.035,
                material=metal(rng),
            )
        )
    return parts


def _camera(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    body, dark = (
        plastic(rng) if rng.random() < 0.6 else metal(rng),
        Material(tuple(np.full(3, u(0.01, 0.06))), gloss=0.6),
    )
    wide, high, deep = u(0.75, 1.0), u(0.45, 0.6), u(0.2, 0.3)
    lens, long = high * u(0.6, 0.8), u(0.12, 0.5)
    x = u(-0.25, 0.15) * wide
    parts = [
        box((wide, high, deep), round=u(0.04, 0.12), material=body),
        cylinder(lens, long, center=(x, -0.03, deep + long * 0.8), rotate=(90, 0, 0), round=0.03, material=dark),
        cylinder(lens * 1.08, 0.09, center=(x, -0.03, deep + 0.04), rotate=(90, 0, 0), material=metal(rng)),
        ellipsoid(
            (lens * 0.8, lens * 0.8, 0.1),
            center=(x, -0.03, deep + long * 1.8),
            material=Material((0.03, 0.05, 0.12), gloss=0.9),
        ),
        cylinder(0.1, 0.1, center=(wide * 0.7, high, 0), material=metal(rng)),
    ]
    if rng.random() < 0.65:
        parts.append(
            box((u(0.2, 0.3), 0.14, deep * 0.9), round=0.04, taper=-0.25, center=(x, high + 0.08, 0), material=body)
        )
    if rng.random() < 0.4:
        parts.append(box((0.16, high * 0.9, 0.15), round=0.1, center=(-wide * 0.85, 0, deep), material=dark))
    return parts


def _toaster(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    shell, dark = metal(rng), Material(tuple(np.full(3, u(0.01, 0.06))), gloss=0.3)
    wide, high, deep = u(0.75, 0.95), u(0.42, 0.6), u(0.28, 0.42)
    parts = [
        box((wide, high, deep), round=u(0.08, 0.25), material=shell),
        box((wide * 1.01, 0.08, deep * 1.02), round=0.03, center=(0, -high, 0), material=dark),
        box((wide * 0.7, 0.12, 0.06), center=(0, high, deep * 0.4), mirror="z", op="subtract", material=dark),
        box((0.09, 0.06, 0.12), round=0.03, center=(wide + 0.02, u(0, 0.7) * high, 0), material=dark),
    ]
    if rng.random() < 0.5:
        bread = tinted(rng, (0.8, 0.58, 0.3))
        parts.append(
            box(
                (wide * 0.55, 0.3, 0.05),
                round=0.04,
                center=(0, high + 0.12, deep * 0.4),
                mirror="z" if rng.random() < 0.5 else "",
                material=bread,
            )
        )
    return parts


def _telephone(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    shell = plastic(rng)
    trim = contrasting(rng, shell)
    wide, high, deep = u(0.6, 0.8), u(0.22, 0.35), u(0.5, 0.65)
    slope = u(15, 35)
    top = high * 1.5
    return [
        box((wide, high, deep), round=0.06, taper=u(-0.3, -0.1), material=shell),
        box(
            (wide * 0.65, 0.25, deep * 0.4), round=0.06, center=(0, high + 0.1, -deep * 0.35), blend=0.1, material=shell
        ),
        cylinder(wide * 0.48, 0.09, center=(0, high * 0.95, deep * 0.3), rotate=(slope, 0, 0), material=trim),
        cylinder(wide * 0.2, 0.14, center=(0, high * 0.98, deep * 0.3), rotate=(slope, 0, 0), material=shell),
        tube(
            bezier(
                (-wide * 1.05, top, -deep * 0.35),
                (0, top + u(0.25, 0.45), -deep * 0.35),
                (wide * 1.05, top, -deep * 0.35),
                6,
            ),
            0.1,
            material=shell,
        ),
        ellipsoid((0.2, 0.16, 0.2), center=(wide * 1.05, top - 0.05, -deep * 0.35), mirror="x", material=shell),
    ]
