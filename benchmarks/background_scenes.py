"""Photos whose object is known: rendered shapes over backdrops of increasing difficulty, determined by a seed.

Eight kinds of object (`KINDS`) before five kinds of backdrop (`BACKDROPS`) are the forty scenes of a round. Another
round has other shapes, cameras, light, colours and noise.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

from triplane3d.data.procedural import (
    FAMILIES,
    FIRST_EVALUATION_SEED,
    OrbitCameras,
    generate_shapes,
    render_views,
    sample_surface,
)
from triplane3d.geometry.color import lab_from_srgb

BACKDROPS = ("plain", "gradient", "shadow", "grain", "texture")
ABSTRACT = {"blobs", "carved", "primitives", "revolutions", "superquadrics", "wires"}
"""Families of abstract shapes."""
KINDS = {
    "coloured": sorted(set(FAMILIES) - ABSTRACT),
    "white": ["vase", "jug", "mug", "head_or_bust", "kettle", "lamp", "bottle"],
    "dark": ["camera_or_gadget", "armchair", "kettle", "hat", "shoe", "car", "power_drill_like"],
    "thin": ["stool", "chair", "table", "desk", "sign_or_post", "airplane"],
    "handle": ["mug", "kettle", "jug", "bucket_or_basket"],
    "similar": ["teddy_or_plush", "car", "sofa", "house", "snowman_or_blob", "quadruped", "truck_or_bus"],
    "near border": ["tower_or_castle", "bird", "humanoid_figure", "cactus", "rocket", "shoe", "boat"],
    "glass": ["vase", "bottle", "goblet", "bowl_or_plate"],
}
"""The families of each kind of object."""

CLUTTERED = ("shadow", "grain", "texture")
"""Backdrops that sometimes contain a part of another object."""
SIZES = ((480, 480), (400, 520), (520, 400))
"""Heights and widths of the photos, in pixels."""
FIRST_SEED = FIRST_EVALUATION_SEED + 900_000_000

Picture = Float[np.ndarray, "height width 3"]
Map = Float[np.ndarray, "height width"]


@dataclass(frozen=True)
class Scene:
    """A photo (sRGB in 0..1, of 8 bits) and the fraction of each pixel that its object covers (0..1)."""

    name: str
    backdrop: str
    kind: str
    photo: Picture
    coverage: Map


def draw_round(number: int, scale: float = 1.0, contrast: float = 1.0) -> list[Scene]:
    """The forty scenes of a round. `scale` makes the photos smaller or larger; a `contrast` below 1 makes the
    colours of object and backdrop more similar."""
    return [draw_scene(number, backdrop, kind, scale, contrast) for backdrop in BACKDROPS for kind in KINDS]


def draw_scene(number: int, backdrop: str, kind: str, scale: float = 1.0, contrast: float = 1.0) -> Scene:
    """The scene of round `number` with this kind of object before this kind of backdrop."""
    place = BACKDROPS.index(backdrop) * len(KINDS) + list(KINDS).index(kind)
    rng = np.random.default_rng([number, place])
    height, width = (round(side * scale) for side in SIZES[rng.integers(len(SIZES))])
    # Objects near the border fill the photo; the others fill half of it or more.
    fill = rng.uniform(0.80, 0.92) if kind == "near border" else rng.uniform(0.5, 0.78)
    cutout = draw_object(FIRST_SEED + 1_000_000 * number + 10_000 * place, kind, round(fill * min(height, width)))
    return _composed(f"{number}/{backdrop}/{kind}", rng, cutout, (height, width), backdrop, kind, scale, contrast)


def photo_scene(name: str, photo: Image.Image, backdrop: str, number: int = 0) -> Scene:
    """A photo whose object is cut out already (RGBA), before another backdrop."""
    rng = np.random.default_rng([number, BACKDROPS.index(backdrop), *name.encode()])
    height, width = SIZES[rng.integers(len(SIZES))]
    trimmed = photo.crop(photo.getchannel("A").getbbox())
    trimmed.thumbnail([round(0.72 * min(height, width))] * 2, Image.Resampling.LANCZOS)
    cutout = np.asarray(trimmed).astype(np.float32) / 255
    return _composed(f"{name}/{backdrop}", rng, cutout, (height, width), backdrop, "photo", 1.0, 1.0)


def _composed(
    name: str,
    rng: np.random.Generator,
    cutout: np.ndarray,
    size: tuple[int, int],
    backdrop: str,
    kind: str,
    scale: float,
    contrast: float,
) -> Scene:
    """The object on a random backdrop, with its shadow, its reflections and the effects of a camera."""
    canvas = _placed(rng, cutout, *size, kind, backdrop, scale)
    solid, color = canvas[..., 3], canvas[..., :3]
    opacity = solid * _glass_opacity(solid, color) if kind == "glass" else solid
    mean = color[solid > 0.5].mean(axis=0)
    behind = _Backdrop(rng, *size, scale, mean, kind, contrast).draw(backdrop, solid)
    if backdrop in CLUTTERED and rng.random() < 0.3:
        behind = _cluttered(rng, behind, solid, scale)
    if kind == "white":
        color = _reflecting(rng, color, behind)
    if kind == "glass":
        behind = np.where(solid[..., None] > 0.5, _refracted(behind, solid, scale), behind)
    photo = color * opacity[..., None] + behind * (1 - opacity[..., None])
    return Scene(name, backdrop, kind, _developed(rng, photo, backdrop, scale), solid)


def draw_object(seed: int, kind: str, side: int) -> Float[np.ndarray, "height width 4"]:
    """A rendered shape in one piece (sRGB, straight alpha), trimmed; its longer side is about `side` pixels."""
    for attempt in range(100):
        batch = generate_shapes([seed + attempt], families=KINDS[kind], azimuths="random")
        rng = np.random.default_rng([seed, attempt])
        generator = torch.Generator().manual_seed(seed + attempt)
        if kind in ("white", "dark", "glass"):
            batch = replace(batch, material=_recolored(rng, batch.material, kind))
        surface, _ = sample_surface(batch, 2048, generator)
        views = OrbitCameras.sample(1, generator)
        # The margin contains parts beyond the sampled points.
        images, _ = render_views(batch, views, surface, round(side / 0.9), foreground_ratio=0.9, generator=generator)
        picture = images[0].permute(1, 2, 0).numpy()
        labels, count = ndimage.label(picture[..., 3] > 0.5, np.ones((3, 3)))
        areas = np.bincount(labels.ravel())[1:]
        if count and areas.max() > 0.99 * areas.sum() and 0.08 * side**2 < areas.sum():
            rows, columns = (np.flatnonzero((picture[..., 3] > 0).any(axis=axis)) for axis in (1, 0))
            return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    raise RuntimeError(f"no shape of {KINDS[kind]} in one piece from seed {seed} on")


def _recolored(rng: np.random.Generator, material: torch.Tensor, kind: str) -> torch.Tensor:
    """The materials with the colours of every part white, dark or clear, with small variations."""
    low, high = {"white": (0.75, 0.92), "dark": (0.012, 0.05), "glass": (0.6, 0.8)}[kind]
    tint = rng.uniform(0.93, 1.0, 3)
    shades = rng.uniform(low, high, (*material.shape[:2], 1)) * tint
    recolored = material.clone()
    recolored[..., :6] = torch.from_numpy(np.concatenate([shades, shades * 0.9], axis=-1)).float()
    return recolored


def _placed(
    rng: np.random.Generator, cutout: np.ndarray, height: int, width: int, kind: str, backdrop: str, scale: float
) -> Float[np.ndarray, "height width 4"]:
    """The object on a transparent canvas. For "near border", a few rows or columns of backdrop remain on one side."""
    tall, wide = cutout.shape[:2]
    free_rows, free_columns = height - tall, width - wide
    top, left = (round(free * rng.uniform(0.3, 0.7)) for free in (free_rows, free_columns))
    if backdrop == "shadow":
        top = round(free_rows * rng.uniform(0.55, 0.8))
    if kind == "near border":
        gap = round(rng.uniform(9, 16) * scale)
        side = rng.choice(["bottom", "left", "right", "top"], p=[0.55, 0.15, 0.15, 0.15])
        top = {"bottom": free_rows - gap, "top": gap}.get(side, top)
        left = {"right": free_columns - gap, "left": gap}.get(side, left)
    canvas = np.zeros((height, width, 4), dtype=np.float32)
    canvas[top : top + tall, left : left + wide] = cutout
    return canvas


def _cluttered(rng: np.random.Generator, behind: Picture, solid: Map, scale: float) -> Picture:
    """The backdrop with a part of another object at the border of the photo, which does not touch the object."""
    y, x = np.mgrid[: solid.shape[0], : solid.shape[1]]
    clear = ndimage.binary_dilation(solid > 0.02, iterations=round(12 * scale))
    for _ in range(50):
        middle = [(0, rng.uniform(0, x.max())), (rng.uniform(0, y.max()), rng.choice([0, x.max()]))][rng.integers(2)]
        across, turn = rng.uniform(0.05, 0.16, 2) * min(solid.shape), rng.uniform(0, np.pi)
        u = (np.cos(turn) * (x - middle[1]) + np.sin(turn) * (y - middle[0])) / across[0]
        v = (np.cos(turn) * (y - middle[0]) - np.sin(turn) * (x - middle[1])) / across[1]
        patch = np.hypot(u, v) < 1 if rng.random() < 0.5 else np.maximum(abs(u), abs(v)) < 1
        if not (patch & clear).any():
            color = rng.uniform(0.05, 0.95, 3)
            shade = color * (0.8 + 0.2 * np.clip(u, -1, 1)[..., None])
            return np.where(patch[..., None], shade, behind)
    return behind


def _reflecting(rng: np.random.Generator, color: Picture, behind: Picture) -> Picture:
    """A white object whose shaded side is lit by the backdrop and has its hue."""
    light = behind.mean(axis=(0, 1))
    shaded = np.clip(1 - color.mean(axis=-1, keepdims=True), 0, 0.7) * rng.uniform(0.4, 1.0)
    return color + shaded * (light / light.max() * color.mean(axis=-1, keepdims=True) - color)


def _glass_opacity(solid: Map, color: Picture) -> Map:
    """Opacity that is low in the middle, higher towards the outline, and 1 in highlights."""
    depth = ndimage.distance_transform_edt(solid > 0.5) / max(solid.shape)
    light = ndimage.gaussian_filter(color.mean(axis=-1), 1)
    bright = np.clip((light - np.quantile(light[solid > 0.5], 0.9)) * 6, 0, 1)
    return np.clip(0.22 + 0.55 * np.exp(-depth / 0.012) + 0.7 * bright, 0, 1)


def _refracted(behind: Picture, solid: Map, scale: float) -> Picture:
    """The backdrop as seen through the object: near the outline it is shifted towards the middle."""
    soft = ndimage.gaussian_filter(solid, 8 * scale)
    shift = np.stack(np.gradient(soft)) * 300 * scale**2
    where = np.mgrid[: solid.shape[0], : solid.shape[1]] - shift
    return np.stack(
        [ndimage.map_coordinates(channel, where, order=1, mode="nearest") for channel in np.moveaxis(behind, -1, 0)],
        axis=-1,
    )


class _Backdrop:
    """Backdrops of one photo. Their colours differ from `mean`, the object's mean colour."""

    def __init__(
        self,
        rng: np.random.Generator,
        height: int,
        width: int,
        scale: float,
        mean: np.ndarray,
        kind: str,
        contrast: float,
    ) -> None:
        self.rng, self.shape, self.scale, self.mean, self.kind = rng, (height, width), scale, mean, kind
        self.contrast = contrast
        self.y, self.x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]

    def draw(self, backdrop: str, solid: Map) -> Picture:
        return (
            {"plain": self.plain, "gradient": self.gradient, "grain": self.under_grain, "texture": self.texture}[
                backdrop
            ]()
            if backdrop != "shadow"
            else self.floor_and_shadow(solid)
        )

    def color(self) -> np.ndarray:
        """A colour at a distance (CIE76) from the object's mean: 14 to 24 for "similar", else 28 or more, all times
        the contrast."""
        low, high = (14, 24) if self.kind == "similar" else (28, 200 if self.contrast == 1 else 50)
        low, high = low * self.contrast, high * self.contrast
        for _ in range(20000):
            if self.kind == "white" and self.rng.random() < 0.6 * (self.contrast == 1):
                color = self.rng.uniform((0.1, 0.25, 0.45), (0.45, 0.6, 0.9))  # a blue
            else:
                color = self.rng.uniform(0.08, 0.97) + self.rng.normal(0, self.rng.choice([0.02, 0.13]), 3)
            if np.all((color > 0.03) & (color < 0.98)) and low < _distance(color, self.mean) < high:
                return color
        raise RuntimeError(f"no colour at {low} to {high} from {self.mean}")

    def plain(self) -> Picture:
        return np.broadcast_to(self.color(), (*self.shape, 3)).copy()

    def gradient(self) -> Picture:
        """A linear or radial change of colour, or a plain one in a vignette."""
        first = self.color()
        angle = self.rng.uniform(0, 2 * np.pi)
        kind = self.rng.choice(["linear", "radial", "vignette"])
        if kind == "vignette":
            return first * self.vignette(self.rng.uniform(0.35, 0.65))
        second = np.clip(
            first + self.rng.choice([-1, 1]) * self.rng.uniform(0.15, 0.35) + self.rng.normal(0, 0.05, 3), 0.03, 0.98
        )
        if kind == "linear":
            ramp = (self.x * np.cos(angle) + self.y * np.sin(angle)) / 2 + 0.5
        else:
            ramp = np.hypot(self.x - self.rng.uniform(-0.5, 0.5), self.y - self.rng.uniform(-0.5, 0.5)) / 1.6
        ramp = np.clip(ramp, 0, 1)[..., None] ** self.rng.uniform(0.8, 1.4)
        return first + (second - first) * ramp

    def vignette(self, strength: float) -> Picture:
        return 1 - strength * (np.hypot(self.x, self.y)[..., None] / np.sqrt(2)) ** 2.5

    def floor_and_wall(self) -> Picture:
        """Two colours that meet at a horizon, sharp or as a rounded cove, each with a slow change of light."""
        wall = self.color()
        floor = np.clip(wall * self.rng.uniform(0.75, 1.15) + self.rng.normal(0, 0.04, 3), 0.03, 0.98)
        if self.rng.random() < 0.4:
            floor = self.color()
        horizon, tilt = self.rng.uniform(-0.1, 0.45), self.rng.normal(0, 0.03)
        softness = self.rng.choice([0.004, 0.01, 0.08, 0.25])
        below = 1 / (1 + np.exp(-np.clip((self.y - horizon - tilt * self.x) / softness, -30, 30)))[..., None]
        light = 1 + self.rng.uniform(-0.08, 0.08) * self.x + self.rng.uniform(-0.08, 0.08) * self.y
        return (wall + (floor - wall) * below) * light[..., None]

    def floor_and_shadow(self, solid: Map) -> Picture:
        """A floor and a wall, darkened by the object's outline, which is sheared to one side and blurred."""
        picture = self.floor_and_wall()
        height, width = self.shape
        rows, columns = (np.flatnonzero((solid > 0.5).any(axis=axis)) for axis in (1, 0))
        foot = rows[-1]
        squash, shear = self.rng.uniform(0.12, 0.3), self.rng.uniform(-1.2, 1.2)
        row, column = np.mgrid[:height, :width].astype(float)
        up = (foot + 0.02 * height - row) / squash
        cast = ndimage.map_coordinates(solid, [foot - up, column - shear * squash * up], order=1)
        blur = self.rng.uniform(0.008, 0.03) * height
        cast = ndimage.gaussian_filter(np.where((up > -0.05 * height / squash), cast, 0), blur)
        middle = columns.mean()
        contact = np.exp(-(((row - foot) / (0.02 * height)) ** 2) - ((column - middle) / (0.35 * np.ptp(columns))) ** 2)
        dark = 1 - self.rng.uniform(0.25, 0.55) * np.clip(cast, 0, 1) - 0.25 * contact
        return picture * np.clip(dark, 0.2, 1)[..., None]

    def under_grain(self) -> Picture:
        return (self.plain, self.gradient, self.floor_and_wall)[self.rng.integers(3)]()

    def texture(self) -> Picture:
        """Wood, a checker of two colours, woven cloth, plaster, or a wooden floor before a papered wall."""
        first = self.color()
        second = np.clip(first * self.rng.uniform(0.55, 0.85) + self.rng.normal(0, 0.03, 3), 0.03, 0.98)
        kind = self.rng.choice(["wood", "checker", "cloth", "plaster", "room"])
        if kind == "room":
            paper = self.color()
            stripes = 0.5 + 0.5 * np.sign(np.sin(self.x * self.rng.uniform(20, 45)))
            wall = paper * (1 - 0.12 * stripes[..., None])
            floor = first + (second - first) * self._wood()[..., None]
            return np.where((self.y > self.rng.uniform(0.1, 0.5))[..., None], floor, wall)
        mix = {"wood": self._wood, "checker": self._checker, "cloth": self._cloth, "plaster": self._plaster}[kind]()
        return first + (second - first) * mix[..., None]

    def _noise(self, across: float, down: float) -> Map:
        """Smooth noise between 0 and 1 with features of these lengths, in pixels of a full-sized photo."""
        noise = ndimage.gaussian_filter(
            self.rng.normal(size=self.shape), (down * self.scale, across * self.scale), mode="wrap"
        )
        return np.clip(0.5 + 0.25 * noise / noise.std(), 0, 1)

    def _wood(self) -> Map:
        rings = np.sin(self.y * self.rng.uniform(20, 60) + 5 * self._noise(80, 8))
        planks = np.abs(np.sin(self.y * 5)) < 0.06
        return np.clip(0.35 + 0.3 * rings + 0.5 * (self._noise(25, 1.2) - 0.5) + planks, 0, 1)

    def _checker(self) -> Map:
        turn, cells = self.rng.uniform(-0.4, 0.4), self.rng.uniform(4, 9)
        u, v = np.cos(turn) * self.x - np.sin(turn) * self.y, np.sin(turn) * self.x + np.cos(turn) * self.y
        return ndimage.gaussian_filter((np.floor(cells * u) + np.floor(cells * v)) % 2, 0.7 * self.scale)

    def _cloth(self) -> Map:
        threads = self.rng.uniform(60, 130)
        weave = np.sin(self.x * threads) * np.sin(self.y * threads)
        folds = self._noise(45, 70)
        return np.clip(0.5 + 0.3 * weave + 0.4 * (self._noise(1, 1) - 0.5) + 1.2 * (folds - 0.5), 0, 1)

    def _plaster(self) -> Map:
        return np.clip(0.5 + sum(0.6 * (self._noise(size, size) - 0.5) for size in (1.0, 3.0, 9.0)), 0, 1)


def _developed(rng: np.random.Generator, photo: Picture, backdrop: str, scale: float) -> Picture:
    """The photo with the effects of a camera: slight blur, noise (more in "grain"), 8 bits, sometimes JPEG."""
    photo = np.stack(
        [ndimage.gaussian_filter(channel, rng.uniform(0.3, 0.7) * scale) for channel in np.moveaxis(photo, -1, 0)],
        axis=-1,
    )
    strong = backdrop == "grain"
    grain = rng.uniform(0.015, 0.045) if strong else rng.choice([0, 0.004, 0.01])
    colored = rng.uniform(0.2, 0.8)
    photo = photo + grain * (
        rng.normal(size=(*photo.shape[:2], 1)) * (1 - colored) + rng.normal(size=photo.shape) * colored
    )
    pixels = (np.clip(photo, 0, 1) * 255).round().astype(np.uint8)
    if strong or rng.random() < 0.5:
        quality = int(rng.integers(35, 75) if strong else rng.integers(80, 96))
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        pixels = np.asarray(Image.open(file).convert("RGB"))
    return pixels.astype(np.float32) / 255


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    pair = lab_from_srgb(torch.from_numpy(np.stack([first, second])).float())
    return float((pair[0] - pair[1]).norm())
