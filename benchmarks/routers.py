"""All routers on the recorded data sets: `python -m benchmarks.routers [--seeds 6] [--routers "ladder;knn"]`.

Four tables, each alone with `--only`. `sets`: a 70/30 stratified split, fitted and scored anew for each seed: ΔAIQ over
the zero router with its spread over the seeds and in how many of them its whole 95 % interval lies above 0, the cost at
which the best single model's quality is reached, calls per request, seconds to fit, size of the artifact, time of a
decision. `left-out`: one category left out of the training at a time. `pairs`: APGR on RouteLLM's data. `live`: the
ladder through the proxy over HTTP against scoring of the same outcomes. Needs the recorded outcomes in `../shared/data`
(or `$HULLSPEED_SHARED/data`).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from app.bench import importers, library
from app.bench.figures import Pair, RouterReport
from app.bench.local import recorded_catalog, recorded_upstream
from app.bench.plan import Plan, RouterSpec
from app.bench.report import build_report
from app.bench.results import RouterResult
from app.bench.run import Target, replay, score
from app.bench.scoring import score_router
from app.bench.splits import STRATIFIED, SplitBy
from app.bench.suite import Suite
from app.cli.options import run_async
from app.core.config import Config
from app.core.settings import Settings
from app.main import Proxy
from app.serving import bind, serving
from app.store import migrate
from app.store.database import Database
from benchmarks.replay import data
from routers import Outcomes, Query, Router, TrainableRouter, registry

ROUTERS = (
    "ladder", "cascade", "kmeans", "knn", "knn:k=5,pseudo_counts=0", "knn:k=10,pseudo_counts=0",
    "knn:k=40,pseudo_counts=0", "ridge", "svm", "mlp", "factors", "trees", "length",
)  # fmt: skip
PAIRS = ("threshold", "knn", "ridge", "kmeans", "length")
"""Scored on two models; APGR looks at shares of calls to the strong one."""
TRADEOFFS = (0.0, *np.round(np.geomspace(0.002, 0.9, 23), 4).tolist(), 1.0)
DRAWS = 2000
DECISIONS = 400


@dataclass
class Line:
    """One router on one data set, an entry of each list per seed."""

    delta: list[float] = field(default_factory=list)
    above: int = 0
    cost_of_best: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    fit: list[float] = field(default_factory=list)
    megabytes: float = 0.0
    decisions: list[float] = field(default_factory=list)
    """Milliseconds."""

    def add(self, report: RouterReport, result: RouterResult) -> None:
        if report.delta_aiq is not None:
            self.delta.append(report.delta_aiq.value)
            self.above += report.delta_aiq.low > 0
        self.cost_of_best.append(1 - report.cost_save if report.cost_save is not None else np.nan)
        asked = [setting.calls.mean() for setting in result.settings if setting.calls is not None]
        self.calls.append(float(np.max(asked)) if asked else 1.0)


def fit(spec: RouterSpec, outcomes: Outcomes, seed: int) -> tuple[Router, float]:
    """The router fitted, where it is to be, and the seconds that took."""
    cls = spec.find()
    assert cls is not None
    if not registry.is_trainable(cls):
        return registry.make(cls, spec.params), 0.0
    started = perf_counter()
    try:
        fitted = cls.fit(outcomes, **{"seed": seed} | spec.params)
    except ValueError as error:
        if "seed" not in str(error):
            raise
        fitted = cls.fit(outcomes, **spec.params)
    return fitted, perf_counter() - started


def decide(router: Router, suite: Suite, outcomes: Outcomes, rows: Sequence[int]) -> list[float]:
    """Milliseconds of decisions on prompts of about 200 tokens, as far as there are any, one core."""
    items = sorted((suite.items[row] for row in rows), key=lambda item: abs(item.as_query().length - 800))
    pool = outcomes.candidates()[:11]
    times = []
    for number, item in enumerate(items[:DECISIONS]):
        query = Query(item.messages, pool, tradeoff=0.1, seed=number)
        started = perf_counter()
        router.route(query)
        times.append((perf_counter() - started) * 1000)
    return times[20:]


def megabytes(router: Router) -> float:
    if not isinstance(router, TrainableRouter):
        return 0.0
    with tempfile.TemporaryDirectory() as folder:
        router.save(Path(folder) / "artifact")
        return sum(file.stat().st_size for file in (Path(folder) / "artifact").iterdir()) / 1e6


def compare(suite: Suite, names: Sequence[str], seeds: int, by: SplitBy = STRATIFIED) -> dict[str, Line]:
    """Every router on the suite, once per seed."""
    lines = {name: Line() for name in names}
    specs = tuple(RouterSpec.parse(name) for name in names)
    for seed in range(seeds):
        plan = Plan(suite, specs, TRADEOFFS, split="test", seed=seed, split_by=by)
        outcomes = plan.outcomes
        assert outcomes is not None
        results = []
        for name, spec in zip(names, specs, strict=True):
            router, seconds = fit(spec, outcomes.take(plan.train), seed)
            results.append(score_router(router, suite, outcomes, plan.rows, TRADEOFFS, seed, name=name))
            lines[name].fit.append(seconds)
            if seed == 0:
                lines[name].megabytes = megabytes(router)
                lines[name].decisions = decide(router, suite, outcomes, plan.rows.tolist())
        report = build_report(
            suite=suite, rows=plan.rows, split="test", seed=seed, results=results, outcomes=outcomes,
            quality_source="recorded", tradeoffs=TRADEOFFS, kind="score", draws=DRAWS, train=plan.train,
        )  # fmt: skip
        for result, found in zip(results, report.routers, strict=True):
            lines[found.router].add(found, result)
    return lines


def show(lines: dict[str, Line], seeds: int) -> None:
    head = f"{'router':28} {'ΔAIQ':>8} {'sd':>6} {'lower>0':>8} {'cost at best':>13} {'calls':>6}"
    print(head + f" {'fit s':>6} {'MB':>5} {'p50 ms':>7} {'p99 ms':>7}")
    for name, line in sorted(lines.items(), key=lambda pair: -float(np.mean(pair[1].delta or [-1]))):
        spread = np.std(line.delta, ddof=1) if len(line.delta) > 1 else np.nan
        known = [cost for cost in line.cost_of_best if not np.isnan(cost)]
        cost = f"{np.mean(known):.0%} ({len(known)}/{seeds})" if known else "never"
        p50, p99 = np.percentile(line.decisions, [50, 99]) if line.decisions else (np.nan, np.nan)
        print(
            f"{name:28} {np.mean(line.delta):+8.4f} {spread:6.4f} {line.above:>6}/{seeds} {cost:>13} "
            f"{np.mean(line.calls):6.2f} {np.mean(line.fit):6.1f} {line.megabytes:5.1f} {p50:7.2f} {p99:7.2f}",
            flush=True,
        )


def sets(names: Sequence[str], seeds: int) -> None:
    for suite in zeroeval():
        assert suite.recorded is not None
        print(f"\n{suite.name}: {len(suite.items):,} prompts × {len(suite.recorded.models)} models, {seeds} seeds")
        show(compare(suite, names, seeds), seeds)
    print("cost at best: share of the best single model's cost at which its quality is reached (seeds where it is);")
    print("calls: the most per request at any tradeoff")


def left_out(names: Sequence[str], seeds: int) -> None:
    suite = zeroeval()[0]
    for category in sorted({item.category for item in suite.items}):
        print(f"\n{suite.name}, trained without {category}, scored on it")
        show(compare(suite, names, seeds, SplitBy("leave-out", category)), seeds)


def pairs(seeds: int) -> None:
    suite = importers.import_outcomes(data() / "routellm_mmlu_gsm8k_2models.parquet", None, "routellm")
    for category in sorted({"gsm8k", "mmlu"}):
        rows = np.array([row for row, item in enumerate(suite.items) if item.category.lower().startswith(category)])
        if not len(rows):
            continue
        part = suite.take(rows)
        found: dict[str, list[float]] = {name: [] for name in PAIRS}
        for seed in range(seeds):
            plan = Plan(part, tuple(map(RouterSpec.parse, PAIRS)), TRADEOFFS, split="test", seed=seed)
            for router in score(plan).routers:
                pair: Pair | None = router.pair
                if pair is not None and pair.apgr is not None:
                    found[router.router].append(pair.apgr)
        print(f"\nRouteLLM {category}: {len(rows):,} prompts × 2 models, APGR over {seeds} seeds")
        for name, values in found.items():
            print(f"{name:12} {np.mean(values):.4f} (sd {np.std(values, ddof=1):.4f})" if values else f"{name:12} –")


def zeroeval() -> list[Suite]:
    return [
        importers.import_outcomes(data() / f"{name}.parquet", None, name)
        for name in ("zeroeval_4sets_8models", "zeroeval_gsm_crux_mathl5")
    ]


async def live(folder: Path) -> None:
    """The ladder through the proxy, against scoring."""
    suite = zeroeval()[0]
    database = Database(None, folder)
    await database.open()
    await migrate.upgrade(database)
    await library.save(database, suite)
    plan = Plan(suite, (RouterSpec.parse("ladder"),), (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0), split="test")
    built = plan.build()
    upstream = recorded_upstream(suite)
    proxy = Proxy(
        Settings(data_dir=folder), Config(), catalog=recorded_catalog(suite, upstream),
        upstreams={"recorded": upstream}, routers=built, database=database,
    )  # fmt: skip
    sock = bind("127.0.0.1", 0)
    async with serving(proxy, sock) as url:
        target = Target(url, "recorded", True, proxy.api_key)
        report, progress = await replay(plan, target, database, built)
    sock.close()
    scored = score(plan).routers[0]
    (replayed,) = report.routers
    same = all(
        (a.quality, a.share) == (b.quality, b.share) and abs(a.cost_per_1k - b.cost_per_1k) < 1e-9
        for a, b in zip(replayed.points, scored.points, strict=True)
    )
    assert replayed.delta_aiq is not None
    print(f"\nladder over HTTP: {progress.done:,} requests at {progress.rate:,.0f}/s, {progress.failed} failed")
    print(f"ΔAIQ {replayed.delta_aiq.value:+.4f} [{replayed.delta_aiq.low:+.4f}, {replayed.delta_aiq.high:+.4f}]")
    print(f"quality, cost and shares of all {len(scored.points)} points equal scoring's: {same}")
    await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--routers", default=";".join(ROUTERS), help="separated by semicolons")
    parser.add_argument("--only", choices=["sets", "left-out", "pairs", "live"], default=None)
    wanted = parser.parse_args()
    names = [name for name in wanted.routers.split(";") if name]
    if wanted.only in (None, "sets"):
        sets(names, wanted.seeds)
    if wanted.only in (None, "left-out"):
        left_out([name for name in names if ":" not in name], wanted.seeds)
    if wanted.only in (None, "pairs"):
        pairs(wanted.seeds)
    if wanted.only in (None, "live"):
        with tempfile.TemporaryDirectory() as folder:
            run_async(live(Path(folder)))


if __name__ == "__main__":
    main()
