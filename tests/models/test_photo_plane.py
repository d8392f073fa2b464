"""The photo plane: where points are sampled in the photo, what the untrained refiner changes, distances of masks."""

from dataclasses import replace

import pytest
import torch

from triplane3d.geometry.distance_transform import squared_distance
from triplane3d.geometry.framed_cameras import FramedCameras, photo_coordinates
from triplane3d.geometry.isosurface import extract_surface
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.photo_plane import (
    PhotoPlaneRefiner,
    signed_distance,
)

CONFIG = {
    "image_size": 32,
    "field_dim": 16,
    "hidden_dim": 16,
    "num_layers": 1,
    "block_out_channels": (8, 8, 16, 16),
    "fine_channels": 8,
    "coarse_channels": 8,
    "attention_layers": 1,
    "attention_heads": 2,
    "plane_channels": 4,
    "shape_tokens": 2,
    "shape_layers": 1,
    "shape_channels": 4,
    "pretrained_features": False,
}


@pytest.fixture
def refiner() -> PhotoPlaneRefiner:
    torch.manual_seed(0)
    return PhotoPlaneRefiner(**CONFIG).eval()


@pytest.fixture
def vae() -> AutoencoderKLTriplane:
    torch.manual_seed(0)
    return AutoencoderKLTriplane(
        latent_channels=4, latent_size=8, plane_channels=4, plane_size=8, field_hidden_dim=16, color_channels=3,
        encoder_dim=32, encoder_heads=2, decoder_dim=32, decoder_heads=2, decoder_layers=1, encoder_layers=1,
    ).eval()  # fmt: skip


def random_photos(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    photos = torch.randn(count, 4, 32, 32, generator=generator)
    photos[:, 3] = 0.0
    photos[:, 3, 6:26, 8:24] = 1.0
    return photos


def random_field(vae: AutoencoderKLTriplane, count: int):
    latents = torch.randn(count, 4, 8, 24, generator=torch.Generator().manual_seed(1))
    return vae.field(vae.decode(latents).planes)


@torch.no_grad()
def test_an_untrained_refiner_changes_nothing(refiner, vae) -> None:
    field = random_field(vae, 2)
    refined = refiner.refine(field, refiner.encode(random_photos(2)))
    points = torch.rand(2, 50, 3) * 2 - 1
    assert torch.allclose(refined.occupancy(points), field.occupancy(points), atol=1e-5)
    assert torch.allclose(refined.color(points), field.color(points), atol=1e-2)
    assert torch.allclose(refined[1](points[1]), field[1](points[1]), atol=1e-5)
    axis = torch.linspace(-1, 1, 5)
    assert torch.allclose(refined.grid(axis, axis, axis), field.grid(axis, axis, axis), atol=1e-4)
    assert refined.has_color and len(list(refined)) == 2


def train_last_layers(refiner: PhotoPlaneRefiner) -> None:
    with torch.no_grad():
        for layer in (refiner.occupancy_out, refiner.color_out):
            torch.nn.init.normal_(layer.weight, std=0.5)


@torch.no_grad()
def test_the_correction_depends_on_the_features_at_the_points_own_pixel(refiner, vae) -> None:
    train_last_layers(refiner)
    field = random_field(vae, 1)
    features = refiner.encode(random_photos(1))
    fine = features.fine.clone()
    fine[..., 12:] += 3.0  # a quarter of the photo, at its right
    cameras = FramedCameras.from_parameters(torch.zeros(1, 5))
    points = torch.tensor([[[-0.9, 0.0, 0.0], [0.0, 0.0, 0.0], [0.9, 0.0, 0.0]]])
    before, after = (
        refiner.refine(field, some, cameras).occupancy(points)[0] for some in (features, replace(features, fine=fine))
    )
    assert torch.equal(before[:2], after[:2]) and abs(float(before[2] - after[2])) > 0.01


@torch.no_grad()
def test_the_correction_depends_on_the_whole_photo_and_on_the_generated_planes(refiner, vae) -> None:
    train_last_layers(refiner)
    field, features = random_field(vae, 1), refiner.encode(random_photos(1))
    points = torch.rand(1, 20, 3) * 2 - 1
    before = refiner.refine(field, features).occupancy(points)
    other_photo = refiner.refine(field, replace(features, tokens=features.tokens.flip(-1))).occupancy(points)
    assert (before - other_photo).abs().max() > 1e-3
    shape = refiner.shape_planes(field.planes, features.tokens)
    assert shape.shape == (1, 3, 4, 4, 4)
    assert (refiner.shape_planes(2 * field.planes.flip(-1), features.tokens) - shape).abs().max() > 0.01


@torch.no_grad()
def test_a_photo_is_independent_of_its_batch(refiner, vae) -> None:
    train_last_layers(refiner)
    field, photos = random_field(vae, 3), random_photos(3)
    together = refiner.refine(field, refiner.encode(photos))
    alone = refiner.refine(field[1], refiner.encode(photos[1:2]))
    points = torch.rand(1, 40, 3) * 2 - 1
    assert torch.allclose(together.occupancy(points.expand(3, -1, -1))[1], alone.occupancy(points)[0], atol=1e-4)


@torch.no_grad()
def test_refined_fields_are_extracted_as_other_fields(refiner, vae) -> None:
    train_last_layers(refiner)
    field = refiner.refine(random_field(vae, 1), refiner.encode(random_photos(1)))
    level = float(field.grid(*[torch.linspace(-0.9, 0.9, 9)] * 3).median())
    mesh = extract_surface(field, 32, level=level)
    assert mesh.check().ok and mesh.vertex_colors is not None
    values = field(torch.from_numpy(mesh.vertices).float())
    assert (values - level).abs().mean() < 0.2


def test_gradients_reach_every_trained_weight(refiner, vae) -> None:
    train_last_layers(refiner)
    field = random_field(vae, 2)
    points = torch.rand(2, 64, 3) * 2 - 1
    logits, colors, features = refiner(random_photos(2), field, points)
    (logits.sum() + colors.square().sum() + features.camera.sum() + features.camera_scale.sum()).backward()
    without = [name for name, parameter in refiner.named_parameters() if parameter.grad is None]
    assert without == []


def test_save_and_load(refiner, tmp_path) -> None:
    train_last_layers(refiner)
    refiner.save_pretrained(tmp_path)
    loaded = PhotoPlaneRefiner.from_pretrained(tmp_path)
    with torch.no_grad():
        photos = random_photos(1)
        assert torch.equal(loaded.encode(photos).summary, refiner.encode(photos).summary)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"image_size": 40}, "multiple of 32"), ({"attention_heads": 3}, "must be a multiple of 3 heads")],
)
def test_wrong_settings_are_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        PhotoPlaneRefiner(**CONFIG | changes)


