"""Samples: stored values are the original ones to the precision of their type, and wrong fields are named."""

import pytest
import torch

from triplane3d.data.sample import FIELDS, check_batch, pack, unpack


def random_sample(shapes: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = {"points": 5, "labels": 6, "views": 3, "height": 4, "width": 4}
    sample = {}
    for name, field in FIELDS.items():
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in field.axes]
        sample[name] = torch.rand(shapes, *shape, generator=generator)
    sample["surface_normals"] = torch.nn.functional.normalize(sample["surface_normals"] - 0.5, dim=-1)
    return sample


def test_unpacking_restores_values_to_half_a_step_of_the_stored_type() -> None:
    sample = random_sample()
    stored = pack(sample)
    assert all(stored[name].dtype == field.stored for name, field in FIELDS.items())
    for name, values in unpack(stored).items():
        tolerance = 0.5 / FIELDS[name].scale if FIELDS[name].scale > 1 else 1e-3
        assert values.dtype == torch.float32 and (values - sample[name]).abs().max() <= tolerance + 1e-6
    again = pack(unpack(stored))
    assert all(torch.equal(again[name], stored[name]) for name in stored)


def test_values_outside_the_range_are_clamped_and_fields_of_a_stage_are_kept() -> None:
    stored = pack({"surface_colors": torch.tensor([[[-1.0, 0.5, 7.0]]])})
    assert stored["surface_colors"].tolist() == [[[0, 128, 255]]]
    latents = torch.ones(2, 3)
    assert unpack({"latents": latents})["latents"] is latents


def test_a_batch_is_checked_against_the_fields() -> None:
    batch = pack(random_sample(shapes=4))
    assert check_batch(batch) == 4
    assert check_batch({"label_points": batch["label_points"]}) == 4
    for wrong, message in (
        ({"color": batch["surface_colors"]}, "color is not a field"),
        ({"surface_normals": torch.zeros(4, 5, 3)}, "surface_normals must be torch.int8"),
        ({"label_distance": batch["label_distance"][:, :-1]}, "the axis labels must be 6"),
        ({"surface_colors": batch["surface_colors"][:3]}, "the axis shapes must be 4"),
        ({"views": batch["views"][:, :, :3]}, "the axis after views must be 4"),
    ):
        with pytest.raises(ValueError, match=message):
            check_batch(batch | wrong)
    with pytest.raises(ValueError, match="without shapes"):
        check_batch({})
