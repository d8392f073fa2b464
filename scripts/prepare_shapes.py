"""Stage 0, procedural shapes. `python scripts/prepare_shapes.py configs/mini/data.yaml [--key value …]`

Shards that exist already are kept: after a stop, the same command writes the missing ones.
"""

from triplane3d.errors import errors_as_sentences

if __name__ == "__main__":
    with errors_as_sentences():  # the imports are inside too: they take seconds
        from triplane3d.config import ShapesConfig, parse_config
        from triplane3d.data.procedural.preparation import prepare

        prepare(parse_config(ShapesConfig, description=__doc__))
