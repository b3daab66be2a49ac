"""Which arm for which prompt: how each arm does on a prompt by one ridge over what is known of it, and whether that is
worth more than what the arms do on average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.arms import Table
from routers.base import price_of_quality
from routers.experts import folds
from routers.hull import mean_height
from routers.pool import Pool
from routers.regression import Line, Ridge

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

ALPHAS = (1500.0, 6000.0, 25_000.0, 100_000.0)
"""Penalties tried for quality; a tenth of the chosen one for cost. They are large because arms differ by little."""
COST_SHARE = 0.1
COST_FLOOR = 0.1
"""A foretold cost is at least this share of the arm's mean."""
TRADEOFFS = (0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
"""Where a way of picking is tried out."""
DRAWS = 400
"""Of the bootstrap that tells how much a gain may be chance."""
DOUBT_OF_LADDERS = 0.05
"""Ladders are had where no more than this share of the draws shows no gain by them: they cost calls."""
DOUBT_OF_PICKS = 0.25
"""The same for picking by the prompt: its penalties already draw it to the means, so it has little to lose."""


@dataclass(frozen=True)
class Picker:
    """Quality and cost of a arms from f features."""

    scaling: Floats
    """Mean and standard deviation of the features, shape (2, f)."""
    quality: Line
    """From standardised features to the a arms' quality over their mean on the prompt, and that mean: a + 1."""
    cost: Line
    """From standardised features to the a arms' cost, USD."""

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Quality and cost of the arms for one prompt, shape (a,) each; cost may be negative."""
        inputs = (features - self.scaling[0]) / self.scaling[1]
        found = self.quality.at(inputs)
        return found[:-1] + found[-1], self.cost.at(inputs)


@dataclass(frozen=True)
class Curve:
    """What a way of picking got on n training prompts at each of t tradeoffs."""

    quality: Floats
    """Shape (n, t)."""
    cost: Floats
    """Shape (n, t), USD."""


@dataclass(frozen=True)
class Ground:
    """The training prompts and arms that ways of picking are tried out on."""

    quality: Floats
    """Shape (n, a); a missing cell holds the arm's mean."""
    cost: Floats
    """Shape (n, a), USD, likewise."""
    ladder: Mask
    """Shape (a,): whether the arm is a ladder; one of them at least is none."""
    comparable: Mask
    """Shape (n,): whether ladders may be picked for the prompt."""
    low: float
    """Mean cost of the cheapest model."""
    high: float
    """Mean cost of the dearest."""
    floor: float
    """Mean quality of the cheapest."""

    @classmethod
    def of(cls, table: Table, comparable: Mask, pool: Pool) -> Ground:
        """The arms of `table`, all with an outcome somewhere, between the limits of the pool."""
        cost, quality = table.means()
        cheapest = int(np.lexsort((-pool.quality, pool.cost))[0])
        return cls(
            np.where(np.isnan(table.quality), quality, table.quality),
            np.where(np.isnan(table.cost), cost, table.cost),
            np.array([len(arm) > 1 for arm in table.arms]),
            comparable,
            float(pool.cost.min()),
            float(pool.cost.max()),
            float(pool.quality[cheapest]),
        )

    def height(self, curve: Curve) -> float:
        """AIQ of a curve on these prompts."""
        return mean_height(curve.cost.mean(axis=0), curve.quality.mean(axis=0), self.low, self.high, self.floor)

    def picked(self, quality: Floats, cost: Floats) -> Curve:
        """The curve of argmax q̂ − λĉ by predictions of shape (n, a)."""
        offered = self.comparable[:, None] | ~self.ladder
        return self._got([pick(quality, cost, offered, weight) for weight in self._weights])

    def mixed(self, *, ladders: bool, seed: int) -> Curve:
        """The curve of all arms, or of the single models alone, by their means over the other folds: what blind mixing
        gets on prompts that it was not chosen on."""
        n = len(self.quality)
        got = np.empty((len(TRADEOFFS), n), dtype=np.intp)
        for held in folds(n, seed=seed):
            others = np.setdiff1d(np.arange(n), held) if n > 1 else held
            for kind in (False, True):
                like = others[self.comparable[others] == kind]
                rows = like if like.size else others
                quality, cost = self.quality[rows].mean(axis=0)[None], self.cost[rows].mean(axis=0)[None]
                offered = np.array([[kind and ladders]]) | ~self.ladder
                columns = held[self.comparable[held] == kind]
                for place, weight in enumerate(self._weights):
                    got[place, columns] = pick(quality, cost, offered, weight)[0]
        return self._got(list(got))

    @property
    def _weights(self) -> list[float]:
        return [price_of_quality(tradeoff, self.high) for tradeoff in TRADEOFFS]

    def _got(self, arms: Sequence[NDArray[np.intp]]) -> Curve:
        n = np.arange(len(self.quality))
        return Curve(
            np.column_stack([self.quality[n, columns] for columns in arms]),
            np.column_stack([self.cost[n, columns] for columns in arms]),
        )

    def better(self, one: Curve, other: Curve, *, doubt: float, seed: int) -> bool:
        """Whether the AIQ of `one` is above that of `other` in all but the share `doubt` of the draws of a paired
        bootstrap over the prompts."""
        rng = np.random.default_rng(seed)
        n = len(self.quality)
        gains = []
        for _ in range(DRAWS):
            weight = np.bincount(rng.integers(n, size=n), minlength=n) / n
            heights = [
                mean_height(weight @ curve.cost, weight @ curve.quality, self.low, self.high, self.floor)
                for curve in (one, other)
            ]
            gains.append(heights[0] - heights[1])
        return float(np.quantile(gains, doubt)) > 0


def pick(quality: Floats, cost: Floats, offered: Mask, weight: float) -> NDArray[np.intp]:
    """The arm of highest q̂ − λĉ among those offered, for each row of (n, a) predictions; ties to the cheaper one."""
    worth = -cost if math.isinf(weight) else quality - weight * cost
    best = np.where(offered, worth, -np.inf).max(axis=1, keepdims=True)
    found: NDArray[np.intp] = np.where(offered & (worth >= best), cost, np.inf).argmin(axis=1)
    return found


def fit(ground: Ground, features: Floats) -> tuple[Picker, Curve]:
    """The picker of highest leave-one-out AIQ, and its leave-one-out curve. Call within `features.one_thread`.

    `features`: shape (n, f), from predictors that have not seen the prompt.
    """
    deviation = features.std(axis=0)
    scaling = np.vstack([features.mean(axis=0), np.where(deviation > 1e-9, deviation, 1.0)])
    ridge = Ridge((features - scaling[0]) / scaling[1])
    level = ground.quality.mean(axis=1, keepdims=True)
    apart = np.hstack([ground.quality - level, level])
    floor = COST_FLOOR * ground.cost.mean(axis=0)
    tried = []
    for alpha in ALPHAS:
        quality = ridge.left_out(apart, alpha)[:, :-1]
        cost = np.maximum(ridge.left_out(ground.cost, COST_SHARE * alpha), floor)
        curve = ground.picked(quality, cost)
        tried.append((ground.height(curve), alpha, curve))
    _, alpha, curve = max(tried, key=lambda one: (one[0], one[1]))
    return Picker(scaling, ridge.fit(apart, alpha), ridge.fit(ground.cost, COST_SHARE * alpha)), curve
