"""The cheapest model for everything: the left end of every cost-quality curve."""

from __future__ import annotations

import math
from typing import ClassVar

from routers.base import Choice, Decision, Query, Router


class CheapestRouter(Router):
    """Ascending expected cost of this query, ties by name; a model of unknown cost goes last.

    Source: the cheapest single model of RouterBench (Hu et al. 2024, arXiv:2403.12031).
    """

    name: ClassVar[str] = "cheapest"
    fast: ClassVar[bool] = True

    def route(self, query: Query) -> Decision:
        tokens = query.prompt_tokens
        costs = {candidate.model: candidate.expected_cost(tokens) for candidate in query.candidates}

        def key(model: str) -> tuple[float, str]:
            cost = costs[model]
            return (math.inf if cost is None else cost, model)

        ranking = tuple(
            Choice(model, cost=costs[model], probability=1.0 if place == 0 else 0.0)
            for place, model in enumerate(sorted(costs, key=key))
        )
        return Decision(ranking, "cheapest" if ranking else "no candidates")
