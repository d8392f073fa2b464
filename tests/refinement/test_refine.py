"""Refinement of fields by a photo's mask: what becomes of silhouettes, cameras and passes that do not help."""

from dataclasses import dataclass

import pytest
import torch

from triplane3d.geometry.fields import FieldBatch
from triplane3d.geometry.framed_cameras import FramedCameras
from triplane3d.refinement.camera_fit import fit_cameras
from triplane3d.refinement.refine import PhotoEvidence, disagreement, field_grid, pixel_split, refine_field
from triplane3d.refinement.silhouette_correction import correct_silhouettes, edge_distance
from triplane3d.refinement.silhouettes import mask_agreement, silhouettes

TRUE = FramedCameras.from_parameters(torch.tensor([[0.4, 0.1, 0.2, -0.2, 0.2]]))


@dataclass
class BallField(FieldBatch):
    """Balls as a batch of one field: positive inside; colours are grey."""

    balls: tuple[tuple[float, float, float, float], ...] = ((0.0, 0.0, 0.0, 0.6),)
    steepness: float = 10.0
    has_color: bool = True
    device: torch.device = torch.device("cpu")

    def occupancy(self, points: torch.Tensor) -> torch.Tensor:
        values = [r - (points - points.new_tensor([x, y, z])).norm(dim=-1) for x, y, z, r in self.balls]
        return self.steepness * torch.stack(values).amax(dim=0)

    def color(self, points: torch.Tensor) -> torch.Tensor:
        return torch.full_like(points, 0.5)

    def __getitem__(self, index: int) -> "BallField":
        return self

    def __len__(self) -> int:
        return 1


def photo_of(field: BallField, cameras: FramedCameras = TRUE, scale: float = 0.3) -> PhotoEvidence:
    """A photo whose mask is the field's silhouette, with a prior that is off by `scale`."""
    covered = silhouettes(field_grid(field), cameras.cameras, 192, num_samples=96).logits[0] > 0
    rgba = torch.cat([torch.full((3, 192, 192), 0.5), covered.float()[None]])
    return PhotoEvidence(
        rgba, cameras.parameters[0] + scale * torch.tensor([1.0, 0.0, -1.0, 1.0, 1.0]), torch.full((5,), scale)
    )


def test_the_fitted_camera_is_nearer_to_the_true_one() -> None:
    """The object is lopsided, so that its silhouette determines offset and scale."""
    field = BallField(((0.0, -0.3, 0.0, 0.5), (0.5, 0.4, 0.2, 0.25)), steepness=50.0)
    photo = photo_of(field, scale=0.8)
    mask = photo.mask[None]
    fitted = fit_cameras(field_grid(field), mask, torch.ones_like(mask), photo.camera[None], photo.camera_scale[None])
    before, after = (abs(found - TRUE.parameters[0]) for found in (photo.camera, fitted.parameters[0]))
    assert after[2:].mean() < 0.7 * before[2:].mean()


def test_a_certain_camera_is_not_changed_by_the_fit() -> None:
    field = BallField()
    photo = photo_of(field)
    wrong = BallField(((0.3, 0.0, 0.0, 0.4),))
    mask, certain = photo.mask[None], torch.full((1, 5), 1e-3)
    fitted = fit_cameras(field_grid(wrong), mask, torch.ones_like(mask), TRUE.parameters, certain)
    assert (fitted.parameters - TRUE.parameters).abs().max() < 0.01


def test_edge_distance_of_a_half_plane() -> None:
    mask = torch.zeros(1, 16, 16)
    mask[..., 8:] = 1.0
    assert torch.allclose(edge_distance(mask)[0, 5], torch.arange(16) - 7.5)
    mask[..., 7] = 0.25  # the edge moves by a quarter of a pixel
    assert float(edge_distance(mask)[0, 5, 7]) == pytest.approx(-0.25)


