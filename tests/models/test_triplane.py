"""All ways to evaluate a field give the same values, and the planes are placed in space as documented."""

import pytest
import torch
from models.tiny_models import tiny_vae

from triplane3d.models.triplane import TriplaneField, TriplaneFieldDecoder, plane_coordinates, sample_planes


@pytest.fixture
def field() -> TriplaneField:
    vae = tiny_vae()
    return vae.field(torch.randn(2, 3, 8, 16, 16))


@pytest.mark.parametrize("padding_mode", ["border", "zeros"])
@pytest.mark.parametrize("num_freqs", [0, 4])
def test_grid_equals_occupancy_at_its_points(padding_mode: str, num_freqs: int) -> None:
    decoder = TriplaneFieldDecoder(8, hidden_dim=16, num_layers=4, padding_mode=padding_mode, num_freqs=num_freqs)
    field = TriplaneField(torch.randn(2, 3, 8, 16, 20), decoder)
    x, y, z = torch.linspace(-1.1, 1, 7), torch.linspace(-1, 1, 5), torch.linspace(-0.8, 1.2, 6)
    points = torch.stack(torch.meshgrid(x, y, z, indexing="ij"), dim=-1).reshape(1, -1, 3).expand(2, -1, -1)
    assert torch.allclose(field.grid(x, y, z).flatten(1), field.occupancy(points), atol=1e-4)


def test_grid_does_not_depend_on_its_chunks(field: TriplaneField, monkeypatch: pytest.MonkeyPatch) -> None:
    axis = torch.linspace(-1, 1, 9)
    whole = field.grid(axis, axis, axis)
    monkeypatch.setattr("triplane3d.models.lattice.CPU_CHUNK", 20)
    assert torch.allclose(field.grid(axis, axis, axis), whole, atol=1e-5)


def test_planes_are_perpendicular_to_z_y_and_x() -> None:
    """A feature that increases with x on XY and XZ and with z on YZ is the coordinate itself, away from the border."""
    ramp = (torch.arange(32) + 0.5) / 16 - 1
    planes = ramp.expand(1, 3, 1, 32, 32)
    points = torch.rand(1, 50, 3) * 1.9 - 0.95
    across = sample_planes(planes, plane_coordinates(points), "border")[0, :, 0]
    assert torch.allclose(across, points[0, :, [0, 0, 2]].T, atol=1e-5)
    down = sample_planes(planes.transpose(-1, -2), plane_coordinates(points), "border")[0, :, 0]
    assert torch.allclose(down, points[0, :, [1, 2, 1]].T, atol=1e-5)


def test_a_single_field_has_the_values_of_its_batch(field: TriplaneField) -> None:
    points = torch.rand(2, 30, 3) * 2 - 1
    together, colors = field.occupancy(points), field.color(points)
    assert len(field) == 2
    for entry, logits, rgb, single in zip(points, together, colors, field, strict=True):
        assert torch.allclose(single(entry), logits, atol=1e-6)
        assert torch.allclose(single.color(entry[None])[0], rgb, atol=1e-6)
    assert torch.equal(field[-1].planes, field[1].planes)
    assert bool(((colors >= 0) & (colors <= 1)).all())


def test_occupancy_and_color_equal_separate_calls(field: TriplaneField) -> None:
    points = torch.rand(2, 30, 3) * 2 - 1
    logits, colors = field.occupancy_and_color(points)
    assert torch.allclose(logits, field.occupancy(points)) and torch.allclose(colors, field.color(points))


def test_wrong_calls_raise_errors(field: TriplaneField) -> None:
    with pytest.raises(ValueError, match=r"expected points of shape \(2, points, 3\), got \(1, 5, 3\)"):
        field.occupancy(torch.zeros(1, 5, 3))
    with pytest.raises(ValueError, match=r"batch of 2; pick one: field\[i\]"):
        field(torch.zeros(5, 3))
    with pytest.raises(IndexError, match="field 2 of a batch of 2"):
        field[2]
    colorless = TriplaneField(field.planes, TriplaneFieldDecoder(8))
    assert not colorless.has_color
    with pytest.raises(ValueError, match="predicts no colour"):
        colorless.color(torch.zeros(2, 5, 3))


