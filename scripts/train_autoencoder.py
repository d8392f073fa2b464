"""Stage 1: train the autoencoder.

python scripts/train_autoencoder.py configs/mini/autoencoder.yaml [--key value …]
"""

from triplane3d.errors import errors_as_sentences

if __name__ == "__main__":
    with errors_as_sentences():  # the imports are inside too: they take seconds
        from triplane3d.config import AutoencoderConfig, parse_config
        from triplane3d.training.autoencoder import train

        train(parse_config(AutoencoderConfig, description=__doc__))
