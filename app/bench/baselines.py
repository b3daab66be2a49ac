"""What a router has to beat: the baselines that stand in every report.

A router that looks good alone often only knows which data set a prompt is from, or how long it is; beside these it
shows. Single models, random choice and the oracle are RouterBench's (arXiv 2403.12031); prompt length as a score comes
close to RouteLLM's best published router on MMLU (arXiv 2406.18665).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.bench.curves import SAME_COST, Floats, Frame, Hull, Picks, Point, aiq, ndch, oracle, oracle_curve
from app.bench.results import RouterResult
from app.bench.scoring import as_setting, choices, look_up
from app.bench.suite import Suite
from routers import Outcomes
from routers.base import price_of_quality
from routers.length import LengthRouter


@dataclass(frozen=True)
class ScoredPool:
    """The single models on the scored items: every figure that does not depend on a router.

    A missing outcome counts as a failed call (quality 0, cost 0), as it does for a router; a model without any outcome
    on these items is not of the pool, else it would be its cheapest.
    """

    models: tuple[str, ...]
    """Length m."""
    quality: Floats
    """Shape (n, m), in [0, 1]; NaN where missing."""
    cost: Floats
    """Shape (n, m), USD; NaN where missing."""

    @classmethod
    def of(cls, outcomes: Outcomes) -> Self:
        """The pool of `outcomes`, which hold the scored items only. Raises `ValueError` where nothing is known."""
        known = ~(np.isnan(outcomes.quality) | np.isnan(outcomes.cost))
        kept = np.flatnonzero(known.any(axis=0))
        if not kept.size:
            raise ValueError("no model has an outcome on the scored items")
        return cls(
            tuple(outcomes.models[column] for column in kept),
            np.where(known, outcomes.quality, np.nan)[:, kept],
            np.where(known, outcomes.cost, np.nan)[:, kept],
        )

    @cached_property
    def counted(self) -> tuple[Floats, Floats]:
        """Quality and cost with a missing outcome as a failed call, both of shape (n, m)."""
        return np.nan_to_num(self.quality, nan=0.0), np.nan_to_num(self.cost, nan=0.0)

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """The single-model points, length m."""
        quality, cost = self.counted
        means = zip(cost.mean(axis=0), quality.mean(axis=0), strict=True)
        return tuple(Point(float(c), float(q)) for c, q in means)

    @cached_property
    def coverage(self) -> Floats:
        """Share of the items each model has an outcome for, shape (m,)."""
        return np.asarray((~np.isnan(self.quality)).mean(axis=0))

    @cached_property
    def frame(self) -> Frame:
        """The limits of every AIQ of the report."""
        return Frame.of(*zip(*self.points, strict=True))

    @cached_property
    def zero(self) -> Hull:
        """The zero router: the hull of the single-model points, reached by mixing models blindly."""
        return ndch(*zip(*self.points, strict=True))

    def zero_at(self, cost: float) -> Floats | None:
        """Share of the calls each model gets from the zero router at this mean cost (USD), shape (m,).

        At most two are not 0: the hull's vertices on both sides; beyond the last one that alone, since paying more buys
        nothing. None where `cost` is below the first vertex: no blind mix is that cheap.
        """
        hull, share = self.zero, np.zeros(len(self.models))
        if cost < hull.cost[0] * (1 - SAME_COST):
            return None
        left = max(int(np.searchsorted(hull.cost, cost * (1 + SAME_COST), side="right")) - 1, 0)
        part = 0.0
        if left + 1 < len(hull.cost):
            width = hull.cost[left + 1] - hull.cost[left]
            part = max(float((cost - hull.cost[left]) / width), 0.0)
            share[hull.index[left + 1]] = part
        share[hull.index[left]] = 1 - part
        return share

    @property
    def cheapest(self) -> int:
        """Position of the model of least mean cost, ties to the better."""
        return min(range(len(self.models)), key=lambda m: (self.points[m].cost, -self.points[m].quality))

    @property
    def best_single(self) -> int:
        """Position of the model of highest mean quality, ties to the cheaper."""
        return min(range(len(self.models)), key=lambda m: (-self.points[m].quality, self.points[m].cost))

    @property
    def random(self) -> Point:
        """The expectation of a uniform choice: the plain mean over the pool, not one draw."""
        costs, qualities = zip(*self.points, strict=True)
        return Point(float(np.mean(costs)), float(np.mean(qualities)))

    @cached_property
    def oracle(self) -> Picks:
        """The best model of every prompt, ties to the cheapest."""
        return oracle(self.quality, self.cost)

    @cached_property
    def oracle_curve(self) -> tuple[Floats, Floats]:
        """Vertices (cost, quality) of the oracle's curve."""
        return oracle_curve(self.quality, self.cost)

    @cached_property
    def oracle_aiq(self) -> float:
        """AIQ of that curve."""
        return aiq(*self.oracle_curve, self.frame)

    @cached_property
    def unsolved(self) -> float:
        """Share of the prompts on which no model scores more than 0."""
        return float((self.counted[0] <= 0).all(axis=1).mean())

    @cached_property
    def solved_by_all(self) -> float:
        """Share of the prompts on which every model scores 1."""
        return float((self.counted[0] >= 1).all(axis=1).mean())


