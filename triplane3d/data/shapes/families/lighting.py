"""Lamps, in metres."""

from __future__ import annotations

import numpy as np

from triplane3d.data.shapes.families import family
from triplane3d.data.shapes.families.turning import smooth
from triplane3d.data.shapes.paint import ceramic, contrasting, fabric, metal, wood
from triplane3d.data.shapes.parts import Paint, Part, bezier, capsule, cylinder, ellipsoid, revolve, tube


@family
def lamp(rng: np.random.Generator) -> list[Part]:
    """A table lamp on a turned base, a floor lamp, or a jointed or gooseneck desk lamp."""
    u = rng.uniform
    base_paint, shade_paint = (ceramic, wood, metal, metal)[rng.integers(4)](rng), fabric(rng)
    style = rng.choice(("table", "floor", "desk"), p=(0.55, 0.2, 0.25))
    if style == "desk":
        return _desk_lamp(rng, base_paint)
    rod = u(0.016, 0.024) if style == "table" else u(0.02, 0.032)
    base_height = u(0.18, 0.5) if style == "table" else u(0.9, 1.5)
    shade_half, shade_wide = u(0.08, 0.18), u(0.12, 0.26)
    top = base_height + 2 * shade_half * u(0.7, 1.0)
    parts = [_turned_base(rng, base_height, u(0.06, 0.14), rod, base_paint)] if style == "table" else [
        revolve([(0, 0), (0.17, 0), (0.16, 0.03), (rod * 1.5, 0.07), (rod, 0.12), (rod, base_height), (0, base_height)],
                paint=base_paint)]
    if style == "floor" and rng.random() < 0.3:  # a tripod instead of a foot
        foot = u(0.22, 0.35)
        parts = [capsule((0, base_height * 0.85, 0), (0, rod, -foot), rod * 1.2, paint=base_paint),
                 capsule((0, base_height * 0.85, 0), (foot * 0.87, rod, foot * 0.5), rod * 1.2, mirror="x",
                         paint=base_paint)]
    parts.append(capsule((0, base_height * 0.8, 0), (0, top, 0), rod, paint=metal(rng)))
    return parts + [_shade(rng, shade_wide, shade_half, top, shade_paint)]


def _turned_base(rng: np.random.Generator, height: float, wide: float, rod: float, paint: Paint) -> Part:
    """A lamp's foot: gourd, column, cone or candlestick, turned about the axis and ending in the rod."""
    u = rng.uniform
    knots = int(rng.integers(2, 6))
    y = np.sort(u(0.06, 0.92, knots)) * height
    foot = wide * u(0.6, 1.1)
    kind = rng.integers(3)
    radius = (wide * u(0.35, 1.0, knots), np.linspace(foot, rod * 1.6, knots), wide * np.sin(np.linspace(0.6, 2.6, knots)))[kind]
    profile = np.array([(foot, 0), (foot, height * 0.03), *zip(np.maximum(radius, rod * 1.2), y, strict=True),
                        (rod * 1.2, height)])
    return revolve([(0, 0), *smooth(profile, 13), (0, height)], paint=paint)


def _shade(rng: np.random.Generator, wide: float, half_height: float, top: float, paint: Paint) -> Part:
    """A lampshade whose top, at `top`, closes over the rod: drum, cone, bell or globe, solid or hollow below."""
    u = rng.uniform
    narrow = wide * u(0.35, 1.0)
    bottom = top - 2 * half_height
    outline = np.array([(wide, bottom), (wide * 0.5 + narrow * 0.5, bottom + half_height), (narrow, top + 0.01)])
    kind = rng.random()
    if kind < 0.2:
        outline[1, 0] = narrow * u(0.9, 1.1)
    elif kind < 0.4:
        outline = np.array([(wide * u(0.5, 0.9), bottom), (wide, bottom + half_height * 0.7),
                            (wide * 0.95, bottom + half_height * 1.4), (wide * u(0.2, 0.6), top + 0.01)])
    outline = smooth(outline, 6) if kind < 0.4 else outline
    lid = [(outline[-1, 0], top + 0.01), (0, top + 0.01)]
    if rng.random() < 0.5:
        return revolve([(0, bottom), *outline[:-1], *lid], paint=paint)
    wall = max(0.02, 0.08 * wide)
    inside = [(max(r - wall, wall), min(y, top - 0.03)) for r, y in outline[::-1]]
    inside[-1] = (inside[-1][0], bottom)
    return revolve([(0, top + 0.01), *outline[::-1], *inside[::-1], (0, top - 0.03)], paint=paint)


def _desk_lamp(rng: np.random.Generator, paint: Paint) -> list[Part]:
    """Foot, arm (jointed or a gooseneck) and a head that looks down to the front."""
    u = rng.uniform
    reach, height, rod, foot = u(0.1, 0.25), u(0.3, 0.5), u(0.012, 0.02), u(0.08, 0.12)
    parts = [cylinder(foot, u(0.014, 0.03), round=0.008, center=(0, 0.015, 0), paint=paint)]
    head_at = (0.0, height * u(0.8, 1.0), reach)
    if rng.random() < 0.5:
        path = bezier((0, 0.01, -foot * 0.4), (0, height * u(1.5, 2.0), -reach * u(0.0, 0.6)), head_at, 8)
    else:
        path = np.array([(0, 0.01, 0), (0, height * 0.55, -reach * u(0.3, 1.0)), head_at])
        parts.append(ellipsoid((rod * 2, rod * 2, rod * 2), center=path[1], paint=paint))
    parts.append(tube(path, rod, paint=paint))
    wide, long = u(0.06, 0.1), u(0.08, 0.15)
    tilt = u(-70, -10)
    outline = [(0, 0.02), (wide * 0.35, 0.02), (wide * 0.5, -long * 0.3), (wide, -long), (0, -long * u(0.75, 1.05))]
    parts.append(revolve(outline, center=head_at, rotate=(tilt, 0, 0), paint=paint if rng.random() < 0.6 else
                         contrasting(rng, paint)))
    return parts
