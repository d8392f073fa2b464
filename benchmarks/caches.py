"""Speed and accuracy of diffusers' five caches on our transformer.

    python benchmarks/caches.py --model mini

Columns: "work" is the proportion of attention rows (calls times batch) that are still computed. "time" is the ratio to
the uncached call in the same run. "overlap" is the V-IoU of the cached field with the uncached one. "truth" is the
V-IoU with the held-out shape.
"""

from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
import typer
from diffusers import FasterCacheConfig, FirstBlockCacheConfig, MagCacheConfig, PyramidAttentionBroadcastConfig
from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig
from pipeline import grids, inside, load, mean_iou, seed

from triplane3d import Triplane3DPipeline
from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.evaluation_shapes import held_out_shapes
from triplane3d.evaluation.timing import time_calls
from triplane3d.models.attention import TriplaneAttnProcessor
from triplane3d.settings import DEFAULT_QUALITY

SELF_ATTENTION = (r"transformer_blocks\.\d+\.attn$",)


def main(
    model: Annotated[str, typer.Option(help="A bundled pipeline, or a folder.")] = "mini",
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 8,
    shapes: Annotated[int, typer.Option(help="Held-out shapes.")] = 16,
    repeats: Annotated[int, typer.Option(help="Timings; the median is reported.")] = 5,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Measure speed and accuracy of diffusers' five caches on our transformer."""
    torch.set_num_threads(threads)
    pipe = load(model)
    cases = held_out_shapes(shapes, list(FAMILIES), seed=0, resolution=32)
    truth = [inside(case) for case in cases]
    rows = AttentionRows()

    exact = grids(pipe, cases, num_inference_steps=steps)
    all_rows = rows.take()
    print(f"{'cache':32s} {'work':>6s} {'time':>6s} {'overlap':>9s} {'truth':>7s}")
    print(f"{'none':32s} {1:6.2f} {1:6.2f} {1:9.4f} {mean_iou(exact, truth):7.4f}")
    for name, make in caches(pipe, steps).items():
        pipe.transformer.enable_cache(make())
        cached = grids(pipe, cases, num_inference_steps=steps)
        work = rows.take() / all_rows
        pipe.transformer.disable_cache()
        ratio = time_ratio(pipe, cases[0].pil_image, make, steps, repeats)
        rows.take()
        print(f"{name:32s} {work:6.2f} {ratio:6.2f} {mean_iou(cached, exact):9.4f} {mean_iou(cached, truth):7.4f}")


def caches(pipe: Triplane3DPipeline, steps: int) -> dict[str, Callable[[], object]]:
    def now() -> int:
        return int(pipe.current_timestep)

    # FasterCache assumes that half of the batch has no photo, unless `is_guidance_distilled` is set.
    guided = pipe.config.presets[DEFAULT_QUALITY]["guidance_scale"] not in (0, 1)
    return {
        "first block, threshold .05": lambda: FirstBlockCacheConfig(threshold=0.05),
        "first block, threshold .15": lambda: FirstBlockCacheConfig(threshold=0.15),
        "first block, threshold .25": lambda: FirstBlockCacheConfig(threshold=0.25),
        "mag": lambda: MagCacheConfig(num_inference_steps=steps, mag_ratios=[1.0] * steps, max_skip_steps=2),
        "Taylor seer, every other step": lambda: TaylorSeerCacheConfig(cache_interval=2, disable_cache_before_step=3),
        "pyramid attention broadcast": lambda: PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2,
            spatial_attention_timestep_skip_range=(100, 900),
            spatial_attention_block_identifiers=SELF_ATTENTION,
            cross_attention_block_skip_range=4,
            cross_attention_timestep_skip_range=(100, 900),
            cross_attention_block_identifiers=(r"transformer_blocks\.\d+\.cross_attn$",),
            current_timestep_callback=now,
        ),
        "faster": lambda: FasterCacheConfig(
            spatial_attention_block_skip_range=2,
            spatial_attention_block_identifiers=SELF_ATTENTION,
            unconditional_batch_skip_range=2,
            attention_weight_callback=lambda _: 0.3,
            current_timestep_callback=now,
            tensor_format="BCHW",
            is_guidance_distilled=not guided,
        ),
    }


class AttentionRows:
    """Counts the batch rows of every attention that is computed, from its creation on."""

    def __init__(self) -> None:
        self.total = 0
        compute = TriplaneAttnProcessor.__call__

        def counted(processor: object, attn: object, hidden_states: torch.Tensor, *rest: object, **more: object):
            self.total += len(hidden_states)
            return compute(processor, attn, hidden_states, *rest, **more)

        TriplaneAttnProcessor.__call__ = counted

    def take(self) -> int:
        total, self.total = self.total, 0
        return total


def time_ratio(pipe: Triplane3DPipeline, image: object, make: Callable[[], object], steps: int, repeats: int) -> float:
    """The time of denoising with the cache, relative to the time without it. Both are timed alternately."""
    options = {"num_inference_steps": steps, "output_type": "latent"}

    def cached() -> None:
        pipe.transformer.enable_cache(make())
        pipe(image, generator=seed(), **options)
        pipe.transformer.disable_cache()

    calls = {"exact": lambda: pipe(image, generator=seed(), **options), "cached": cached}
    return time_calls(calls, baseline="exact", repeats=repeats)["cached"].ratio


if __name__ == "__main__":
    np.seterr(all="raise")
    typer.run(main)
