"""All points of a report in the cost-quality plane, with the bootstrap samples of each.

The pool's single models and every setting of every router stand in one table of columns, and a draw of the bootstrap
resamples its rows: so whatever is computed of two of them is paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from app.bench import curves
from app.bench.baselines import ScoredPool
from app.bench.curves import Floats
from app.bench.figures import Estimate, Interval, Mark, Single
from app.bench.results import RouterResult
from app.bench.statistics import bootstrap_means, interval, intervals


@dataclass(frozen=True)
class Plane:
    """The points of a pool and of routers on the same n items."""

    pool: ScoredPool | None
    results: tuple[RouterResult, ...]
    draws: int
    seed: int

    def means(self, place: int) -> tuple[Floats, Floats]:
        """Points of the router at `place`, shape (settings,): mean cost and mean quality."""
        start, stop = self.column[place], self.column[place + 1]
        return self.points[0][start:stop], self.points[1][start:stop]

    def aiq_samples(self, place: int) -> Floats:
        """AIQ of the router at `place` in every draw, shape (draws,); needs a pool."""
        start, stop = self.column[place], self.column[place + 1]
        cost, quality = self.samples
        return curves.aiq_many(cost[:, start:stop], quality[:, start:stop], *self._frames)

    @cached_property
    def zero_samples(self) -> Floats:
        """The zero router's, likewise."""
        cost, quality = (samples[:, : self.column[0]] for samples in self.samples)
        return curves.aiq_many(cost, quality, *self._frames)

    def quality_interval(self, column: int) -> Interval:
        """Of the mean quality of one point."""
        low, high = self._bounds[1][:, column].tolist()
        return Interval(low=low, high=high)

    def cost_interval(self, column: int) -> Interval:
        """Of the mean cost of one point, USD per 1,000 requests."""
        low, high = (1000 * self._bounds[0][:, column]).tolist()
        return Interval(low=low, high=high)

    @cached_property
    def _bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper bounds of cost and quality of all points at once, shape (2, points) each."""
        cost, quality = self.samples
        return intervals(cost), intervals(quality)

    @cached_property
    def column(self) -> list[int]:
        """Where the points of each router begin, after those of the pool; at the end the number of all points."""
        counts = [len(self.pool.models) if self.pool else 0, *(len(result.settings) for result in self.results)]
        return list(accumulate(counts))

    @cached_property
    def _columns(self) -> tuple[Floats, Floats]:
        """Cost and quality of every point on every item, both of shape (n, points): the pool's, then the routers'."""
        settings = [setting for result in self.results for setting in result.settings]
        cost = [setting.cost for setting in settings]
        quality = [setting.quality for setting in settings]
        if self.pool is not None:
            cost, quality = [*self.pool.counted[1].T, *cost], [*self.pool.counted[0].T, *quality]
        return np.column_stack(cost), np.column_stack(quality)

    @cached_property
    def points(self) -> tuple[Floats, Floats]:
        """Mean cost and mean quality of every point, shape (points,)."""
        cost, quality = self._columns
        return cost.mean(axis=0), quality.mean(axis=0)

    @cached_property
    def samples(self) -> tuple[Floats, Floats]:
        """The same of every draw, both of shape (draws, points)."""
        both = bootstrap_means(np.hstack(self._columns), draws=self.draws, seed=self.seed)
        half = both.shape[1] // 2
        return both[:, :half], both[:, half:]

    @cached_property
    def _frames(self) -> tuple[Floats, Floats, Floats]:
        """Lower limit, upper limit and floor of every draw: the limits are resampled with everything else."""
        cost, quality = (samples[:, : self.column[0]] for samples in self.samples)
        low = cost.min(axis=1)
        return low, cost.max(axis=1), np.where(cost == low[:, None], quality, -np.inf).max(axis=1)

    @cached_property
    def pareto(self) -> NDArray[np.bool_]:
        """Which points no other one beats, shape (points,)."""
        return curves.pareto(*self.points)

    def single(self, model: int) -> Single:
        """The single model at position `model` of the pool."""
        assert self.pool is not None
        point = self.pool.points[model]
        return Single(
            model=self.pool.models[model],
            quality=point.quality,
            cost_per_1k=1000 * point.cost,
            coverage=float(self.pool.coverage[model]),
            quality_interval=self.quality_interval(model),
            cost_interval=self.cost_interval(model),
        )

    def singles(self) -> tuple[Single, ...]:
        """The pool, ascending in cost; empty without one."""
        if self.pool is None:
            return ()
        pool = self.pool
        order = sorted(range(len(pool.models)), key=lambda model: (pool.points[model].cost, pool.models[model]))
        return tuple(self.single(model) for model in order)


def marks(cost: Floats, quality: Floats) -> tuple[Mark, ...]:
    """Points of shape (k,), cost in USD, as a report has them."""
    return tuple(Mark(quality=float(q), cost_per_1k=1000 * float(c)) for c, q in zip(cost, quality, strict=True))


def as_interval(samples: Floats) -> Interval:
    """95 % percentile interval of shape (draws,) samples."""
    low, high = interval(samples)
    return Interval(low=low, high=high)


def as_estimate(value: float, samples: Floats) -> Estimate:
    """`value` with that interval."""
    low, high = interval(samples)
    return Estimate(value=value, low=low, high=high)
