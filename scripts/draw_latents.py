"""Stage 5, first part: generate latents from the photos of the shards.

python scripts/draw_latents.py configs/mini/draws.yaml [--key value …]
"""

from triplane3d.errors import errors_as_sentences

if __name__ == "__main__":
    with errors_as_sentences():  # around the imports too, which take seconds
        from triplane3d.config import DrawsConfig, parse_config
        from triplane3d.training.draws import draw

        draw(parse_config(DrawsConfig, description=__doc__))
