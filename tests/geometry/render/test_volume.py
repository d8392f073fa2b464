"""Volume rendering: integrals with exact solutions, and a picture of TripoSR's renderer.

`fixtures/triposr_render.safetensors` contains random weights and scene codes, and the picture that TripoSR's published
code renders from them (numbers only).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, exp, pi, sqrt
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.render.volume import RadianceField, VolumeRendering, box_interval, march_rays, render_volume

FIXTURE = Path(__file__).parent / "fixtures/triposr_render.safetensors"
RED, BLUE = (1.0, 0.2, 0.0), (0.0, 0.1, 1.0)


class Solid:
    """A solid of constant density where `inside` is true, with one colour or the colour `paint` at each point."""

    def __init__(self, inside: Callable[[Tensor], Tensor], density: float | Tensor, paint=RED):
        self.inside, self.density, self.paint = inside, density, paint
        self.counts: list[int] = []

    def density_and_color(self, points: Tensor) -> tuple[Tensor, Tensor]:
        self.counts.append(len(points))
        color = self.paint(points) if callable(self.paint) else points.new_tensor(self.paint).expand(len(points), 3)
        return self.inside(points).to(points.dtype) * self.density, color


def ball(radius: float, density: float | Tensor = 2.0, paint=RED) -> Solid:
    return Solid(lambda points: points.norm(dim=-1) < radius, density, paint)


def cube(half: float, density: float | Tensor = 2.0, paint=RED) -> Solid:
    return Solid(lambda points: points.abs().amax(-1) < half, density, paint)


def straight_rays(offsets: list[float]) -> tuple[Tensor, Tensor]:
    """Rays along -z that pass the origin at these distances. They start at z = 3."""
    origins = torch.tensor([[offset, 0, 3] for offset in offsets])
    return origins, torch.tensor([0.0, 0, -1]).expand(len(offsets), 3)


def random_rays(count: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Rays from a sphere of radius 3 to random points in [-1, 1]³."""
    generator = torch.Generator().manual_seed(seed)
    origins = 3 * functional.normalize(torch.randn(count, 3, generator=generator, dtype=dtype), dim=-1)
    return origins, torch.rand(count, 3, generator=generator, dtype=dtype) * 2 - 1 - origins


def assert_same(one: VolumeRendering, other: VolumeRendering, atol: float = 1e-6) -> None:
    for name in ("color", "depth", "opacity"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=atol, rtol=1e-5)


def test_rays_enter_and_leave_the_cube_at_the_right_distances():
    origins = torch.tensor([[0, 0, 3.0], [0, 0, 3], [0, 0, 0.5], [3, 3, 3], [0, 0, 3], [3, 0, 3]])
    directions = torch.tensor([[0, 0, -1.0], [0, 0, -2], [0, 0, -1], [-1, -1, -1], [0, 0, 1], [0, 0, -1]])
    near, far = box_interval(origins, directions, 1.0)
    assert near[:4].tolist() == pytest.approx([2, 1, 0, 2]) and far[:4].tolist() == pytest.approx([4, 2, 1.5, 4])
    assert (far[4:] <= near[4:]).all()

    origins, directions = random_rays(500)
    near, far = box_interval(origins, directions, 0.7)
    hit = far > near
    for along in (near, far):
        ends = (origins + along[:, None] * directions)[hit]
        torch.testing.assert_close(ends.abs().amax(-1), torch.full_like(along[hit], 0.7))


@pytest.mark.parametrize("density", [0.3, 2.0, 50.0])
def test_a_full_cube_follows_the_law_of_beer_and_lambert(density):
    """The result is exact with any number of samples, because the density is constant along the ray."""
    origins, directions = random_rays(300)
    near, far = box_interval(origins, functional.normalize(directions, dim=-1), 0.8)
    chord = (far - near).clamp(min=0)
    for num_samples in (1, 7, 128):
        found = march_rays(cube(1.0, density), origins, directions, radius=0.8, num_samples=num_samples)
        torch.testing.assert_close(found.opacity, 1 - torch.exp(-density * chord), atol=1e-5, rtol=0)
        torch.testing.assert_close(found.color, 1 + found.opacity[:, None] * (torch.tensor(RED) - 1))


