"""Replay on real recorded outcomes: `python -m benchmarks.replay [--limit N]`.

Imports a suite of real replies and replays its test part over HTTP as `hullspeed bench run` does, through a proxy of
the recorded models in processes of its own. Prints calls per second, first until each is answered, graded and saved,
then with the report; the processor time that client, proxy and Postgres took, which other work on the machine changes
less; whether every call stands in Postgres with its run and item; whether each point equals pure scoring exactly; the
golden baselines of the whole set; and how far the graders agree with the recording.
Needs the recorded outcomes in `../shared/data` (or `$HULLSPEED_SHARED/data`).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from pathlib import Path
from time import perf_counter

import psutil  # type: ignore[import-untyped]

from app.bench import importers, library
from app.bench.graders import agreement
from app.bench.local import recorded_source, recorded_upstream
from app.bench.plan import Plan, RouterSpec
from app.bench.report import Report
from app.bench.run import Target, replay, score
from app.cli.apart import PROCESSES, describe, served_apart
from app.cli.options import run_async
from app.core.settings import Settings
from app.store import migrate
from app.store.database import Database
from app.store.queries.calls import CallFilter, list_calls
from benchmarks.hop.processes import cpu_of

ROUTERS = ("cheapest", "uniform", "knn", "ridge")
TRADEOFFS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def data() -> Path:
    shared = Path(os.environ.get("HULLSPEED_SHARED", Path(__file__).parent.parent.parent / "shared"))
    if not (shared / "data").is_dir():
        raise SystemExit(f"{shared / 'data'} is not there: this benchmark needs the recorded outcomes")
    return shared / "data"


def points(report: Report) -> list[tuple[str, float, float, float, dict[str, float]]]:
    return [
        (router.router, point.tradeoff, point.quality, point.cost_per_1k, dict(point.share))
        for router in report.routers
        for point in router.points
    ]


async def count(database: Database, run: str) -> Counter[tuple[str | None, float | None, str | None]]:
    """How often each (router, tradeoff, item) of a run stands in the ledger."""
    found: Counter[tuple[str | None, float | None, str | None]] = Counter()
    cursor = None
    while True:
        page = await list_calls(database, CallFilter(run=run), limit=1000, cursor=cursor)
        found.update((row.router, row.tradeoff, row.item) for row in page.rows)
        cursor = page.older
        if cursor is None:
            return found


def cpu(folder: Path) -> dict[str, float]:
    """Seconds of processor time so far: of this process, of the proxy that it started, of Postgres."""
    own = psutil.Process()
    postgres = psutil.Process(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]))
    times = own.cpu_times()
    others = [child for child in own.children() if child.pid != postgres.pid]
    return {
        "client": times.user + times.system,
        "proxy": sum(cpu_of(child) for child in others),
        "Postgres": cpu_of(postgres),
    }


async def main(limit: int | None, concurrency: int, folder: Path) -> None:
    files = data()
    suite = importers.import_outcomes(
        files / "zeroeval_4sets_8models.parquet", files / "zeroeval_items.parquet", "zeroeval"
    )
    database = Database(None, folder)
    await database.open()
    await migrate.upgrade(database)
    await library.save(database, suite)
    plan = Plan(suite, tuple(map(RouterSpec.parse, ROUTERS)), TRADEOFFS, split="test", limit=limit)
    built = plan.build()
    settings = Settings(data_dir=folder)
    described = describe(settings, recorded_upstream(suite), recorded_source(suite), built)
    if described is None:
        raise SystemExit("two cores are needed: one for the client, one for the proxy")
    async with served_apart(described) as url:
        before = cpu(folder)
        target = Target(url, "recorded", known_pool=True)
        began = perf_counter()
        report, progress = await replay(plan, target, database, built, concurrency=concurrency)
        took = perf_counter() - began
        after = cpu(folder)
    rows = await count(database, report.run or "")
    wanted = Counter((text, t, item.id) for text in ROUTERS for t in TRADEOFFS for item in plan.items)
    used = {who: (after[who] - before[who]) / progress.done * 1e3 for who in after}
    whole = sum(used.values())
    most = min(1e3 / max(used["proxy"] / PROCESSES, used["client"]), len(os.sched_getaffinity(0)) * 1e3 / whole)
    print(f"calls                {progress.done:,} over HTTP, {progress.failed} failed")
    print(f"rate                 {progress.rate:,.0f} calls/s until the last result is saved, {concurrency} in flight")
    print(f"                     {progress.done / took:,.0f} calls/s with what comes before and the report after")
    print(f"CPU-ms a call        {whole:.3f}: {', '.join(f'{who} {value:.3f}' for who, value in used.items())}")
    print(f"                     {most:,.0f} calls/s is what that allows where nothing else runs")
    print(f"rows in Postgres     {sum(rows.values()):,}, each (router, tradeoff, item) once: {rows == wanted}")
    print(f"replay = scoring     {points(report) == points(score(plan))} for {len(points(report))} points")
    await database.close()
    best_of = score(Plan(suite, (RouterSpec.parse("cheapest"),), (0.0,), split="all"))
    assert best_of.baselines is not None
    best, oracle = best_of.baselines.best_single, best_of.baselines.oracle
    print(f"best single          {best.model} {best.quality:.4f} at ${best.cost_per_1k:.4f} (golden .8496, 4.7501)")
    print(f"oracle               {oracle.quality:.4f} at ${oracle.cost_per_1k:.5f} (golden .9341, .32243)")
    print(f"zero AIQ             {best_of.baselines.zero.aiq:.5f} (golden .82372)")
    share, apart = agreement(suite, "answer")
    print(f"grader `answer`      agrees on {share:.3%} of 26,816 replies, differs on {len(apart)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="most items of the test part")
    parser.add_argument("--concurrency", type=int, default=32)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hs-") as name:
        run_async(main(given.limit, given.concurrency, Path(name)))
