"""Photos beside generated meshes, on one page. `python scripts/contact_sheet.py pipelines/mini PHOTOS sheet.png`

With `--meshes` the folder holds closed meshes, which are shown beside the meshes generated from their images.
"""

from triplane3d.cli.scripts import run_script
from triplane3d.evaluation.contact_sheets import main

if __name__ == "__main__":
    run_script(main)
