"""Several photos of an object: tokens are added along their lines of sight, and missing views have no effect."""

import math

import pytest
import torch
from models.tiny_models import denoiser_inputs, tiny_transformer

from triplane3d.models.conditions import CameraCondition, FrontPlaneCondition, projection_weights
from triplane3d.models.transformer_triplane import TriplaneTransformer

UNKNOWN = math.nan


def reached_cells(condition: FrontPlaneCondition, row: int, column: int, azimuth: float) -> torch.Tensor:
    """The cells (plane, row, column) to which a single non-zero token is added, for a camera at `azimuth`."""
    tokens = torch.zeros(1, 1 + 16, 5)
    tokens[:, 1 + 4 * row + column] = torch.randn(5)
    added = condition(tokens, 4, 4, torch.tensor([[[azimuth, UNKNOWN]]]))
    return added.view(4, 3, 4, 6).abs().amax(dim=-1).transpose(0, 1) > 1e-6


def test_a_view_from_the_right_is_added_over_the_yz_plane() -> None:
    """From +x an image's columns run along -z and its rows along y: it covers YZ, and XZ along z."""
    xy, xz, yz = reached_cells(FrontPlaneCondition(5, 6, num_prefix_tokens=1), 0, 3, 90.0)
    assert yz.nonzero().tolist() == [[3, 0]]  # the top, and z = -1
    assert xz.nonzero().tolist() == [[0, column] for column in range(4)]
    assert xy.nonzero().tolist() == [[3, column] for column in range(4)]


def test_a_view_from_behind_is_mirrored() -> None:
    front, back = (
        reached_cells(FrontPlaneCondition(5, 6, num_prefix_tokens=1), 1, 0, azimuth) for azimuth in (0.0, 180.0)
    )
    assert torch.equal(front[0].flip(1), back[0]) and torch.equal(front[2], back[2])


def test_the_weights_of_each_cell_sum_to_one() -> None:
    cameras = torch.tensor([[0.0, UNKNOWN], [37.0, 20.0], [-90.0, -10.0], [UNKNOWN, 10.0]])
    read = projection_weights(cameras, 8, 8).sum(dim=-1)
    assert torch.allclose(read[:3], torch.ones_like(read[:3]), atol=1e-5) and not read[3].any()


def test_without_cameras_a_front_camera_is_assumed() -> None:
    condition = FrontPlaneCondition(context_dim=5, dim=6, num_prefix_tokens=1)
    tokens = torch.randn(2, 17, 5)
    assert torch.equal(condition(tokens, 4, 4), condition(tokens, 4, 4, torch.tensor([[[0.0, 0.0]]]).repeat(2, 1, 1)))


def perturbed(**config: object) -> TriplaneTransformer:
    """A model of several photos, with noise added to all parameters, so that none is zero."""
    model = tiny_transformer(camera_condition=True, **config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_new_conditions_are_initialized_to_zero() -> None:
    """Weights of a model of one photo give the same output in a model of several photos."""
    plain, inputs = tiny_transformer(), denoiser_inputs()
    model = tiny_transformer(camera_condition=True, interval_condition=True)
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and {key.split(".")[0] for key in missing} == {"camera_embed", "interval_embed"}
    assert torch.allclose(model(**inputs).sample, plain(**inputs).sample, atol=1e-6)
    assert torch.allclose(model(**inputs, timestep_end=0.0).sample, plain(**inputs).sample, atol=1e-6)


def test_a_missing_view_has_no_effect() -> None:
    """One object has two photos, the other one photo and padding; each output equals that of a single call."""
    model, inputs = perturbed(), denoiser_inputs()
    tokens = inputs["encoder_hidden_states"]
    views = torch.cat([tokens, torch.randn_like(tokens)], dim=1)
    views[1, tokens.shape[1] :] = 0
    cameras = torch.tensor([[[0.0, 10.0], [120.0, UNKNOWN]], [[0.0, UNKNOWN], [UNKNOWN, UNKNOWN]]])
    inputs |= {"encoder_hidden_states": views}
    both = model(**inputs, cameras=cameras, encoder_attention_mask=views.ne(0).any(dim=-1)).sample

    first = {name: tensor[:1] for name, tensor in inputs.items()}
    assert torch.allclose(model(**first, cameras=cameras[:1]).sample, both[:1], atol=1e-5)
    second = {name: tensor[1:] for name, tensor in inputs.items()} | {"encoder_hidden_states": tokens[1:]}
    assert torch.allclose(model(**second).sample, both[1:], atol=1e-5)


def test_a_second_view_and_its_camera_change_the_output() -> None:
    model, inputs = perturbed(), denoiser_inputs()
    tokens = inputs["encoder_hidden_states"]
    inputs |= {"encoder_hidden_states": torch.cat([tokens, torch.randn_like(tokens)], dim=1)}
    outputs = [model(**inputs, cameras=torch.tensor([[[0.0, UNKNOWN], camera]] * 2)).sample
               for camera in ([90.0, UNKNOWN], [-90.0, UNKNOWN], [90.0, 30.0], [UNKNOWN, UNKNOWN])]  # fmt: skip
    for index, one in enumerate(outputs):
        assert all((one - other).abs().max() > 1e-3 for other in outputs[:index])


def test_tokens_of_zeros_stay_zeros_for_any_camera() -> None:
    """Guidance uses zeros for "no photo": they stay zeros, and their entries may be omitted."""
    model, inputs = perturbed(), denoiser_inputs()
    tokens = inputs["encoder_hidden_states"].repeat(1, 2, 1)
    cameras = torch.tensor([[[0.0, 5.0], [70.0, UNKNOWN]]])
    zeros = torch.cat([torch.zeros_like(tokens[:1]), tokens[:1]])
    inputs |= {"encoder_hidden_states": zeros}
    whole = model(**inputs, cameras=cameras.repeat(2, 1, 1)).sample
    inputs |= {"encoder_hidden_states": tokens[:1]}
    assert torch.allclose(model(**inputs, cameras=cameras, num_without_photo=1).sample, whole, atol=1e-5)
    assert not CameraCondition(4)(torch.zeros(1, 3, 4), torch.tensor([[[30.0, 10.0]]])).any()


def test_the_end_of_the_step_changes_the_output_only_if_it_differs() -> None:
    model, inputs = perturbed(interval_condition=True), denoiser_inputs()
    without_end = model(**inputs).sample
    assert torch.allclose(model(**inputs, timestep_end=inputs["timestep"]).sample, without_end, atol=1e-6)
    assert (model(**inputs, timestep_end=0.0).sample - without_end).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"cameras": torch.zeros(2, 1, 2)}, "camera_condition=False"),
        ({"timestep_end": 0.0}, "interval_condition=False"),
        ({"encoder_attention_mask": torch.ones(2, 3, dtype=torch.bool)}, "encoder_attention_mask of shape"),
    ],
)
def test_inputs_that_the_model_does_not_support_raise_errors(extra: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_transformer()(**denoiser_inputs(), **extra)


def test_a_wrong_number_of_cameras_raises_an_error() -> None:
    with pytest.raises(ValueError, match="views share the"):
        perturbed()(**denoiser_inputs(), cameras=torch.zeros(2, 4, 2))
