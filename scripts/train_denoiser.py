"""Stage 3. `accelerate launch scripts/train_denoiser.py configs/mini/denoiser.yaml [--key value …]`"""

from triplane3d.config import DenoiserConfig, parse_config
from triplane3d.training.denoiser import train

if __name__ == "__main__":
    train(parse_config(DenoiserConfig, description=__doc__))
