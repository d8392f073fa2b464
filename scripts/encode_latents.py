"""Stage 2. `accelerate launch scripts/encode_latents.py configs/mini/latents.yaml [--key value …]`"""

from triplane3d.config import LatentsConfig
from triplane3d.training.encode import encode
from triplane3d.training.launch import launch

if __name__ == "__main__":
    launch(encode, LatentsConfig, description=__doc__)