def test_photos_of_another_size_are_refused(refiner) -> None:
    with pytest.raises(ValueError, match=r"expected pixel_values \(batch, 4, 32, 32\)"):
        refiner.encode(torch.zeros(1, 4, 64, 64))


def test_the_origin_appears_at_the_offset() -> None:
    cameras = FramedCameras(torch.tensor([0.0]), torch.tensor([0.25]), torch.tensor([[0.2, 0.4]]), torch.tensor([0.5]))
    points = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    pixels, nearness = photo_coordinates(cameras.cameras, points)
    assert torch.allclose(pixels[0, 0], torch.tensor([0.2, -0.4]), atol=1e-5)  # rows count downwards
    assert torch.allclose(nearness, torch.tensor([[0.0, 1.0]]), atol=1e-5)


def test_squared_distance_equals_the_search_over_all_pixels() -> None:
    occupied = torch.rand(3, 9, 13, generator=torch.Generator().manual_seed(0)) > 0.9
    occupied[:, 4, 5] = True
    rows, columns = torch.meshgrid(torch.arange(9), torch.arange(13), indexing="ij")
    for mask, found in zip(occupied, squared_distance(occupied), strict=True):
        there = mask.nonzero()
        expected = ((rows[..., None] - there[:, 0]) ** 2 + (columns[..., None] - there[:, 1]) ** 2).amin(-1)
        assert torch.equal(found, expected.float())
    assert (squared_distance(torch.zeros(1, 4, 4, dtype=torch.bool)) == 64).all()


def test_signed_distance_of_a_half_plane() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 32:] = 1.0
    distance = signed_distance(mask)[0, 0, 32]
    assert (distance[:30] > 0).all() and (distance[34:] < 0).all()
    assert abs(float(distance[8]) - 4 * 24 / 64) < 4 * 2 / 64