def know_dataset(
    outcomes: Outcomes, train: NDArray[np.int64], rows: NDArray[np.int64], tradeoffs: Sequence[float]
) -> RouterResult:
    """The best model per category by q − λc on the `train` rows, asked on `rows`, once per tradeoff.

    What a router gains beyond it comes from reading the prompt. A category without train rows takes the model that is
    best over all train rows. Raises `ValueError` where there are no train rows with an outcome.
    """
    fitted = outcomes.take(train)
    seen = np.array(fitted.categories)
    pooled = _means(fitted, np.ones(len(seen), dtype=bool))
    if not np.isfinite(pooled[0]).any():
        raise ValueError("no training item has an outcome")
    dearest = float(np.nanmax(pooled[1]))
    tables = {category: _means(fitted, seen == category) for category in set(fitted.categories)}
    settings = []
    for tradeoff in tradeoffs:
        weight = price_of_quality(tradeoff, dearest)
        best = {category: _best(*table, weight) for category, table in tables.items()}
        fallback = _best(*pooled, weight)
        known = (best.get(outcomes.categories[row]) for row in rows)
        picked = np.array([fallback if pick is None else pick for pick in known], dtype=np.int64)
        settings.append(look_up(outcomes, rows, picked, tradeoff))
    return RouterResult("know_dataset", tuple(settings))


def _means(outcomes: Outcomes, members: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Mean quality and cost per model over the rows `members`, shape (m,); NaN where a model has no outcome."""
    quality, cost = outcomes.quality[members], outcomes.cost[members]
    known = ~(np.isnan(quality) | np.isnan(cost))
    count = known.sum(axis=0)
    empty = np.full(len(outcomes.models), np.nan)
    return (
        np.divide(np.where(known, quality, 0).sum(axis=0), count, out=empty.copy(), where=count > 0),
        np.divide(np.where(known, cost, 0).sum(axis=0), count, out=empty.copy(), where=count > 0),
    )


def _best(quality: Floats, cost: Floats, weight: float) -> int | None:
    """Position of the best mean utility, ties to the cheaper; None where no model has an outcome."""
    known = [model for model in range(len(cost)) if np.isfinite(cost[model])]
    if not known:
        return None

    def key(model: int) -> tuple[float, float, float]:
        utility = 0.0 if math.isinf(weight) else quality[model] - weight * cost[model]
        return (-utility, cost[model], -quality[model])

    return min(known, key=key)


def length(
    suite: Suite,
    outcomes: Outcomes,
    train: NDArray[np.int64],
    rows: NDArray[np.int64],
    tradeoffs: Sequence[float],
    seed: int,
) -> RouterResult:
    """The router that sees nothing but the prompt's length, fitted to `train` and asked on `rows`.

    It is asked once per length, since it cannot tell prompts of one length apart. Raises `ValueError` where there are
    too few train rows to fit it.
    """
    router = LengthRouter.fit(outcomes.take(train))
    _, first, same = np.unique(outcomes.lengths[rows], return_index=True, return_inverse=True)
    settings = []
    for tradeoff in tradeoffs:
        chosen = choices(router, suite, outcomes, rows[first], tradeoff, seed)
        settings.append(as_setting(outcomes, rows, [chosen[place] for place in same], tradeoff))
    return RouterResult("length", tuple(settings))
