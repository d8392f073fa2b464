"""Stage 2: encode latents.

python scripts/encode_latents.py configs/mini/latents.yaml [--key value …]
"""

from triplane3d.errors import errors_as_sentences

if __name__ == "__main__":
    with errors_as_sentences():  # the imports are inside too: they take seconds
        from triplane3d.config import LatentsConfig, parse_config
        from triplane3d.training.latents import encode

        encode(parse_config(LatentsConfig, description=__doc__))
