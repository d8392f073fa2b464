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
    width, height = u(0.7, 1.0), u(0.45, 0.6)
    kind = rng.integers(3)
    if kind == 0:
        return [
            box((width, height, 0.06), round=0.03, material=case),
            box((width * 0.94, height * 0.9, 0.03), center=(0, 0.02, 0.05), material=screen),
            box((0.1, 0.2, 0.05), center=(0, -height - 0.1, -0.02), material=case),
            box((width * u(0.3, 0.6), 0.04, 0.22), round=0.02, center=(0, -height - 0.28, 0), material=case),
        ]
    if kind == 1:
        lean = u(5, 35)
        back = np.array([0, cos(radians(lean)), -sin(radians(lean))]) * height
        return [
            box((width, 0.045, height), round=0.03, material=case),
            box((width * 0.88, 0.02, height * 0.45), center=(0, 0.04, -height * 0.25), material=contrasting(rng, case)),
            box(
                (width, height, 0.04),
                round=0.02,
                center=back + (0, 0, -height + 0.04),
                rotate=(-lean, 0, 0),
                material=case,
            ),
            box(
                (width * 0.93, height * 0.88, 0.03),
                center=back + (0, 0.01, -height + 0.07),
                rotate=(-lean, 0, 0),
                material=screen,
            ),
        ]
    depth = u(0.25, 0.4)
    parts = [
        box((width * 0.9, height, depth), round=u(0.03, 0.15), material=case),
        ellipsoid(
            (width * 0.6, height * 0.78, 0.12), exponents=(0.5, 0.4), center=(-width * 0.2, 0, depth), material=screen
        ),
        cylinder(0.09, 0.06, center=(width * 0.62, height * 0.4, depth), rotate=(90, 0, 0), material=metal(rng)),
        cylinder(0.09, 0.06, center=(width * 0.62, 0, depth), rotate=(90, 0, 0), material=metal(rng)),
    ]
    if rng.random() < 0.6:
        parts.append(
            capsule(
                (0, height * 0.95, 0), (u(0.2, 0.6), height + u(0.4, 0.8), 0), 0.035, mirror="x", material=metal(rng)
            )
        )
    if rng.random() < 0.6:
        parts.append(
            capsule(
                (width * 0.65, -height * 0.9, depth * 0.5),
                (width * 0.8, -height * 1.5, depth * 0.8),
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
        width, height, depth = u(0.45, 0.6), u(0.85, 1.1), u(0.35, 0.5)
        return [
            box((width, height, depth), round=0.03, material=case),
            cylinder(width * 0.75, 0.06, center=(0, -height * 0.4, depth), rotate=(90, 0, 0), material=cone),
            torus(width * 0.72, 0.07, center=(0, -height * 0.4, depth), rotate=(90, 0, 0), material=metal(rng)),
            ellipsoid((width * 0.4, width * 0.4, 0.12), center=(0, height * 0.45, depth), material=cone),
        ]
    width, height, depth = u(0.8, 1.0), u(0.35, 0.55), u(0.2, 0.3)
    parts = [
        box((width, height, depth), round=u(0.03, 0.15), material=case),
        cylinder(height * 0.68, 0.05, center=(-width * 0.45, 0, depth), rotate=(90, 0, 0), material=cone),
        cylinder(0.1, 0.08, center=(width * 0.65, -height * 0.4, depth), rotate=(90, 0, 0), material=metal(rng)),
        box(
            (width * 0.35, height * 0.2, 0.04),
            round=0.02,
            center=(width * 0.45, height * 0.4, depth),
            material=contrasting(rng, case),
        ),
    ]
    if rng.random() < 0.7:
        rise = u(0.15, 0.35)
        parts.append(
            tube(
                [(width * 0.75, height * 0.9, 0), (width * 0.72, height + rise, 0), (0, height + rise, 0)],
                0.045,
                mirror="x",
                material=cone,
            )
        )
    if rng.random() < 0.5:
        parts.append(
            capsule(
                (width * 0.8, height * 0.9, -depth * 0.6),
                (width * u(0.3, 1.1), height + u(0.5, 0.9), -depth * 0.6),
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
    width, height, depth = u(0.75, 1.0), u(0.45, 0.6), u(0.2, 0.3)
    lens, length = height * u(0.6, 0.8), u(0.12, 0.5)
    x = u(-0.25, 0.15) * width
    parts = [
        box((width, height, depth), round=u(0.04, 0.12), material=body),
        cylinder(lens, length, center=(x, -0.03, depth + length * 0.8), rotate=(90, 0, 0), round=0.03, material=dark),
        cylinder(lens * 1.08, 0.09, center=(x, -0.03, depth + 0.04), rotate=(90, 0, 0), material=metal(rng)),
        ellipsoid(
            (lens * 0.8, lens * 0.8, 0.1),
            center=(x, -0.03, depth + length * 1.8),
            material=Material((0.03, 0.05, 0.12), gloss=0.9),
        ),
        cylinder(0.1, 0.1, center=(width * 0.7, height, 0), material=metal(rng)),
    ]
    if rng.random() < 0.65:
        parts.append(
            box((u(0.2, 0.3), 0.14, depth * 0.9), round=0.04, taper=-0.25, center=(x, height + 0.08, 0), material=body)
        )
    if rng.random() < 0.4:
        parts.append(box((0.16, height * 0.9, 0.15), round=0.1, center=(-width * 0.85, 0, depth), material=dark))
    return parts


def _toaster(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    shell, dark = metal(rng), Material(tuple(np.full(3, u(0.01, 0.06))), gloss=0.3)
    width, height, depth = u(0.75, 0.95), u(0.42, 0.6), u(0.28, 0.42)
    parts = [
        box((width, height, depth), round=u(0.08, 0.25), material=shell),
        box((width * 1.01, 0.08, depth * 1.02), round=0.03, center=(0, -height, 0), material=dark),
        box((width * 0.7, 0.12, 0.06), center=(0, height, depth * 0.4), mirror="z", op="subtract", material=dark),
        box((0.09, 0.06, 0.12), round=0.03, center=(width + 0.02, u(0, 0.7) * height, 0), material=dark),
    ]
    if rng.random() < 0.5:
        bread = tinted(rng, (0.8, 0.58, 0.3))
        parts.append(
            box(
                (width * 0.55, 0.3, 0.05),
                round=0.04,
                center=(0, height + 0.12, depth * 0.4),
                mirror="z" if rng.random() < 0.5 else "",
                material=bread,
            )
        )
    return parts


def _telephone(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    shell = plastic(rng)
    trim = contrasting(rng, shell)
    width, height, depth = u(0.6, 0.8), u(0.22, 0.35), u(0.5, 0.65)
    slope = u(15, 35)
    top = height * 1.5
    return [
        box((width, height, depth), round=0.06, taper=u(-0.3, -0.1), material=shell),
        box(
            (width * 0.65, 0.25, depth * 0.4),
            round=0.06,
            center=(0, height + 0.1, -depth * 0.35),
            blend=0.1,
            material=shell,
        ),
        cylinder(width * 0.48, 0.09, center=(0, height * 0.95, depth * 0.3), rotate=(slope, 0, 0), material=trim),
        cylinder(width * 0.2, 0.14, center=(0, height * 0.98, depth * 0.3), rotate=(slope, 0, 0), material=shell),
        tube(
            bezier(
                (-width * 1.05, top, -depth * 0.35),
                (0, top + u(0.25, 0.45), -depth * 0.35),
                (width * 1.05, top, -depth * 0.35),
                6,
            ),
            0.1,
            material=shell,
        ),
        ellipsoid((0.2, 0.16, 0.2), center=(width * 1.05, top - 0.05, -depth * 0.35), mirror="x", material=shell),
    ]
