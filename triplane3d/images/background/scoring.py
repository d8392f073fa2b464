"""Linear scores of masks and their weights, which were fitted on photos of benchmarks/background_scenes.py.

A score is the sum of weight × feature. `CANDIDATE_SCORE` ranks candidates at the search size, `REFINED_SCORE` ranks
refined masks, and `CONFIDENCE` is the log-odds that the chosen mask is right.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Fitted on rounds 1 to 8, and 101 to 104 with a contrast of 0.35.
CANDIDATE_SCORE = {
    "agreement": 6.03,
    "like backdrop": -4.7,
    "rank": 3.53,
    "sharpness": -9.61,
    "weak steepness": 0.73,
    "edges lost": -0.58,
    "at border": -12.15,
}
REFINED_SCORE = {
    "start": 0.57,
    "refined": 1.67,
    "parts lost": -1.31,
    "sharpness": 3.3,
    "edges lost": -0.27,
    "holes": 0.68,
    "like backdrop": -1.74,
    "roughness": -16.48,
    "weak steepness": -0.19,
}
# Fitted on rounds 1 to 10 and 101 to 104, 41 of whose 560 masks were wrong.
CONFIDENCE = {
    "disagreement": -1.67,
    "log roughness": -1.0,
    "edges beside": -1.22,
    "log like backdrop": -0.69,
    "raggedness": -0.39,
    "constant": -9.69,
}


def weighted(features: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return float(sum(weight * features[name] for name, weight in weights.items()))


def probability(log_odds: float) -> float:
    return float(1 / (1 + np.exp(-log_odds)))
