"""Image to 3D: photo → image tokens → denoised latents → planes → field → mesh."""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.schedulers import SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor
from einops import rearrange, repeat
from huggingface_hub import ModelCard
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from triplane3d.geometry.isosurface import evaluate_grid, extract_surface
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.models.triplane import TriplaneField
from triplane3d.pipelines.background import check_background_removal
from triplane3d.pipelines.image_processor import Photo, PreparedPhotos, Triplane3DImageProcessor
from triplane3d.pipelines.loading import embedded_pipeline
from triplane3d.pipelines.lora import Triplane3DLoraLoaderMixin
from triplane3d.pipelines.pipeline_output import Triplane3DPipelineOutput

OUTPUT_TYPES = ("mesh", "trimesh", "pt", "np", "latent")
HUB_TAGS = ("image-to-3d", "triplane3d", "diffusers")


class Triplane3DPipeline(DiffusionPipeline, Triplane3DLoraLoaderMixin):
    """Photos of objects in, meshes out.

    ```python
    pipe = Triplane3DPipeline.from_pretrained("mini")        # ships with the library; folders and Hub names work too
    pipe("chair.png", generator=torch.Generator().manual_seed(0)).meshes[0].save("chair.glb")
    ```

    `pixel_encoder` is the second stream of models whose transformer takes `pixel_hidden_states`. The scalars are saved
    with the pipeline: how photos are framed (`foreground_ratio`, grey `background`, `image_statistics`), and what
    `__call__` does where it is not told.
    """

    model_cpu_offload_seq = "image_encoder->pixel_encoder->transformer->vae"
    _optional_components = ["pixel_encoder"]
    _callback_tensor_inputs = ["latents", "image_embeds"]

    def __init__(
        self,
        image_encoder: PreTrainedModel | None,
        transformer: TriplaneTransformer | None,
        vae: AutoencoderKLTriplane | None,
        scheduler: SchedulerMixin,
        pixel_encoder: PreTrainedModel | None = None,
        foreground_ratio: float = 0.85,
        background: float = 0.5,
        image_statistics: str = "imagenet",
        default_num_inference_steps: int = 20,
        default_guidance_scale: float = 3.0,
        default_resolution: int = 128,
    ):
        super().__init__()
        self.register_modules(
            image_encoder=image_encoder,
            transformer=transformer,
            vae=vae,
            scheduler=scheduler,
            pixel_encoder=pixel_encoder,
        )
        self.register_to_config(
            foreground_ratio=foreground_ratio,
            background=background,
            image_statistics=image_statistics,
            default_num_inference_steps=default_num_inference_steps,
            default_guidance_scale=default_guidance_scale,
            default_resolution=default_resolution,
        )
        self.image_processor = self._processor_for(image_encoder)
        self.pixel_processor = self._processor_for(pixel_encoder)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike, **kwargs: Any) -> "Triplane3DPipeline":
        """diffusers' `from_pretrained`; a bare name such as "mini" means the pipeline that ships with the library."""
        embedded = embedded_pipeline(str(pretrained_model_name_or_path))
        return super().from_pretrained(embedded or pretrained_model_name_or_path, **kwargs)

    @property
    def components(self) -> dict[str, Any]:
        """What the pipeline is made of; a `pixel_encoder` only where the model has one."""
        return {
            name: component
            for name, component in super().components.items()
            if component is not None or name not in self._optional_components
        }

    def _processor_for(self, encoder: PreTrainedModel | None) -> Triplane3DImageProcessor | None:
        """Photos as this encoder wants them; one that takes four channels also sees the mask."""
        if encoder is None:
            return None
        return Triplane3DImageProcessor(
            encoder.config.image_size,
            foreground_ratio=self.config.foreground_ratio,
            background=self.config.background,
            statistics=self.config.image_statistics,
            mask_channel=encoder.config.num_channels == 4,
        )

    @property
    def guidance_scale(self) -> float:
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        return self._guidance_scale > 1

    @property
    def num_timesteps(self) -> int:
        return self._num_timesteps

    @property
    def current_timestep(self) -> Tensor | None:
        return self._current_timestep

    @property
    def attention_kwargs(self) -> dict[str, Any] | None:
        return self._attention_kwargs

    @property
    def interrupt(self) -> bool:
        """Set `pipe._interrupt = True` in a callback to skip the remaining steps."""
        return self._interrupt

    def check_inputs(
        self,
        image: object,
        image_embeds: Tensor | None,
        latents: Tensor | None,
        num_inference_steps: int,
        num_images_per_prompt: int,
        resolution: int,
        output_type: str,
        callback_on_step_end_tensor_inputs: Sequence[str],
        background_removal: str = "auto",
    ) -> None:
        """Everything that can be refused before work is done."""
        check_background_removal(background_removal)
        if (image is None) == (image_embeds is None):
            raise ValueError("pass either `image` or `image_embeds`" + (", not both" if image is not None else ""))
        if image is not None and self.image_processor is None:
            raise ValueError("this pipeline was loaded without an image_encoder: pass `image_embeds`")
        if image_embeds is not None and image_embeds.ndim != 3:
            raise ValueError(f"image_embeds are (batch, tokens, channels), got shape {tuple(image_embeds.shape)}")
        if image_embeds is not None and self.pixel_processor is not None:
            raise ValueError("this pipeline has a pixel_encoder, which must see the photo: pass `image`")
        for name, value, least in (
            ("num_inference_steps", num_inference_steps, 1),
            ("num_images_per_prompt", num_images_per_prompt, 1),
            ("resolution", resolution, 2),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type must be one of {OUTPUT_TYPES}, got {output_type!r}")
        unknown = [name for name in callback_on_step_end_tensor_inputs if name not in self._callback_tensor_inputs]
        if unknown:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs may name {self._callback_tensor_inputs}, got {unknown}"
            )

    def encode_image(
        self, pixel_values: Float[Tensor, "batch channels height width"], encoder: PreTrainedModel | None = None
    ) -> Float[Tensor, "batch tokens features"]:
        """Tokens of prepared photos, from `image_encoder` unless another is given. Differentiable, for training."""
        encoder = self.image_encoder if encoder is None else encoder
        return encoder(pixel_values.to(device=self._execution_device, dtype=encoder.dtype)).last_hidden_state

    def prepare_latents(
        self,
        batch_size: int,
        device: torch.device,
        generator: torch.Generator | list[torch.Generator] | None,
        latents: Tensor | None,
    ) -> Float[Tensor, "batch channels height width"]:
        """Noise to start from, in float32 whatever the models' precision: a seed means the same noise everywhere."""
        config = self.transformer.config
        shape = (batch_size, config.in_channels, config.sample_size, 3 * config.sample_size)
        if isinstance(generator, list) and len(generator) != batch_size:
            raise ValueError(f"a list of generators has one for each of the {batch_size} meshes, got {len(generator)}")
        if latents is None:
            return randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        if latents.shape != shape:
            raise ValueError(f"latents must have shape {shape}, got {tuple(latents.shape)}")
        return latents.to(device=device, dtype=torch.float32)

    def decode_latents(self, latents: Float[Tensor, "batch channels height width"]) -> TriplaneField:
        """The batch of fields that normalised latents stand for."""
        if self.vae.config.latents_mean is not None:
            mean, std = (
                rearrange(torch.tensor(values).to(latents), "channel -> 1 channel 1 1")
                for values in (self.vae.config.latents_mean, self.vae.config.latents_std)
            )
            latents = latents * std + mean
        return self.vae.field(self.vae.decode(latents.to(self.vae.dtype), return_dict=False)[0])

    @torch.no_grad()
    def __call__(
        self,
        image: Photo | Sequence[Photo] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        image_embeds: Tensor | None = None,
        resolution: int | None = None,
        level: float = 0.0,
        output_type: str = "mesh",
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
        callback_on_step_end: Callable | PipelineCallback | MultiPipelineCallbacks | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        background_removal: str = "auto",
    ) -> Triplane3DPipelineOutput | tuple:
        """One mesh per photo, or `num_images_per_prompt` of them.

        Args:
            image: a photo (path, PIL, array (height, width, channels), tensor (channels, height, width) in 0..1), a
                list of them, or a batched array or tensor. The background is removed where there is no alpha.
            num_inference_steps: denoising steps; the pipeline's own default where None, as for the next two.
            guidance_scale: how much more the photo counts than no photo; up to 1 runs the transformer without guidance.
            generator: makes the call repeatable; a list has one for each mesh, which then does not depend on its batch.
            latents: noise to start from, (batch, channels, size, 3·size) of unit variance.
            image_embeds: tokens from `encode_image`, (batch, tokens, features), instead of `image`.
            resolution: cells along the edge of the grid on which the surface is found.
            level: the logit at which the surface lies; a higher one gives a thinner object.
            output_type: "mesh" (`Mesh`), "trimesh", "pt" or "np" (logits on the grid, (batch, n, n, n) with
                n = resolution + 1 samples per axis, axes x, y, z), or "latent".
            attention_kwargs: forwarded to the transformer, e.g. {"scale": 0.5} for the strength of a LoRA.
            callback_on_step_end: called as (pipe, step, timestep, tensors) after each step; may return changed tensors.
            callback_on_step_end_tensor_inputs: which tensors it gets, of `latents` and `image_embeds`.
            background_removal: "auto" takes a photo's alpha, or else the best way at hand; "none" takes it as it is;
                "alpha", "rembg", "matting", "grabcut" or "border" asks for that way; a folder or Hub name is a
                transformers model for "matting". Nothing is downloaded; `mattes` tells what ran, and how surely.
        """
        if isinstance(callback_on_step_end, PipelineCallback | MultiPipelineCallbacks):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        config = self.config
        num_inference_steps = config.default_num_inference_steps if num_inference_steps is None else num_inference_steps
        guidance_scale = config.default_guidance_scale if guidance_scale is None else guidance_scale
        resolution = config.default_resolution if resolution is None else resolution
        self.check_inputs(
            image,
            image_embeds,
            latents,
            num_inference_steps,
            num_images_per_prompt,
            resolution,
            output_type,
            callback_on_step_end_tensor_inputs,
            background_removal,
        )
        self._guidance_scale = guidance_scale
        self._attention_kwargs = attention_kwargs
        self._current_timestep = None
        self._interrupt = False
        device = self._execution_device

        # Photo → tokens, one set for each mesh.
        photos: PreparedPhotos | None = None
        pixel_embeds = None
        if image is not None:
            photos = self.image_processor.preprocess(image, background_removal=background_removal)
            image_embeds = self.encode_image(photos.pixel_values)
            if self.pixel_encoder is not None:
                pixel_values = self.pixel_processor.preprocess(
                    image, background_removal=background_removal
                ).pixel_values
                pixel_embeds = self.encode_image(pixel_values, self.pixel_encoder)
                pixel_embeds = self._for_each_mesh(pixel_embeds, num_images_per_prompt)
        image_embeds = self._for_each_mesh(image_embeds.to(device), num_images_per_prompt)

        # Noise → latents.
        latents = self.prepare_latents(len(image_embeds), device, generator, latents)
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        timesteps = self.scheduler.timesteps
        self._num_timesteps = len(timesteps)
        with self.progress_bar(total=len(timesteps)) as progress_bar:
            for step, timestep in enumerate(timesteps):
                if self.interrupt:
                    continue
                self._current_timestep = timestep
                prediction = self._predict(latents, timestep, image_embeds, pixel_embeds)
                latents = self.scheduler.step(prediction.float(), timestep, latents, return_dict=False)[0]

                if callback_on_step_end is not None:
                    tensors = {"latents": latents, "image_embeds": image_embeds}
                    tensors = {name: tensors[name] for name in callback_on_step_end_tensor_inputs}
                    changed = callback_on_step_end(self, step, timestep, tensors) or {}
                    latents = changed.pop("latents", latents)
                    image_embeds = changed.pop("image_embeds", image_embeds)
                progress_bar.update()
        self._current_timestep = None

        # Latents → field → what was asked for.
        if output_type == "latent":
            meshes = latents
        else:
            meshes = self._realize(self.decode_latents(latents), resolution, level, output_type)
        self.maybe_free_model_hooks()
        if not return_dict:
            return (meshes,)
        return Triplane3DPipelineOutput(
            meshes=meshes,
            images=None if photos is None else photos.images,
            mattes=None if photos is None else photos.mattes,
        )

    def _for_each_mesh(self, embeds: Tensor, num_images_per_prompt: int) -> Float[Tensor, "meshes tokens features"]:
        embeds = embeds.to(self.transformer.dtype)
        return repeat(embeds, "photo token feature -> (photo again) token feature", again=num_images_per_prompt)

    def _predict(
        self, latents: Tensor, timestep: Tensor, image_embeds: Tensor, pixel_embeds: Tensor | None
    ) -> Float[Tensor, "batch channels height width"]:
        """The transformer's prediction; under guidance both halves run as one batch, the one without a photo first."""
        if self.do_classifier_free_guidance:
            latents = torch.cat([latents, latents])
            image_embeds = torch.cat([torch.zeros_like(image_embeds), image_embeds])
            if pixel_embeds is not None:
                pixel_embeds = torch.cat([torch.zeros_like(pixel_embeds), pixel_embeds])
        with self.transformer.cache_context("cond_uncond" if self.do_classifier_free_guidance else "cond"):
            prediction = self.transformer(
                hidden_states=latents.to(self.transformer.dtype),
                timestep=timestep.expand(len(latents)),
                encoder_hidden_states=image_embeds,
                pixel_hidden_states=pixel_embeds,
                attention_kwargs=self.attention_kwargs,
                return_dict=False,
            )[0]
        if self.do_classifier_free_guidance:
            without, given = prediction.float().chunk(2)
            prediction = without + self.guidance_scale * (given - without)
        return prediction

    def _realize(self, field: TriplaneField, resolution: int, level: float, output_type: str) -> Any:
        """The batch of fields as meshes or as grids of logits."""
        if output_type in ("pt", "np"):
            grids = torch.stack([evaluate_grid(one, resolution) for one in field])
            return grids if output_type == "pt" else grids.cpu().numpy()
        meshes = [extract_surface(one, resolution, level=level) for one in field]
        return meshes if output_type == "mesh" else [mesh.to_trimesh() for mesh in meshes]

    def _upload_folder(self, working_dir: str | PathLike, *args: Any, **kwargs: Any) -> Any:
        """Every push passes here: the model card keeps what it says of a local pipeline and gains our tags."""
        card_path = Path(working_dir) / "README.md"
        own_card = Path(str(self.config.get("_name_or_path", ""))) / "README.md"
        if card_path.is_file():
            card = ModelCard.load(card_path)
            if own_card.is_file() and "has been automatically generated" in card.text:
                card = ModelCard.load(own_card)
            tags = list(card.data.tags or [])
            card.data.tags = tags + [tag for tag in HUB_TAGS if tag not in tags]
            card.save(card_path)
        return super()._upload_folder(working_dir, *args, **kwargs)
