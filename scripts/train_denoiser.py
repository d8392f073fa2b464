"""Stage 3: train the denoiser.

python scripts/train_denoiser.py configs/mini/denoiser.yaml [--key value …]
"""

from triplane3d.errors import errors_as_sentences

if __name__ == "__main__":
    with errors_as_sentences():  # the imports are inside too: they take seconds
        from triplane3d.config import DenoiserConfig, parse_config
        from triplane3d.training.denoiser import train

        train(parse_config(DenoiserConfig, description=__doc__))
