"""Replay on real recorded outcomes: `python -m benchmarks.replay [--limit N]`.

Imports a suite of real replies, replays its test part through a proxy over HTTP against the recorded upstream, and
prints: calls per second end to end, whether every call stands in Postgres with its run and item, whether each point
equals pure scoring exactly, the golden baselines of the whole set, and how far the graders agree with the recording.
Needs the recorded outcomes in `../shared/data` (or `$HULLSPEED_SHARED/data`).
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from collections import Counter
from pathlib import Path

from app.bench import importers, library
from app.bench.graders import agreement
from app.bench.local import recorded_catalog, recorded_upstream
from app.bench.plan import Plan, RouterSpec
from app.bench.report import Report
from app.bench.run import Target, replay, score
from app.cli.options import run_async
from app.core.config import Config
from app.core.settings import Settings
from app.main import Proxy, bind, serving
from app.store import migrate
from app.store.database import Database
from app.store.queries.calls import CallFilter, list_calls

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
    upstream = recorded_upstream(suite)
    proxy = Proxy(
        Settings(data_dir=folder),
        Config(),
        catalog=recorded_catalog(suite, upstream),
        upstreams={"recorded": upstream},
        routers=built,
        database=database,
    )
    sock = bind("127.0.0.1", 0)
    before = resource.getrusage(resource.RUSAGE_SELF)
    async with serving(proxy, sock) as url:
        target = Target(url, "recorded", known_pool=True)
        report, progress = await replay(plan, target, database, built, concurrency=concurrency)
        after = resource.getrusage(resource.RUSAGE_SELF)
        await proxy.ledger.flush(30)
        rows = await count(database, report.run or "")
    wanted = Counter((text, t, item.id) for text in ROUTERS for t in TRADEOFFS for item in plan.items)
    seconds = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    print(f"calls                {progress.done:,} over HTTP, {progress.failed} failed")
    print(f"rate                 {progress.rate:,.0f} calls/s end to end, {concurrency} in flight")
    print(
        f"CPU                  {seconds / progress.done * 1e3:.2f} ms a call (client, proxy and grading in one process)"
    )
    print(f"rows in Postgres     {sum(rows.values()):,}, each (router, tradeoff, item) once: {rows == wanted}")
    print(f"replay = scoring     {points(report) == points(score(plan))} for {len(points(report))} points")
    await database.close()
    whole = score(Plan(suite, (RouterSpec.parse("cheapest"),), (0.0,), split="all"))
    assert whole.baselines is not None
    best, oracle = whole.baselines.best_single, whole.baselines.oracle
    print(f"best single          {best.model} {best.quality:.4f} at ${best.cost_per_1k:.4f} (golden .8496, 4.7501)")
    print(f"oracle               {oracle.quality:.4f} at ${oracle.cost_per_1k:.5f} (golden .9341, .32243)")
    print(f"zero AIQ             {whole.baselines.zero.aiq:.5f} (golden .82372)")
    share, apart = agreement(suite, "answer")
    print(f"grader `answer`      agrees on {share:.3%} of 26,816 replies, differs on {len(apart)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="most items of the test part")
    parser.add_argument("--concurrency", type=int, default=32)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hs-") as name:
        run_async(main(given.limit, given.concurrency, Path(name)))
