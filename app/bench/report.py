"""Build the report of one run from what every router did on the same items.

Pure: the same arguments give the same figures, on every machine. All routers, the baselines and the pool are resampled
together, so that each interval of a difference is a paired one.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.bench import baselines as base
from app.bench import calibration, curves, pairs, wording
from app.bench.arena import arena_score
from app.bench.baselines import ScoredPool
from app.bench.categories import by_category
from app.bench.curves import Floats, Hull, Point
from app.bench.figures import (
    Baselines,
    Bin,
    Calibration,
    Interval,
    Kind,
    Mark,
    ModelPrice,
    Oracle,
    Pair,
    PairedTest,
    Percentiles,
    PointReport,
    Report,
    RouterReport,
    Zero,
)
from app.bench.losses import losses_of
from app.bench.plane import Plane, as_estimate, as_interval, marks
from app.bench.results import RouterResult, Setting
from app.bench.significance import corrected, paired_test
from app.bench.statistics import bootstrap_p
from app.bench.suite import Suite
from routers import Outcomes
from routers.base import price_of_quality

__all__ = ["Report", "build_report"]

EVEN = 0.5
"""The tradeoff at which one setting of a router is picked to be shown alone."""
CURVE_MARKS = 60
"""Most vertices of the oracle's curve that are kept for drawing."""


def build_report(
    *,
    suite: Suite,
    rows: NDArray[np.int64],
    split: str,
    seed: int,
    results: Sequence[RouterResult],
    outcomes: Outcomes | None,
    quality_source: str,
    tradeoffs: Sequence[float],
    kind: Kind,
    run: str | None = None,
    draws: int = 2000,
    upstream: str | None = None,
    notes: Sequence[str] = (),
    bench_only: Collection[str] = ("oracle",),
    created_at: datetime | None = None,
    train: NDArray[np.int64] | None = None,
    split_by: str = "stratified",
    prices: Sequence[ModelPrice] = (),
) -> Report:
    """The report on `results`, all of them about the items at `rows`, in that order.

    `outcomes`: all items of the suite with the quality source in use, or None where nothing is recorded: pool,
    baselines, AIQ and its difference are then left out, and a note says so. `tradeoffs`: settings of the fitted
    baselines, which are fitted to the items at `train`, by default `suite.rows("train", seed)`; `split_by` says how
    the suite was divided. `seed` also seeds the bootstrap. `bench_only`: names of results that know what cannot be
    known when serving; they are shown but are never the headline. `created_at`: now by default. `prices`: what the
    calls were billed at, where that is known. Raises `ValueError` where there are no rows, a result is not about them,
    or the outcomes are not of this suite.
    """
    if not len(rows):
        raise ValueError("no items to score: the split is empty")
    if outcomes is not None and outcomes.items != tuple(item.id for item in suite.items):
        raise ValueError(f"outcomes: not of the same items as suite {suite.name!r}, or in another order")
    results = [_checked(result, len(rows)) for result in results]
    remarks = list(notes)
    train = suite.rows("train", seed) if train is None else train
    scored = outcomes.take(rows) if outcomes is not None else None
    pool = ScoredPool.of(scored) if scored is not None else None
    fitted = [] if outcomes is None else list(_fitted(suite, outcomes, train, rows, tradeoffs, seed, remarks))
    plane = _Judged(pool, (*results, *fitted), draws, seed, _dearest(outcomes))
    reports = [plane.router(place) for place in range(len(plane.results))]
    routers, beside = corrected(reports[: len(results)]), {r.router: r for r in reports[len(results) :]}
    if pool is not None:
        settings = [result.settings[r.best_point] for result, r in zip(results, routers, strict=True)]
        routers = [
            router
            if router.router in bench_only
            else msgspec.structs.replace(router, losses=losses_of(setting, suite, rows, pool))
            for router, setting in zip(routers, settings, strict=True)
        ]
    baselines = _baselines(plane, pool, beside) if pool is not None else None
    absent = [model for model in scored.models if model not in pool.models] if scored and pool else []
    said = wording.notes(suite=suite, split=split, pool=pool, absent=absent, routers=routers, upstream=upstream)
    serving = {router.router for router in routers} - set(bench_only)
    return Report(
        suite=suite.name,
        suite_digest=suite.digest,
        simulated=suite.simulated,
        n=len(rows),
        split=split,
        split_by=split_by,
        seed=seed,
        kind=kind,
        run=run,
        upstream=upstream,
        quality_source=quality_source,
        draws=draws,
        created_at=created_at or datetime.now(UTC),
        versions=_versions(),
        headline=wording.headline(routers, baselines, n=len(rows), split=split, suite=suite, shown=serving),
        notes=(*said, *remarks),
        pool=plane.singles(),
        baselines=baselines,
        routers=tuple(routers),
        categories=by_category([suite.items[row].category for row in rows], results, scored, draws=draws, seed=seed),
        prices=tuple(prices),
    )


