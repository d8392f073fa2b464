"""Several photos of an object: a batch equals single calls, and the first photo determines the frame."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FasterCacheConfig, FirstBlockCacheConfig
from diffusers.guiders import ClassifierFreeGuidance
from pipelines.tiny_pipeline import build_tiny_for_views, grids, photo, seeded

from triplane3d import Camera, Triplane3DPipeline, TriplaneTransformer
from triplane3d.images.photo_batch import PhotoBatch

FRONT, LEFT, BACK = photo(0), photo(1, size=60), photo(2, size=33)


@pytest.fixture
def pipe() -> Triplane3DPipeline:
    return build_tiny_for_views(interval_condition=True)


def latents_of(pipe: Triplane3DPipeline, image: Any = None, **options: Any) -> torch.Tensor:
    return grids(pipe, image, output_type="latent", **options)


def differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    return float((one - other).abs().max()) > 1e-2


# ---- photos and cameras


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_a_ragged_batch_equals_calls_with_one_object(pipe: Triplane3DPipeline, guidance_scale: float) -> None:
    objects = [[LEFT], [FRONT, LEFT, BACK], [BACK, FRONT]]
    cameras = [["front"], [None, "left", (170, 30)], [(20, 5), None]]
    options = {"guidance_scale": guidance_scale, "num_images_per_prompt": 2}
    together = latents_of(pipe, objects, cameras=cameras, generator=[seeded(seed) for seed in range(6)], **options)
    for index in range(3):
        generators = [seeded(2 * index), seeded(2 * index + 1)]
        one = {"image": objects[index : index + 1], "cameras": cameras[index : index + 1], "generator": generators}
        assert torch.allclose(latents_of(pipe, **one, **options), together[2 * index : 2 * index + 2], atol=1e-4)


def test_lists_of_one_photo_equal_a_flat_list(pipe: Triplane3DPipeline) -> None:
    flat = latents_of(pipe, [FRONT, LEFT])
    assert torch.equal(latents_of(pipe, [[FRONT], [LEFT]]), flat)
    for cameras in ([["front"], [None]], [[(0, None)], [(None, None)]], [["back"], [(-40.0, None)]]):
        assert torch.allclose(latents_of(pipe, [[FRONT], [LEFT]], cameras=cameras), flat, atol=1e-6)
        assert torch.allclose(latents_of(pipe, [FRONT, LEFT], cameras=cameras), flat, atol=1e-6)


def test_photos_and_known_camera_values_change_the_result(pipe: Triplane3DPipeline) -> None:
    views = {"image": [[FRONT, LEFT]]}
    results = [
        latents_of(pipe),
        latents_of(pipe, cameras=[[(0, 20)]]),
        latents_of(pipe, **views),
        *(latents_of(pipe, **views, cameras=[["front", camera]]) for camera in ("left", "right", (270, 40))),
    ]
    for index, one in enumerate(results):
        assert all(differ(one, other) for other in results[:index])


def test_the_result_does_not_depend_on_the_order_of_further_photos(pipe: Triplane3DPipeline) -> None:
    one = latents_of(pipe, [[FRONT, LEFT, BACK]], cameras=[["front", "left", "back"]])
    other = latents_of(pipe, [[FRONT, BACK, LEFT]], cameras=[["front", "back", "left"]])
    assert torch.allclose(one, other, atol=1e-4)
    assert differ(one, latents_of(pipe, [[FRONT, BACK, LEFT]], cameras=[["front", "left", "back"]]))


def test_only_azimuths_relative_to_the_first_camera_matter(pipe: Triplane3DPipeline) -> None:
    image = [[FRONT, LEFT, BACK]]
    one = latents_of(pipe, image, cameras=[[(0, 10), (270, None), (None, 5)]])
    for turn in (90.0, -123.4, 720.0):
        turned = latents_of(pipe, image, cameras=[[(turn, 10), (270 + turn, None), (None, 5)]])
        assert torch.allclose(turned, one, atol=1e-4)


def test_cameras_have_names_angles_and_a_class() -> None:
    cameras_given = [["left", None, (None, -90), (np.float32(5), 0), [1, None], Camera.orbit(180.0, 20.0)]]
    (angles,) = PhotoBatch.parse([[FRONT] * 6], cameras_given).angles
    unknown = math.nan
    expected = [(0, unknown), (unknown, unknown), (unknown, -90), (95, 0), (91, unknown), (270, 20)]
    assert np.allclose(angles, expected, equal_nan=True)
    (angles,) = PhotoBatch.parse([[FRONT] * 2], [[None, "left"]]).angles
    assert np.allclose(angles, [(0, unknown), (270, unknown)], equal_nan=True)


def test_photos_and_mask_reports_are_returned_in_order(pipe: Triplane3DPipeline) -> None:
    opaque = [picture.convert("RGB") for picture in (FRONT, LEFT)]
    options = {"output_type": "latent", "generator": seeded(), "background_removal": "border"}
    out = pipe([opaque, [BACK]], **options)
    assert len(out.meshes) == 2 and len(out.images) == len(out.mask_reports) == 3
    for index, one in enumerate([*opaque, BACK]):
        assert np.array_equal(out.images[index], pipe(one, **options).images[0])


def test_image_embeds_replace_several_photos(pipe: Triplane3DPipeline) -> None:
    cameras = [["front", "left"], [(0, 20)]]
    with torch.no_grad():
        tokens = pipe.encode_image(pipe.image_processor.preprocess([FRONT, LEFT, BACK]).pixel_values)
    embeds = torch.zeros(2, 2 * tokens.shape[1], tokens.shape[2])
    embeds[0] = tokens[:2].flatten(0, 1)
    embeds[1, : tokens.shape[1]] = tokens[2]
    given = latents_of(pipe, image_embeds=embeds, cameras=cameras)
    assert torch.equal(given, latents_of(pipe, [[FRONT, LEFT], [BACK]], cameras=cameras))


# ---- features of diffusers

RAGGED = {
    "image": [[FRONT, LEFT, BACK], [BACK]],
    "cameras": [["front", "left", (180, 20)], [(0, 40)]],
    "num_inference_steps": 4,
}


def test_a_guider_gives_the_same_result(pipe: Triplane3DPipeline) -> None:
    expected = latents_of(pipe, **RAGGED, guidance_scale=4.0)
    pipe.guider = ClassifierFreeGuidance(guidance_scale=4.0)
    assert torch.allclose(latents_of(pipe, **RAGGED), expected, atol=1e-4)


def test_a_cache_that_skips_nothing_gives_the_same_result(pipe: Triplane3DPipeline) -> None:
    """diffusers' caches receive both halves of the guidance batch: the half without photos is not masked."""
    expected = latents_of(pipe, **RAGGED)
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.0))
    assert torch.allclose(latents_of(pipe, **RAGGED), expected, atol=1e-4)


