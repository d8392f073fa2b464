"""Names that were public before they were renamed."""

import pytest

from triplane3d.data import procedural, shapes

FORMER = {
    "HELD_OUT_SEED": "FIRST_EVALUATION_SEED",
    "Paint": "Material",
    "Views": "OrbitCameras",
    "draw_shapes": "generate_shapes",
    "draw_unframed": "generate_unnormalized",
    "occupancy_grid": "distance_grid",
}


@pytest.mark.parametrize("module", [procedural, shapes])
@pytest.mark.parametrize("former", FORMER)
def test_a_former_name_works_with_a_warning_that_names_the_present_one(former: str, module) -> None:
    with pytest.warns(FutureWarning, match=FORMER[former]):
        assert getattr(module, former) is getattr(procedural, FORMER[former])
    with pytest.raises(AttributeError, match="has no attribute 'paint'"):
        _ = module.paint
