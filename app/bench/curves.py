"""Curves in the cost-quality plane: hulls, the area under them, the oracle's curve, the Pareto set.

A router is a handful of points, one per setting. Between two settings a client can mix (serve a share of the
requests at one, the rest at the other), so what a router can reach is the concave hull of its points, and its score is
the mean height of that hull. The hull and AIQ are RouterBench's (arXiv 2403.12031, section 3.3); the fixed limits are
ours, because with limits taken from the compared routers the order of two routers can depend on a third.

Costs are USD per call throughout; qualities lie in [0, 1]. All functions are pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SAME_QUALITY = 1e-12
"""Two means of the same numbers, summed in another order, differ by less than this."""
SAME_COST = 1e-12
"""Relative width under which two limits count as equal, for the same reason."""


class Point(NamedTuple):
    """Where one setting of one router stands."""

    cost: float
    """Mean USD per call."""
    quality: float


@dataclass(frozen=True)
class Hull:
    """A non-decreasing concave curve: straight between its vertices, flat to the right of the last one."""

    cost: Floats
    """Shape (k,), strictly ascending, USD."""
    quality: Floats
    """Shape (k,), strictly ascending."""
    index: NDArray[np.int64]
    """Shape (k,): which of the given points each vertex is."""

    def at(self, cost: ArrayLike) -> Floats:
        """Height at `cost` (any shape); NaN left of the first vertex, where the curve is not defined."""
        wanted = np.asarray(cost, dtype=np.float64)
        return np.asarray(np.interp(wanted, self.cost, self.quality, left=np.nan))

    def quality_at(self, budget: float) -> float | None:
        """Best quality for at most `budget` USD per call; None where even the first vertex costs more."""
        return None if budget < self.cost[0] else float(self.at(budget))

    def cost_at(self, quality: float) -> float | None:
        """Least USD per call that reaches `quality`; None where the curve never does."""
        if quality > self.quality[-1] + SAME_QUALITY:
            return None
        return float(np.interp(quality, self.quality, self.cost))


@dataclass(frozen=True)
class Frame:
    """The limits every curve of a report is integrated between: they come from the pool, not from the routers."""

    low: float
    """Mean cost of the cheapest single model."""
    high: float
    """Mean cost of the dearest single model."""
    floor: float
    """Quality of the cheapest single model, which anybody can have without a router."""

    @classmethod
    def of(cls, cost: ArrayLike, quality: ArrayLike) -> Self:
        """The frame of a pool with single-model points `cost`, `quality`, both of shape (m,)."""
        costs, qualities = _points(cost, quality)
        low = float(costs.min())
        return cls(low, float(costs.max()), float(qualities[costs == low].max()))

    @property
    def flat(self) -> bool:
        """True where all models cost the same, so that there is no width to integrate over."""
        return _flat(self.low, self.high)


def ndch(cost: ArrayLike, quality: ArrayLike) -> Hull:
    """Non-decreasing concave hull of the points `cost`, `quality`, both of shape (k,).

    Sorted by cost, then by quality downwards; the upper concave envelope; cut after the leftmost maximum. Raises
    `ValueError` for no points, a NaN, an infinity or a negative cost.
    """
    costs, qualities = _points(cost, quality)
    chain: list[int] = []
    for point in np.lexsort((-qualities, costs)):
        if chain and qualities[point] <= qualities[chain[-1]]:
            continue  # not dearer and better than what stands: it can be on no rising curve
        while len(chain) > 1 and _not_above(costs, qualities, chain[-2], chain[-1], point):
            chain.pop()
        chain.append(int(point))
    index = np.array(chain, dtype=np.int64)
    return Hull(costs[index], qualities[index], index)


def _points(cost: ArrayLike, quality: ArrayLike) -> tuple[Floats, Floats]:
    costs, qualities = np.asarray(cost, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    if costs.ndim != 1 or costs.shape != qualities.shape or not costs.size:
        raise ValueError(f"points: expected as many costs as qualities, got {costs.shape} and {qualities.shape}")
    if not (np.isfinite(costs).all() and np.isfinite(qualities).all()):
        raise ValueError("points: a cost or quality is NaN or infinite")
    if costs.min() < 0:
        raise ValueError("points: a cost is negative")
    return costs, qualities


def _not_above(costs: Floats, qualities: Floats, left: int, middle: int, right: int) -> bool:
    """True where `middle` lies on or under the line from `left` to `right`."""
    rise, run = qualities[right] - qualities[left], costs[right] - costs[left]
    return bool((qualities[middle] - qualities[left]) * run <= rise * (costs[middle] - costs[left]))


def _flat(low: float, high: float) -> bool:
    return high - low <= SAME_COST * high


# ---------------------------------------------------------------------------------------------------- area


class _Piece(NamedTuple):
    """A straight stretch of a curve."""

    start: float
    stop: float
    first: float
    last: float


def _pieces(hull: Hull, low: float, high: float) -> Iterator[_Piece]:
    """The straight stretches of `hull` over [low, high], as far as it is defined there."""
    low = max(low, float(hull.cost[0]))
    if high <= low:
        return
    inner = hull.cost[(hull.cost > low) & (hull.cost < high)]
    marks = np.concatenate(([low], inner, [high]))
    heights = hull.at(marks)
    for start, stop, first, last in zip(marks[:-1], marks[1:], heights[:-1], heights[1:], strict=True):
        yield _Piece(float(start), float(stop), float(first), float(last))


def _curve(cost: ArrayLike, quality: ArrayLike, frame: Frame) -> list[_Piece]:
    """The curve AIQ is the mean height of.

    From the router's first hull point on, its own hull. Below, the hull of its points and the cheapest single model
    together: a client with less money than the router's cheapest setting needs mixes it with that model.
    """
    costs, qualities = _points(cost, quality)
    own = ndch(costs, qualities)
    joint = ndch(np.append(costs, frame.low), np.append(qualities, frame.floor))
    start = float(own.cost[0])
    return [*_pieces(joint, frame.low, min(start, frame.high)), *_pieces(own, max(start, frame.low), frame.high)]


def _height(cost: ArrayLike, quality: ArrayLike, frame: Frame) -> float:
    """Height of the curve at the lower limit."""
    own = ndch(cost, quality)
    return float(own.at(frame.low)) if own.cost[0] <= frame.low else frame.floor


def aiq(cost: ArrayLike, quality: ArrayLike, frame: Frame) -> float:
    """Average improvement in quality: mean height of a router's curve between the limits of `frame`.

    `cost`, `quality`: the router's points, shape (k,). Where all models cost the same, the height at that cost.
    """
    if frame.flat:
        return _height(cost, quality, frame)
    area = sum((piece.first + piece.last) / 2 * (piece.stop - piece.start) for piece in _curve(cost, quality, frame))
    return float(area / (frame.high - frame.low))


def aiq_log(cost: ArrayLike, quality: ArrayLike, frame: Frame) -> float | None:
    """AIQ of the same curve over log cost, so that every factor of two in cost weighs alike.

    The hull stays the one over plain cost, since it is plain cost that mixing two settings averages. None where the
    cheapest model is free: log cost has no lower limit then.
    """
    if frame.low <= 0:
        return None
    if frame.flat:
        return _height(cost, quality, frame)
    area = 0.0
    for start, stop, first, last in _curve(cost, quality, frame):
        slope = (last - first) / (stop - start)
        area += (first - slope * start) * math.log(stop / start) + slope * (stop - start)
    return area / math.log(frame.high / frame.low)


def aiq_rb_compat(cost: ArrayLike, quality: ArrayLike, reach: float) -> float:
    """AIQ as RouterBench's code computes it, for comparison with its tables only.

    The area under the router's hull from its first point to `reach`, the largest hull cost among the compared routers,
    divided by `reach`; left of the first point there is no area. With `reach` 0 the quality that costs nothing.
    """
    hull = ndch(cost, quality)
    if reach <= 0:
        return float(hull.quality[0])
    area = sum((piece.first + piece.last) / 2 * (piece.stop - piece.start) for piece in _pieces(hull, 0.0, reach))
    return float(area / reach)


def gap_closed(router: float, zero: float, oracle: float) -> float | None:
    """Share of the way from the zero router's AIQ to the oracle curve's; None where there is no way to go."""
    return (router - zero) / (oracle - zero) if oracle - zero > SAME_QUALITY else None


def cost_save(hull: Hull, best: Point) -> float | None:
    """1 − least cost on `hull` at the best single model's quality / that model's cost.

    None where the hull never reaches that quality ("not reached", which is not 0), or where that model is free.
    """
    cost = hull.cost_at(best.quality)
    return None if cost is None or best.cost <= 0 else 1 - cost / best.cost


def perf_gain(hull: Hull, best: Point) -> float | None:
    """Best quality on `hull` / the best single model's quality − 1; None where that is 0."""
    return float(hull.quality[-1]) / best.quality - 1 if best.quality > 0 else None


