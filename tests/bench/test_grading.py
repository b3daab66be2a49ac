"""Runs whose graders take their time, fail or cost money: judged once, kept apart, and never a silent 0."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import sqlalchemy as sa

from app.bench import library
from app.bench.compare import Finished, compare
from app.bench.plan import Plan, RouterSpec
from app.bench.record import plan_recording, record
from app.bench.replay import Progress, ReplayFailed
from app.bench.report import Report
from app.bench.run import Target, replay, score
from app.bench.suite import Item, Recorded, Suite
from app.core.errors import ConfigError
from app.store import runs
from app.store.database import Database
from app.store.queries.calls import CallFilter
from app.store.tables import scores
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, HttpError
from tests.serving import Running, StartProxy, models

JUDGE_COST = Decimal("0.000012")
"""Of one call to `small`: 10 tokens at 1e-6 USD and 1 at 2e-6."""
ANSWER_COST = 10 * Decimal(repr(1e-6 * 10)) + Decimal(repr(2e-6 * 10))
"""`large` is ten times as dear, as `tests.serving.models` reckons in floats."""


def suite_of(n: int = 4, **fields: Any) -> Suite:
    items = tuple(
        Item(id=f"i{k}", category="c", messages=[{"role": "user", "content": f"Question {k}?"}], target="4")
        for k in range(n)
    )
    return Suite(**{"name": "s", "items": items, **fields})


def plan_of(suite: Suite, *routers: str, **fields: Any) -> Plan:
    specs = tuple(RouterSpec.parse(text) for text in routers or ("fixed:model=large",))
    return Plan(suite, specs, **{"tradeoffs": (0.0,), "split": "all", "remote": True, **fields})


def said(text: str) -> Answer:
    return Answer(text, prompt_tokens=10, completion_tokens=1)


def verdict(value: float) -> Answer:
    return said(json.dumps({"reason": "so it is", "score": value}))


async def proxy_of(start_proxy: StartProxy, fake: FakeOpenAI, plan: Plan) -> Running:
    config = {"model_list": models(fake.url, "small", "large"), "routing": {"fallback": []}}
    return await start_proxy(config, routers=replace(plan, remote=False).build())


async def carry_out(plan: Plan, proxy: Running, database: Database, **options: Any) -> tuple[Report, Progress]:
    return await replay(plan, Target(proxy.url, "live", known_pool=False), database, {}, **options)


@pytest.fixture
async def suite(database: Database) -> Suite:
    suite = suite_of()
    await library.save(database, suite)
    return suite


async def test_what_a_judge_costs_is_kept_apart(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI, suite: Suite
) -> None:
    plan = plan_of(suite, grader="judge:small")
    openai_server.on("large-target", said("It is 4.")).on("small-target", verdict(0.75))
    proxy = await proxy_of(start_proxy, openai_server, plan)
    report, progress = await carry_out(plan, proxy, database)
    (point,) = report.routers[0].points
    assert (point.quality, point.cost_per_1k) == (0.75, pytest.approx(float(ANSWER_COST) * 1000))
    assert report.judge_cost_usd == pytest.approx(float(4 * JUDGE_COST))
    assert any(note.startswith("Judging cost $0.0000;") for note in report.notes)
    assert report.quality_source == "grader:judge:small"
    assert (progress.cost, progress.judge_cost) == (4 * ANSWER_COST, 4 * JUDGE_COST)
    rows = await runs.load_results(database, report.run or "")
    assert [(row.cost_usd, row.judge_cost_usd, row.quality) for row in rows] == [(ANSWER_COST, JUDGE_COST, 0.75)] * 4
    calls = await proxy.calls(CallFilter(run=report.run))
    assert {call.call.model for call in calls} == {"large"}
    assert len(await proxy.calls(CallFilter(run=f"{report.run}/judge"))) == 4
    async with database.begin() as connection:
        judged = (await connection.execute(sa.select(scores))).all()
    assert {row.call_id for row in judged} == {call.call.id for call in calls}, "scores are of the answers"
    assert {(row.value, row.source, row.comment) for row in judged} == {(0.75, "grader:judge:small", "so it is")}
    stored = msgspec.convert((await runs.get_run(database, report.run or ""))[1], Report)
    assert stored.judge_cost_usd == report.judge_cost_usd


async def test_one_reply_is_judged_once(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI, suite: Suite
) -> None:
    plan = plan_of(suite, "fixed:model=large", "cheapest", tradeoffs=(0.0, 0.5), grader="judge:small")
    # Both routers hear the same words, from two models.
    openai_server.on("large-target", said("4"))
    openai_server.on("small-target", verdict(1.0))
    proxy = await proxy_of(start_proxy, openai_server, plan)
    report, _ = await carry_out(plan, proxy, database)
    rows = await runs.load_results(database, report.run or "")
    judgings = await proxy.calls(CallFilter(run=f"{report.run}/judge"))
    # Per item: one for `4`, and one for what `small` answers.
    assert (len(rows), len(judgings)) == (16, 8)
    assert sum((row.judge_cost_usd or 0 for row in rows), Decimal(0)) == 8 * JUDGE_COST


async def test_what_cannot_be_judged_is_left_out_and_said(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI, suite: Suite
) -> None:
    plan = plan_of(suite, grader="judge:small")
    openai_server.on("large-target", said("4")).on("small-target", verdict(1.0))
    openai_server.next(HttpError(400, "No judging today."), model="small-target")
    proxy = await proxy_of(start_proxy, openai_server, plan)
    report, progress = await carry_out(plan, proxy, database, concurrency=1)
    assert (report.n, progress.ungraded, progress.failed) == (3, 1, 0)
    assert report.routers[0].points[0].quality == 1.0
    assert report.routers[0].points[0].coverage == 1.0
    (note,) = [note for note in report.notes if "could not be graded" in note]
    assert note.startswith("1 of 4 replies could not be graded, so 1 of 4 items are left out; first: grader `judge:sma")
    assert "No judging today" in note
    rows = await runs.load_results(database, report.run or "")
    assert [row.ungraded for row in rows] == [True, False, False, False]
    async with database.begin() as connection:
        assert len((await connection.execute(sa.select(scores))).all()) == 3, "no score is better than a wrong one"
    run, _ = await runs.get_run(database, report.run or "")
    both = compare(Finished(run, rows, report), Finished(run, rows, report))
    assert both.n == 3
    assert "1 items have replies that could not be graded, and are left out." in both.notes


async def test_a_run_that_nobody_judged_is_asked_again(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI, suite: Suite
) -> None:
    plan = plan_of(suite, grader="judge:small")
    openai_server.on("large-target", said("4")).on("small-target", HttpError(400, "No judging today."))
    proxy = await proxy_of(start_proxy, openai_server, plan)
    with pytest.raises(ReplayFailed, match=r"no item could be graded \(grader `judge:small`.*No judging today"):
        await carry_out(plan, proxy, database)
    (failed,) = await runs.list_runs(database)
    assert failed.status == "failed"
    openai_server.on("small-target", verdict(0.5))
    report, progress = await carry_out(plan, proxy, database)
    assert (report.run, progress.done, report.n) == (failed.id, 4, 4)


async def test_the_cap_counts_judges_too(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI, suite: Suite
) -> None:
    plan = plan_of(suite, grader="judge:small")
    openai_server.on("large-target", said("4")).on("small-target", verdict(1.0))
    proxy = await proxy_of(start_proxy, openai_server, plan)
    cap = 2 * (ANSWER_COST + JUDGE_COST)
    with pytest.raises(ReplayFailed, match="stopped at --max-cost"):
        await carry_out(plan, proxy, database, concurrency=1, max_cost=cap)
    (run,) = await runs.list_runs(database)
    assert len(await runs.load_results(database, run.id)) == 2
    report, progress = await carry_out(plan, proxy, database)
    assert (report.run, progress.done) == (run.id, 2)
    assert (progress.cost, progress.judge_cost) == (4 * ANSWER_COST, 4 * JUDGE_COST)


async def test_a_run_with_a_function_is_resumed(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI, suite: Suite, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text("def grade(item, reply):\n    return item.target in reply and item.id != 'i1'\n")
    plan = plan_of(suite, grader=f"{tmp_path}/own.py:grade")
    openai_server.on("large-target", said("It is 4."))
    proxy = await proxy_of(start_proxy, openai_server, plan)
    with pytest.raises(ReplayFailed, match="stopped at --max-cost"):
        await carry_out(plan, proxy, database, concurrency=1, max_cost=ANSWER_COST)
    report, progress = await carry_out(plan, proxy, database)
    assert progress.done == 3
    assert report.routers[0].points[0].quality == 0.75
    assert report.judge_cost_usd is None


async def test_a_function_that_fails_is_named(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI, suite: Suite, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text("def grade(item, reply):\n    return 2 if item.id == 'i1' else 1\n")
    plan = plan_of(suite, grader=f"{tmp_path}/own.py:grade")
    openai_server.on("large-target", said("4"))
    proxy = await proxy_of(start_proxy, openai_server, plan)
    report, _ = await carry_out(plan, proxy, database)
    assert report.n == 3
    assert any("own.py:grade` on item `i1` returned 2: it must return" in note for note in report.notes)


async def test_nothing_is_sent_where_a_grader_cannot_work(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI, suite: Suite
) -> None:
    proxy = await proxy_of(start_proxy, openai_server, plan_of(suite))
    no_target = tuple(msgspec.structs.replace(item, target=None) for item in suite.items)
    for broken, why in (
        (plan_of(suite, grader="code"), "switched off: allow it with --allow-code"),
        (plan_of(replace(suite, grader="own.py:grade")), "a file that the suite names"),
        (plan_of(suite, grader="./nowhere.py:grade"), "there is no file"),
        (plan_of(suite), r"name one with --grader \(answer, choice, code, contains"),
        (plan_of(replace(suite, items=no_target), grader="math"), "has no target, which grader 'math' needs"),
        (plan_of(replace(suite, items=no_target), grader="pairwise:small"), "has no target"),
    ):
        with pytest.raises(ConfigError, match=why):
            await carry_out(broken, proxy, database)
    assert openai_server.chats == []
    assert await runs.list_runs(database) == []


async def test_items_without_targets_can_be_judged(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    suite = suite_of(grader="judge:small")
    suite = replace(suite, items=tuple(msgspec.structs.replace(item, target=None) for item in suite.items))
    await library.save(database, suite)
    plan = plan_of(suite)
    openai_server.on("large-target", said("4")).on("small-target", verdict(0.5))
    proxy = await proxy_of(start_proxy, openai_server, plan)
    report, _ = await carry_out(plan, proxy, database)
    assert (report.n, report.routers[0].points[0].quality) == (4, 0.5)


def recorded(n: int) -> Recorded:
    shape = (n, 2)
    counts = np.ones(shape, dtype=np.int64)
    replies = np.array([["4", "5"]] * n, dtype=object)
    return Recorded(("small", "large"), np.full(shape, 0.25), np.array([[0.1, 0.2]] * n), counts, counts, replies)


def test_scoring_asks_nobody_but_grades_with_all_others(tmp_path: Path) -> None:
    suite = suite_of(20, recorded=recorded(20))
    fixed = "fixed:model=small"
    with pytest.raises(ConfigError, match="quality `grader:judge:m` asks a model about each reply"):
        score(plan_of(suite, fixed, grader="judge:m", remote=False))
    (tmp_path / "own.py").write_text("def grade(item, reply):\n    return 0.5 if reply == item.target else 0\n")
    for grader, quality in (("math", 1.0), (f"{tmp_path}/own.py:grade", 0.5), ("recorded", 0.25)):
        report = score(plan_of(suite, fixed, grader=grader, remote=False))
        assert report.routers[0].points[0].quality == quality
        assert report.baselines is not None


def test_routers_are_fitted_to_recorded_quality_where_a_model_judges() -> None:
    plan = plan_of(suite_of(20, recorded=recorded(20)), "knn", grader="judge:m", remote=False)
    assert plan.outcomes is not None
    assert np.array_equal(plan.outcomes.quality, recorded(20).quality)
    assert set(plan.build()) == {"knn"}


async def test_a_recording_keeps_what_could_not_be_judged(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI, suite: Suite
) -> None:
    plan = plan_recording(suite, ["large"], "judge:small")
    openai_server.on("large-target", said("4")).on("small-target", verdict(1.0))
    openai_server.next(HttpError(400, "No judging today."), model="small-target")
    proxy = await proxy_of(start_proxy, openai_server, plan_of(suite))
    target = Target(proxy.url, "live", known_pool=False)
    found = await record(plan, target, database, concurrency=1, backoff=0.001)
    assert found.missing == {"large": 1}
    assert any("No judging today" in error for error in found.errors)
    assert found.suite.recorded is not None
    assert np.isnan(found.suite.recorded.quality[:, 0]).tolist() == [True, False, False, False]
    assert found.suite.recorded.replies[:, 0].tolist() == ["4"] * 4, "what was paid for is kept"
    again = await record(plan, target, database, concurrency=1)
    assert (again.run, again.missing, again.progress.done) == (found.run, {}, 1)
    assert again.suite.recorded is not None
    assert again.suite.recorded.quality[:, 0].tolist() == [1.0] * 4
