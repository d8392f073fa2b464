"""Stage 3. `accelerate launch scripts/train_denoiser.py configs/mini/denoiser.yaml [--key value …]`"""

from triplane3d.config import DenoiserConfig
from triplane3d.training.denoiser import train
from triplane3d.training.launch import launch

if __name__ == "__main__":
    launch(train, DenoiserConfig, description=__doc__)
