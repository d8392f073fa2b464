"""The embedded model gives the same tokens and mesh in bfloat16 as in float32, on the machine that runs the test."""

from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from PIL import Image
from pipelines.tiny_pipeline import seeded
from scipy.spatial import cKDTree
from torch import Tensor

from triplane3d import Triplane3DPipeline
from triplane3d.geometry.mesh import Mesh

ROOT = Path(__file__).parents[2]


@torch.no_grad()
def tokens_and_mesh(dtype: torch.dtype) -> tuple[Float[Tensor, "1 tokens features"], Mesh]:
    """Tokens and mesh of `mini` for a photo of an armchair, in two steps."""
    pipe = Triplane3DPipeline.from_pretrained(ROOT / "pipelines" / "mini", dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    photo = pipe.image_processor.preprocess(Image.open(ROOT / "docs" / "images" / "armchair.png"))
    tokens = pipe.encode_image(photo.pixel_values)
    assert tokens.dtype == dtype
    return tokens, pipe(image_embeds=tokens, generator=seeded(), quality="draft", resolution=48).meshes[0]


def test_tokens_and_mesh_are_those_of_float32() -> None:
    tokens, mesh = tokens_and_mesh(torch.float32)
    half_tokens, half_mesh = tokens_and_mesh(torch.bfloat16)
    assert (half_tokens - tokens).norm() < 0.02 * tokens.norm()
    assert len(half_mesh.faces) == pytest.approx(len(mesh.faces), rel=0.05)
    assert half_mesh.to_trimesh().volume == pytest.approx(mesh.to_trimesh().volume, rel=0.03)
    distances = cKDTree(mesh.vertices).query(half_mesh.vertices)[0]  # a cell of the grid is 0.042 long
    assert np.mean(distances) < 0.005 and np.quantile(distances, 0.99) < 0.05