# -------------------------------------------------------------------------------------------- many at once


class _Step(NamedTuple):
    """One edge of each of r hulls; where a hull has no further edge, `end` equals `start`."""

    start: Floats
    end: Floats
    first: Floats
    last: Floats


def _walk(cost: Floats, quality: Floats) -> Iterator[_Step]:
    """Walk r non-decreasing concave hulls at once, edge by edge, from shape (r, k) points.

    Gift wrapping: from each vertex to the dearer point with the steepest rise, as long as one rises. At most k − 1
    rounds of O(r·k), without a Python loop over r. The first step is of no length and tells where the hulls begin.
    """
    rows = np.arange(len(cost))
    cheapest = cost == cost.min(axis=1, keepdims=True)
    at = np.where(cheapest, quality, -np.inf).argmax(axis=1)
    x, y = cost[rows, at], quality[rows, at]
    yield _Step(x, x, y, y)
    while True:
        run, rise = cost - x[:, None], quality - y[:, None]
        slope = np.zeros_like(run)
        with np.errstate(over="ignore"):
            np.divide(rise, run, out=slope, where=(run > 0) & (rise > 0))
        at = slope.argmax(axis=1)
        rising = slope[rows, at] > 0
        if not rising.any():
            return
        end, last = np.where(rising, cost[rows, at], x), np.where(rising, quality[rows, at], y)
        yield _Step(x, end, y, last)
        x, y = end, last


