"""Stage 4. `accelerate launch scripts/distill_denoiser.py configs/mini/distill.yaml [--key value …]`"""

from triplane3d.config import DistillConfig
from triplane3d.training.distill import train
from triplane3d.training.launch import launch

if __name__ == "__main__":
    launch(train, DistillConfig, description=__doc__)
