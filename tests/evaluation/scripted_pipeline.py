"""A pipeline without networks: its answer to a picture is whatever the test says, so scores are known beforehand."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.configuration_utils import FrozenDict
from PIL import Image

from triplane3d import Triplane3DPipeline
from triplane3d.evaluation.shapes import EvaluationShape
from triplane3d.geometry.fields import Field
from triplane3d.pipelines.calls import Calls, DenoisingState

Answer = Callable[..., Field]


class ScriptedPipeline(Triplane3DPipeline):
    """`answer(case, seed=, steps=, photos=)` gives the field for a case's picture; cases are told by their pictures.

    `asked` keeps what it was called with.
    """

    def __init__(self, cases: Sequence[EvaluationShape], answer: Answer) -> None:
        self._internal_dict = FrozenDict({"level": 0.0})
        self._calls = Calls(DenoisingState)
        self.cases = {case.picture.tobytes(): case for case in cases}
        self.answer, self.guider, self.asked, self.fields = answer, None, [], []

    def __call__(
        self,
        image: Sequence[Any],
        *,
        num_inference_steps: int | None,
        guidance_scale: float | None,
        generator: list[torch.Generator],
        output_type: str,
        return_dict: bool,
        cameras: list[list[tuple[float, float | None]]] | None = None,
    ) -> tuple[torch.Tensor]:
        assert output_type == "latent" and not return_dict and len(image) == len(generator)
        self._guidance_scale = 3.0 if guidance_scale is None else guidance_scale
        first = len(self.fields)
        for index, (photos, noise) in enumerate(zip(image, generator)):
            photos = [photos] if isinstance(photos, Image.Image) else photos
            self.asked.append({"photos": len(photos), "cameras": cameras and cameras[index]})
            self.fields.append(
                self.answer(
                    self.cases[photos[0].tobytes()],
                    seed=noise.initial_seed(),
                    steps=num_inference_steps,
                    photos=len(photos),
                )
            )
        return (torch.arange(first, len(self.fields)),)

    def decode_latents(self, latents: torch.Tensor) -> list[Field]:
        return [self.fields[index] for index in latents.tolist()]


def ball(radius: float, center: Sequence[float] = (0, 0, 0)) -> Field:
    return lambda points: radius - (points - torch.tensor(center, dtype=points.dtype)).norm(dim=-1)
