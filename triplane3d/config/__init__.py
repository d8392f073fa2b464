"""Typed configurations behind `configs/*.yaml`: `schema` has the keys, `values` checks them, `loading` reads files."""

from triplane3d.config.loading import build, load_config, parse_config, save_config, unknown_key
from triplane3d.config.schema import (
    AugmentConfig,
    AutoencoderConfig,
    AutoencoderLossConfig,
    DenoiserConfig,
    DistillConfig,
    FlowConfig,
    FlowMapConfig,
    LatentDataConfig,
    LatentsConfig,
    OptimConfig,
    RunConfig,
    ShapeDataConfig,
    ShapesConfig,
    StreamConfig,
    ViewsConfig,
)

__all__ = [
    "AugmentConfig",
    "AutoencoderConfig",
    "AutoencoderLossConfig",
    "DenoiserConfig",
    "DistillConfig",
    "FlowConfig",
    "FlowMapConfig",
    "LatentDataConfig",
    "LatentsConfig",
    "OptimConfig",
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
