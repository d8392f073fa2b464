"""Several photos of an object: their tokens lie where their cameras looked, and nobody is disturbed by absent ones."""

import math

import pytest
import torch
from models.tiny_models import denoiser_inputs, tiny_transformer

from triplane3d.models.conditions import CameraCondition, FrontPlaneCondition, sight_lines
from triplane3d.models.transformer_triplane import TriplaneTransformer

UNKNOWN = math.nan


def lit(condition: FrontPlaneCondition, row: int, column: int, azimuth: float) -> torch.Tensor:
    """Which cells (plane, row, column) one lit token reaches, seen from `azimuth`."""
    tokens = torch.zeros(1, 1 + 16, 5)
    tokens[:, 1 + 4 * row + column] = torch.randn(5)
    added = condition(tokens, 4, 4, torch.tensor([[[azimuth, UNKNOWN]]]))
    return added.view(4, 3, 4, 6).abs().amax(dim=-1).transpose(0, 1) > 1e-6


def test_a_view_from_the_right_lies_over_the_plane_it_sees() -> None:
    """From +x a picture's columns run along -z and its rows along y: the YZ plane sees it whole, XZ along z."""
    xy, xz, yz = lit(FrontPlaneCondition(5, 6, num_prefix_tokens=1), 0, 3, 90.0)
    assert yz.nonzero().tolist() == [[3, 0]]  # the top, and z = -1
    assert xz.nonzero().tolist() == [[0, column] for column in range(4)]
    assert xy.nonzero().tolist() == [[3, column] for column in range(4)]


def test_from_behind_the_picture_is_mirrored() -> None:
    front, back = (lit(FrontPlaneCondition(5, 6, num_prefix_tokens=1), 1, 0, azimuth) for azimuth in (0.0, 180.0))
    assert torch.equal(front[0].flip(1), back[0]) and torch.equal(front[2], back[2])


def test_every_cell_reads_a_whole_picture_s_worth() -> None:
    cameras = torch.tensor([[0.0, UNKNOWN], [37.0, 20.0], [-90.0, -10.0], [UNKNOWN, 10.0]])
    read = sight_lines(cameras, 8, 8).sum(dim=-1)
    assert torch.allclose(read[:3], torch.ones_like(read[:3]), atol=1e-5) and not read[3].any()


def test_a_front_camera_is_what_a_model_of_one_photo_assumes() -> None:
    condition = FrontPlaneCondition(context_dim=5, dim=6, num_prefix_tokens=1)
    tokens = torch.randn(2, 17, 5)
    assert torch.equal(condition(tokens, 4, 4), condition(tokens, 4, 4, torch.tensor([[[0.0, 0.0]]]).repeat(2, 1, 1)))


def awake(**config: object) -> TriplaneTransformer:
    """A model of several photos in which nothing is zero any more."""
    model = tiny_transformer(camera_condition=True, **config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_what_is_added_starts_as_nothing() -> None:
    """Weights of a model of one photo, loaded into one of several, answer as before."""
    plain, inputs = tiny_transformer(), denoiser_inputs()
    model = tiny_transformer(camera_condition=True, interval_condition=True)
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and {key.split(".")[0] for key in missing} == {"camera_embed", "interval_embed"}
    assert torch.allclose(model(**inputs).sample, plain(**inputs).sample, atol=1e-6)
    assert torch.allclose(model(**inputs, timestep_end=0.0).sample, plain(**inputs).sample, atol=1e-6)


def test_an_absent_view_changes_nothing() -> None:
    """One object has two photos, the other one and a gap: each is answered as if it were alone."""
    model, inputs = awake(), denoiser_inputs()
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


def test_a_second_view_and_its_camera_reach_the_answer() -> None:
    model, inputs = awake(), denoiser_inputs()
    tokens = inputs["encoder_hidden_states"]
    inputs |= {"encoder_hidden_states": torch.cat([tokens, torch.randn_like(tokens)], dim=1)}
    answers = [model(**inputs, cameras=torch.tensor([[[0.0, UNKNOWN], camera]] * 2)).sample
               for camera in ([90.0, UNKNOWN], [-90.0, UNKNOWN], [90.0, 30.0], [UNKNOWN, UNKNOWN])]  # fmt: skip
    for index, one in enumerate(answers):
        assert all((one - other).abs().max() > 1e-3 for other in answers[:index])


def test_no_photo_is_no_photo_from_any_side() -> None:
    """Guidance's zeros stay zeros, and entries without a photo may be left out."""
    model, inputs = awake(), denoiser_inputs()
    tokens = inputs["encoder_hidden_states"].repeat(1, 2, 1)
    cameras = torch.tensor([[[0.0, 5.0], [70.0, UNKNOWN]]])
    zeros = torch.cat([torch.zeros_like(tokens[:1]), tokens[:1]])
    inputs |= {"encoder_hidden_states": zeros}
    whole = model(**inputs, cameras=cameras.repeat(2, 1, 1)).sample
    inputs |= {"encoder_hidden_states": tokens[:1]}
    assert torch.allclose(model(**inputs, cameras=cameras, num_without_photo=1).sample, whole, atol=1e-5)
    assert not CameraCondition(4)(torch.zeros(1, 3, 4), torch.tensor([[[30.0, 10.0]]])).any()


def test_the_end_of_the_step_counts_only_where_it_is_known() -> None:
    model, inputs = awake(interval_condition=True), denoiser_inputs()
    at_once = model(**inputs).sample
    assert torch.allclose(model(**inputs, timestep_end=inputs["timestep"]).sample, at_once, atol=1e-6)
    assert (model(**inputs, timestep_end=0.0).sample - at_once).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"cameras": torch.zeros(2, 1, 2)}, "camera_condition=False"),
        ({"timestep_end": 0.0}, "interval_condition=False"),
        ({"encoder_attention_mask": torch.ones(2, 3, dtype=torch.bool)}, "encoder_attention_mask of shape"),
    ],
)
def test_what_a_model_does_not_know_is_refused(extra: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        tiny_transformer()(**denoiser_inputs(), **extra)


def test_cameras_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="views share the"):
        awake()(**denoiser_inputs(), cameras=torch.zeros(2, 4, 2))
