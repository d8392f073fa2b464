"""A pipeline without networks that returns fields chosen by the test, so that its scores are known in advance."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.configuration_utils import FrozenDict
from PIL import Image

from triplane3d import Triplane3DPipeline
from triplane3d.evaluation.evaluation_shapes import EvaluationShape
from triplane3d.geometry.fields import Field
from triplane3d.pipelines.calls import Calls, DenoisingState

Script = Callable[..., Field]


class ScriptedPipeline(Triplane3DPipeline):
    """`script(shape, seed=, steps=, photos=)` returns the field for the image of a shape.

    Shapes are recognised by their images. `calls` records the number of photos and the cameras of every image.
    """

    def __init__(self, shapes: Sequence[EvaluationShape], script: Script) -> None:
        self._internal_dict = FrozenDict({"level": 0.0})
        self._calls = Calls(DenoisingState)
        self.shapes = {shape.pil_image.tobytes(): shape for shape in shapes}
        self.script, self.guider, self.calls, self.fields = script, None, [], []

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
            self.calls.append({"photos": len(photos), "cameras": cameras and cameras[index]})
            self.fields.append(
                self.script(
                    self.shapes[photos[0].tobytes()],
                    seed=noise.initial_seed(),
                    steps=num_inference_steps,
                    photos=len(photos),
                )
            )
        return (torch.arange(first, len(self.fields)),)

    def decode_latents(self, latents: torch.Tensor) -> list[Field]:
        return [self.fields[index] for index in latents.tolist()]


def ball(radius: float, center: Sequence[float] = (0, 0, 0)) -> Field:
    """The field of a ball: positive inside."""
    return lambda points: radius - (points - torch.tensor(center, dtype=points.dtype)).norm(dim=-1)


def no_log(message: str) -> None:
    """Discards log lines."""