def _areas(cost: Floats, quality: Floats, low: Floats, high: Floats) -> Floats:
    """Area under each of r hulls of shape (r, k) points over [low, high], shape (r,), as far as it is defined."""
    total = np.zeros(len(cost))
    end, last = low, np.zeros(len(cost))
    for start, end, first, last in _walk(cost, quality):
        left, right = np.clip(start, low, high), np.clip(end, low, high)
        run = end - start
        part = np.divide((left + right) / 2 - start, run, out=np.zeros_like(run), where=run > 0)
        total += (right - left) * (first + part * (last - first))
    return total + last * np.maximum(high - np.maximum(end, low), 0)


def aiq_many(cost: Floats, quality: Floats, low: Floats, high: Floats, floor: Floats) -> Floats:
    """`aiq` of r draws at once: points of shape (r, k), the frame of each draw as three arrays of shape (r,)."""
    start = cost.min(axis=1)
    joint_cost = np.concatenate([cost, low[:, None]], axis=1)
    joint_quality = np.concatenate([quality, floor[:, None]], axis=1)
    area = _areas(joint_cost, joint_quality, low, np.clip(start, low, high))
    area += _areas(cost, quality, np.clip(start, low, high), high)
    width = high - low
    result = np.divide(area, width, out=np.zeros_like(area), where=width > SAME_COST * high)
    for row in np.flatnonzero(width <= SAME_COST * high):
        result[row] = aiq(cost[row], quality[row], Frame(float(low[row]), float(high[row]), float(floor[row])))
    return result


# -------------------------------------------------------------------------------------------------- oracle


@dataclass(frozen=True)
class Picks:
    """Which model was picked on each of n prompts, and what came of it."""

    index: NDArray[np.int64]
    """Shape (n,): column of the model."""
    quality: Floats
    """Shape (n,)."""
    cost: Floats
    """Shape (n,), USD."""

    @property
    def point(self) -> Point:
        return Point(float(self.cost.mean()), float(self.quality.mean()))


def oracle(quality: Floats, cost: Floats, *, rb_compat: bool = False) -> Picks:
    """The best model of each prompt, ties to the cheapest, from shape (n, m) tables; NaN = missing, never picked.

    Where no model scores more than 0 the model cheapest on that prompt is charged; `rb_compat` charges 0 there, as
    RouterBench does. A prompt on which every model is missing gives quality 0 at no cost.
    """
    known_quality, known_cost = _known(quality, cost)
    best = known_quality.max(axis=1, keepdims=True)
    index = np.where(known_quality == best, known_cost, np.inf).argmin(axis=1)
    rows = np.arange(len(index))
    picked_quality = np.maximum(known_quality[rows, index], 0)
    picked_cost = known_cost[rows, index]
    if rb_compat:
        picked_cost = np.where(picked_quality > 0, picked_cost, 0)
    return Picks(index, picked_quality, picked_cost)