def test_the_opacity_of_a_ball_depends_on_its_chords_in_world_units():
    offsets = [0.0, 0.2, 0.5, 0.69, 0.71]
    chord = 2 * torch.tensor([max(0.7**2 - offset**2, 0) for offset in offsets]).sqrt()
    for radius in (0.8, 1.0, 2.5):
        found = march_rays(ball(0.7, 1.5), *straight_rays(offsets), radius=radius, num_samples=8192)
        torch.testing.assert_close(found.opacity, 1 - torch.exp(-1.5 * chord), atol=1e-3, rtol=0)


def test_a_smooth_cloud_is_exact_with_few_samples():
    class Gaussian:
        def density_and_color(self, points: Tensor) -> tuple[Tensor, Tensor]:
            return 3 * torch.exp(-(points**2).sum(-1) / (2 * 0.2**2)), torch.ones_like(points)

    offsets = [0.0, 0.1, 0.3]
    thickness = [
        3 * exp(-(offset**2) / (2 * 0.2**2)) * 0.2 * sqrt(2 * pi) * erf(1 / (0.2 * sqrt(2))) for offset in offsets
    ]
    found = march_rays(Gaussian(), *straight_rays(offsets), num_samples=32, background=0.0)
    assert found.opacity.tolist() == pytest.approx([1 - exp(-value) for value in thickness], abs=1e-5)
    torch.testing.assert_close(found.color, found.opacity[:, None].expand(-1, 3))


def test_mean_depth_of_a_thin_fog_is_that_of_the_exponential_law():
    """In constant fog the density of the depth is proportional to exp(-density t), up to the far face."""
    density, chord = 1.7, 2.0
    found = march_rays(cube(1.0, density), *straight_rays([0.0]), num_samples=2000)
    expected = 2 + 1 / density - chord * exp(-density * chord) / (1 - exp(-density * chord))
    assert found.depth.item() == pytest.approx(expected, abs=1e-4)


def test_an_opaque_cube_has_the_depth_and_color_of_its_face():
    found = march_rays(cube(0.3, 1e4), *straight_rays([0.0, 0.25, 0.35]), num_samples=1024)
    assert found.depth[:2].tolist() == pytest.approx([2.7, 2.7], abs=2 / 1024)
    assert found.opacity.tolist() == [1, 1, 0]
    torch.testing.assert_close(found.color, torch.tensor([RED, RED, (1, 1, 1)]))

    half = Camera.orbit(0, 0, field_of_view=40, distance=3.0)
    picture = render_volume(cube(0.3, 1e4), half, 33, num_samples=1024)
    front = picture.depth[picture.opacity > 0.5]
    # The depth along the axis is constant on a face perpendicular to it; the distance along the rays is not.
    torch.testing.assert_close(front, torch.full_like(front, 2.7), atol=4 / 1024, rtol=0)
    assert picture.color.shape == (33, 33, 3) and picture.opacity[0, 0] == 0


def test_rays_outside_the_field_have_the_background_and_zero_gradients():
    density = torch.tensor(5.0, requires_grad=True)
    field = ball(0.5, density)
    origins, directions = random_rays(64)
    origins = origins.requires_grad_()
    away = march_rays(field, origins, -directions, background=(0.1, 0.5, 0.9))
    torch.testing.assert_close(away.color, torch.tensor([[0.1, 0.5, 0.9]]).expand(64, 3), atol=0, rtol=0)
    assert (away.opacity == 0).all() and away.depth.isposinf().all() and sum(field.counts) == 0

    around = march_rays(field, origins, directions)  # some through the ball, some through the empty cube only
    assert 0 < (around.opacity == 0).sum() < 64
    for found in (away, around):
        seen = found.depth.isfinite()
        (found.color.sum() + found.opacity.sum() + found.depth[seen].sum()).backward()
        assert density.grad.isfinite() and origins.grad.isfinite().all()
        if found is away:
            assert density.grad == 0 and (origins.grad == 0).all()
    assert density.grad != 0


