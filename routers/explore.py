"""A little chance over any router, so that what it never tries can be learned about from the ledger."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from routers import artifacts, registry
from routers.base import Choice, Decision, LearningRouter, Query, Router, seed_for

EXPLORED = "explored"


class ExploreRouter(Router):
    """With probability ε a candidate drawn evenly, else what the router within decides.

    The probability of each choice is exact: (1 − ε)·p + ε/n, with p what the router within gives it and n the number
    of candidates. A decision with a review (a cascade, a ladder) is replaced whole: the drawn model alone is called
    and answers. Where the router within declines, nothing is explored: whoever serves its default knows no
    propensities. Source: ε-greedy exploration and its propensities as in the epoch-greedy bandit (Langford and Zhang
    2007); logged like this, `bench` can judge other routers by inverse propensity (Horvitz and Thompson 1952).
    """

    name: ClassVar[str] = "explore"

    def __init__(
        self,
        router: str | None = None,
        params: Mapping[str, Any] | None = None,
        artifact: str | None = None,
        epsilon: float = 0.05,
    ) -> None:
        """`router` with its `params`, or the folder of an `artifact`; `epsilon`: in [0, 1].

        Raises `ValueError` naming the parameter, and what building the router within raises.
        """
        if (router is None) == (artifact is None):
            raise ValueError("give either 'router' (a name) or 'artifact' (a folder)")
        if artifact is not None and params:
            raise ValueError("'params': an artifact holds its own; leave them out")
        within = registry.build(router, params) if router is not None else artifacts.load(Path(str(artifact)))
        self._begin(within, epsilon)

    @classmethod
    def over(cls, router: Router, epsilon: float) -> Self:
        """Exploration over a router that is there already; raises `ValueError` for an `epsilon` outside [0, 1]."""
        explorer = cls.__new__(cls)
        explorer._begin(router, epsilon)
        return explorer

    def _begin(self, within: Router, epsilon: float) -> None:
        if not 0 <= epsilon <= 1:
            raise ValueError(f"'epsilon' must lie in [0, 1], not {epsilon}")
        self.within, self.epsilon = within, float(epsilon)

    @property
    def fast(self) -> bool:  # type: ignore[override]  # as fast as what is within
        return self.within.fast

    @property
    def needs_embedding(self) -> str | None:
        return self.within.needs_embedding

    def named_models(self) -> tuple[str, ...]:
        return self.within.named_models()

    def learner(self) -> LearningRouter | None:
        return self.within.learner()

    def route(self, query: Query) -> Decision:
        decision = self.within.route(query)
        if not decision.ranking:
            return decision
        ranked = {choice.model: choice for choice in decision.ranking}
        # What the router within left out stands behind it: it too can be drawn.
        ranked |= {c.model: Choice(c.model) for c in query.candidates if c.model not in ranked}
        share = self.epsilon / len(ranked)
        choices = {
            model: replace(choice, probability=(1 - self.epsilon) * choice.probability + share)
            for model, choice in ranked.items()
        }
        coin = random.Random(seed_for("explore", query.seed))
        if coin.random() >= self.epsilon:
            return replace(decision, ranking=tuple(choices.values()))
        drawn = coin.choice(sorted(choices))
        ranking = (choices.pop(drawn), *choices.values())
        return Decision(ranking, EXPLORED, detail={**decision.detail, "explored": True, "instead_of": decision.reason})
