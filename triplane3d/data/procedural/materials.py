"""Random materials for the shape families, such as wood, metal and fabric.

Colours are chosen in sRGB and stored as linear albedo. Do not change the order of the random numbers in a function: all
published seeds would then give other shapes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from triplane3d.data.procedural.parts import Material

WOODS = (
    (0.87, 0.72, 0.53),
    (0.76, 0.57, 0.37),
    (0.62, 0.42, 0.25),
    (0.45, 0.28, 0.16),
    (0.30, 0.18, 0.11),
    (0.58, 0.30, 0.18),
    (0.92, 0.83, 0.68),
    (0.50, 0.44, 0.38),
)
METALS = (
    (0.78, 0.79, 0.80),
    (0.60, 0.61, 0.63),
    (0.38, 0.39, 0.41),
    (0.14, 0.14, 0.15),
    (0.80, 0.64, 0.32),
    (0.72, 0.45, 0.32),
    (0.54, 0.46, 0.34),
    (0.90, 0.90, 0.88),
)
CERAMICS = (
    (0.95, 0.94, 0.91),
    (0.90, 0.87, 0.80),
    (0.75, 0.42, 0.28),
    (0.24, 0.34, 0.52),
    (0.45, 0.58, 0.56),
    (0.62, 0.66, 0.50),
    (0.20, 0.20, 0.22),
    (0.85, 0.72, 0.58),
    (0.60, 0.28, 0.24),
    (0.52, 0.66, 0.76),
)


DARK = Material((0.02, 0.02, 0.022), gloss=0.6)


def linear(srgb: np.ndarray) -> np.ndarray:
    """Linear values of sRGB colours in 0..1 (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def wood(rng: np.random.Generator) -> Material:
    """Timber from pale birch to dark walnut, sometimes with a grain, sometimes painted."""
    if rng.random() < 0.15:
        return replace(plastic(rng), gloss=0.2)
    color = _near(rng, WOODS[rng.integers(len(WOODS))], 0.06)
    grain = np.clip(color * rng.uniform(0.7, 0.9), 0, 1)
    pattern = rng.choice(("stripes", "gradient")) if rng.random() < 0.35 else "plain"
    return _material(rng, color, grain, pattern, rng.uniform(0.08, 0.25), rng.uniform(0.1, 0.45))


def metal(rng: np.random.Generator) -> Material:
    """Steel, brass, copper, black iron or enamelled metal. Glossy."""
    color = _near(rng, METALS[rng.integers(len(METALS))], 0.05) if rng.random() < 0.75 else _vivid(rng, 0.9)
    return _maybe_patterned(rng, color, ("gradient", "stripes"), 0.25, (0.4, 0.9))


def plastic(rng: np.random.Generator) -> Material:
    """Moulded or lacquered: white, black, grey or a saturated colour."""
    color = _vivid(rng, 1.0) if rng.random() < 0.7 else np.full(3, rng.choice((0.95, 0.85, 0.5, 0.25, 0.1)))
    return _maybe_patterned(rng, color, ("stripes", "spots", "gradient", "checker"), 0.35, (0.2, 0.7))


def fabric(rng: np.random.Generator) -> Material:
    """Cloth, leather or felt in muted colours, often striped, checked or dotted. Matt."""
    color = _hsv(rng.random(), rng.uniform(0.05, 0.6), rng.uniform(0.2, 0.95))
    return _maybe_patterned(rng, color, ("stripes", "checker", "spots"), 0.45, (0.0, 0.2))


def ceramic(rng: np.random.Generator) -> Material:
    """Glazed pottery, porcelain and terracotta."""
    color = _near(rng, CERAMICS[rng.integers(len(CERAMICS))], 0.06) if rng.random() < 0.7 else _vivid(rng, 0.8)
    return _maybe_patterned(rng, color, ("stripes", "spots", "gradient", "checker"), 0.4, (0.3, 0.9))


def foliage(rng: np.random.Generator) -> Material:
    """Leaves: olive to blue-green, sometimes the colours of autumn."""
    hue = rng.uniform(0.20, 0.42) if rng.random() < 0.9 else rng.uniform(0.0, 0.14)
    color = _hsv(hue, rng.uniform(0.35, 0.85), rng.uniform(0.25, 0.7))
    return _maybe_patterned(rng, color, ("gradient", "spots", "stripes"), 0.35, (0.05, 0.35))


def any_material(rng: np.random.Generator) -> Material:
    """One of the materials above, all equally likely."""
    return (wood, metal, plastic, fabric, ceramic, foliage)[rng.integers(6)](rng)


def tinted(rng: np.random.Generator, srgb: tuple[float, float, float]) -> Material:
    """A small variation of the colour `srgb`, sometimes with a gradient: for things with one natural colour."""
    return _maybe_patterned(rng, _near(rng, srgb, 0.12), ("gradient",), 0.2, (0.1, 0.5))


def eye_black(rng: np.random.Generator) -> Material:
    """Glossy black, for eyes and noses."""
    return Material((rng.uniform(0.005, 0.04),) * 3, gloss=0.7)


def animal_skin(rng: np.random.Generator) -> Material:
    """Fur or skin: brown, grey, white, black, or any material, as toys have."""
    if rng.random() < 0.3:
        return any_material(rng)
    tone = rng.uniform(0.03, 0.8)
    warm = rng.uniform(0, 0.7)
    color = (tone, tone * (1 - 0.5 * warm), tone * (1 - 0.85 * warm))
    if rng.random() < 0.25:
        second = tuple(np.clip(np.array(color) * rng.choice([0.3, 2.5]), 0.01, 0.9))
        return Material(
            color, second, str(rng.choice(["spots", "stripes"])), int(rng.integers(3)), rng.uniform(0.2, 0.5), 0.1
        )
    return Material(color, gloss=rng.uniform(0, 0.3))


def rubber(rng: np.random.Generator) -> Material:
    """Black rubber, for tyres."""
    return Material((rng.uniform(0.01, 0.07),) * 3, gloss=0.1)


def window_glass(rng: np.random.Generator) -> Material:
    """Window of a vehicle: opaque, dark or sky-blue, glossy."""
    low, high = ((0.01, 0.02, 0.03), (0.1, 0.12, 0.15)) if rng.random() < 0.6 else ((0.2, 0.35, 0.5), (0.5, 0.7, 0.85))
    return Material(tuple(rng.uniform(low, high)), gloss=0.8)


def lamp_light(rng: np.random.Generator) -> Material:
    """Headlamp: white or warm yellow."""
    return Material((rng.uniform(0.75, 0.95), rng.uniform(0.7, 0.9), rng.uniform(0.3, 0.85)), gloss=0.7)


def window_pane(rng: np.random.Generator) -> Material:
    """Window of a building: dark, sky-blue or lit."""
    low, high = (
        ((0.01, 0.02, 0.03), (0.08, 0.1, 0.13)),
        ((0.2, 0.35, 0.5), (0.5, 0.7, 0.85)),
        ((0.7, 0.5, 0.15), (0.95, 0.8, 0.4)),
    )[rng.integers(3)]
    return Material(tuple(rng.uniform(low, high)), gloss=0.7)


def wall_material(rng: np.random.Generator) -> Material:
    """Wall of a building: ceramic colours, timber or lacquer."""
    return (ceramic, ceramic, wood, plastic)[rng.integers(4)](rng)


def contrasting(rng: np.random.Generator, material: Material) -> Material:
    """A material without pattern whose colour differs from that of `material`.

    Of four random materials it is the one whose colour is farthest, as the sum of differences of square roots of the
    linear colours, which approximate sRGB.
    """
    candidates = [replace(any_material(rng), pattern="plain", second=None) for _ in range(4)]
    gaps = [
        np.abs(np.sqrt(np.asarray(other.color)) - np.sqrt(np.asarray(material.color))).sum() for other in candidates
    ]
    return candidates[int(np.argmax(gaps))]


def _maybe_patterned(
    rng: np.random.Generator, srgb: np.ndarray, patterns: tuple[str, ...], share: float, gloss: tuple[float, float]
) -> Material:
    """A material of colour `srgb` and random gloss in `gloss`. With probability `share` it has one of `patterns`."""
    pattern = str(rng.choice(patterns)) if rng.random() < share else "plain"
    other = _vivid(rng, 1.0) if rng.random() < 0.5 else np.clip(srgb * rng.choice((0.45, 0.6, 1.6)) + 0.05, 0, 1)
    return _material(rng, srgb, other, pattern, rng.uniform(0.15, 0.5), rng.uniform(*gloss))


def _material(
    rng: np.random.Generator, color: np.ndarray, second: np.ndarray, pattern: str, scale: float, gloss: float
) -> Material:
    """A `Material` from sRGB colours; patterns get a random axis."""
    second_linear = None if pattern == "plain" else tuple(linear(second).tolist())
    return Material(
        tuple(linear(color).tolist()), second_linear, pattern, int(rng.integers(3)), float(scale), float(gloss)
    )


def _near(rng: np.random.Generator, srgb: tuple[float, ...], spread: float) -> np.ndarray:
    """A colour near `srgb`: mainly the brightness varies, as between two pieces of one material."""
    return np.clip(np.array(srgb) * rng.uniform(1 - 2 * spread, 1 + spread) + rng.normal(0, spread / 3, 3), 0.03, 0.97)


def _vivid(rng: np.random.Generator, saturation: float) -> np.ndarray:
    """A random colour of up to this saturation, neither black nor white."""
    return _hsv(rng.random(), saturation * rng.uniform(0.45, 0.95), rng.uniform(0.35, 0.95))


def _hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """sRGB colour of a hue, saturation and value, each in 0..1."""
    ramp = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return value * (1 - saturation + saturation * ramp)