def test_without_a_background_the_color_is_that_of_the_object():
    origins, directions = straight_rays([0.0, 0.45, 0.9, 5.0])
    clear = march_rays(ball(0.5, 0.4), origins, directions, background=None)
    torch.testing.assert_close(clear.color, torch.tensor([RED, RED, (0, 0, 0), (0, 0, 0)]))
    over = march_rays(ball(0.5, 0.4), origins, directions, background=BLUE)
    torch.testing.assert_close(
        over.color, torch.lerp(torch.tensor(BLUE).expand(4, 3), clear.color, clear.opacity[:, None])
    )


def test_random_samples_are_right_on_average_and_the_same_for_the_same_seed():
    """The sum of thicknesses is unbiased, so its mean over many samples approaches the chord."""

    def thickness(seed: int) -> Tensor:
        found = march_rays(
            ball(0.7, 1.0),
            *straight_rays([0.3] * 4000),
            num_samples=3,
            stratified=True,
            generator=torch.Generator().manual_seed(seed),
        )
        return -torch.log1p(-found.opacity.double())

    chord, samples = 2 * sqrt(0.7**2 - 0.3**2), thickness(0)
    assert samples.std() > 0.05 and samples.mean().item() == pytest.approx(
        chord, abs=4 * samples.std().item() / sqrt(4000)
    )
    assert torch.equal(samples, thickness(0)) and not torch.equal(samples, thickness(1))


