"""Photos to meshes by diffusion: photo → image tokens → denoised latents → planes → field → mesh."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.guiders import BaseGuidance
from diffusers.schedulers import SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor
from einops import repeat
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from triplane3d.arguments import check_number
from triplane3d.geometry.fields import FieldBatch
from triplane3d.geometry.isosurface import evaluate_grids, extract_surfaces
from triplane3d.images.image_processor import PreparedPhotos, Triplane3DImageProcessor, prepare_photos
from triplane3d.images.photo_batch import PhotoBatch
from triplane3d.images.reading import Photo, decode_photo
from triplane3d.images.viewpoints import Viewpoint
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.image_encoder import check_tokens as check_encoder_tokens
from triplane3d.models.image_encoder import check_width, image_tokens, own_image_size
from triplane3d.models.photo_plane import PhotoPlaneRefiner
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.models.triplane import TriplaneField
from triplane3d.pipelines.arguments import (
    check_changed,
)
from triplane3d.pipelines.call_inputs import check_call, latents_shape
from triplane3d.pipelines.calls import Calls, DenoisingState, DenoisingStateMixin
from triplane3d.pipelines.encoder_weights import check_encoder, is_saved
from triplane3d.pipelines.guidance import GuidedPrediction, is_guided
from triplane3d.pipelines.hub import PipelineHubMixin
from triplane3d.pipelines.lora import Triplane3DLoraLoaderMixin
from triplane3d.pipelines.noise_levels import (
    check_spacing,
    input_scaling,
    set_noise_levels,
    step_ends,
    step_kwargs,
)
from triplane3d.pipelines.pipeline_output import Triplane3DPipelineOutput
from triplane3d.pipelines.presets import PRESETS, check_presets
from triplane3d.refinement.refine import refine_fields
from triplane3d.settings import DEFAULT_QUALITY

SMALLEST_PIECE = 0.02
"""Least volume of a piece of a refined mesh, as a share of the largest piece's. Smaller ones are dropped."""
REFINEMENT_SIZE = 192
"""Side in pixels of the framed photo that silhouettes are compared with, for a pipeline without a refiner."""


