"""Stage 5: train the refiner.

python scripts/train_refiner.py configs/mini/refiner.yaml [--key value …]
"""

from triplane3d.errors import errors_as_sentences

if __name__ == "__main__":
    with errors_as_sentences():  # around the imports too, which take seconds
        from triplane3d.config import RefinerConfig, parse_config
        from triplane3d.training.refiner import train

        train(parse_config(RefinerConfig, description=__doc__))
