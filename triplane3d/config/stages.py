"""The training stages in their order, and keys that have been renamed."""

from triplane3d.config.autoencoder import AutoencoderConfig
from triplane3d.config.denoiser import DenoiserConfig
from triplane3d.config.distill import DistillConfig
from triplane3d.config.draws import DrawsConfig
from triplane3d.config.latents import LatentsConfig
from triplane3d.config.prepare_shapes import ShapesConfig
from triplane3d.config.refiner import RefinerConfig

SCRIPTS: dict[type, str] = {
    ShapesConfig: "scripts/prepare_shapes.py",
    AutoencoderConfig: "scripts/train_autoencoder.py",
    LatentsConfig: "scripts/encode_latents.py",
    DenoiserConfig: "scripts/train_denoiser.py",
    DistillConfig: "scripts/distill_denoiser.py",
    DrawsConfig: "scripts/draw_latents.py",
    RefinerConfig: "scripts/train_refiner.py",
}
"""The script of each stage, from stage 0 on."""

RENAMED = {
    "run.minutes": "run.max_minutes",
    "data.drawn": "data.group_size",
    "data.held_surface_points": "data.pool_surface_points",
    "data.held_label_points": "data.pool_label_points",
    "data.around": "data.random_views",
    "data.around_size": "data.random_view_size",
    "loss.near": "loss.near_surface_share",
    "around": "random_views",
    "around_size": "random_view_size",
}
"""Former and present name of each renamed key. Files and flags with the former name still work, with a warning."""
