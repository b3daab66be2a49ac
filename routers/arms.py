"""Arms: what a router of several calls may choose between for a query, and how each of them would have done.

An arm is a single model, or a ladder (a, b | c [, d]): a and b are called at once; where their answers are the same,
that is the answer. Else c is called, then d; the first answer with two votes wins, and failing that the last model's
reply. Of two models that gave the same answer the one of higher mean quality is returned, of equally good ones the
earlier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.answers import answer_in
from routers.hull import hull
from routers.outcomes import Outcomes
from routers.pool import known_cells

Arm = tuple[int, ...]
"""Positions of the models, in the order they are called: one, three or four. Of a ladder the first two are called at
once, the better one first."""
Floats = NDArray[np.float64]

MANY = 11
"""Models up to which all ladders are looked at …"""
USED = 10
"""… and how many of a larger pool: those most used on the hull of the ladders of three."""


@dataclass(frozen=True)
class Votes:
    """The answers of m models to n items, as numbers that can be compared."""

    answers: NDArray[np.int32]
    """Shape (n, m); within an item equal numbers are equal answers, −1 is none."""
    told: NDArray[np.bool_]
    """Shape (n, m); whether there is a text at all, which can be returned."""

    @classmethod
    def of(cls, outcomes: Outcomes) -> Votes:
        """The votes in the recorded replies; nothing is told where none are recorded."""
        shape = outcomes.quality.shape
        answers, told = np.full(shape, -1, dtype=np.int32), np.zeros(shape, dtype=bool)
        if outcomes.replies is None:
            return cls(answers, told)
        for row, replies in enumerate(outcomes.replies.tolist()):
            numbers: dict[str, int] = {}
            for place, reply in enumerate(replies):
                told[row, place] = reply is not None
                answer = answer_in(reply)
                if answer is not None:
                    answers[row, place] = numbers.setdefault(answer, len(numbers))
        return cls(answers, told & known_cells(outcomes))


def singles(models: Sequence[int]) -> list[Arm]:
    """Each model alone."""
    return [(model,) for model in models]


def ladders_of_three(models: Sequence[int], quality: Floats) -> list[Arm]:
    """Every pair of the models with every third one; `quality`: mean per model, shape (m,)."""
    return [
        (*_better_first(pair, quality), last) for pair in combinations(models, 2) for last in models if last not in pair
    ]


def ladders_of_four(models: Sequence[int], quality: Floats, cost: Floats) -> list[Arm]:
    """Every four of the models, the cheaper called first; `quality`, `cost`: means per model, shape (m,)."""
    ascending = sorted(models, key=lambda model: (cost[model], model))
    return [(*_better_first(four[:2], quality), *four[2:]) for four in combinations(ascending, 4)]


def _better_first(pair: tuple[int, ...], quality: Floats) -> tuple[int, ...]:
    return tuple(sorted(pair, key=lambda model: (-quality[model], model)))


@dataclass(frozen=True)
class Table:
    """What each of `a` arms did on n items."""

    arms: tuple[Arm, ...]
    quality: Floats
    """Shape (n, a): quality of the model whose reply is returned; NaN where a model of the arm has no outcome."""
    cost: Floats
    """Shape (n, a), USD: of all that were called; NaN in the same cells."""

    def take(self, columns: Sequence[int]) -> Table:
        """Only the arms at `columns`."""
        picked = list(columns)
        return Table(tuple(self.arms[column] for column in picked), self.quality[:, picked], self.cost[:, picked])

    def rows(self, rows: NDArray[Any]) -> Table:
        """Only the items at `rows`, positions or a mask."""
        return Table(self.arms, self.quality[rows], self.cost[rows])

    def means(self) -> tuple[Floats, Floats]:
        """Mean cost and quality of each arm over the items where it has both, shape (a,); NaN where there are none."""
        known = ~np.isnan(self.quality)
        count = known.sum(axis=0)
        sums = (np.where(known, self.cost, 0).sum(axis=0), np.where(known, self.quality, 0).sum(axis=0))
        cost, quality = (np.where(count > 0, total / np.maximum(count, 1), np.nan) for total in sums)
        return cost, quality


def look_up(arms: Sequence[Arm], outcomes: Outcomes, votes: Votes, quality: Floats) -> Table:
    """What the `arms` did on the items of `outcomes`; `quality`: mean per model, shape (m,), says which is better."""
    known = known_cells(outcomes)
    got_quality, got_cost = np.where(known, outcomes.quality, np.nan), np.where(known, outcomes.cost, np.nan)
    rows = np.arange(len(outcomes.items))
    n = len(rows)
    qualities, costs = np.empty((n, len(arms))), np.empty((n, len(arms)))
    for column, arm in enumerate(arms):
        returned, calls = returned_by(arm, votes, quality)
        there = known[:, list(arm)].all(axis=1) & (votes.told[:, list(arm)].any(axis=1) | (len(arm) == 1))
        billed = np.cumsum(got_cost[:, list(arm)], axis=1)[rows, calls - 1]
        qualities[:, column] = np.where(there, got_quality[rows, returned], np.nan)
        costs[:, column] = np.where(there, billed, np.nan)
    return Table(tuple(arms), qualities, costs)


def returned_by(arm: Arm, votes: Votes, quality: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The model whose reply each item gets from `arm`, and how many were called, both of shape (n,)."""
    n = len(votes.answers)
    if len(arm) == 1:
        return np.full(n, arm[0], dtype=np.intp), np.ones(n, dtype=np.intp)
    returned, calls = np.full(n, -1, dtype=np.intp), np.full(n, len(arm), dtype=np.intp)
    for length in range(2, len(arm) + 1):
        new = arm[length - 1]
        for other in arm[: length - 1]:
            same = (returned < 0) & (votes.answers[:, new] >= 0) & (votes.answers[:, new] == votes.answers[:, other])
            returned[same] = other if quality[other] >= quality[new] else new
            calls[same] = length
    # Without two votes the last reply that there is.
    for model in reversed(arm):
        returned[(returned < 0) & votes.told[:, model]] = model
    returned[returned < 0] = arm[-1]
    return returned, calls


def on_hull(table: Table) -> list[int]:
    """Columns of the arms on the hull of mean cost and quality, ascending in cost; without an outcome, none."""
    cost, quality = table.means()
    there = np.flatnonzero(~np.isnan(cost))
    return [int(there[point]) for point in hull(cost[there], quality[there])]


def most_used(table: Table, count: int) -> list[int]:
    """The `count` models that stand on most arms of the hull, ascending; where it has fewer, those of the hull of the
    remaining arms too, and so on."""
    cost, quality = table.means()
    left = np.flatnonzero(~np.isnan(cost)).tolist()
    found: list[int] = []
    while left and len(found) < count:
        layer = [left[point] for point in hull(cost[left], quality[left])]
        uses = Counter(model for column in layer for model in table.arms[column] if model not in found)
        found += sorted(uses, key=lambda model: (-uses[model], model))[: count - len(found)]
        left = sorted(set(left) - set(layer))
    return sorted(found)
