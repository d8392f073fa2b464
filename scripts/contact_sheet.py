"""Photos beside generated meshes, on one page. `python scripts/contact_sheet.py pipelines/mini PHOTOS sheet.png`

With `--meshes` the folder holds closed meshes, which are shown beside the meshes generated from their images.
"""

import typer

from triplane3d.errors import errors_as_sentences
from triplane3d.evaluation.contact_sheets import main

if __name__ == "__main__":
    with errors_as_sentences():
        typer.run(main)