def _checked(result: RouterResult, n: int) -> RouterResult:
    """The result with unanswered items at quality 0; raises `ValueError` where it is not about n items."""
    if not result.settings:
        raise ValueError(f"router {result.router!r} has no settings")
    for setting in result.settings:
        where = f"router {result.router!r} at tradeoff {setting.tradeoff}"
        arrays = {"model": len(setting.model), "quality": len(setting.quality), "cost": len(setting.cost)}
        foretold = [len(given) for given in (setting.predicted_quality, setting.predicted_cost) if given is not None]
        if any(length != n for length in (*arrays.values(), len(setting.answered), *foretold)):
            raise ValueError(f"{where}: not about the {n} scored items: {arrays}")
        if not (np.isfinite(setting.quality).all() and np.isfinite(setting.cost).all()):
            raise ValueError(f"{where}: a quality or cost is NaN or infinite; a failed call has quality 0")
        if setting.cost.min() < 0:
            raise ValueError(f"{where}: a cost is negative")
    settings = (replace(s, quality=np.where(s.answered, s.quality, 0.0)) for s in result.settings)
    return replace(result, settings=tuple(settings))


def _dearest(outcomes: Outcomes | None) -> float:
    """c_ref of the utility, as routers see it: the highest mean cost over all items of the suite."""
    costs = outcomes.mean_costs() if outcomes is not None else np.zeros(0)
    return float(costs[np.isfinite(costs)].max(initial=0.0))


def _fitted(
    suite: Suite,
    outcomes: Outcomes,
    train: NDArray[np.int64],
    rows: NDArray[np.int64],
    tradeoffs: Sequence[float],
    seed: int,
    remarks: list[str],
) -> Iterator[RouterResult]:
    """The baselines that are fitted to the training part; what cannot be fitted is left out with a remark."""
    try:
        yield base.length(suite, outcomes, train, rows, tradeoffs, seed)
    except ValueError as error:
        remarks.append(f"The length baseline could not be fitted: {error}.")
    try:
        yield base.know_dataset(outcomes, train, rows, tradeoffs)
    except ValueError as error:
        remarks.append(f"The know-the-dataset baseline could not be fitted: {error}.")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    try:
        return {"hullspeed": metadata.version("hullspeed"), **versions}
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return versions


# ------------------------------------------------------------------------------------------------ baselines


def _baselines(plane: Plane, pool: ScoredPool, fitted: dict[str, RouterReport]) -> Baselines:
    best, random = pool.oracle.point, pool.random
    return Baselines(
        cheapest=plane.single(pool.cheapest),
        best_single=plane.single(pool.best_single),
        random=Mark(quality=random.quality, cost_per_1k=1000 * random.cost),
        oracle=Oracle(
            quality=best.quality,
            cost_per_1k=1000 * best.cost,
            aiq=pool.oracle_aiq,
            unsolved=pool.unsolved,
            solved_by_all=pool.solved_by_all,
            curve=_thinned(*pool.oracle_curve),
        ),
        zero=Zero(
            aiq=curves.aiq(pool.zero.cost, pool.zero.quality, pool.frame),
            hull=tuple(plane.single(int(model)) for model in pool.zero.index),
        ),
        length=fitted.get("length"),
        know_dataset=fitted.get("know_dataset"),
    )


def _thinned(cost: Floats, quality: Floats) -> tuple[Mark, ...]:
    """At most `CURVE_MARKS` vertices of a curve, evenly over the quality it climbs, both ends kept."""
    steps = np.searchsorted(quality, np.linspace(quality[0], quality[-1], CURVE_MARKS))
    kept = np.unique(np.concatenate(([0], np.minimum(steps, len(cost) - 1), [len(cost) - 1])))
    return marks(cost[kept], quality[kept])


# -------------------------------------------------------------------------------------------------- routers


