"""Checks of the arguments of `Triplane3DPipeline.__call__` before any work."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from torch import Tensor

from triplane3d.arguments import check_number, check_whole
from triplane3d.images.background import check_background_removal
from triplane3d.images.photo_batch import PhotoBatch
from triplane3d.images.reading import Photo
from triplane3d.images.viewpoints import Viewpoint
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.pipelines.arguments import (
    check_attention_kwargs,
    check_callback,
    check_components,
    check_generators,
    check_progress,
    check_tensor,
    check_tokens,
)
from triplane3d.pipelines.noise_levels import check_noise_levels
from triplane3d.pipelines.presets import MAX_GRID, MAX_MESHES, MAX_RESOLUTION
from triplane3d.settings import MAX_CANDIDATES, MAX_PASSES

OUTPUT_TYPES = ("mesh", "trimesh", "pt", "np", "latent")


def check_call(
    pipeline: Any,
    *,
    image: Photo | Sequence[Photo] | Sequence[Sequence[Photo]] | None,
    image_embeds: Tensor | None,
    latents: Tensor | None,
    generator: torch.Generator | list[torch.Generator] | None,
    num_inference_steps: int,
    guidance_scale: float,
    num_images_per_prompt: int,
    resolution: int,
    level: float,
    output_type: str,
    attention_kwargs: dict[str, Any] | None,
    callback_on_step_end: Callable | PipelineCallback | MultiPipelineCallbacks | None,
    callback_on_step_end_tensor_inputs: Sequence[str],
    callback_on_extraction: Callable[[int, int], object] | None = None,
    background_removal: str = "auto",
    pixel_embeds: Tensor | None = None,
    cameras: Sequence[Sequence[Viewpoint]] | None = None,
    refine: int = 0,
    num_candidates: int = 1,
) -> PhotoBatch:
    """Check the arguments of a call of `pipeline`, a `Triplane3DPipeline`, and parse its photos.

    Raises:
        ValueError: for an argument that is not acceptable.
    """
    check_background_removal(background_removal)
    if (image is None) == (image_embeds is None):
        raise ValueError("pass either `image` or `image_embeds`" + (", not both" if image is not None else ""))
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"output_type must be one of {OUTPUT_TYPES}, got {output_type!r}")
    needed = ["scheduler", "transformer"]
    needed += ["vae"] if output_type != "latent" else []
    needed += ["image_encoder"] if image is not None else []
    check_components(pipeline, needed)

    check_whole("num_inference_steps", num_inference_steps, 1, pipeline.scheduler.config.get("num_train_timesteps"))
    check_number("guidance_scale", guidance_scale, 0)
    check_whole("num_images_per_prompt", num_images_per_prompt, 1, MAX_MESHES)
    check_whole("num_candidates", num_candidates, 1, MAX_CANDIDATES)
    check_whole("refine", refine, 0, MAX_PASSES)
    check_whole("resolution", resolution, 2, MAX_GRID if output_type in ("pt", "np") else MAX_RESOLUTION)
    check_number("level", level)
    check_noise_levels(
        pipeline.scheduler,
        pipeline.config.timestep_spacing,
        bool(pipeline.transformer.config.get("interval_condition")),
    )
    check_attention_kwargs(attention_kwargs)
    check_callback(callback_on_step_end, callback_on_step_end_tensor_inputs, pipeline._callback_tensor_inputs)
    check_progress("callback_on_extraction", callback_on_extraction)

    width, pixel_width = (
        pipeline.transformer.config.get(name) for name in ("cross_attention_dim", "pixel_attention_dim")
    )
    if image_embeds is not None:
        check_tokens(image_embeds, pixel_embeds, width, pixel_width)
        photos = PhotoBatch.of_tokens(image_embeds, cameras)
    else:
        photos = PhotoBatch.parse(image, cameras)
        if pixel_embeds is not None:
            raise ValueError("`pixel_embeds` needs `image_embeds`: omit it, or pass `image_embeds` instead of `image`")
        if (pixel_width is not None) != (pipeline.pixel_encoder is not None):
            has, lacks = "transformer", "pixel_encoder"
            has, lacks = (has, lacks) if pixel_width is not None else (lacks, has)
            raise ValueError(
                f"the pipeline has a {has} for a second stream of image tokens, but no {lacks} for it: load both "
                "or neither"
            )
    photos.check_for(pipeline.transformer.config)
    if refine or num_candidates > 1:
        check_refinement(image is not None, output_type)
    count = len(photos.counts) * num_images_per_prompt
    check_generators(generator, count, pipeline._execution_device)
    if latents is not None:
        shape = latents_shape(pipeline.transformer, count * num_candidates)
        advice = "it is noise of unit variance, one entry for each " + ("mesh" if num_candidates == 1 else "candidate")
        check_tensor("latents", latents, shape, advice)
    return photos


def check_refinement(has_photos: bool, output_type: str) -> None:
    """Raise a ValueError where a field cannot be compared with its photo."""
    if not has_photos:
        raise ValueError("`refine` and `num_candidates` compare with the photo: pass `image` instead of `image_embeds`")
    if output_type == "latent":
        raise ValueError('`refine` and `num_candidates` need the decoded field, not output_type="latent"')


def latents_shape(transformer: TriplaneTransformer, count: int) -> tuple[int, int, int, int]:
    """Shape of the latents of `count` meshes."""
    return count, transformer.config.in_channels, transformer.config.sample_size, 3 * transformer.config.sample_size