class Triplane3DPipeline(PipelineHubMixin, DenoisingStateMixin, DiffusionPipeline, Triplane3DLoraLoaderMixin):
    """Turns photos of objects into meshes by denoising triplane latents.

    ```python
    pipe = Triplane3DPipeline.from_pretrained("mini")        # ships with the library; folders and Hub names work too
    pipe("chair.png", generator=torch.Generator().manual_seed(0)).meshes[0].save("chair.glb")
    ```

    Args:
        image_encoder: any vision model of transformers.
        transformer: the denoiser.
        vae: decodes latents to planes.
        scheduler: any of diffusers' schedulers that fits the denoiser.
        pixel_encoder: encoder of the second stream of tokens, for a transformer that takes `pixel_hidden_states`.
        refiner: corrects the generated field by its photo; used where a call has refinement passes (`refine`).
        guider: one of `diffusers.guiders`, in place of classifier-free guidance.
        framing, foreground_ratio, background: how photos are framed; the background is a grey value in 0..1.
        image_statistics, pixel_statistics: name of the normalisation for each encoder; None: as `image_statistics`.
        image_size, pixel_size: in pixels, for each encoder; None: the encoder's own size.
        level: the logit at which the surface lies.
        presets: `num_inference_steps`, `guidance_scale` and `resolution` for each name of `quality`.
        timestep_spacing: None leaves the noise levels to the scheduler. "trailing" makes all steps equally long before
            the scheduler's shift, which is better for few steps.

    All but the components are settings that are saved in `model_index.json`.
    """

    model_cpu_offload_seq = "image_encoder->pixel_encoder->transformer->vae->refiner"
    # A call with a photo works without these. `from_pretrained` also loads a pipeline without another component.
    _optional_components = ["pixel_encoder", "guider", "refiner"]
    _callback_tensor_inputs = ["latents", "image_embeds"]

    def __init__(
        self,
        image_encoder: PreTrainedModel | None,
        transformer: TriplaneTransformer | None,
        vae: AutoencoderKLTriplane | None,
        scheduler: SchedulerMixin | None,
        pixel_encoder: PreTrainedModel | None = None,
        guider: BaseGuidance | None = None,
        foreground_ratio: float = 0.85,
        background: float = 0.5,
        image_statistics: str = "imagenet",
        image_size: int | None = None,
        presets: dict | None = None,
        framing: str = "centered",
        pixel_statistics: str | None = None,
        level: float = 0.0,
        pixel_size: int | None = None,
        timestep_spacing: str | None = None,
        refiner: PhotoPlaneRefiner | None = None,
    ):
        super().__init__()
        self._calls = Calls(DenoisingState)
        self.register_modules(
            image_encoder=image_encoder,
            transformer=transformer,
            vae=vae,
            scheduler=scheduler,
            pixel_encoder=pixel_encoder,
            guider=guider,
            refiner=refiner,
        )
        self.register_to_config(
            foreground_ratio=foreground_ratio,
            background=background,
            image_statistics=image_statistics,
            image_size=image_size,
            presets=check_presets(PRESETS if presets is None else presets),
            framing=framing,
            pixel_statistics=pixel_statistics,
            level=level,
            pixel_size=pixel_size,
            timestep_spacing=timestep_spacing,
        )
        check_number("level", level)
        check_spacing(timestep_spacing)
        for encoder in filter(None, (image_encoder, pixel_encoder)):
            check_encoder(encoder)
        if image_encoder is not None and transformer is not None:
            check_width(image_encoder, transformer)
        # Both properties check the settings.
        processor, _ = self.image_processor, self.pixel_processor
        if processor is not None and transformer is not None and is_saved(image_encoder):
            check_encoder_tokens(image_encoder, transformer, processor.image_size)

    @property
    def components(self) -> dict[str, Any]:
        """The components by name, without a `pixel_encoder`, `guider` or `refiner` that is None."""
        return {
            name: component
            for name, component in super().components.items()
            if component is not None or name not in ("pixel_encoder", "guider", "refiner")
        }

    @property
    def image_processor(self) -> Triplane3DImageProcessor | None:
        """Prepares photos for the image encoder; None without one."""
        return self._processor_for(self.image_encoder, self.config.image_statistics, self.config.image_size)

    @property
    def pixel_processor(self) -> Triplane3DImageProcessor | None:
        """Prepares photos for the pixel encoder; None without one."""
        return self._processor_for(
            self.pixel_encoder, self.config.pixel_statistics or self.config.image_statistics, self.config.pixel_size
        )

    @property
    def refiner_processor(self) -> Triplane3DImageProcessor:
        """Prepares photos for the refiner, or for comparing silhouettes where there is none."""
        # Always centred: cameras of framed photos are defined for this framing, whichever the denoiser's photos have.
        return Triplane3DImageProcessor(REFINEMENT_SIZE if self.refiner is None else self.refiner.config.image_size)

    def _processor_for(
        self, encoder: PreTrainedModel | None, statistics: str, image_size: int | None = None
    ) -> Triplane3DImageProcessor | None:
        """Prepares photos for an encoder; one with four input channels also reads the mask."""
        if encoder is None:
            return None
        size = image_size or own_image_size(encoder.config) or self.config.image_size
        if size is None:
            raise ValueError(
                f"{type(encoder).__name__} has no image size of its own: pass the photos' `image_size` in pixels to "
                "the pipeline, or write it into model_index.json"
            )
        return Triplane3DImageProcessor(
            size,
            foreground_ratio=self.config.foreground_ratio,
            background=self.config.background,
            statistics=statistics,
            mask_channel=encoder.config.num_channels == 4,
            framing=self.config.framing,
        )

    @property
    def do_classifier_free_guidance(self) -> bool:
        return is_guided(self._guidance_scale) if self.guider is None else self.guider.num_conditions > 1

    def check_inputs(self, **arguments: Any) -> PhotoBatch:
        """Check all arguments of a call before any work, and parse its photos; keywords only, those of `check_call`.

        Raises:
            ValueError: for an argument that is not acceptable.
        """
        return check_call(self, **arguments)

    def encode_image(
        self, pixel_values: Float[Tensor, "batch channels height width"], encoder: PreTrainedModel | None = None
    ) -> Float[Tensor, "batch tokens features"]:
        """Tokens of prepared photos, from `image_encoder` unless another is given. Differentiable, for training."""
        encoder = self.image_encoder if encoder is None else encoder
        return image_tokens(encoder, pixel_values.to(device=self._execution_device, dtype=encoder.dtype))

    def prepare_latents(
        self,
        batch_size: int,
        device: torch.device,
        generator: torch.Generator | list[torch.Generator] | None,
        latents: Tensor | None,
        scheduler: SchedulerMixin | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        """Noise to start from, in float32, so that a seed gives the same noise in every precision.

        It is scaled for `scheduler`, by default the pipeline's own.
        """
        if latents is None:
            shape = latents_shape(self.transformer, batch_size)
            latents = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        # Schedulers that do not keep unit variance start from noise of another scale.
        scale = getattr(scheduler or self.scheduler, "init_noise_sigma", 1.0)
        return latents.to(device=device, dtype=torch.float32) * scale

    def decode_latents(self, latents: Float[Tensor, "batch channels height width"]) -> TriplaneField:
        """The batch of fields that normalised latents decode to."""
        latents = self.vae.denormalize_latents(latents)
        return self.vae.field(self.vae.decode(latents.to(self.vae.dtype), return_dict=False)[0])

    @torch.no_grad()
    def __call__(
        self,
        image: Photo | Sequence[Photo] | Sequence[Sequence[Photo]] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        image_embeds: Tensor | None = None,
        resolution: int | None = None,
        level: float | None = None,
        output_type: str = "mesh",
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
        callback_on_step_end: Callable | PipelineCallback | MultiPipelineCallbacks | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        quality: str = DEFAULT_QUALITY,
        background_removal: str = "auto",
        pixel_embeds: Tensor | None = None,
        cameras: Sequence[Sequence[Viewpoint]] | None = None,
        callback_on_extraction: Callable[[int, int], object] | None = None,
        refine: int | None = None,
        num_candidates: int = 1,
    ) -> Triplane3DPipelineOutput | tuple:
        """One mesh per object, or `num_images_per_prompt` of them.

        Args:
            image: a photo (path, PIL, array (height, width, channels), tensor (channels, height, width) in 0..1), a
                list of them, or a batched array or tensor. The background is removed if there is no alpha. A list of
                lists has 1 to 6 photos of each object, for a model with `camera_condition`. The mesh is then in the
                frame of the object's first photo.
            num_inference_steps: denoising steps; None: that of `quality`.
            guidance_scale: strength of classifier-free guidance. 1 and 0 run the transformer without guidance. None:
                that of `quality`. With a `guider`, set the scale there.
            generator: makes the call repeatable. With a list, one for each mesh, a mesh does not depend on its batch.
            latents: noise to start from, (batch, channels, size, 3·size) of unit variance.
            image_embeds: tokens from `encode_image`, (batch, tokens, features), instead of `image`. Tokens of several
                photos of an object follow one another; zeros fill up an object with fewer photos than others. The
                number of photos is that of its `cameras`.
            resolution: cells along an edge of the grid for the surface, 2 to 2048 (1024 if the grid itself is
                returned); None: that of `quality`.
            level: the logit at which the surface lies; a higher one gives a thinner object. None: the pipeline's.
            output_type: "mesh" (`Mesh`), "trimesh", "pt" or "np" (logits on the grid, (batch, n, n, n) with
                n = resolution + 1 samples per axis, axes x, y, z), or "latent".
            attention_kwargs: forwarded to the transformer, e.g. {"scale": 0.5} for the strength of a LoRA.
            callback_on_step_end: called as (pipe, step, timestep, tensors) after each step; may return changed tensors.
            callback_on_step_end_tensor_inputs: which tensors it gets, of `latents` and `image_embeds`.
            quality: the name of one of the pipeline's presets: "draft", "balanced" or "high".
            background_removal: "auto" takes a photo's alpha, or else the best method available; "none" takes the photo
                as it is; "alpha", "rembg", "matting", "grabcut" or "border" is that method; a folder or Hub name is a
                transformers model for "matting". Nothing is downloaded. `mask_reports` of the output has the method
                and its confidence.
            pixel_embeds: tokens of the second stream, beside `image_embeds`, for a transformer that reads two.
            cameras: for each object a list with the position of each photo's camera: "front", "right", "back" or
                "left"; an (azimuth, elevation) pair in degrees, either of them None if unknown; a `Camera`, of which
                the direction is used; or None. Azimuth 0 is the front (+z), 90 the right (+x). Only differences to the
                first photo's azimuth matter. By default the first photo is the front, and the others are unknown.
            callback_on_extraction: called as (done, total) many times while surfaces are extracted, in parts of the
                work; the total may grow. An exception that it raises ends the call.
            refine: passes that bring each field into agreement with the object's photos, the first and those whose
                azimuth is given by `cameras`. Each is kept only if it is better on pixels that it has not used.
                `refinements` of the output has their reports and the fitted cameras. None: that of `quality`, 0 if the
                preset has none.
            num_candidates: seeds for each mesh. The field whose silhouette agrees best with the photo is kept.

        Raises:
            ValueError: for an argument that is not acceptable, before any work; for a photo without an object; for a
                field without a surface.
            TypeError: for a photo of another type.
            OSError: for a file that cannot be read.
        """
        if isinstance(callback_on_step_end, PipelineCallback | MultiPipelineCallbacks):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        if not isinstance(quality, str) or quality not in self.config.presets:
            raise ValueError(f"quality must be one of {sorted(self.config.presets)}, got {quality!r}")
        preset = self.config.presets[quality]
        if self.guider is not None and guidance_scale is not None:
            raise ValueError("this pipeline has a guider: set the scale there, pipe.guider.new(guidance_scale=…)")
        num_inference_steps = preset["num_inference_steps"] if num_inference_steps is None else num_inference_steps
        guidance_scale = preset["guidance_scale"] if guidance_scale is None else guidance_scale
        resolution = preset["resolution"] if resolution is None else resolution
        level = self.config.level if level is None else level
        if refine is None:
            refine = preset.get("refine", 0) if image is not None and output_type != "latent" else 0
        photos = self.check_inputs(
            image=image,
            image_embeds=image_embeds,
            latents=latents,
            generator=generator,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            num_images_per_prompt=num_images_per_prompt,
            resolution=resolution,
            level=level,
            output_type=output_type,
            attention_kwargs=attention_kwargs,
            callback_on_step_end=callback_on_step_end,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
            callback_on_extraction=callback_on_extraction,
            background_removal=background_removal,
            pixel_embeds=pixel_embeds,
            cameras=cameras,
            refine=refine,
            num_candidates=num_candidates,
        )
        # numpy's numbers are accepted; schedulers need Python's.
        num_inference_steps, resolution = int(num_inference_steps), int(resolution)
        device = self._execution_device

        with self._begin_call():
            if self.guider is not None:
                guidance_scale = getattr(self.guider, "guidance_scale", 1.0)
            self._guidance_scale = guidance_scale
            self._attention_kwargs = attention_kwargs

            # Photo → tokens, one set for each mesh.
            prepared: list[PreparedPhotos] = []
            compares = bool(refine) or num_candidates > 1
            if image is not None:
                processors = [self.image_processor, self.pixel_processor]
                processors = [processor for processor in processors if processor is not None]
                processors += [self.refiner_processor] if compares else []
                prepared = prepare_photos(photos, processors, background_removal)
                image_embeds = photos.arrange(self.encode_image(prepared[0].pixel_values))
                if self.pixel_encoder is not None:
                    pixel_embeds = self.encode_image(prepared[1].pixel_values, self.pixel_encoder)
            drawn = num_images_per_prompt * num_candidates
            image_embeds = self._for_each_mesh(image_embeds.to(device), drawn)
            if pixel_embeds is not None:
                pixel_embeds = self._for_each_mesh(pixel_embeds.to(device), drawn)

            # Noise → latents. Stepping changes a scheduler, so every call steps a copy.
            scheduler = deepcopy(self.scheduler)
            set_noise_levels(scheduler, num_inference_steps, device, self.config.timestep_spacing)
            timesteps = scheduler.timesteps
            ends = step_ends(scheduler) if self.transformer.config.get("interval_condition") else None
            if isinstance(generator, list):
                # A mesh's candidates have consecutive noise of its generator; the first is that of a single candidate.
                generator = [each for each in generator for _ in range(num_candidates)]
            latents = self.prepare_latents(len(image_embeds), device, generator, latents, scheduler)
            predict = GuidedPrediction(self.transformer, len(timesteps))
            viewpoints = photos.conditions(image_embeds)
            scale_input, step_options = input_scaling(scheduler), step_kwargs(scheduler, generator)
            self._num_timesteps = len(timesteps)
            with self.progress_bar(total=len(timesteps)) as progress_bar:
                for step, timestep in enumerate(timesteps):
                    if self.interrupt:
                        continue
                    self._current_timestep = timestep
                    conditions = {"encoder_hidden_states": image_embeds, **viewpoints}
                    if pixel_embeds is not None:
                        conditions["pixel_hidden_states"] = pixel_embeds
                    prediction = predict(
                        scale_input(latents, timestep),
                        step,
                        timestep,
                        conditions,
                        guidance_scale=self._guidance_scale,
                        guider=self.guider,
                        timestep_end=None if ends is None else ends[step],
                        attention_kwargs=self._attention_kwargs,
                    )
                    latents = scheduler.step(prediction, timestep, latents, **step_options)[0]

                    if callback_on_step_end is not None:
                        tensors = {"latents": latents, "image_embeds": image_embeds}
                        tensors = {name: tensors[name] for name in callback_on_step_end_tensor_inputs}
                        changed = check_changed(callback_on_step_end(self, step, timestep, dict(tensors)), tensors)
                        latents = changed.get("latents", latents)
                        image_embeds = changed.get("image_embeds", image_embeds)
                        if "image_embeds" in tensors or getattr(self.transformer, "peft_config", None):
                            predict.clear_caches()
                    progress_bar.update()

            predict.clear_caches()

            # Latents → field → meshes or grids.
            meshes, refinements = latents, None
            if output_type != "latent":
                field = self.decode_latents(latents)
                fields: Iterable[FieldBatch] = field
                if compares:
                    squares = torch.stack([decode_photo(square) for square in prepared[-1].images]).to(device)
                    refinements = refine_fields(
                        field,
                        squares.split(photos.counts),
                        refine,
                        angles=photos.angles,
                        num_candidates=num_candidates,
                        refiner=self.refiner,
                        level=level,
                    )
                    fields = [refinement.field for refinement in refinements]
                meshes = self._meshes_or_grids(
                    fields, resolution, level, output_type, callback_on_extraction, SMALLEST_PIECE if refine else 0.0
                )
        if not return_dict:
            return (meshes,)
        return Triplane3DPipelineOutput(
            meshes=meshes,
            images=prepared[0].images if prepared else None,
            mask_reports=prepared[0].mask_reports if prepared else None,
            refinements=refinements,
        )

    @contextmanager
    def _begin_call(self) -> Iterator[None]:
        """A call with its own state. At its end, also after an error, offloaded models leave the device."""
        with self._calls.run(list(self.components.values())):
            try:
                yield
            finally:
                self._current_timestep = None
                self.maybe_free_model_hooks()

    def _for_each_mesh(self, embeds: Tensor, num_images_per_prompt: int) -> Float[Tensor, "meshes tokens features"]:
        embeds = embeds.to(self.transformer.dtype)
        return repeat(embeds, "photo token feature -> (photo again) token feature", again=num_images_per_prompt)

    def _meshes_or_grids(
        self,
        fields: Iterable[FieldBatch],
        resolution: int,
        level: float,
        output_type: str,
        progress: Callable[[int, int], object] | None = None,
        smallest_piece: float = 0.0,
    ) -> Any:
        """The batch of fields as grids of logits, or as meshes without pieces below a share of the largest one."""
        if output_type in ("pt", "np"):
            grids = torch.stack(evaluate_grids(fields, resolution, progress=progress))
            return grids if output_type == "pt" else grids.cpu().numpy()
        meshes = extract_surfaces(fields, resolution, level=level, progress=progress)
        if smallest_piece:
            meshes = [mesh.remove_floaters(smallest_piece) for mesh in meshes]
        return meshes if output_type == "mesh" else [mesh.to_trimesh() for mesh in meshes]
