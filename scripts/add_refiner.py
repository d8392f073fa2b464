"""Add the refiner that stage 5 has trained to a saved pipeline, as fp16 safetensors.

python scripts/add_refiner.py runs/mini/refiner pipelines/mini
"""

import argparse

from triplane3d.config.flags import Parser, named_path
from triplane3d.errors import errors_as_sentences
from triplane3d.printing import print_line

if __name__ == "__main__":
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("refiner", type=named_path, help="output folder of stage 5, with refiner/")
    parser.add_argument("pipeline", type=named_path, help="folder of a pipeline that receives the refiner")
    parser.add_argument("--limit-mb", type=float, default=60.0, help="fail if all weights are larger (default: 60)")
    given = parser.parse_args()
    with errors_as_sentences():  # the imports are inside too: they take seconds
        from triplane3d.training.assemble_pipeline import add_refiner

        size = add_refiner(given.refiner, given.pipeline, limit_mb=given.limit_mb)
        print_line(f"{given.pipeline}: {size:.1f} MB of weights")
