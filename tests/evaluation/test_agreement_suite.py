"""The suite `agreement`: a refiner with the truth gains, one that changes nothing does not, gains are paired."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from evaluation.scripted_pipeline import no_log
from pipelines.tiny_pipeline import TINY, build_tiny, photo

from triplane3d import PhotoPlaneRefiner, Triplane3DPipeline
from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.agreement import agreement_suite, flat_camera, grid_scores, mask_of, solid_grid
from triplane3d.evaluation.agreement_photos import agreement_of_photos, worst_photos
from triplane3d.evaluation.agreement_rows import ScoreTable, gain_estimates, mean_scores
from triplane3d.evaluation.baselines import inflated_silhouette
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, held_out_shapes
from triplane3d.evaluation.solids import Solid
from triplane3d.evaluation.summary import Estimate, Row
from triplane3d.evaluation.true_cameras import true_camera
from triplane3d.geometry.fields import FieldBatch
from triplane3d.geometry.framed_cameras import FramedCameras
from triplane3d.images.reading import decode_photo

SIZE = 96
FAST = {"steps": 1, "points": 4000, "resolution": 24, "log": no_log}


@pytest.fixture(scope="module")
def shapes() -> list[EvaluationShape]:
    return held_out_shapes(2, sorted(FAMILIES)[:3], image_size=SIZE, resolution=32)


@dataclass
class Features:
    index: int
    camera: torch.Tensor
    camera_scale: torch.Tensor


@dataclass
class TrueField(FieldBatch):
    """The exact field of a shape as a batch of one."""

    shape: EvaluationShape
    has_color: bool = False
    device: torch.device = torch.device("cpu")

    def occupancy(self, points: torch.Tensor) -> torch.Tensor:
        return 20 * self.shape.solid.field(points[0])[None]

    def __getitem__(self, index: int) -> "TrueField":
        return self

    def __len__(self) -> int:
        return 1


class Oracle:
    """A refiner that finds the shape by its framed mask. It predicts the true camera plus `camera_error`, and returns
    the true field, or else the field that it is given."""

    config = SimpleNamespace(image_size=SIZE)
    dtype = torch.float32

    def __init__(
        self, pipe: Triplane3DPipeline, shapes: list[EvaluationShape], *, corrects: bool = True, camera_error: float = 0
    ) -> None:
        self.shapes, self.corrects, self.camera_error = shapes, corrects, camera_error
        framed = [pipe.refiner_processor.preprocess(shape.pil_image).images[0] for shape in shapes]
        self.masks = torch.stack([decode_photo(picture)[3] for picture in framed])

    def encode(self, pixel_values: torch.Tensor) -> Features:
        mask = torch.nn.functional.interpolate(pixel_values[:, 3:], self.masks.shape[-2:], mode="area")[0]
        index = int((self.masks - mask).abs().sum(dim=(1, 2)).argmin())
        camera = true_camera(self.shapes[index], 0.85).parameters
        return Features(index, camera + self.camera_error, torch.full((1, 5), 0.01))

    def refine(self, field: FieldBatch, features: Features, cameras: FramedCameras) -> FieldBatch:
        return TrueField(self.shapes[features.index]) if self.corrects else field


def with_refiner(shapes: list[EvaluationShape], **options: object) -> Triplane3DPipeline:
    pipe = build_tiny()
    pipe.register_modules(refiner=Oracle(pipe, shapes, **options))
    return pipe


def measure(
    pipe: Triplane3DPipeline, shapes: list[EvaluationShape], **options
) -> tuple[dict[str, Row], list[Estimate]]:
    rows, estimates = agreement_suite(pipe, "made up", shapes, **(FAST | {"surfaces": 1, "passes": 1} | options))
    return {row.method: row for row in rows}, estimates


def test_an_oracle_improves_everything_and_its_camera_is_the_true_one(shapes: list[EvaluationShape]) -> None:
    rows, estimates = measure(with_refiner(shapes), shapes, noise_seeds=(0, 1))
    assert list(rows) == [
        "unrefined",
        "refined",
        "refined, true camera",
        "mask carving alone",
        "inflated silhouette",
        "truth",
        "predicted camera",
        "fitted camera",
        "average camera",
    ]
    for method in ("refined", "refined, true camera"):
        # Refinement samples and smooths the field.
        assert min(rows[method].values("volume_iou")) > 0.95
        assert min(rows[method].values("mask_iou")) > 0.9
        assert rows[method].values("f_score_05_hidden")[0] > 0.95
    assert min(rows["truth"].values("mask_iou")) > 0.9
    for metric in ("elevation_error", "offset_error", "scale_error"):
        assert max(rows["predicted camera"].values(metric)) < 1e-4 < min(rows["average camera"].values(metric))
        # The fit moves a certain camera little.
        assert max(rows["fitted camera"].values(metric)) < 0.5
    gains = {estimate.name: estimate for estimate in estimates}
    assert gains["volume_iou of refined - unrefined"].low > 0.2
    assert gains["volume_iou of refined - mask carving alone"].low > 0.2
    assert len(rows["refined"].values("f_score_05")) == len(rows["unrefined"].values("f_score_05")) == 1
    assert all(second > 0 for second in rows["refined"].values("seconds"))


def test_only_the_row_that_is_named_so_uses_the_true_camera(shapes: list[EvaluationShape]) -> None:
    """With predictions that are far off, the refined fields are those of the truth, but seen from wrong cameras."""
    rows, _ = measure(with_refiner(shapes, camera_error=1.5), shapes, noise_seeds=(0,), surfaces=0)
    assert min(rows["predicted camera"].values("elevation_error")) > 20
    assert max(rows["refined"].values("mask_iou")) < 0.8
    assert min(rows["refined, true camera"].values("mask_iou")) > 0.9


def test_a_refiner_that_changes_nothing_gains_nothing(shapes: list[EvaluationShape]) -> None:
    """Both rows then have the same noise, also in other batches. Refinement samples and smooths the field."""
    pipe = with_refiner(shapes, corrects=False)
    first, second = (measure(pipe, shapes, noise_seeds=(seed,), surfaces=0)[0] for seed in (0, 1))
    both, _ = measure(pipe, shapes, noise_seeds=(0, 1), surfaces=0, batch_size=1)
    gain = np.abs(both["refined"].values("volume_iou_gain")).max()
    one, other, mean = (rows["unrefined"].values("volume_iou") for rows in (first, second, both))
    assert gain < 2e-3 and np.abs(np.subtract(one, other)).max() > 4 * gain
    assert one != other and mean == pytest.approx(np.mean([one, other], axis=0), abs=0.01)


def test_pipeline_without_a_refiner_has_the_average_camera_only(shapes: list[EvaluationShape]) -> None:
    rows, estimates = measure(build_tiny(), shapes[:2], noise_seeds=(0,), surfaces=0)
    assert set(rows) == {
        "unrefined",
        "refined",
        "refined, true camera",
        "inflated silhouette",
        "truth",
        "average camera",
    }
    assert rows["average camera"].suite == "agreement of cameras" and rows["refined"].suite == "agreement"
    assert {estimate.name for estimate in estimates if "volume" in estimate.name} == {
        "volume_iou of refined - unrefined",
        "volume_iou of refined, true camera - unrefined",
        "volume_iou of refined - inflated silhouette",
    }


def test_the_framing_of_the_denoiser_does_not_matter(shapes: list[EvaluationShape]) -> None:
    """Refinement has its own, centred photo. The true camera is that of this photo."""
    pipe = build_tiny()
    pipe.register_to_config(framing="triposr", foreground_ratio=0.7)
    rows, _ = measure(pipe, shapes[:1], noise_seeds=(0,), surfaces=0)
    assert min(rows["truth"].values("mask_iou")) > 0.9
    assert min(rows["inflated silhouette"].values("mask_iou")) > 0.9


def test_a_pipeline_that_reads_no_photos_is_an_error(shapes: list[EvaluationShape]) -> None:
    pipe = build_tiny()
    pipe.register_modules(image_encoder=None)
    with pytest.raises(ValueError, match="image_encoder"):
        measure(pipe, shapes)


def made_up_table() -> ScoreTable:
    """Three shapes of very different scores, two noises of different scores; refinement always gains 0.05."""
    table = ScoreTable("agreement", "trained families", ["a", "b", "c"], ["mug", "mug", "chair"])
    for shape, of_shape in enumerate((0.1, 0.5, 0.8)):
        for noise, of_noise in enumerate((0.0, 0.1)):
            before = of_shape + of_noise
            table.add("unrefined", shape, noise, {"volume_iou": before, "mask_iou": 0.5})
            table.add("refined", shape, noise, {"volume_iou": before + 0.05, "mask_iou": 0.6})
        table.add("refined, true camera", shape, 0, {"volume_iou": of_shape + 0.06})
        table.add("inflated silhouette", shape, None, {"volume_iou": 0.4})
    return table


def test_gains_are_paired_by_shape_and_noise() -> None:
    rows = {row.method: row for row in made_up_table().rows()}
    gains = {estimate.name: estimate for estimate in gain_estimates(list(rows.values()))}
    refined = gains["volume_iou of refined - unrefined"]
    assert (refined.value, refined.low, refined.high) == pytest.approx((0.05, 0.05, 0.05))
    assert gains["mask_iou of refined - unrefined"].low == pytest.approx(0.1)
    # The mean of "unrefined" over both noises is higher than with the first noise, which the row was measured with.
    true_camera_row = gains["volume_iou of refined, true camera - unrefined"]
    assert true_camera_row.low == pytest.approx(0.06) == true_camera_row.high
    assert rows["refined"].values("volume_iou") == pytest.approx([0.2, 0.6, 0.9])
    assert rows["inflated silhouette"].values("volume_iou_gain") == pytest.approx([0.25, -0.15, -0.45])
    above = gains["volume_iou of refined - inflated silhouette"]
    assert above.value == pytest.approx(np.mean([-0.2, 0.2, 0.5])) and above.low < above.value < above.high


def test_means_leave_out_what_is_not_a_number() -> None:
    scores = [{"a": 1.0, "b": float("nan")}, {"a": 2.0, "b": 4.0, "c": float("nan")}]
    assert mean_scores(scores) == {"a": 1.5, "b": 4.0}


def test_pieces_and_mask_iou_of_a_grid() -> None:
    """Balls of radius 0.5 and 0.25: two pieces, the larger with eight ninths of the volume."""
    axis = torch.linspace(-1, 1, 65)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    balls = [0.5 - (points - torch.tensor([-0.4, 0.0, 0.0])).norm(dim=-1)]
    balls.append(0.25 - (points - torch.tensor([0.6, 0.0, 0.0])).norm(dim=-1))
    both, camera = torch.maximum(*balls)[None], flat_camera(0.85)
    row, column = np.mgrid[:128, :128]
    right, up = (column - 63.5) / 64 / 0.85, (63.5 - row) / 64 / 0.85
    larger, smaller = np.hypot(right + 0.4, up) < 0.5, np.hypot(right - 0.6, up) < 0.25
    found = grid_scores(both, camera, larger | smaller)
    assert found["pieces"] == 2 and found["largest_component"] == pytest.approx(8 / 9, abs=0.01)
    assert found["mask_iou"] > 0.95
    assert grid_scores(both, camera, larger)["mask_iou"] == pytest.approx(0.8, abs=0.02)
    assert set(grid_scores(torch.full_like(both, -1.0), camera, larger).values()) == {0.0}


def test_all_rows_are_compared_on_the_same_grid() -> None:
    """A rod that only the finer grid shows has no part in the scores."""
    fine = torch.full((1, 129, 129, 129), -1.0)
    fine[:, 40:90, 40:90, 40:90] = 1.0
    coarse = fine[:, ::2, ::2, ::2].clone()
    fine[:, 100:120, 41, 41] = 1.0
    mask = np.ones((128, 128), dtype=bool)
    assert grid_scores(fine, flat_camera(0.85), mask) == grid_scores(coarse, flat_camera(0.85), mask)
    with pytest.raises(ValueError, match="no nodes"):
        grid_scores(torch.zeros(1, 100, 100, 100), flat_camera(0.85), mask)


def test_inflated_silhouette_fits_the_framed_mask(shapes: list[EvaluationShape]) -> None:
    pipe = build_tiny()
    for shape in shapes:
        mask = mask_of(decode_photo(pipe.refiner_processor.preprocess(shape.pil_image).images[0]))
        found = grid_scores(solid_grid(inflated_silhouette(shape.mask)), flat_camera(0.85), mask)
        assert found["mask_iou"] > 0.9


def test_a_solid_without_a_field_has_a_grid_of_two_values(shapes: list[EvaluationShape]) -> None:
    exact = shapes[0].solid
    plain = solid_grid(Solid(exact.occupancy, exact.make_surface))
    assert set(plain.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(plain > 0, solid_grid(exact) > 0)


def test_photos_are_scored_without_truth(tmp_path: Path) -> None:
    for hue in (0, 1):
        photo(hue).save(tmp_path / f"block {hue}.png")
    pipe = build_tiny()
    pipe.register_modules(
        refiner=PhotoPlaneRefiner.from_config(PhotoPlaneRefiner.load_config(TINY, subfolder="refiner"))
    )
    rows, estimates = agreement_of_photos(pipe, tmp_path, passes=2, noise_seeds=(0, 1), steps=1, log=no_log)
    assert [row.method for row in rows] == ["unrefined", "refined", "mask carving alone", "inflated silhouette"]
    metrics = {"mask_iou", "color_error", "pieces", "largest_component", "seconds", "refine_seconds"}
    assert all(metrics <= set(score) for row in rows[:3] for score in row.scores)
    assert all(score["mask_iou"] > 0.9 for score in rows[-1].scores)
    means = [np.mean(row.values("mask_iou")) for row in rows[:2]]
    (gain,) = (estimate.value for estimate in estimates if estimate.name == "mask_iou of refined - unrefined")
    assert gain == pytest.approx(means[1] - means[0]) and gain > 0
    assert list(rows[0].shapes) == ["block 0", "block 1"]
    lowest = min(rows[1].values("mask_iou"))
    assert worst_photos(rows).startswith(f"lowest of the refined photos: mask IoU {lowest:.3f}, block")