def oracle_curve(quality: Floats, cost: Floats) -> tuple[Floats, Floats]:
    """Vertices (cost, quality) of the curve of argmax q − λc per prompt, for every λ from infinity down to 0.

    Exact, not sampled: as λ falls a prompt changes its model only where λ passes the slope of an edge of that
    prompt's own hull. So the curve begins with every prompt at its cheapest model, and each edge of each prompt, taken
    in order of falling slope, moves it by edge / n. Tables of shape (n, m); NaN = missing, never picked.
    """
    known_quality, known_cost = _known(quality, cost)
    steps = list(_walk(known_cost, known_quality))
    run = np.concatenate([step.end - step.start for step in steps])
    rise = np.concatenate([step.last - step.first for step in steps])
    moved = run > 0
    run, rise = run[moved], rise[moved]
    order = np.argsort(-rise / run, kind="stable")
    n = len(known_cost)
    start_cost, start_quality = steps[0].start.mean(), np.maximum(steps[0].first, 0).mean()
    costs = start_cost + np.concatenate(([0.0], np.cumsum(run[order]))) / n
    qualities = start_quality + np.concatenate(([0.0], np.cumsum(rise[order]))) / n
    return costs, qualities


def _known(quality: Floats, cost: Floats) -> tuple[Floats, Floats]:
    """The tables with missing cells made so bad that they are never picked: quality −1 at the row's highest cost."""
    missing = np.isnan(quality) | np.isnan(cost)
    if not missing.any():
        return quality, cost
    dearest = np.where(missing, 0.0, cost).max(axis=1, keepdims=True)
    return np.where(missing, -1.0, quality), np.where(missing, dearest, cost)


def regret(picked: tuple[Floats, Floats], quality: Floats, cost: Floats, weight: float) -> float | None:
    """Mean utility q − λc lost against the best pick of each prompt.

    `picked`: quality and cost of what a router picked, both of shape (n,); `quality`, `cost`: the pool's tables of
    shape (n, m), NaN = missing; `weight`: λ in quality per USD. A prompt on which every model is missing loses nothing.
    None where λ is infinite: only cost counts then, and the utility has no scale.
    """
    if math.isinf(weight):
        return None
    known_quality, known_cost = _known(quality, cost)
    best = (np.where(known_quality < 0, -np.inf, known_quality) - weight * known_cost).max(axis=1)
    best = np.where(np.isinf(best), 0.0, best)
    got_quality, got_cost = picked
    return float((best - (got_quality - weight * got_cost)).mean())


# -------------------------------------------------------------------------------------- Pareto and shares


def pareto(cost: ArrayLike, quality: ArrayLike) -> NDArray[np.bool_]:
    """Which of the points, shape (k,), no other point beats: as cheap and better, or as good and cheaper."""
    costs, qualities = _points(cost, quality)
    no_worse = (costs[:, None] <= costs) & (qualities[:, None] >= qualities)
    better = (costs[:, None] < costs) | (qualities[:, None] > qualities)
    return np.asarray(~(no_worse & better).any(axis=0))


def pareto_dist(cost: ArrayLike, quality: ArrayLike, front: tuple[ArrayLike, ArrayLike], scale: Point) -> float:
    """Mean distance of a router's points to the nearest point of the Pareto set `front` (costs, qualities).

    Both axes are divided by the pool's range, `scale`; an axis without range is left out.
    """
    costs, qualities = _points(cost, quality)
    front_cost, front_quality = _points(*front)
    across = (costs[:, None] - front_cost) / scale.cost if scale.cost > 0 else np.zeros((len(costs), len(front_cost)))
    up = (qualities[:, None] - front_quality) / scale.quality if scale.quality > 0 else np.zeros_like(across)
    return float(np.hypot(across, up).min(axis=1).mean())


def entropy(share: ArrayLike) -> float:
    """Shannon entropy in bits of parts of a whole, shape (m,); parts are normalised, no parts give 0."""
    parts = np.asarray(share, dtype=np.float64)
    parts = parts[parts > 0] / parts.sum() if parts.sum() > 0 else np.zeros(0)
    return abs(float(-(parts * np.log2(parts)).sum()))
