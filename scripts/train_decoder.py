"""Stage 4. `accelerate launch scripts/train_decoder.py configs/mini/decoder.yaml [--key value …]`"""

from triplane3d.config import DecoderConfig, parse_config
from triplane3d.training.decoder import train

if __name__ == "__main__":
    train(parse_config(DecoderConfig, description=__doc__))
