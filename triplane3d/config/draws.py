"""Stage 5, first part: the keys of the YAML file of `scripts/draw_latents.py`."""

from dataclasses import dataclass

from triplane3d.config.values import BatchSize, Guidance, Limit, Name, SamplingSteps, Section, Seed


@dataclass(frozen=True, kw_only=True)
class DrawsConfig(Section):
    """Which photos the pipeline generates latents from, and where they are written."""

    pipeline: Name  # folder of a trained pipeline
    data: Name  # shards with photos
    output: Name
    num_inference_steps: SamplingSteps = 2
    guidance_scale: Guidance = 1.0
    seed: Seed = 0
    batch_size: BatchSize = 32
    shard_size: Limit = 1024  # shapes per file