def test_a_cache_that_skips_the_unconditional_half_receives_the_cameras(pipe: Triplane3DPipeline) -> None:
    expected = latents_of(pipe, **RAGGED)
    inputs = ("hidden_states", "encoder_hidden_states", "timestep", "encoder_attention_mask", "cameras")
    cache = FasterCacheConfig(
        spatial_attention_block_identifiers=(r"transformer_blocks\.\d+\.attn$",),
        current_timestep_callback=lambda: pipe.current_timestep,
        unconditional_batch_skip_range=2,
        unconditional_batch_timestep_skip_range=(-1, 1001),
        attention_weight_callback=lambda _: 0.3,
        tensor_format="BCHW",
    )
    cache._unconditional_conditional_input_kwargs_identifiers = inputs
    pipe.transformer.enable_cache(cache)
    cached = latents_of(pipe, **RAGGED)
    assert bool(cached.isfinite().all()) and not torch.equal(cached, expected)


def test_offloaded_models_and_callbacks_receive_several_photos(pipe: Triplane3DPipeline) -> None:
    expected = latents_of(pipe, **RAGGED)
    pipe.enable_model_cpu_offload(device="cpu")
    widths = []

    def record(pipe: Triplane3DPipeline, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
        widths.append(tensors["image_embeds"].shape)
        return tensors

    result = latents_of(
        pipe, **RAGGED, callback_on_step_end=record, callback_on_step_end_tensor_inputs=["latents", "image_embeds"]
    )
    assert torch.allclose(result, expected, atol=1e-5) and widths == [(2, 3 * 17, 32)] * 4


def test_half_precision_accepts_several_photos(pipe: Triplane3DPipeline) -> None:
    pipe.to(torch.bfloat16)
    assert bool(latents_of(pipe, **RAGGED).isfinite().all())


# ---- wrong arguments


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image": [[FRONT] * 7]}, "object 0 has 7 photos, but 1 to 6 are read"),
        ({"image": [[FRONT], []]}, "object 1 has an empty list of photos"),
        ({"image": [[FRONT], LEFT]}, "image 1 is no list; pass one list for each object"),
        ({"cameras": ["front"]}, r"must have a list for each object, such as \[\[\"front\".* got \['front'\]"),
        ({"cameras": "front"}, "must have a list for each object"),
        ({"cameras": [(0, 20)]}, "object 0 has 1 photo but 2 cameras"),
        ({"cameras": []}, "a list for each of the 1 objects, .*; got 0"),
        ({"cameras": [["front"], ["front"]]}, "a list for each of the 1 objects, .*; got 2"),
        ({"image": [[FRONT, LEFT]], "cameras": [["front"]]}, "object 0 has 2 photos but 1 cameras"),
        ({"cameras": [["rihgt"]]}, "camera 0 of object 0 is called 'rihgt'; did you mean 'right'"),
        ({"cameras": [["FRONT"]]}, "did you mean 'front'"),
        ({"cameras": [[(math.nan, 0)]]}, "azimuth of camera 0 of object 0 must be a finite number, got nan"),
        ({"cameras": [[(0, math.inf)]]}, "elevation of camera 0 of object 0 must be a finite number"),
        ({"cameras": [[(0, 91)]]}, "must be from -90 to 90 degrees, got 91"),
        ({"cameras": [[(0, True)]]}, "must be a finite number, got True"),
        ({"cameras": [[30]]}, "must be one of front, right, back, left, an .azimuth, elevation. pair"),
        ({"cameras": [[(0, 1, 2)]]}, "pair in degrees"),
        ({"image": None, "cameras": [["front"]]}, "either `image` or `image_embeds`"),
        ({"image": None, "image_embeds": torch.ones(1, 17, 32), "cameras": [[None] * 2]}, "17 tokens, which 2 views"),
        ({"image": None, "image_embeds": torch.ones(1, 17, 32), "cameras": [[]]}, "0 cameras: expected 1 to 6"),
        ({"image": None, "image_embeds": torch.ones(2, 17, 32), "cameras": [[None]]}, "each of the 2 objects"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_named_before_a_network_is_called(
    pipe: Triplane3DPipeline, options: dict, sentence: str
) -> None:
    pipe.image_encoder.forward = pipe.transformer.forward = lambda *_, **__: pytest.fail("a network was called")
    with pytest.raises(ValueError, match=sentence):
        pipe(**{"image": FRONT, **options})


@pytest.mark.usefixtures("as_users_run_it")
def test_a_photo_of_another_type_is_named_by_its_index(pipe: Triplane3DPipeline) -> None:
    with pytest.raises(TypeError, match="image 2 must be a path, PIL image, array or tensor, got dict"):
        pipe([[FRONT, LEFT], [{}]])


@pytest.mark.parametrize("options", [{"image": [[FRONT, LEFT]]}, {"image": FRONT, "cameras": [["front"]]}])
def test_a_model_for_one_photo_refuses_several(options: dict) -> None:
    pipe = build_tiny_for_views(camera_condition=False)
    assert torch.equal(latents_of(pipe, [[FRONT], [LEFT]]), latents_of(pipe, [FRONT, LEFT]))
    with pytest.raises(ValueError, match="made for one photo of each object"):
        pipe(**options)


def test_a_second_stream_is_for_one_photo(pipe: Triplane3DPipeline) -> None:
    config = {**pipe.transformer.config, "pixel_attention_dim": 32}
    components = {**pipe.components, "transformer": TriplaneTransformer.from_config(config).eval()}
    double = Triplane3DPipeline(**components, pixel_encoder=pipe.image_encoder, presets=pipe.config.presets)
    with pytest.raises(ValueError, match="second stream of image tokens .* is for one photo"):
        double([[FRONT, LEFT]])
    double.set_progress_bar_config(disable=True)
    assert bool(latents_of(double, [FRONT], cameras=[[(0, 20)]]).isfinite().all())
