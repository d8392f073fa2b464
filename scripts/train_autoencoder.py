"""Stage 1. `accelerate launch scripts/train_autoencoder.py configs/mini/autoencoder.yaml [--key value …]`"""

from triplane3d.config import AutoencoderConfig
from triplane3d.training.autoencoder import train
from triplane3d.training.launch import launch

if __name__ == "__main__":
    launch(train, AutoencoderConfig, description=__doc__)
