"""What the scheduler steps along: the transformer's prediction for a photo, guided away from that for no photo."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from diffusers.schedulers import SchedulerMixin
from jaxtyping import Float
from torch import Tensor

from triplane3d.models.condition_cache import ConditionCache
from triplane3d.models.conditions import UNKNOWN

if TYPE_CHECKING:
    from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline


FOR_NO_PHOTO = {"cameras": UNKNOWN, "encoder_attention_mask": True}
"""What an entry without a photo has instead of zeros: a camera of which nothing is known, and all of its tokens, since
attention has to read something."""


class GuidedPrediction:
    """The predictions of one run through the noise levels; what depends on the photos alone is computed once.

    Reads the pipeline's guidance at every step, which callbacks may change on the way. After one that may have changed
    tokens or adapters the pipeline calls `forget`.
    """

    def __init__(self, pipeline: "Triplane3DPipeline"):
        self.pipeline = pipeline
        self.transformer = pipeline.transformer
        self.caches: dict[str, ConditionCache] = {}

    def forget(self) -> None:
        """What was computed may no longer hold, or is no longer needed."""
        self.caches.clear()

    def __call__(
        self,
        latents: Float[Tensor, "batch channels height width"],
        step: int,
        timestep: Tensor,
        conditions: dict[str, Tensor],
        timestep_end: Tensor | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        """`conditions` are the transformer's streams of image tokens by name, and what it hears about them.

        `timestep_end` is where the step will end, for a transformer that wants to know.
        """
        # One number for the whole batch: it stays right for a cache that leaves half of the batch out.
        times = {"timestep": timestep} | ({} if timestep_end is None else {"timestep_end": timestep_end})
        if self.pipeline.guider is not None:
            return self._as_the_guider_wants(latents, step, times, conditions)
        if not self.pipeline.do_classifier_free_guidance:
            return self._predict(latents, times, conditions, "cond").float()
        # Both halves run as one batch, the one without a photo first.
        both = self._predict(torch.cat([latents, latents]), times, conditions, "cond_uncond", len(latents))
        without, given = both.float().chunk(2)
        return without + self.pipeline.guidance_scale * (given - without)

    def _as_the_guider_wants(
        self, latents: Tensor, step: int, times: dict[str, Tensor], conditions: dict[str, Tensor]
    ) -> Float[Tensor, "batch channels height width"]:
        """One call for each prediction that the guider of this step wants; it puts them together."""
        guider = self.pipeline.guider
        choices = {name: (given, _for_no_photo(name, given, len(given))) for name, given in conditions.items()}
        guider.set_state(step=step, num_inference_steps=self.pipeline.num_timesteps, timestep=times["timestep"])
        batches = guider.prepare_inputs(choices)
        for batch in batches:
            chosen = {name: getattr(batch, name) for name in conditions}
            guider.prepare_models(self.transformer)
            try:
                context = getattr(batch, guider._identifier_key)
                batch.noise_pred = self._predict(latents, times, chosen, context, may_cache=False).float()
            finally:
                guider.cleanup_models(self.transformer)
        return guider(batches)[0]

    def _predict(
        self,
        latents: Tensor,
        times: dict[str, Tensor],
        conditions: dict[str, Tensor],
        context: str,
        num_without_photo: int = 0,
        may_cache: bool = True,
    ) -> Float[Tensor, "batch channels height width"]:
        """One call of the transformer; diffusers' caches keep what belongs to each `context` apart."""
        options: dict[str, Any] = {}
        if self.transformer.is_cache_enabled:  # these look into the batch and want all of its tokens there
            conditions = {
                name: torch.cat([_for_no_photo(name, given, num_without_photo), given])
                for name, given in conditions.items()
            }
        elif may_cache:
            cache = self.caches.setdefault(context, ConditionCache())
            options = {"num_without_photo": num_without_photo, "condition_cache": cache}
        with self.transformer.cache_context(context):
            return self.transformer(
                hidden_states=latents.to(self.transformer.dtype),
                **{**times, "timestep": times["timestep"].expand(len(latents))},
                **conditions,
                **options,
                attention_kwargs=self.pipeline.attention_kwargs,
                return_dict=False,
            )[0]


def _for_no_photo(name: str, given: Tensor, count: int) -> Tensor:
    """What `count` entries without a photo have under this name of the transformer's conditions."""
    return given.new_full((count, *given.shape[1:]), FOR_NO_PHOTO.get(name, 0))


def scheduler_manners(
    scheduler: SchedulerMixin, generator: torch.Generator | list[torch.Generator] | None
) -> tuple[Callable[[Tensor, Tensor], Tensor], dict[str, Any]]:
    """What not every scheduler of diffusers has: `scale_model_input`, and a generator for noise it adds in `step`."""
    scale_input = getattr(scheduler, "scale_model_input", lambda latents, timestep: latents)
    options: dict[str, Any] = {"return_dict": False}
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = generator
    return scale_input, options
