"""Means, confidence intervals, worst tenths and category means of rows of scores."""

import numpy as np
import pytest

from triplane3d.evaluation.summary import (
    Row,
    Summary,
    difference_of_means,
    format_table,
    generalization_gaps,
    margins,
    ratio_of_means,
)


def test_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400).tolist()
    summary = Summary.of(values)
    assert summary.low < summary.mean < summary.high
    assert summary.high - summary.low == pytest.approx(2 * 1.96 * 0.1 / 20, rel=0.15)


def test_worst_decile_depends_on_the_direction_of_the_metric() -> None:
    values = [0.1, *[0.5] * 9]
    assert Summary.of(values).worst_decile == 0.1
    assert Summary.of(values, lower_is_better=True).worst_decile == 0.5


def test_category_mean_weights_categories_equally() -> None:
    row = Row("image", "made up", "model", [{"volume_iou": 1.0}] * 3 + [{"volume_iou": 0.0}], ["mug"] * 3 + ["chair"])
    assert row.summaries()["volume_iou"].mean == 0.75
    assert row.category_mean("volume_iou") == 0.5


def test_metric_can_be_missing_from_some_shapes() -> None:
    row = Row("autoencoder", "made up", "model", [{"volume_iou": 1.0, "chamfer": 0.1}, {"volume_iou": 0.0}])
    assert row.summaries()["chamfer"].count == 1
    table = format_table([row], {"volume_iou": "V-IoU", "chamfer": "CD"})
    assert "0.500 [" in table and "0.100 [0.100, 0.100] 0.100" in table


def test_margins_are_paired_by_shape() -> None:
    """The shapes differ far more than the methods do. This does not widen the interval."""
    base = np.random.default_rng(0).random(20)
    model = Row("image", "made up", "model", [{"volume_iou": float(value) + 0.1} for value in base])
    other = Row("image", "made up", "hull", [{"volume_iou": float(value)} for value in base])
    (margin,) = margins([model, other])
    assert str(margin) == "made up: volume_iou of model - hull: 0.100 [0.100, 0.100]"


def test_summary_of_no_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="no shape"):
        Summary.of([])


def test_variance_of_an_unpaired_difference_is_the_sum_of_both() -> None:
    rng = np.random.default_rng(0)
    reference, other = rng.normal(0.9, 0.1, 400), rng.normal(0.8, 0.1, 100)
    value, low, high = difference_of_means(reference.tolist(), other.tolist())
    assert value == pytest.approx(reference.mean() - other.mean())
    assert high - low == pytest.approx(2 * 1.96 * 0.1 * (1 / 400 + 1 / 100) ** 0.5, rel=0.2)
    rows = [
        Row("autoencoder", data, "autoencoder", [{"volume_iou": score} for score in scores])
        for data, scores in (("trained families", reference), ("meshes", other))
    ]
    (found,) = generalization_gaps(rows)
    assert (found.data, found.value) == ("trained families - meshes", value)
    assert generalization_gaps(rows[1:]) == []


def test_ratio_of_means_is_paired_by_shape() -> None:
    whole = np.random.default_rng(0).random(20)
    assert ratio_of_means((whole / 2).tolist(), whole.tolist()) == pytest.approx((0.5, 0.5, 0.5))
    assert ratio_of_means([0.0, 0.0], [0.0, 0.0]) == (1, 1, 1)
    assert ratio_of_means([1.0], [0.0])[0] == np.inf
    with pytest.raises(ValueError, match="same shapes"):
        ratio_of_means([1.0, 1.0], [1.0])


def test_repeated_scores_of_a_shape_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).random(20).tolist()
    twice, names = np.repeat(values, 2).tolist(), [str(shape) for shape in range(20) for _ in range(2)]
    once, together, independent = Summary.of(values), Summary.of(twice, names), Summary.of(twice)
    assert together.high - together.low == pytest.approx(once.high - once.low, rel=0.05)
    assert independent.high - independent.low < 0.8 * (once.high - once.low)
    _, low, high = ratio_of_means(twice, [1.0] * 40, names)
    assert (low, high) == pytest.approx((together.low, together.high), abs=0.01)
    row = Row("image", "meshes", "model", [{"volume_iou": value} for value in twice], shapes=names)
    assert row.summaries()["volume_iou"] == together