@pytest.mark.parametrize(
    "wrong",
    [
        BallField(((0.0, 0.0, 0.0, 0.4),)),  # too small
        BallField(((0.0, 0.0, 0.0, 0.75),)),  # too large
        BallField(((0.25, 0.1, 0.0, 0.5),)),  # beside
    ],
)
def test_silhouettes_agree_after_the_correction(wrong: BallField) -> None:
    photo = photo_of(BallField(((0.0, 0.0, 0.0, 0.6),)))
    mask = photo.mask[None]
    everywhere = torch.ones_like(mask)
    before = mask_agreement(silhouettes(field_grid(wrong), TRUE.cameras, 96).logits, mask)
    corrected = correct_silhouettes(wrong, field_grid(wrong), TRUE, mask, everywhere)
    axis = torch.linspace(-1, 1, 129)  # finer than `field_grid`: near the edge a corrected field is steep
    after = mask_agreement(
        silhouettes(corrected.grid(axis, axis, axis), TRUE.cameras, 96, num_samples=128).logits, mask
    )
    assert before < 0.8 and after > 0.95
    # Behind the middle of the photo nothing changes where the silhouette agreed already.
    if wrong.balls[0][3] > 0.4:
        middle = TRUE.cameras.position * 0.0
        assert torch.allclose(corrected.occupancy(middle[:, None]), wrong.occupancy(middle[:, None]))


def test_a_thin_part_of_the_mask_appears() -> None:
    """A rod that the field lacks, but for a trace of it: negative values that are larger than elsewhere."""

    class Faint(BallField):
        def occupancy(self, points: torch.Tensor) -> torch.Tensor:
            rod = 0.05 - points[..., [0, 2]].norm(dim=-1)
            rod = torch.where(points[..., 1].abs() < 0.9, 10 * rod - 2.0, -10.0)
            return torch.maximum(super().occupancy(points), rod)

    class Whole(BallField):
        def occupancy(self, points: torch.Tensor) -> torch.Tensor:
            rod = torch.where(points[..., 1].abs() < 0.9, 0.06 - points[..., [0, 2]].norm(dim=-1), -1.0)
            return torch.maximum(super().occupancy(points), 10 * rod)

    ball = ((0.0, 0.0, 0.0, 0.4),)
    photo = photo_of(Whole(ball))
    mask = photo.mask[None]
    faint = Faint(ball)
    corrected = correct_silhouettes(faint, field_grid(faint), TRUE, mask, torch.ones_like(mask))
    on_the_rod = torch.tensor([[[0.0, 0.8, 0.0], [0.0, -0.8, 0.0]]])
    assert (faint.occupancy(on_the_rod) < 0).all() and (corrected.occupancy(on_the_rod) > 0).all()
    behind = on_the_rod + torch.tensor([0.0, 0.0, -0.5])
    assert (corrected.occupancy(behind) < 0).all()


def test_used_and_held_back_pixels_are_all_pixels() -> None:
    used, held_back = pixel_split(96, torch.device("cpu"))
    assert torch.equal(used + held_back, torch.ones(96, 96))
    assert held_back.mean() == pytest.approx(0.25)


def test_passes_are_kept_where_they_help_on_held_back_pixels() -> None:
    wrong = BallField(((0.0, 0.0, 0.0, 0.45),))
    photo = photo_of(BallField(((0.0, 0.0, 0.0, 0.6), (0.5, 0.5, 0.0, 0.2))), scale=0.05)
    refined = refine_field(wrong, photo, 1)
    (report,) = refined.passes
    assert report.accepted and report.disagreement_after < 0.5 * report.disagreement_before
    assert refined.disagreement < report.disagreement_before and refined.field is not wrong


