"""Evaluation of saved pipelines: metrics, reference methods, suites and release criteria.

- `shape_metrics`, `alignment`, `visibility`: metrics between two solids or surfaces (`solids`).
- `evaluation_shapes`: the shapes that models are evaluated on.
- `baselines`, `retrieval`: methods without a generative model, to which every score is compared.
- `suites`, `steps`, `variety`, `views`, `photos`, `sanity_checks`: each returns rows of scores.
- `summary`, `criteria`, `report`: means with confidence intervals, release criteria, text and JSON.
- `command`, `runner`: the options of `scripts/evaluate.py` and the code that runs the suites.

docs/evaluation.md describes the protocol of every metric.
"""