@pytest.mark.parametrize("num_freqs", [0, 3])
@pytest.mark.parametrize("padding_mode", ["border", "zeros"])
def test_lattice_equals_occupancy_at_its_nodes(padding_mode: str, num_freqs: int) -> None:
    torch.manual_seed(0)
    decoder = TriplaneFieldDecoder(8, hidden_dim=16, num_layers=4, padding_mode=padding_mode, num_freqs=num_freqs)
    field = TriplaneField(torch.randn(1, 3, 8, 12, 12), decoder.requires_grad_(False))
    axis = torch.linspace(-1, 1, 65)
    origins = torch.cartesian_prod(*[torch.arange(4)] * 3)
    numbers = (origins[:, :, None] * 16 + 2 * torch.arange(9) - 1).clamp(0, 64).int()
    nodes = torch.randperm(64 * 729)[:20_000].sort().values.int()
    brick, place = nodes // 729, nodes % 729
    x, y, z = (axis[numbers[brick, i, place // 9 ** (2 - i) % 9]] for i in range(3))
    with torch.no_grad():
        logits = field.lattice(axis)(numbers[:, 0], numbers[:, 1], numbers[:, 2], nodes)
        torch.testing.assert_close(logits, field(torch.stack([x, y, z], dim=-1)), atol=1e-5, rtol=0)


def test_hooks_on_the_point_mlp_run_for_grids() -> None:
    """The fast path through oneDNN is only used for a layer without hooks and with its own `forward`."""
    decoder = TriplaneFieldDecoder(4, hidden_dim=16).requires_grad_(False)
    field = TriplaneField(torch.randn(1, 3, 4, 8, 8), decoder)
    axis = torch.linspace(-1, 1, 9)
    with torch.no_grad():
        plain = field.grid(axis, axis, axis)
        shapes = []
        handle = decoder.layers[0].register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
        torch.testing.assert_close(field.grid(axis, axis, axis), plain)
        assert shapes
        handle.remove()
        decoder.layers[0].forward = lambda rows: torch.zeros_like(rows)
        assert not torch.equal(field.grid(axis, axis, axis), plain)


def test_every_evaluation_passes_through_forward() -> None:
    """Hooks on the decoder's `forward`, such as those of offloading, must run before any of its weights is used."""
    decoder = TriplaneFieldDecoder(4, hidden_dim=16, color_channels=3, num_freqs=2).requires_grad_(False)
    field = TriplaneField(torch.randn(1, 3, 4, 8, 8), decoder, has_color=True)
    points, axis = torch.rand(1, 5, 3), torch.linspace(-1, 1, 9)
    numbers, nodes = torch.arange(9, dtype=torch.int32)[None], torch.arange(729, dtype=torch.int32)
    lattice = field.lattice(axis)
    evaluations = {
        "occupancy": lambda: field.occupancy(points),
        "color": lambda: field.color(points),
        "occupancy_and_color": lambda: field.occupancy_and_color(points),
        "grid": lambda: field.grid(axis, axis, axis),
        "lattice": lambda: field.lattice(axis),
        "nodes": lambda: lattice(numbers, numbers, numbers, nodes),
    }
    calls = []
    decoder.register_forward_pre_hook(lambda *_: calls.append("forward"))
    for layer in (decoder.proj_in, decoder.proj_out, decoder.color_in):
        layer.register_forward_pre_hook(lambda *_: calls.append("layer"))
    for name, evaluate in evaluations.items():
        calls.clear()
        evaluate()
        assert calls[0] == "forward" and "layer" in calls, name


def test_a_batch_of_fields_has_no_lattice() -> None:
    field = TriplaneField(torch.randn(2, 3, 4, 8, 8), TriplaneFieldDecoder(4))
    with pytest.raises(ValueError, match=r"batch of 2; pick one: field\[i\]"):
        field.lattice(torch.linspace(-1, 1, 9))
