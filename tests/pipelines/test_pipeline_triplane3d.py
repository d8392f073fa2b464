"""The pipeline: one mesh per photo, the same for a seed in any batch, controlled by its arguments."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from diffusers import FirstBlockCacheConfig
from PIL import Image
from pipelines.tiny_pipeline import grids, photo, seeded

from triplane3d import Mesh, Triplane3DPipeline, Triplane3DPipelineOutput, TriplaneTransformer


def latents_of(pipe: Triplane3DPipeline, **options: Any) -> torch.Tensor:
    return grids(pipe, output_type="latent", **options)


def surface_level(pipe: Triplane3DPipeline, **options: Any) -> float:
    """A level that the field of random weights crosses."""
    return float(grids(pipe, **options).median())


# ---- output


def test_a_photo_becomes_a_closed_mesh(pipe: Triplane3DPipeline) -> None:
    level = surface_level(pipe, resolution=12)
    out = pipe(photo(), generator=seeded(), level=level)
    assert isinstance(out, Triplane3DPipelineOutput) and isinstance(out.meshes[0], Mesh)
    assert out.meshes[0].check().watertight
    assert out.images[0].mode == "RGBA" and out.mask_reports[0].method == "alpha"
    assert np.abs(out.meshes[0].vertices).max() <= 1


def test_every_output_type_has_the_same_field(pipe: Triplane3DPipeline) -> None:
    tensor = grids(pipe, output_type="pt")
    assert tensor.shape == (1, 7, 7, 7) and tensor.dtype == torch.float32
    assert np.array_equal(grids(pipe, output_type="np"), tensor.numpy())
    field = pipe.decode_latents(grids(pipe, output_type="latent"))
    corner = field.occupancy(torch.tensor([[[-1.0, -1, -1], [1, -1, -1], [-1, 1, 1]]]))
    with torch.no_grad():
        assert torch.allclose(corner, tensor[:, [0, -1, 0], [0, 0, -1], [0, 0, -1]], atol=1e-5)
    level = float(tensor.median())
    mesh = grids(pipe, output_type="mesh", level=level)[0]
    solid = grids(pipe, output_type="trimesh", level=level)[0]
    assert isinstance(solid, trimesh.Trimesh) and len(solid.faces) == len(mesh.faces)


def test_return_dict_false_gives_a_tuple_of_the_same_values(pipe: Triplane3DPipeline) -> None:
    for output_type in ("pt", "latent"):
        out = pipe(photo(), generator=seeded(), resolution=6, output_type=output_type)
        (alone,) = pipe(photo(), generator=seeded(), resolution=6, output_type=output_type, return_dict=False)
        assert torch.equal(out.meshes, alone)


def test_latents_are_scaled_back_before_they_are_decoded(pipe: Triplane3DPipeline) -> None:
    channels = pipe.vae.config.latent_channels
    mean, std = [0.3] * channels, [2.0] * channels
    latents = latents_of(pipe)
    with torch.no_grad():
        expected = pipe.vae.decode(latents * 2.0 + 0.3, return_dict=False)[0]
        pipe.vae.register_to_config(latents_mean=mean, latents_std=std)
        assert torch.allclose(pipe.decode_latents(latents).planes, expected, atol=1e-5)


def test_the_error_for_a_field_without_a_surface_suggests_a_level(pipe: Triplane3DPipeline) -> None:
    with pytest.raises(ValueError, match="no surface.*level"):
        pipe(photo(), generator=seeded(), level=1e6, resolution=6)


# ---- input


def test_the_same_seed_gives_the_same_result_and_another_seed_another(pipe: Triplane3DPipeline) -> None:
    assert torch.equal(grids(pipe), grids(pipe))
    assert not torch.allclose(grids(pipe), grids(pipe, generator=seeded(1)), atol=1e-3)


def test_the_result_depends_on_the_photo(pipe: Triplane3DPipeline) -> None:
    assert not torch.allclose(latents_of(pipe, image=photo(0)), latents_of(pipe, image=photo(1)), atol=1e-4)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_a_batch_of_photos_equals_single_calls(pipe: Triplane3DPipeline, guidance_scale: float) -> None:
    photos = [photo(0), photo(1, size=60), photo(2, size=33)]
    together = grids(pipe, photos, generator=[seeded(seed) for seed in range(3)], guidance_scale=guidance_scale)
    for seed, one in enumerate(photos):
        alone = grids(pipe, one, generator=seeded(seed), guidance_scale=guidance_scale)
        assert torch.allclose(together[seed], alone[0], atol=1e-4)


def test_several_meshes_for_each_photo_stay_in_order(pipe: Triplane3DPipeline) -> None:
    photos = [photo(0), photo(1)]
    generators = [seeded(seed) for seed in range(4)]
    together = grids(pipe, photos, num_images_per_prompt=2, generator=generators)
    assert together.shape[0] == 4
    for index in range(4):
        alone = grids(pipe, photos[index // 2], generator=seeded(index))
        assert torch.allclose(together[index], alone[0], atol=1e-4)


def test_latents_replace_the_generator(pipe: Triplane3DPipeline) -> None:
    noise = pipe.prepare_latents(1, torch.device("cpu"), seeded(), None)
    assert torch.equal(grids(pipe, latents=noise, generator=None), grids(pipe))


def test_image_embeds_replace_the_photo(pipe: Triplane3DPipeline) -> None:
    with torch.no_grad():
        tokens = pipe.encode_image(pipe.image_processor.preprocess(photo()).pixel_values)
    assert torch.equal(grids(pipe, image_embeds=tokens), grids(pipe))
    out = pipe(image_embeds=tokens, output_type="latent")
    assert out.images is None and out.mask_reports is None


def test_arrays_and_tensors_are_accepted_as_photos(pipe: Triplane3DPipeline) -> None:
    array = np.array(photo())
    tensor = torch.from_numpy(array).permute(2, 0, 1) / 255
    for same in (array, tensor, tensor[None], [photo()]):
        assert torch.allclose(grids(pipe, same), grids(pipe), atol=1e-5)


def test_guidance_one_runs_the_transformer_on_the_photo_alone(pipe: Triplane3DPipeline) -> None:
    sizes = []
    pipe.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["hidden_states"])), with_kwargs=True
    )
    plain = latents_of(pipe, guidance_scale=1.0)
    guided = latents_of(pipe, guidance_scale=4.0)
    assert sizes == [1, 1, 2, 2]
    assert not torch.allclose(plain, guided, atol=1e-4)


def test_the_background_is_removed_by_the_method_that_is_passed(pipe: Triplane3DPipeline) -> None:
    opaque = photo().convert("RGB")
    for method in ("none", "border"):
        out = pipe(opaque, generator=seeded(), output_type="latent", background_removal=method)
        assert [report.method for report in out.mask_reports] == [method]


def test_guidance_extrapolates_from_zeroed_tokens(pipe: Triplane3DPipeline) -> None:
    """One step of flow matching is linear in the prediction, so the latents are too."""
    with torch.no_grad():
        tokens = pipe.encode_image(pipe.image_processor.preprocess(photo()).pixel_values)
    conditional = latents_of(pipe, num_inference_steps=1, guidance_scale=1.0)
    unconditional = latents_of(pipe, num_inference_steps=1, guidance_scale=1.0, image_embeds=torch.zeros_like(tokens))
    guided = latents_of(pipe, num_inference_steps=1, guidance_scale=2.5)
    assert torch.allclose(guided, unconditional + 2.5 * (conditional - unconditional), atol=1e-4)


def test_models_of_different_precision_are_accepted(pipe: Triplane3DPipeline) -> None:
    pipe.image_encoder.to(torch.bfloat16)
    pipe.transformer.to(torch.bfloat16)
    assert bool(grids(pipe).isfinite().all())


NOISE = torch.zeros(1, 4, 4, 12)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image": None}, "either `image` or `image_embeds`"),
        ({"image_embeds": torch.zeros(1, 2, 3)}, "not both"),
        ({"image": []}, "empty list"),
        ({"background_removal": "magic"}, "background_removal is one of auto, none"),
        ({"image": Image.new("RGBA", (9, 9))}, "fully transparent"),
        ({"image": None, "image_embeds": torch.zeros(2, 32)}, r"shape \(photos, tokens, 32\), got \(2, 32\)"),
        ({"image": None, "image_embeds": torch.zeros(1, 17, 33)}, r"shape \(photos, tokens, 32\)"),
        ({"image": None, "image_embeds": torch.full((1, 17, 32), torch.nan)}, "image_embeds holds NaN"),
        ({"image": None, "image_embeds": [0.0]}, "image_embeds must be a tensor .* got list"),
        ({"output_type": "glb"}, "output_type must be one of"),
        ({"num_inference_steps": 0}, "num_inference_steps must be from 1 to 1000, got 0"),
        ({"num_inference_steps": -4}, "num_inference_steps must be from 1 to 1000, got -4"),
        ({"num_inference_steps": 2.5}, "num_inference_steps must be a whole number"),
        ({"num_inference_steps": True}, "num_inference_steps must be a whole number"),
        ({"num_inference_steps": 1001}, "from 1 to 1000"),
        ({"guidance_scale": -1}, "guidance_scale must be a finite number of at least 0, got -1"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be a finite number"),
        ({"guidance_scale": "3"}, "guidance_scale must be a finite number"),
        ({"resolution": 1}, "resolution must be from 2 to 2048, got 1"),
        ({"resolution": "high"}, "resolution must be a whole number"),
        ({"level": float("inf")}, "level must be a finite number"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt"),
        ({"latents": torch.zeros(1, 2, 3, 4)}, r"latents must have shape \(1, 4, 4, 12\), got \(1, 2, 3, 4\)"),
        ({"latents": NOISE, "image": [photo(), photo()]}, r"latents must have shape \(2, 4, 4, 12\)"),
        ({"latents": NOISE.long()}, "latents must hold floats, got torch.int64"),
        ({"latents": NOISE / 0}, "latents holds NaN"),
        ({"latents": NOISE.numpy()}, "latents must be a tensor"),
        ({"generator": [torch.Generator()] * 3}, "one for each of the 1 meshes, got 3"),
        ({"generator": 7}, "generator must be a torch.Generator .* for a seed pass"),
        ({"generator": [0]}, "generator must be a torch.Generator"),
        ({"attention_kwargs": 0.5}, "attention_kwargs must be a dict"),
        ({"attention_kwargs": {"sclae": 0.5}}, "attention_kwargs must be a dict such as"),
        ({"attention_kwargs": {"scale": float("nan")}}, r"attention_kwargs\[\"scale\"\] must be a finite number"),
        ({"resolution": 1500, "output_type": "np"}, "resolution must be from 2 to 1024, got 1500"),
        ({"resolution": 5000}, "resolution must be from 2 to 2048, got 5000"),
        ({"level": 10**400}, "level must be a finite number"),
        ({"image": np.zeros((0, 8, 8, 3), np.uint8)}, "empty batch"),
        ({"image": [photo(), np.full((8, 8, 3), np.nan)]}, "image 1: a photo has finite values"),
        ({"callback_on_step_end": "print"}, "callback_on_step_end must be callable"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "must be a list of .'latents', 'image_embeds'."),
        ({"callback_on_step_end_tensor_inputs": "latents"}, "must be a list"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_named_before_a_network_is_called(
    pipe: Triplane3DPipeline, options: dict, sentence: str
) -> None:
    pipe.image_encoder.forward = pipe.transformer.forward = lambda *_, **__: pytest.fail("a network was called")
    with pytest.raises(ValueError, match=sentence):
        pipe(**{"image": photo(), **options})


@pytest.mark.usefixtures("as_users_run_it")
def test_a_photo_of_another_type_is_named_by_its_index(pipe: Triplane3DPipeline) -> None:
    with pytest.raises(TypeError, match="image 1 must be a path, PIL image, array or tensor, got dict"):
        pipe([photo(), {}])


@pytest.mark.parametrize(
    ("missing", "options", "remedy"),
    [
        ("image_encoder", {}, "pass `image_embeds`"),
        ("vae", {}, 'use output_type="latent"'),
        ("transformer", {}, "without its transformer"),
        ("scheduler", {}, "without its scheduler"),
    ],
)
def test_a_missing_component_is_named(pipe: Triplane3DPipeline, missing: str, options: dict, remedy: str) -> None:
    setattr(pipe, missing, None)
    with pytest.raises(ValueError, match=f"without its {missing}") as caught:
        pipe(photo(), **options)
    assert remedy in str(caught.value)


def test_latents_need_no_vae(pipe: Triplane3DPipeline) -> None:
    expected = latents_of(pipe)
    pipe.vae = None
    assert torch.equal(latents_of(pipe), expected)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (1, "must return a dict of tensors, or None; got int"),
        ({"noise": NOISE}, "may return .'latents'., got 'noise'"),
        ({"latents": None}, "the callback's latents must be a tensor"),
        ({"latents": NOISE[:, :2]}, r"the callback's latents must have shape \(1, 4, 4, 12\)"),
    ],
)
def test_the_result_of_a_callback_is_checked(pipe: Triplane3DPipeline, returned: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        latents_of(pipe, callback_on_step_end=lambda *_: returned)


def test_a_component_can_be_set_after_construction(pipe: Triplane3DPipeline) -> None:
    expected, encoder = latents_of(pipe), pipe.image_encoder
    late = Triplane3DPipeline(**{**pipe.components, "image_encoder": None}, presets=pipe.config.presets)
    late.set_progress_bar_config(disable=True)
    assert late.image_processor is None
    late.image_encoder = encoder
    assert torch.equal(latents_of(late), expected)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    "settings",
    [{"foreground_ratio": "x"}, {"foreground_ratio": 5}, {"background": 5}, {"image_size": -4},
     {"image_statistics": "foo"}, {"presets": []}, {"presets": {"balanced": 1}}],
)  # fmt: skip
def test_wrong_settings_are_refused_by_the_constructor(pipe: Triplane3DPipeline, settings: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Triplane3DPipeline(**pipe.components, **settings)


@pytest.mark.parametrize("cached", [False, True])
def test_an_interruption_does_not_change_the_pipeline(pipe: Triplane3DPipeline, cached: bool) -> None:
    if cached:
        pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=1e3))
    pipe.enable_model_cpu_offload(device="cpu")
    expected = latents_of(pipe, num_inference_steps=3)

    def stop(*_: Any) -> dict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe(photo(1), num_inference_steps=3, callback_on_step_end=stop)
    assert pipe.current_timestep is None
    assert torch.equal(latents_of(pipe, num_inference_steps=3), expected)


# ---- callbacks, offloading, training


def test_a_callback_is_called_at_every_step_and_can_change_the_latents(pipe: Triplane3DPipeline) -> None:
    steps = []

    def clear_latents(pipe: Triplane3DPipeline, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
        assert set(tensors) == {"latents", "image_embeds"}
        assert float(pipe.current_timestep) == float(timestep)
        steps.append(step)
        return {"latents": torch.zeros_like(tensors["latents"])} if step == pipe.num_timesteps - 1 else {}

    out = latents_of(
        pipe,
        num_inference_steps=3,
        callback_on_step_end=clear_latents,
        callback_on_step_end_tensor_inputs=["latents", "image_embeds"],
    )
    assert steps == [0, 1, 2] and not out.any()


def test_a_callback_can_change_the_guidance_and_stop_the_call(pipe: Triplane3DPipeline) -> None:
    calls = []

    def stop(pipe: Triplane3DPipeline, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
        calls.append(pipe.do_classifier_free_guidance)
        pipe._guidance_scale = 1.0
        pipe._interrupt = step == 1
        return tensors

    latents_of(pipe, num_inference_steps=5, guidance_scale=3.0, callback_on_step_end=stop)
    assert calls == [True, False]
    latents_of(pipe)
    assert not pipe.interrupt


def test_offloading_gives_the_same_result_twice(pipe: Triplane3DPipeline) -> None:
    expected = grids(pipe)
    pipe.enable_model_cpu_offload(device="cpu")
    assert torch.equal(grids(pipe), expected)
    assert torch.equal(grids(pipe), expected)


def test_group_offloading_gives_the_same_result(pipe: Triplane3DPipeline) -> None:
    expected = grids(pipe)
    pipe.transformer.enable_group_offload(torch.device("cpu"), offload_type="leaf_level")
    pipe.vae.enable_group_offload(torch.device("cpu"), offload_type="leaf_level")
    assert torch.equal(grids(pipe), expected)


def test_the_encoder_gets_gradients_and_checkpointing_does_not_change_them(pipe: Triplane3DPipeline) -> None:
    pixels = pipe.image_processor.preprocess(photo()).pixel_values
    noise = pipe.prepare_latents(1, torch.device("cpu"), seeded(), None)
    gradients = []
    for checkpointing in (False, True):
        pipe.transformer.train().zero_grad()
        if checkpointing:
            pipe.transformer.enable_gradient_checkpointing()
        pipe.transformer(
            hidden_states=noise,
            timestep=torch.tensor([500.0]),
            encoder_hidden_states=pipe.encode_image(pixels),
            return_dict=False,
        )[0].square().mean().backward()
        gradients.append([p.grad.clone() for p in pipe.transformer.parameters() if p.grad is not None])
    assert any(p.grad is not None for p in pipe.image_encoder.parameters())
    assert all(torch.allclose(plain, again, atol=1e-6) for plain, again in zip(*gradients, strict=True))


def test_quality_sets_steps_guidance_and_resolution(pipe: Triplane3DPipeline) -> None:
    def settings_of(**options: Any) -> tuple[int, float, int]:
        steps = []
        out = pipe(photo(), output_type="pt", callback_on_step_end=lambda *now: steps.append(now[1]), **options)
        return len(steps), pipe.guidance_scale, out.meshes.shape[-1] - 1

    presets = {
        "draft": {"num_inference_steps": 1, "guidance_scale": 1.0, "resolution": 4},
        "balanced": {"num_inference_steps": 2, "guidance_scale": 3.0, "resolution": 6},
    }
    pipe = Triplane3DPipeline(**pipe.components, presets=presets)
    pipe.set_progress_bar_config(disable=True)
    assert settings_of() == settings_of(quality="balanced") == (2, 3.0, 6)
    assert settings_of(quality="draft") == (1, 1.0, 4)
    assert settings_of(quality="draft", num_inference_steps=3, resolution=5) == (3, 1.0, 5)
    with pytest.raises(ValueError, match="quality must be one of .'balanced', 'draft'.*got 'best'"):
        pipe(photo(), quality="best")


@pytest.mark.parametrize(
    ("presets", "sentence"),
    [
        ({"balanced": {"resolution": 8}}, "must have .'guidance_scale', 'num_inference_steps', 'resolution'"),
        ({}, "one called 'balanced'"),
        ({"balanced": {"num_inference_steps": 0, "guidance_scale": 1, "resolution": 8}}, "at least 1, got 0"),
    ],
)
def test_presets_are_complete(pipe: Triplane3DPipeline, presets: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Triplane3DPipeline(**pipe.components, presets=presets)


def test_a_second_encoder_gives_the_second_stream_of_tokens(pipe: Triplane3DPipeline) -> None:
    config = {**pipe.transformer.config, "pixel_attention_dim": 32}
    transformer = TriplaneTransformer.from_config(config).eval()
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    components = {**pipe.components, "transformer": transformer, "pixel_encoder": copy.deepcopy(pipe.image_encoder)}
    double = Triplane3DPipeline(**components, presets=pipe.config.presets)
    double.set_progress_bar_config(disable=True)
    assert set(double.components) == {*pipe.components, "pixel_encoder"}
    before = latents_of(double)
    torch.nn.init.normal_(double.pixel_encoder.embeddings.patch_embeddings.projection.weight)
    assert not torch.allclose(latents_of(double), before, atol=1e-4)

    embeds = double.encode_image(double.image_processor.preprocess(photo()).pixel_values)
    pixel_embeds = double.encode_image(double.pixel_processor.preprocess(photo()).pixel_values, double.pixel_encoder)
    given = latents_of(double, image=None, image_embeds=embeds, pixel_embeds=pixel_embeds)
    assert torch.allclose(given, latents_of(double), atol=1e-5)
    for streams, sentence in (
        ({"image_embeds": embeds}, "reads a second stream too: pass `pixel_embeds`"),
        ({"image_embeds": embeds, "pixel_embeds": pixel_embeds[..., :9]}, "pixel_embeds must have shape"),
        ({"image": photo(), "pixel_embeds": pixel_embeds}, "`pixel_embeds` needs `image_embeds`"),
    ):
        with pytest.raises(ValueError, match=sentence):
            double(**streams)
    with pytest.raises(ValueError, match="no second stream of tokens"):
        pipe(image_embeds=embeds, pixel_embeds=pixel_embeds)
