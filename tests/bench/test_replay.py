"""Replay through a real proxy: what it measures is what pure scoring says, and nothing is lost on the way."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import msgspec
import numpy as np
import pytest
import sqlalchemy as sa

from app.bench import bundled, library
from app.bench.local import recorded_catalog, recorded_upstream
from app.bench.plan import Plan, RouterSpec
from app.bench.replay import ReplayFailed
from app.bench.report import Report
from app.bench.run import Target, replay, score
from app.bench.suite import Item, Recorded, Suite
from app.store import runs
from app.store.database import Database
from app.store.queries.calls import CallFilter, count_calls
from app.store.tables import calls, scores
from tests.serving import Running, StartProxy

ROUTERS = ("cheapest", "uniform", "length", "knn:k=20", "ridge", "oracle")
TRADEOFFS = (0.0, 0.1, 1.0)


def plan_of(suite: Suite, *routers: str, limit: int | None = 40, grader: str | None = None) -> Plan:
    specs = tuple(RouterSpec.parse(text) for text in routers or ROUTERS)
    return Plan(suite, specs, TRADEOFFS, split="test", seed=3, limit=limit, grader=grader)


async def recorded_proxy(start_proxy: StartProxy, plan: Plan) -> Running:
    upstream = recorded_upstream(plan.suite)
    catalog = recorded_catalog(plan.suite, upstream)
    return await start_proxy(catalog=catalog, upstreams={"recorded": upstream}, routers=plan.build())


def points(report: Report) -> list[tuple[str, float, float, float, float, dict[str, float]]]:
    return [
        (router.router, point.tradeoff, point.quality, point.cost_per_1k, point.coverage, dict(point.share))
        for router in report.routers
        for point in router.points
    ]


async def test_replay_equals_scoring(start_proxy: StartProxy, database: Database) -> None:
    suite = bundled.load()
    await library.save(database, suite)
    plan = plan_of(suite)
    proxy = await recorded_proxy(start_proxy, plan)
    report, progress = await replay(plan, Target(proxy.url, "recorded", known_pool=True), database, plan.build())
    pace = progress.rate
    expected = len(ROUTERS) * len(TRADEOFFS) * 40
    assert progress.done == expected
    assert progress.failed == 0
    assert points(report) == points(score(plan))
    assert report.baselines == score(plan).baselines
    assert report.quality_source == "grader:per item"
    assert all(point.latency is not None for router in report.routers for point in router.points)
    assert report.run is not None
    await proxy.proxy.ledger.flush(10)
    assert await count_calls(database, CallFilter(run=report.run)) == expected
    async with database.begin() as connection:
        columns = (calls.c.router, calls.c.tradeoff, calls.c.item, calls.c.source)
        rows = (await connection.execute(sa.select(*columns))).all()
    asked = Counter((row.router, row.tradeoff, row.item) for row in rows)
    wanted = [(text, t, item.id) for text in ROUTERS for t in TRADEOFFS for item in plan.items]
    assert asked == Counter(wanted)
    assert {row.source for row in rows} == {"replay"}
    assert progress.rate == pace, "what is done after a replay slows its pace"


async def test_a_runs_grader_judges_alike_in_replay_and_scoring(start_proxy: StartProxy, database: Database) -> None:
    whole = bundled.load()
    # Every other item keeps a grader of its own, which is more to the point than the run's.
    items = tuple(
        msgspec.structs.replace(item, grader=item.grader if place % 2 else None)
        for place, item in enumerate(whole.items)
    )
    suite = dataclasses.replace(whole, items=items, name="mixed")
    await library.save(database, suite)
    plan = plan_of(suite, "cheapest", "uniform", grader="exact")
    proxy = await recorded_proxy(start_proxy, plan)
    report, _ = await replay(plan, Target(proxy.url, "recorded", known_pool=True), database, plan.build())
    assert points(report) == points(score(plan))
    assert 0 < report.routers[1].points[0].quality < 1


async def test_graders_score_each_call_in_the_ledger(start_proxy: StartProxy, database: Database) -> None:
    suite = bundled.load()
    await library.save(database, suite)
    plan = plan_of(suite, "cheapest", limit=10)
    proxy = await recorded_proxy(start_proxy, plan)
    report, _ = await replay(plan, Target(proxy.url, "recorded", known_pool=True), database, plan.build())
    async with database.begin() as connection:
        rows = (await connection.execute(sa.select(scores))).all()
    assert len(rows) == 10 * len(TRADEOFFS)
    assert {row.source for row in rows} == {f"grader:{plan.grader_of(item)}" for item in plan.items}
    results = await runs.load_results(database, report.run or "")
    by_call = {row.call_id: row.value for row in rows}
    assert {result.call_id: result.quality for result in results} == by_call


async def test_an_interrupted_run_resumes_with_the_same_figures(start_proxy: StartProxy, database: Database) -> None:
    suite = bundled.load()
    await library.save(database, suite)
    plan = plan_of(suite, "uniform", "ridge")
    proxy = await recorded_proxy(start_proxy, plan)
    with pytest.raises(ReplayFailed, match="is gone"):
        await replay(plan, Target("http://127.0.0.1:9", "recorded", known_pool=True), database, plan.build())
    target = Target(proxy.url, "recorded", known_pool=True)
    with pytest.raises(ReplayFailed, match="stopped at --max-cost") as stopped:
        await replay(plan, target, database, plan.build(), max_cost=Decimal("0.005"), concurrency=4)
    assert "the same command with a higher cap" in stopped.value.message
    (run,) = await runs.list_runs(database)
    kept = len(await runs.load_results(database, run.id))
    assert 0 < kept < 240
    started: list[tuple[int, int]] = []
    report, progress = await replay(
        plan, target, database, plan.build(), on_start=lambda _run, done, total: started.append((done, total))
    )
    assert started == [(kept, 240)]
    assert progress.done == 240 - kept
    assert report.run == run.id
    assert points(report) == points(score(plan))
    finished, stored = await runs.get_run(database, run.id[:8] if run.id else "")
    assert finished.status == "done"
    assert msgspec.convert(stored, Report) == report
    again, _ = await replay(plan, target, database, plan.build())
    assert again.run != run.id, "a finished run is not taken up again"


async def test_one_process_at_a_time_replays_a_run(start_proxy: StartProxy, database: Database) -> None:
    suite = bundled.load()
    await library.save(database, suite)
    plan = plan_of(suite, "cheapest", limit=2)
    spec = plan.spec("recorded")
    run = await runs.create_run(database, suite=suite.name, suite_digest=suite.digest, spec=spec)
    async with runs.claim(database, run.id):
        with pytest.raises(Exception, match="Another process is replaying"):
            await replay(plan, Target("http://127.0.0.1:9", "recorded", known_pool=True), database, plan.build())


def odd_suite(prompts: Sequence[str]) -> Suite:
    """Ids and prompts that are hard to carry in a header or a look-up: strange signs, and prompts that repeat."""
    n = len(prompts)
    quality = np.array([[place % 2, 1.0] for place in range(n)], dtype=np.float64)
    cost = np.array([[0.1 * place, 1 / 3] for place in range(n)], dtype=np.float64)
    return Suite(
        name="odd",
        items=tuple(
            Item(id=f"ñ%20/#'{place}\u2028", category="c", messages=[{"role": "user", "content": prompt}])
            for place, prompt in enumerate(prompts)
        ),
        recorded=Recorded(
            ("a b/ü", "m2"),
            quality,
            cost,
            np.ones((n, 2), dtype=np.int64),
            np.ones((n, 2), dtype=np.int64),
            np.full((n, 2), None, dtype=object),
        ),
    )


async def test_recorded_quality_and_odd_names(start_proxy: StartProxy, database: Database) -> None:
    suite = odd_suite(["same", "same", "same", "", "ünï", "same"])
    await library.save(database, suite)
    specs = (RouterSpec.parse("uniform"), RouterSpec.parse("cheapest"))
    plan = Plan(suite, specs, (0.0,), split="all", seed=1)
    proxy = await recorded_proxy(start_proxy, plan)
    report, _ = await replay(plan, Target(proxy.url, "recorded", known_pool=True), database, plan.build())
    assert report.quality_source == "recorded"
    assert points(report) == points(score(plan))


async def test_failed_calls_count_as_nothing_and_cost_what_they_cost(
    start_proxy: StartProxy, database: Database
) -> None:
    suite = bundled.load()
    await library.save(database, suite)
    plan = plan_of(suite, "cheapest", limit=5)
    stranger = odd_suite(["other"])
    upstream = recorded_upstream(stranger)
    proxy = await start_proxy(
        catalog=recorded_catalog(stranger, upstream), upstreams={"recorded": upstream}, routers=plan.build()
    )
    report, progress = await replay(plan, Target(proxy.url, "recorded", known_pool=True), database, plan.build())
    assert progress.failed == progress.done == 15
    for point in report.routers[0].points:
        assert (point.quality, point.cost_per_1k, point.coverage) == (0.0, 0.0, 0.0)
    results = await runs.load_results(database, report.run or "")
    assert all("No outcome is recorded for this prompt" in (result.error or "") for result in results)
