"""Measure a saved pipeline. `python scripts/evaluate.py pipelines/mini --output runs/eval/mini.json`

docs/evaluation.md describes the suites, the metrics and the release criteria.
"""

import typer

from triplane3d.errors import errors_as_sentences
from triplane3d.evaluation.command import main

if __name__ == "__main__":
    with errors_as_sentences():
        typer.run(main)
