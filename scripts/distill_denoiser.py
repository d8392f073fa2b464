"""Stage 4: distil the denoiser into few steps.

python scripts/distill_denoiser.py configs/mini/distill.yaml [--key value …]
"""

from triplane3d.errors import errors_as_sentences

if __name__ == "__main__":
    with errors_as_sentences():  # the imports are inside too: they take seconds
        from triplane3d.config import DistillConfig, parse_config
        from triplane3d.training.distill import train

        train(parse_config(DistillConfig, description=__doc__))