@dataclass(frozen=True)
class _Judged(Plane):
    """What is said of each router of the plane."""

    dearest: float = 0.0
    """c_ref of the utility, USD."""

    def router(self, place: int) -> RouterReport:
        """The report on the result at `place`."""
        result = self.results[place]
        cost, quality = self.means(place)
        hull = curves.ndch(cost, quality)
        points = tuple(self._point(place, setting) for setting in range(len(result.settings)))
        plain = RouterReport(
            router=result.router,
            params=msgspec.to_builtins(dict(result.params), enc_hook=str),
            points=points,
            best_point=self._best_point(cost, quality),
            hull=marks(hull.cost, hull.quality),
        )
        return plain if self.pool is None else self._against_pool(plain, place, self.pool, hull)

    def _against_pool(self, plain: RouterReport, place: int, pool: ScoredPool, hull: Hull) -> RouterReport:
        """`plain` with all that needs the pool to compare with."""
        cost, quality = self.means(place)
        score, zero = curves.aiq(cost, quality, pool.frame), curves.aiq(pool.zero.cost, pool.zero.quality, pool.frame)
        samples = self.aiq_samples(place)
        over_zero = samples - self.zero_samples
        delta = as_estimate(score - zero, over_zero)
        best = pool.points[pool.best_single]
        scale = Point(pool.frame.high - pool.frame.low, float(np.ptp([point.quality for point in pool.points])))
        return msgspec.structs.replace(
            plain,
            aiq=score,
            aiq_interval=as_interval(samples),
            delta_aiq=delta,
            verdict=wording.verdict(delta),
            aiq_log=curves.aiq_log(cost, quality, pool.frame),
            aiq_rb_compat=curves.aiq_rb_compat(cost, quality, self._reach()),
            gap_closed=curves.gap_closed(score, zero, pool.oracle_aiq),
            cost_save=curves.cost_save(hull, best),
            perf_gain=curves.perf_gain(hull, best),
            pareto_dist=curves.pareto_dist(cost, quality, self._front(), scale),
            delta_p=bootstrap_p(over_zero, wording.NOISE),
            against_best_single=self._against_best_single(place, plain.best_point, pool),
            against_zero=self._against_zero(place, plain.best_point, pool),
            pair=_pair(plain, pool),
        )

    def _against_best_single(self, place: int, index: int, pool: ScoredPool) -> PairedTest:
        share = np.zeros(len(pool.models))
        share[pool.best_single] = 1
        return self._paired(place, index, pool, share, pool.models[pool.best_single])

    def _against_zero(self, place: int, index: int, pool: ScoredPool) -> PairedTest | None:
        """Blind mixing at the router's own mean cost; of each item the expectation over its coin counts."""
        share = pool.zero_at(float(self.means(place)[0][index]))
        return None if share is None else self._paired(place, index, pool, share, "zero router")

    def _paired(self, place: int, index: int, pool: ScoredPool, share: Floats, against: str) -> PairedTest:
        """A router's point against a fixed mix of models, shape (m,), as paired as everything else."""
        quality = self.samples[1]
        samples = quality[:, self.column[place] + index] - quality[:, : len(share)] @ share
        router, other = self.results[place].settings[index].quality, pool.counted[0] @ share
        return paired_test(against, router, other, samples, seed=self.seed)

    def _point(self, place: int, index: int) -> PointReport:
        setting = self.results[place].settings[index]
        column = self.column[place] + index
        cost, quality = float(setting.cost.mean()), float(setting.quality.mean())
        share = setting.share()
        return PointReport(
            tradeoff=float(setting.tradeoff),
            n=len(setting.quality),
            coverage=float(setting.answered.mean()),
            quality=quality,
            cost_per_1k=1000 * cost,
            quality_interval=self.quality_interval(column),
            cost_interval=self.cost_interval(column),
            share=share,
            entropy=curves.entropy(list(share.values())),
            pareto=bool(self.pareto[column]),
            latency=_percentiles(setting.latency),
            overhead=_percentiles(setting.overhead),
            arena=arena_score(min(max(quality, 0.0), 1.0), 1000 * cost),
            calibration=_calibration(setting),
            **self._against_oracle(setting, cost, quality),
        )

    def _against_oracle(self, setting: Setting, cost: float, quality: float) -> dict[str, float | None]:
        if self.pool is None:
            return {}
        pool, best = self.pool, self.pool.oracle.point
        same = np.array(setting.model, dtype=object) == np.array(pool.models, dtype=object)[pool.oracle.index]
        weight = price_of_quality(setting.tradeoff, self.dearest)
        return {
            "opt_sel": float(same.mean()),
            "opt_cost": best.cost / cost if cost > 0 else None,
            "opt_acc": quality / best.quality if best.quality > 0 else None,
            "regret": curves.regret((setting.quality, setting.cost), pool.quality, pool.cost, weight),
        }

    def _best_point(self, cost: Floats, quality: Floats) -> int:
        """Highest q − λc at an even tradeoff; without a pool there is no λ, and the best quality counts."""
        weight = price_of_quality(EVEN, self.dearest)
        return min(range(len(cost)), key=lambda index: (weight * cost[index] - quality[index], cost[index]))

    def _front(self) -> tuple[Floats, Floats]:
        cost, quality = self.points
        return cost[self.pareto], quality[self.pareto]

    def _reach(self) -> float:
        """Largest hull cost among all that stand in the table, fitted baselines included: RouterBench's upper limit."""
        hulls = [curves.ndch(*self.means(place)) for place in range(len(self.results))]
        if self.pool is not None:
            hulls.append(self.pool.zero)
        return max(float(hull.cost[-1]) for hull in hulls)


