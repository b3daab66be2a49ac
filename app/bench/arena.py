"""RouterArena's single score for accuracy and cost (arXiv 2510.00202).

It prices quality once and for all: a weighted harmonic mean in which accuracy weighs ten times as much as cost, and in
which cost counts by its factor, from USD 200 per 1,000 requests (no merit) down to USD 0.0044 (full merit). So two
routers of different pools can be put in one list, which AIQ cannot do; what it says hangs on those three numbers.
"""

from __future__ import annotations

import math

WEIGHT = 0.1
"""β: how little cost counts beside accuracy."""
DEAREST, CHEAPEST = 200.0, 0.0044
"""USD per 1,000 requests at which cost has no merit, and full merit."""


def cost_merit(cost_per_1k: float) -> float:
    """C = (log2 200 − log2 c)/(log2 200 − log2 0.0044), held in [0, 1]; 1 for what is free.

    Raises `ValueError` for a negative or unknown cost.
    """
    if not cost_per_1k >= 0:
        raise ValueError(f"arena score: cost must be 0 or more USD per 1,000 requests, not {cost_per_1k}")
    if cost_per_1k <= CHEAPEST:
        return 1.0
    return max(0.0, math.log(DEAREST / cost_per_1k) / math.log(DEAREST / CHEAPEST))


def arena_score(accuracy: float, cost_per_1k: float) -> float:
    """S = (1 + β)·A·C/(β·A + C), in [0, 1] (RouterArena prints 100 times that).

    `accuracy`: A in [0, 1]; `cost_per_1k`: USD per 1,000 requests. 0 where accuracy or the merit of the cost is 0.
    Raises `ValueError` outside these ranges.
    """
    if not 0 <= accuracy <= 1:
        raise ValueError(f"arena score: accuracy must lie in [0, 1], not {accuracy}")
    merit = cost_merit(cost_per_1k)
    if accuracy == 0 or merit == 0:
        return 0.0
    return (1 + WEIGHT) * accuracy * merit / (WEIGHT * accuracy + merit)
