"""Nearest-neighbour retrieval: the training shape whose image is most similar, used as the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from triplane3d.data.procedural import generate_shapes
from triplane3d.evaluation.baselines import nearest_neighbor, thumbnail_features
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, batches, procedural_shapes, procedural_solid
from triplane3d.evaluation.prediction import Log
from triplane3d.evaluation.protocol import GRID_RESOLUTION, IMAGE_SIZE
from triplane3d.evaluation.solids import Solid
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

BATCH = 64
FRAMING_POINTS = 1024
"""Surface samples of each training shape, which frame its image."""


@dataclass(frozen=True)
class RetrievalIndex:
    """Image features of the training shapes with seeds 0, 1, 2 and so on, one image per shape."""

    features: dict[str, Float[Tensor, "seeds features"]]
    """One table per kind of feature (`image_features`)."""

    @classmethod
    def of_training_shapes(
        cls, pipe: Triplane3DPipeline, size: int, *, image_size: int = IMAGE_SIZE, log: Log = print
    ) -> RetrievalIndex:
        """Index of the first `size` training seeds, each seen from one random camera."""
        tables: dict[str, list[Tensor]] = {}
        for start in range(0, size, BATCH):
            log(f"image: training shapes to retrieve from: {start} of {size}")
            seeds = range(start, min(start + BATCH, size))
            shapes = procedural_shapes(seeds, None, surface_points=FRAMING_POINTS, image_size=image_size)
            for name, features in image_features(pipe, shapes).items():
                tables.setdefault(name, []).append(features)
        return cls({name: torch.cat(parts) for name, parts in tables.items()})

    def retrieve(
        self, pipe: Triplane3DPipeline, shapes: Sequence[EvaluationShape], resolution: int = GRID_RESOLUTION
    ) -> dict[str, list[Solid]]:
        """For each kind of feature, the training shape with the most similar image, in the frame of its own camera."""
        queries = [image_features(pipe, batch) for batch in batches(shapes, BATCH)]
        retrieved = {}
        for name, stored in self.features.items():
            seeds = nearest_neighbor(torch.cat([query[name] for query in queries]), stored).tolist()
            found = generate_shapes(seeds, azimuths="random")
            retrieved[f"retrieval by {name}"] = [procedural_solid(shape, resolution) for shape in found]
        return retrieved


@torch.no_grad()
def image_features(
    pipe: Triplane3DPipeline, shapes: Sequence[EvaluationShape]
) -> dict[str, Float[Tensor, "shapes features"]]:
    """Features of the shapes' images: the mean token of the pipeline's image encoder, and a thumbnail.

    Raises ValueError if the pipeline has no image encoder.
    """
    if pipe.image_processor is None:
        raise ValueError("retrieval by image features needs a pipeline with an image_encoder")
    photos = pipe.image_processor.preprocess([shape.pil_image for shape in shapes])
    framed = np.stack([np.asarray(image, dtype=np.float32) / 255 for image in photos.images])
    return {
        "own features": pipe.encode_image(photos.pixel_values).float().mean(1).cpu(),
        "thumbnail": thumbnail_features(torch.from_numpy(framed).permute(0, 3, 1, 2)),
    }
