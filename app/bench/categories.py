"""The cost-quality plane of each category: where a router gains and where it loses.

A mean over a mixed suite can hide that a router helps on one kind of prompt and harms on another. Limits, hulls and
intervals are each category's own, and nothing is corrected for the number of categories: these figures tell where to
look, the report's own tell what is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.bench import curves
from app.bench.baselines import ScoredPool
from app.bench.figures import Category, CategoryPoint, CategoryRouter, Mark, Single
from app.bench.plane import Plane, as_estimate, marks
from app.bench.results import RouterResult
from routers import Outcomes

FEWEST = 10
"""Items below which a category has no intervals: resampling so few shows almost no spread, which would be taken for
certainty."""


def by_category(
    categories: Sequence[str],
    results: Sequence[RouterResult],
    scored: Outcomes | None,
    *,
    draws: int,
    seed: int,
) -> tuple[Category, ...]:
    """Every category that has items, the largest first.

    `categories`: of each of the n scored items; `results` and `scored` are about the same items in the same order,
    `scored` is None where nothing is recorded. Empty where there are no results.
    """
    if not results:
        return ()
    kinds = np.array(categories, dtype=object)
    largest_first = sorted(Counter(categories).items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple(
        _category(name, np.flatnonzero(kinds == name), results, scored, draws, seed) for name, _ in largest_first
    )


def _category(
    name: str,
    places: NDArray[np.int64],
    results: Sequence[RouterResult],
    scored: Outcomes | None,
    draws: int,
    seed: int,
) -> Category:
    pool = _pool(scored, places)
    own = tuple(replace(result, settings=tuple(one.at(places) for one in result.settings)) for result in results)
    plane = Plane(pool, own, draws, seed)
    enough = len(places) >= FEWEST
    return Category(
        category=name,
        n=len(places),
        pool=plane.singles() if enough else tuple(map(_without_intervals, plane.singles())),
        routers=tuple(_router(plane, place, enough=enough) for place in range(len(own))),
        best_single=None if pool is None else pool.models[pool.best_single],
        oracle=None if pool is None else _mark(pool.oracle.point),
        zero=() if pool is None else marks(pool.zero.cost, pool.zero.quality),
    )


def _pool(scored: Outcomes | None, places: NDArray[np.int64]) -> ScoredPool | None:
    """The models with an outcome on these items; None where there are none."""
    if scored is None:
        return None
    try:
        return ScoredPool.of(scored.take(places))
    except ValueError:
        return None


def _without_intervals(single: Single) -> Single:
    return Single(model=single.model, quality=single.quality, cost_per_1k=single.cost_per_1k, coverage=single.coverage)


def _mark(point: curves.Point) -> Mark:
    return Mark(quality=point.quality, cost_per_1k=1000 * point.cost)


def _router(plane: Plane, place: int, *, enough: bool) -> CategoryRouter:
    result = plane.results[place]
    cost, quality = plane.means(place)
    hull = curves.ndch(cost, quality)
    points = tuple(
        CategoryPoint(
            tradeoff=float(setting.tradeoff),
            coverage=float(setting.answered.mean()),
            quality=float(setting.quality.mean()),
            cost_per_1k=1000 * float(setting.cost.mean()),
            quality_interval=plane.quality_interval(plane.column[place] + index) if enough else None,
            share=setting.share(),
        )
        for index, setting in enumerate(result.settings)
    )
    pool = plane.pool
    found = CategoryRouter(router=result.router, points=points, hull=marks(hull.cost, hull.quality))
    if pool is None:
        return found
    score, zero = curves.aiq(cost, quality, pool.frame), curves.aiq(pool.zero.cost, pool.zero.quality, pool.frame)
    delta = as_estimate(score - zero, plane.aiq_samples(place) - plane.zero_samples) if enough else None
    return CategoryRouter(router=result.router, points=points, hull=found.hull, aiq=score, delta_aiq=delta)
