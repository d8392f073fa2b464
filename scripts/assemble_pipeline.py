"""Copy trained weights into a saved pipeline, as fp16 safetensors beside the JSON files that the runs were built from.

python scripts/assemble_pipeline.py runs/mini/autoencoder runs/mini/denoiser pipelines/mini
"""

import argparse

from triplane3d.config.flags import Parser, named_path
from triplane3d.errors import errors_as_sentences
from triplane3d.printing import print_line

if __name__ == "__main__":
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("autoencoder", type=named_path, help="output folder of stages 1 and 2, with vae/")
    parser.add_argument("denoiser", type=named_path, help="output folder of stage 3 or 4: transformer/, image_encoder/")
    parser.add_argument("pipeline", type=named_path, help="folder of a pipeline that receives the weights")
    parser.add_argument("--limit-mb", type=float, default=60.0, help="fail if the weights are larger (default: 60)")
    given = parser.parse_args()
    with errors_as_sentences():  # the imports are inside too: they take seconds
        from triplane3d.training.assemble_pipeline import assemble_pipeline

        size = assemble_pipeline(given.autoencoder, given.denoiser, given.pipeline, limit_mb=given.limit_mb)
        print_line(f"{given.pipeline}: {size:.1f} MB of weights")
