"""Guidance: the transformer's prediction for a photo, extrapolated away from its prediction without a photo."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.guiders import BaseGuidance
from jaxtyping import Float
from torch import Tensor

from triplane3d.diffusers_compat import guider_condition
from triplane3d.models.condition_cache import ConditionCache
from triplane3d.models.conditions import UNKNOWN
from triplane3d.models.transformer_triplane import TriplaneTransformer

NULL_CONDITIONS = {"cameras": UNKNOWN, "encoder_attention_mask": True}
"""Values that a batch entry without a photo has in place of zeros, by the name of the transformer's argument.

Its camera is unknown. Its mask admits all tokens, because attention needs at least one.
"""


def is_guided(scale: float) -> bool:
    """Whether classifier-free guidance of this scale differs from the conditional prediction; 0 switches it off."""
    return scale not in (0, 1)


def guided_prediction(
    predict: Callable[[Tensor, int], Tensor], latents: Float[Tensor, "batch channels height width"], scale: float
) -> Float[Tensor, "batch channels height width"]:
    """Classifier-free guidance (Ho and Salimans 2022, "Classifier-free diffusion guidance", eq. 6, w = scale - 1):

        unconditional + scale · (conditional - unconditional)

    Both predictions are computed in one call, as one batch of twice the size.

    Args:
        predict: `(latents, num_without_photo)` → prediction of the same shape. The first `num_without_photo` entries
            of the batch have no photo.
        scale: 1 is the conditional prediction, larger values follow the photo more. 0 also means no guidance.

    Returns:
        The prediction in float32.
    """
    if not is_guided(scale):
        return predict(latents, 0).float()
    both = predict(torch.cat([latents, latents]), len(latents))
    unconditional, conditional = both.float().chunk(2)
    return unconditional + scale * (conditional - unconditional)


class GuidedPrediction:
    """The predictions of one run through the noise levels, with values that depend on the photos alone computed once.

    Call `clear_caches` after image tokens or adapters have changed.
    """

    def __init__(self, transformer: TriplaneTransformer, num_steps: int):
        self.transformer, self.num_steps = transformer, num_steps
        self.caches: dict[str, ConditionCache] = {}

    def clear_caches(self) -> None:
        """Remove the values computed from image tokens."""
        self.caches.clear()

    def __call__(
        self,
        latents: Float[Tensor, "batch channels height width"],
        step: int,
        timestep: Tensor,
        conditions: dict[str, Tensor],
        *,
        guidance_scale: float,
        guider: BaseGuidance | None = None,
        timestep_end: Tensor | None = None,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        """The guided prediction of one step, in float32.

        Args:
            step: its number, from 0.
            timestep: one number for the whole batch. It stays valid for a cache that leaves out half of the batch.
            conditions: the transformer's arguments that describe the photos, by name: tokens, cameras, masks.
            guidance_scale: see `guided_prediction`; not used with a `guider`.
            guider: one of `diffusers.guiders`, in place of classifier-free guidance.
            timestep_end: the timestep at which the step ends, for a transformer with `interval_condition`.
        """
        shared = {"timestep": timestep, "attention_kwargs": attention_kwargs}
        if timestep_end is not None:
            shared["timestep_end"] = timestep_end
        if guider is not None:
            return self._predict_with_guider(guider, latents, step, conditions, shared)

        def predict(latents: Tensor, num_without_photo: int) -> Tensor:
            context = "cond_uncond" if num_without_photo else "cond"
            return self._predict(latents, conditions, shared, context, num_without_photo)

        return guided_prediction(predict, latents, guidance_scale)

    def _predict_with_guider(
        self,
        guider: BaseGuidance,
        latents: Tensor,
        step: int,
        conditions: dict[str, Tensor],
        shared: dict[str, Any],
    ) -> Float[Tensor, "batch channels height width"]:
        """The guider determines which predictions this step needs, with one call of the transformer each."""
        pairs = {
            name: (conditional, null_condition(name, conditional, len(conditional)))
            for name, conditional in conditions.items()
        }
        guider.set_state(step=step, num_inference_steps=self.num_steps, timestep=shared["timestep"])
        batches = guider.prepare_inputs(pairs)
        for batch in batches:
            chosen = {name: getattr(batch, name) for name in conditions}
            guider.prepare_models(self.transformer)
            try:
                context = guider_condition(guider, batch)
                batch.noise_pred = self._predict(latents, chosen, shared, context, may_cache=False).float()
            finally:
                guider.cleanup_models(self.transformer)
        return guider(batches)[0]

    def _predict(
        self,
        latents: Tensor,
        conditions: dict[str, Tensor],
        shared: dict[str, Any],
        context: str,
        num_without_photo: int = 0,
        may_cache: bool = True,
    ) -> Float[Tensor, "batch channels height width"]:
        """One call of the transformer. diffusers' caches store the states of each `context` separately."""
        options: dict[str, Any] = {}
        if self.transformer.is_cache_enabled:
            # diffusers' caches split the batch themselves and need the tokens of all its entries.
            conditions = {
                name: torch.cat([null_condition(name, conditional, num_without_photo), conditional])
                for name, conditional in conditions.items()
            }
        elif may_cache:
            cache = self.caches.setdefault(context, ConditionCache())
            options = {"num_without_photo": num_without_photo, "condition_cache": cache}
        with self.transformer.cache_context(context):
            return self.transformer(
                hidden_states=latents.to(self.transformer.dtype),
                **{**shared, "timestep": shared["timestep"].expand(len(latents))},
                **conditions,
                **options,
                return_dict=False,
            )[0]


def null_condition(name: str, conditional: Tensor, count: int) -> Tensor:
    """The transformer's argument `name` for `count` batch entries without a photo; zeros if it holds tokens.

    `conditional` is the same argument for entries with a photo. It gives the type and the sizes of the other axes.
    """
    return conditional.new_full((count, *conditional.shape[1:]), NULL_CONDITIONS.get(name, 0))
