"""Typed configurations of `configs/*.yaml`.

One file per training stage declares its keys; `shared` declares the sections that several stages have. `values` checks
types and ranges, `loader` reads and writes YAML files, `flags` reads the command line of a script. The architecture of
the networks is not configured here: `pipeline` names a folder of `pipelines/`, whose JSON files state it once.
"""

from triplane3d.config.autoencoder import AutoencoderConfig, AutoencoderLossConfig, ShapeDataConfig
from triplane3d.config.denoiser import DenoiserConfig, FlowConfig
from triplane3d.config.distill import DistillConfig, FlowMapConfig
from triplane3d.config.draws import DrawsConfig
from triplane3d.config.flags import parse_config
from triplane3d.config.latents import LatentsConfig
from triplane3d.config.loader import build, load_config, save_config, unknown_key
from triplane3d.config.prepare_shapes import ShapesConfig
from triplane3d.config.refiner import RefinerConfig, RefinerDataConfig, RefinerLossConfig
from triplane3d.config.shared import (
    AugmentConfig,
    LatentDataConfig,
    OptimConfig,
    RunConfig,
    StreamConfig,
    ViewsConfig,
)

__all__ = [
    "AugmentConfig",
    "AutoencoderConfig",
    "AutoencoderLossConfig",
    "DenoiserConfig",
    "DistillConfig",
    "DrawsConfig",
    "FlowConfig",
    "FlowMapConfig",
    "LatentDataConfig",
    "LatentsConfig",
    "OptimConfig",
    "RefinerConfig",
    "RefinerDataConfig",
    "RefinerLossConfig",
    "RunConfig",
    "ShapeDataConfig",
    "ShapesConfig",
    "StreamConfig",
    "ViewsConfig",
    "build",
    "load_config",
    "parse_config",
    "save_config",
    "unknown_key",
]