def test_a_pass_that_makes_it_worse_is_undone() -> None:
    """The field is the one that the mask shows. A refiner that fills everything must not be accepted."""

    class Filling:
        dtype = torch.float32

        def encode(self, pixel_values):
            raise AssertionError("the features are given")

        def refine(self, field, features, cameras):
            return BallField(((0.0, 0.0, 0.0, 5.0),))

    @dataclass
    class Features:
        camera: torch.Tensor = torch.zeros(1, 5)
        camera_scale: torch.Tensor = torch.ones(1, 5)

    field = BallField()
    photo = photo_of(field, scale=0.0)
    photo = PhotoEvidence(photo.photo, photo.camera, torch.full((5,), 0.01), Features())
    refined = refine_field(field, photo, 1, refiner=Filling())
    (report,) = refined.passes
    assert not report.accepted and refined.field is field
    assert report.name == "photo plane" and report.disagreement_after > report.disagreement_before


def test_bad_input_gives_the_unrefined_field_with_a_note() -> None:
    field = BallField()
    photo = photo_of(field)
    empty = PhotoEvidence(torch.zeros(4, 192, 192), photo.camera, photo.camera_scale)
    refined = refine_field(field, empty, 2)
    assert refined.field is field and not refined.passes and "mask is empty" in refined.notes[0]

    class Broken(BallField):
        def occupancy(self, points: torch.Tensor) -> torch.Tensor:
            return super().occupancy(points) * torch.nan

    broken = Broken()
    refined = refine_field(broken, photo, 2)
    assert refined.field is broken and not refined.passes and "not finite" in refined.notes[0]


def test_no_passes_fit_the_camera_only() -> None:
    field = BallField()
    refined = refine_field(field, photo_of(field), 0)
    assert refined.field is field and refined.passes == () and refined.disagreement < 0.2


def test_progress_can_end_the_refinement() -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refine_field(BallField(), photo_of(BallField()), 2, progress=stop)


def test_disagreement_counts_wrong_pixels() -> None:
    field = BallField()
    mask = photo_of(field, scale=0.0).mask
    everywhere = torch.ones_like(mask)
    assert disagreement(field_grid(field), TRUE, mask[None], everywhere) < 0.02
    nothing = BallField(((0.0, 0.0, 0.0, -1.0),))
    assert disagreement(field_grid(nothing), TRUE, mask[None], everywhere) == pytest.approx(1.0)


def test_a_second_photo_shows_what_the_first_cannot() -> None:
    """A part in front of the object appears only from the side."""
    whole = BallField(((0.0, 0.0, 0.0, 0.4), (0.0, 0.0, 0.6, 0.2)))
    side = FramedCameras.from_parameters(TRUE.parameters, azimuth=90.0)
    front = photo_of(whole, scale=0.05)
    covered = silhouettes(field_grid(whole), side.cameras, 192, num_samples=96).logits[0] > 0
    rgba = torch.cat([torch.full((3, 192, 192), 0.5), covered.float()[None]])
    beside = PhotoEvidence(rgba, TRUE.parameters[0], torch.full((5,), 0.05)).seen_from(90.0, float(TRUE.elevation[0]))
    generated = BallField(((0.0, 0.0, 0.0, 0.4),))
    part = torch.tensor([[[0.0, 0.0, 0.6]]])
    alone = refine_field(generated, front, 1)
    both = refine_field(generated, front, 1, others=[beside])
    assert alone.field.occupancy(part) < 0 < both.field.occupancy(part)
    assert len(both.cameras) == 2 and float(both.cameras.cameras.position[1, 0]) > 1  # the second camera is at +x
    assert both.passes[0].accepted and both.disagreement < 0.1


def test_a_given_elevation_is_the_cameras() -> None:
    photo = PhotoEvidence.from_photo(torch.ones(4, 8, 8))
    seen = photo.seen_from(40.0, 30.0)
    assert seen.azimuth == 40.0 and FramedCameras.from_parameters(seen.camera[None]).elevation == pytest.approx(30.0)
    assert seen.camera_scale[0] < 0.3 * photo.camera_scale[0]
    unknown = photo.seen_from(40.0, float("nan"))
    assert torch.equal(unknown.camera, photo.camera) and torch.equal(unknown.camera_scale, photo.camera_scale)
