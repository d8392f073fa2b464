"""Measure a saved pipeline. `python scripts/evaluate.py pipelines/mini --output runs/eval/mini.json`

docs/evaluation.md describes the suites, the metrics and the release criteria.
"""

from triplane3d.cli.scripts import run_script
from triplane3d.evaluation.command import main

if __name__ == "__main__":
    run_script(main)