def test_random_samples_of_a_ray_do_not_depend_on_other_rays():
    origins, directions = random_rays(40)
    one = march_rays(ball(0.7), origins, directions, stratified=True, generator=torch.Generator().manual_seed(0))
    turned = torch.where(torch.arange(40)[:, None] < 20, -directions, directions)
    other = march_rays(ball(0.7), origins, turned, stratified=True, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(one.opacity[20:], other.opacity[20:], atol=0, rtol=0)


@pytest.mark.parametrize("step", ["metric", "normalized"])
@pytest.mark.parametrize("stratified", [False, True])
def test_gradients_are_those_of_finite_differences(step, stratified):
    """With respect to the field's weights and the rays, in a smooth field."""

    class Waves:
        def __init__(self, weights: Tensor):
            self.weights = weights

        def density_and_color(self, points: Tensor) -> tuple[Tensor, Tensor]:
            waves = torch.sin(points @ self.weights)
            return torch.exp(waves[:, 0]), torch.sigmoid(waves[:, 1:])

    def picture(weights: Tensor, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = march_rays(
            Waves(weights),
            origins,
            directions,
            num_samples=5,
            step=step,
            stratified=stratified,
            generator=torch.Generator().manual_seed(0),
        )
        return found.color, found.depth, found.opacity

    origins, directions = random_rays(4, dtype=torch.float64)
    weights = torch.randn(3, 4, dtype=torch.float64)
    for parameter in (weights, origins, directions):
        parameter.requires_grad_()
    assert torch.autograd.gradcheck(picture, (weights, origins, directions))


def test_chunks_and_recomputing_change_neither_pictures_nor_gradients():
    origins, directions = random_rays(50)
    results, gradients = [], []
    for options in ({}, {"chunk_size": 100}, {"chunk_size": 100, "recompute": True}, {"chunk_size": 1}):
        density = torch.tensor(2.0, requires_grad=True)
        field = ball(0.8, density)
        found = march_rays(
            field,
            origins,
            directions,
            num_samples=32,
            stratified=True,
            generator=torch.Generator().manual_seed(0),
            **options,
        )
        assert max(field.counts) <= max(options.get("chunk_size", 1 << 18), 32)
        (found.color.sum() + found.depth[found.depth.isfinite()].sum()).backward()
        assert sum(field.counts) == (3200 if options.get("recompute") else 1600)
        results.append(found)
        gradients.append(density.grad)
    for found, gradient in zip(results[1:], gradients[1:]):
        assert_same(found, results[0])
        torch.testing.assert_close(gradient, gradients[0])


def test_the_result_does_not_depend_on_the_length_of_directions():
    origins, directions = random_rays(50)
    lengths = 10 ** (torch.rand(50, 1) * 8 - 4)
    field = cube(1.0, 1.5, paint=lambda points: points / 2 + 0.5)
    assert_same(march_rays(field, origins, directions * lengths), march_rays(field, origins, directions), atol=1e-5)


def test_a_camera_inside_renders_only_what_is_in_front_of_it():
    fog = cube(1.0, 0.8, paint=lambda points: torch.where(points[:, 2:] > 0.5, 0.0, 1.0).expand(-1, 3))
    found = march_rays(
        fog,
        torch.tensor([[0.0, 0, 0.5], [0, 0, 0.5]]),
        torch.tensor([[0.0, 0, -1], [0, 0, 1]]),
        background=0.5,
        num_samples=64,
    )
    assert found.opacity.tolist() == pytest.approx([1 - exp(-0.8 * 1.5), 1 - exp(-0.8 * 0.5)], abs=1e-5)
    assert found.color[:, 0].tolist() == pytest.approx([1 - 0.5 * exp(-0.8 * 1.5), 0.5 * exp(-0.8 * 0.5)], abs=1e-5)


def test_views_from_four_sides_have_the_right_colors():
    """The half towards +x is red, the other blue: the view from +x is red, the opposite view is blue."""
    field = ball(
        0.6, 1e3, paint=lambda points: torch.where(points[:, :1] > 0, points.new_tensor(RED), points.new_tensor(BLUE))
    )
    views = [
        render_volume(field, Camera.orbit(azimuth, 0, field_of_view=40, distance=3.0), 16)
        for azimuth in (0, 90, 180, 270)
    ]
    colors = [view.color[8, [5, 10]] for view in views]
    for found, (left, right) in zip(colors, [(BLUE, RED), (RED, RED), (RED, BLUE), (BLUE, BLUE)]):
        torch.testing.assert_close(found, torch.tensor([left, right]), atol=1e-3, rtol=0)
    top = render_volume(
        ball(0.6, 1e3, paint=lambda points: points.gt(0).float()),
        Camera.orbit(0, 0, field_of_view=40, distance=3.0),
        16,
    )
    assert top.color[5, 8, 1] == 1 and top.color[10, 8, 1] == 0


@dataclass(frozen=True)
class TripoSR:
    """The published query: planes xy, xz and yz, an MLP with SiLU, density exp(raw - 1) and colour sigmoid(raw)."""

    tensors: dict[str, Tensor]

    def density_and_color(self, points: Tensor) -> tuple[Tensor, Tensor]:
        places = points / 0.87
        pairs = torch.stack([places[:, [0, 1]], places[:, [0, 2]], places[:, [1, 2]]])[:, None]
        sampled = functional.grid_sample(self.tensors["scene_codes"], pairs, align_corners=False)
        hidden = sampled[:, :, 0].flatten(0, 1).T
        for layer in range(0, 20, 2):
            hidden = functional.silu(hidden) if layer else hidden
            hidden = functional.linear(
                hidden, self.tensors[f"decoder.layers.{layer}.weight"], self.tensors[f"decoder.layers.{layer}.bias"]
            )
        return torch.exp(hidden[:, 0] - 1), torch.sigmoid(hidden[:, 1:])


@dataclass(frozen=True)
class Turned:
    """A field of TripoSR's frame (z up, photo from +x) converted to the library's (y up, photo from +z)."""

    field: RadianceField

    def density_and_color(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return self.field.density_and_color(points[:, [2, 0, 1]])


def test_the_picture_equals_that_of_triposr():
    tensors = load_file(FIXTURE)
    pose = {"azimuth": 0.0, "elevation": 0.0, "field_of_view": 40.0, "distance": 1.9}
    field, camera = Turned(TripoSR(tensors)), Camera.orbit(**pose)
    with torch.no_grad():
        found = render_volume(field, camera, 16, radius=0.87, step="normalized")
        torch.testing.assert_close(found.color, tensors["render"], atol=1e-5, rtol=0)

        # The field has no symmetry, so any other convention gives another picture.
        for wrong in ({"azimuth": 90.0}, {"elevation": 5.0}, {"distance": 2.0}, {"field_of_view": 39.0}):
            other = render_volume(field, Camera.orbit(**{**pose, **wrong}), 16, radius=0.87, step="normalized")
            assert (other.color - tensors["render"]).abs().max() > 1e-2
        assert all((found.color.flip(axis) - tensors["render"]).abs().max() > 1e-2 for axis in (0, 1))
        metric = render_volume(field, camera, 16, radius=0.87)
        assert (metric.color - tensors["render"]).abs().max() > 1e-2


def test_the_normalized_length_of_a_ray_is_one_unit_or_zero():
    """Rays that cut an edge of TripoSR's slightly smaller cube, with 0.005 and 0.02 units inside it."""
    chord = torch.tensor([0.005, 0.02])
    reach = 2 * 0.999 - chord / sqrt(2)  # the rays lie in x + y = reach
    origins = torch.stack([reach / 2 - 2, reach / 2 + 2, torch.zeros(2)], dim=-1)
    directions = torch.tensor([1.0, -1, 0]).expand(2, 3)
    found = march_rays(cube(2.0, 3.0), origins, directions, step="normalized")
    assert found.opacity.tolist() == pytest.approx([0, 1 - exp(-3)], abs=1e-5)
    metric = march_rays(cube(2.0, 3.0), origins, directions, radius=0.999)
    torch.testing.assert_close(metric.opacity, 1 - torch.exp(-3 * chord), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples counts"),
        ({"radius": 0.0}, "half the edge"),
        ({"chunk_size": 0}, "chunk_size"),
    ],
)
def test_invalid_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        march_rays(ball(0.5), *straight_rays([0.0]), **options)
    with pytest.raises(ValueError, match=message):
        render_volume(ball(0.5), Camera.orbit(), 8, **options)


def test_rays_without_direction_and_fields_with_other_shapes_are_refused():
    class Column:
        def density_and_color(self, points: Tensor) -> tuple[Tensor, Tensor]:
            return points[:, :1].exp(), points.sigmoid()

    origins, directions = straight_rays([0.0, 0.1])
    with pytest.raises(ValueError, match="some of `directions` are zero"):
        march_rays(ball(0.5), origins, directions * torch.tensor([[1.0], [0.0]]))
    with pytest.raises(ValueError, match=r"densities \(n,\)"):
        march_rays(Column(), origins, directions)
    with pytest.raises(ValueError, match="size counts pixels"):
        render_volume(ball(0.5), Camera.orbit(), 0)


def test_a_posed_camera_gives_its_own_picture():
    """An opaque ball of radius r at distance d covers a disc around the principal point's ray."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = 3.0
    camera = Camera(pose, fx=40.0, cx=20.0, cy=12.0, width=48, height=32)
    picture = render_volume(ball(0.5, 1e4), camera, num_samples=512)
    assert picture.color.shape == (32, 48, 3)
    rows, columns = (picture.opacity > 0.5).nonzero(as_tuple=True)
    assert (columns + 0.5).mean().item() == pytest.approx(20, abs=0.2)
    assert (rows + 0.5).mean().item() == pytest.approx(12, abs=0.2)
    assert len(rows) == pytest.approx(pi * 40**2 * 0.5**2 / (3**2 - 0.5**2), rel=0.05)