def _pair(router: RouterReport, pool: ScoredPool) -> Pair | None:
    """RouteLLM's figures, where the pool has two models."""
    if len(pool.models) != 2:
        return None
    weak, strong = sorted(range(2), key=lambda model: (pool.points[model].cost, -pool.points[model].quality))
    ends = pool.points[weak].quality, pool.points[strong].quality
    name = pool.models[strong]
    shares = [point.share.get(name, 0.0) for point in router.points]
    curve = pairs.PairCurve.of(shares, [point.quality for point in router.points], *ends)
    return Pair(
        weak=pool.models[weak],
        strong=name,
        pgr=pairs.pgr(router.points[router.best_point].quality, *ends),
        apgr=curve.apgr,
        auc=curve.auc,
        cpt={str(percent): curve.cpt(percent / 100) for percent in (20, 50, 80)},
    )


def _calibration(setting: Setting) -> Calibration | None:
    """What was foretold of the answered items against what came; None where nothing was foretold."""
    quality, cost = _foretold(setting, setting.predicted_quality), _foretold(setting, setting.predicted_cost)
    if not (quality.any() or cost.any()):
        return None
    found = Calibration(n=int(quality.sum()), n_cost=int((setting.cost[cost] > 0).sum()))
    if setting.predicted_cost is not None and cost.any():
        error = calibration.mape(setting.predicted_cost[cost], setting.cost[cost])
        found = msgspec.structs.replace(found, cost_mape=error)
    if setting.predicted_quality is None or not quality.any():
        return found
    predicted, true = setting.predicted_quality[quality], setting.quality[quality]
    return msgspec.structs.replace(
        found,
        brier=calibration.brier(predicted, true),
        ece=calibration.ece(predicted, true),
        bins=tuple(_bin(part) for part in calibration.reliability(predicted, true)),
        auc=_auc_by_model(np.array(setting.model, dtype=object)[quality], predicted, true),
    )


def _bin(part: calibration.Part) -> Bin:
    interval = Interval(low=part.low, high=part.high)
    return Bin(n=part.n, predicted=part.predicted, observed=part.observed, interval=interval)


def _foretold(setting: Setting, predicted: Floats | None) -> NDArray[np.bool_]:
    """Which answered items have a prediction, shape (n,)."""
    return np.zeros(len(setting.answered), bool) if predicted is None else setting.answered & ~np.isnan(predicted)


def _auc_by_model(models: NDArray[np.object_], predicted: Floats, true: Floats) -> dict[str, float]:
    found = {}
    for model in sorted(set(models.tolist())):
        own = models == model
        area = calibration.auc(predicted[own], true[own])
        if area is not None:
            found[model] = area
    return found


def _percentiles(seconds: Floats | None) -> Percentiles | None:
    """None where nothing was called, or nothing that was called has a time."""
    known = seconds[~np.isnan(seconds)] if seconds is not None else np.zeros(0)
    if not known.size:
        return None
    p50, p95, p99 = np.percentile(known, (50, 95, 99))
    return Percentiles(p50=float(p50), p95=float(p95), p99=float(p99))
