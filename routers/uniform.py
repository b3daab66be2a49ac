"""A weighted coin: the baseline for chance, an A/B split, and a source of propensities for off-policy estimates.

Stateless. Each request is an independent draw from the query's seed, so the split is exactly as right behind
twenty replicas as behind one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import ClassVar

from routers.base import Candidate, Choice, Decision, Query, Router, seed_for


class UniformRouter(Router):
    """A random permutation of the candidates, drawn without replacement in proportion to their weights.

    `probability` of each choice is its true propensity: weight / sum of the candidates' weights. Source: the random
    router of RouterBench (Hu et al. 2024, arXiv:2403.12031); the permutation is drawn by exponential keys
    (Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir").
    """

    name: ClassVar[str] = "uniform"
    fast: ClassVar[bool] = True

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        """`weights`: model name → weight, of any scale; a model without one is never put first. None: all equal.

        Raises `ValueError` when a weight is negative or not finite, or when none is positive.
        """
        if weights is not None:
            for model, weight in weights.items():
                if not math.isfinite(weight) or weight < 0:
                    raise ValueError(f"'weights': {model!r} has {weight!r}, which is not a weight ≥ 0")
            if not any(weights.values()):
                raise ValueError("'weights' needs at least one positive weight")
        self.weights = None if weights is None else dict(weights)

    def named_models(self) -> tuple[str, ...]:
        return tuple(self.weights or ())

    def route(self, query: Query) -> Decision:
        heaviest = max(map(self._weight, query.candidates), default=0.0)
        if heaviest <= 0:
            return Decision((), "no candidate has a weight")
        # Relative to the heaviest: sums of weights near the largest float would overflow.
        weights = {candidate.model: self._weight(candidate) / heaviest for candidate in query.candidates}
        total = math.fsum(weights.values())
        coin = random.Random(seed_for("uniform", query.seed))
        keys = {model: coin.expovariate(1.0) / weight if weight > 0 else math.inf for model, weight in weights.items()}
        ranked = sorted(weights, key=keys.__getitem__)
        return Decision(tuple(Choice(model, probability=weights[model] / total) for model in ranked), "drawn")

    def _weight(self, candidate: Candidate) -> float:
        return 1.0 if self.weights is None else float(self.weights.get(candidate.model, 0.0))
