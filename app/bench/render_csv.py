"""The report as one tidy CSV table: a row for every single model, baseline and router at each of its tradeoffs.

Columns, empty where a figure does not exist or is not known:

- `suite`, `suite_digest`, `run`, `split`, `split_by`, `seed`, `quality_source`, `upstream`: what the figures are of, so
  that tables of several runs can be put under one another;
- `kind`: `model` (a single model asked for everything), `baseline` (`cheapest`, `best single`, `random`, `oracle`,
  `zero router`, `length`, `know_dataset`) or `router`; `name`: of the model, baseline or router; `model`: the model
  that the baselines `cheapest` and `best single` are;
- of one setting: `tradeoff`, `shown` (1 at the setting that the leaderboard shows, else 0), `n` items, `coverage`,
  `quality` with `quality_low` and `quality_high`, `cost_per_1k` (USD per 1,000 requests) with `cost_low` and
  `cost_high`, `latency_p50`, `_p95`, `_p99` and `overhead_p50`, `_p95`, `_p99` (seconds), `opt_sel`, `opt_cost`,
  `opt_acc`, `regret`, `pareto` (1 or 0), `entropy` (bits), `arena`, `brier`, `ece`, `cost_mape`;
- of the whole router, repeated on each of its rows: `aiq` with `aiq_low` and `aiq_high`, `delta_aiq` (over the zero
  router) with `delta_low` and `delta_high`, `delta_p`, `delta_p_holm`, `verdict`, `aiq_log`, `aiq_rb_compat`,
  `gap_closed`, `cost_save`, `perf_gain`, `pareto_dist`;
- `share:<model>`: part of all items that the model answered, one column for each model that answered any.

All intervals are 95 % ones. Numbers are written in full, as in the JSON; `app.bench.figures` says what each one means.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from app.bench.figures import Interval, Percentiles, PointReport, Report, RouterReport, Single

RUN = ("suite", "suite_digest", "run", "split", "split_by", "seed", "quality_source", "upstream")
NAME = ("kind", "name", "model")
POINT = (
    *("tradeoff", "shown", "n", "coverage", "quality", "quality_low", "quality_high"),
    *("cost_per_1k", "cost_low", "cost_high", "latency_p50", "latency_p95", "latency_p99"),
    *("overhead_p50", "overhead_p95", "overhead_p99", "opt_sel", "opt_cost", "opt_acc", "regret", "pareto"),
    *("entropy", "arena", "brier", "ece", "cost_mape"),
)
ROUTER = (
    *("aiq", "aiq_low", "aiq_high", "delta_aiq", "delta_low", "delta_high", "delta_p", "delta_p_holm", "verdict"),
    *("aiq_log", "aiq_rb_compat", "gap_closed", "cost_save", "perf_gain", "pareto_dist"),
)
COLUMNS = (*RUN, *NAME, *POINT, *ROUTER)
"""Those that stand in every table; the shares follow them."""

Fields = dict[str, Any]


def render_csv(report: Report) -> str:
    """The table with its header; lines end in a line feed."""
    rows = [*_models(report), *_baselines(report)]
    rows += [row for router in report.routers for row in _router("router", router)]
    shares = sorted({column for row in rows for column in row if column.startswith("share:")})
    about = {name: getattr(report, name) for name in RUN}
    out = io.StringIO(newline="")
    table = csv.DictWriter(out, [*COLUMNS, *shares], restval="", lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({name: _written(value) for name, value in {**about, **row}.items()})
    return out.getvalue()


def _written(value: Any) -> Any:
    return "" if value is None else int(value) if isinstance(value, bool) else value


def _models(report: Report) -> Iterator[Fields]:
    for single in report.pool:
        yield {"kind": "model", "name": single.model, "n": report.n, **_single(single)}


def _single(single: Single) -> Fields:
    return {
        "model": single.model,
        "coverage": single.coverage,
        "quality": single.quality,
        "cost_per_1k": single.cost_per_1k,
        **_bounds("quality", single.quality_interval),
        **_bounds("cost", single.cost_interval),
    }


def _baselines(report: Report) -> Iterator[Fields]:
    around = report.baselines
    if around is None:
        return
    plain = {"kind": "baseline", "n": report.n}
    yield {**plain, "name": "cheapest", **_single(around.cheapest)}
    yield {**plain, "name": "best single", **_single(around.best_single)}
    random, oracle = around.random, around.oracle
    yield {**plain, "name": "random", "quality": random.quality, "cost_per_1k": random.cost_per_1k}
    yield {
        **plain,
        "name": "oracle",
        "quality": oracle.quality,
        "cost_per_1k": oracle.cost_per_1k,
        "aiq": oracle.aiq,
    }
    yield {**plain, "name": "zero router", "aiq": around.zero.aiq}
    for router in (around.length, around.know_dataset):
        if router is not None:
            yield from _router("baseline", router)


def _router(kind: str, router: RouterReport) -> Iterator[Fields]:
    delta = router.delta_aiq
    own = {
        "kind": kind,
        "name": router.router,
        **_bounds("aiq", router.aiq_interval),
        "delta_aiq": None if delta is None else delta.value,
        "delta_low": None if delta is None else delta.low,
        "delta_high": None if delta is None else delta.high,
    }
    own |= {name: getattr(router, name) for name in ROUTER if name not in own}
    for place, point in enumerate(router.points):
        yield {**own, "shown": place == router.best_point, **_point(point)}


def _point(point: PointReport) -> Fields:
    found = point.calibration
    fields = {
        **_bounds("quality", point.quality_interval),
        **_bounds("cost", point.cost_interval),
        **_times("latency", point.latency),
        **_times("overhead", point.overhead),
        **{name: None if found is None else getattr(found, name) for name in ("brier", "ece", "cost_mape")},
    }
    fields |= {name: getattr(point, name) for name in POINT if name not in fields and name != "shown"}
    return fields | {f"share:{model}": share for model, share in point.share.items()}


def _bounds(name: str, interval: Interval | None) -> Fields:
    if interval is None:
        return {f"{name}_low": None, f"{name}_high": None}
    return {f"{name}_low": interval.low, f"{name}_high": interval.high}


def _times(name: str, times: Percentiles | None) -> Fields:
    return {f"{name}_{part}": None if times is None else getattr(times, part) for part in ("p50", "p95", "p99")}
