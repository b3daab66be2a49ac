"""Recording through a real proxy and a provider that fails on demand: what is paid for is kept, gaps stay gaps."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from app.bench import library
from app.bench.plan import Plan, RouterSpec
from app.bench.record import Recording, check_name, plan_recording, record, remaining
from app.bench.replay import Progress, ReplayFailed
from app.bench.run import Target, score
from app.bench.suite import Item, Recorded, Suite
from app.core.errors import ConfigError
from app.store import runs
from app.store.database import Database
from app.store.queries.calls import CallFilter
from app.store.tables import scores
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Gate, HttpError
from tests.serving import Running, StartProxy, models

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
RIGHT, WRONG = Answer("The answer is 4.", usage=USAGE), Answer("It is 5.", usage=USAGE)
COST_A, COST_B = 10 * 1e-6 + 5 * 2e-6, 10 * 1e-5 + 5 * 2e-5
"""What `tests.serving.models` charges for one such reply."""


def suite_of(n: int = 3, **fields: Any) -> Suite:
    items = tuple(
        Item(id=f"i{k}", category="sums", messages=[{"role": "user", "content": f"{k}: 2 + 2?"}], target="4")
        for k in range(n)
    )
    return Suite(**{"name": "s", "items": items, "grader": "number", **fields})


def recorded(n: int, *names: str) -> Recorded:
    shape = (n, len(names))
    return Recorded(
        names,
        np.full(shape, 0.25),
        np.full(shape, 0.5),
        np.full(shape, 7, dtype=np.int64),
        np.full(shape, 8, dtype=np.int64),
        np.full(shape, "old: 4", dtype=object),
    )


async def proxy_of(start_proxy: StartProxy, fake: FakeOpenAI, *names: str) -> Running:
    return await start_proxy({"model_list": models(fake.url, *(names or ("a", "b")))})


async def carry_out(plan: Plan, url: str, database: Database, **options: Any) -> Recording:
    return await record(plan, Target(url, "live", known_pool=False), database, **{"backoff": 0.001, **options})


async def test_each_model_answers_each_item(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    suite = suite_of(recorded=recorded(3, "b", "stays"), simulated=True)
    await library.save(database, suite)
    openai_server.on("a-target", RIGHT).on("b-target", WRONG)
    proxy = await proxy_of(start_proxy, openai_server)
    found = await carry_out(plan_recording(suite, ["a", "b"]), proxy.url, database)
    assert (found.missing, found.errors, found.progress.failed) == ({}, {}, 0)
    kept = await library.load(database, "s")
    outcomes = kept.recorded
    assert outcomes is not None
    assert outcomes.models == ("b", "stays", "a")
    assert outcomes.quality.tolist() == [[0.0, 0.25, 1.0]] * 3
    assert outcomes.cost == pytest.approx(np.array([[COST_B, 0.5, COST_A]] * 3), rel=1e-12)
    assert outcomes.prompt_tokens.tolist() == [[10, 7, 10]] * 3
    assert outcomes.completion_tokens.tolist() == [[5, 8, 5]] * 3
    assert outcomes.replies.tolist() == [["It is 5.", "old: 4", "The answer is 4."]] * 3
    assert kept.digest == suite.digest
    assert kept.simulated, "one column is still a simulated model's"
    assert "Recorded: a, b (grader:number)." in kept.description
    run, report = await runs.get_run(database, found.run)
    assert (run.status, run.spec["kind"], report) == ("done", "record", None)
    rows = await runs.load_results(database, found.run)
    assert [(row.router, row.tradeoff, row.item) for row in rows] == [
        (f"model:{model}", 0.0, f"i{k}") for model in "ab" for k in range(3)
    ]
    calls = await proxy.calls(CallFilter(run=found.run))
    assert sorted((call.call.requested_model, call.call.item) for call in calls) == sorted(
        (model, f"i{k}") for model in "ab" for k in range(3)
    )
    async with database.begin() as connection:
        judged = (await connection.execute(sa.select(scores.c.call_id, scores.c.value, scores.c.source))).all()
    by_call = {row.call_id: row.quality for row in rows}
    assert {row.call_id: row.value for row in judged} == by_call
    assert {row.source for row in judged} == {"grader:number"}


async def test_what_fails_is_missing_and_asked_again(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    suite = suite_of()
    await library.save(database, suite)
    proxy = await proxy_of(start_proxy, openai_server)
    plan = plan_recording(suite, ["a", "b"])
    # `a` recovers within the tries that there are; `b` fails for good on its second item, and refuses its third.
    openai_server.on("a-target", RIGHT).on("b-target", WRONG)
    openai_server.next(HttpError(503), HttpError(429, headers={"retry-after": "0"}), model="a-target")
    openai_server.next(WRONG, HttpError(500), HttpError(500), HttpError(500), HttpError(400), model="b-target")
    found = await carry_out(plan, proxy.url, database, concurrency=1, retries=2)
    assert found.missing == {"b": 2}
    assert sorted(found.errors.values()) == [1, 1]
    assert [seen.model for seen in openai_server.chats].count("a-target") == 3 + 2
    assert [seen.model for seen in openai_server.chats].count("b-target") == 1 + 3 + 1, "a 400 is not asked again"
    outcomes = found.suite.recorded
    assert outcomes is not None
    for matrix in (outcomes.quality, outcomes.cost):
        assert np.isnan(matrix).tolist() == [[False, False], [False, True], [False, True]]
    assert outcomes.quality[:, 0].tolist() == [1.0] * 3
    assert outcomes.replies[1, 1] is None
    # Such a suite is scored: what is missing counts as not answered.
    kept = await library.load(database, "s")
    report = score(Plan(kept, (RouterSpec.parse("fixed:model=b"),), (0.0,), split="all"))
    assert report.routers[0].points[0].coverage == pytest.approx(1 / 3)
    # The same command asks for the gaps alone.
    assert (await runs.get_run(database, found.run))[0].status == "failed"
    assert [(task.model, task.item.id) for task in await remaining(database, plan, "live")] == [
        ("b", "i1"),
        ("b", "i2"),
    ]
    openai_server.clear()
    openai_server.on("b-target", RIGHT)
    again = await carry_out(plan, proxy.url, database)
    assert (again.run, again.missing, len(openai_server.chats)) == (found.run, {}, 2)
    assert again.suite.recorded is not None
    assert again.suite.recorded.quality[:, 1].tolist() == [0.0, 1.0, 1.0]
    assert again.suite.description == found.suite.description
    assert (await runs.get_run(database, found.run))[0].status == "done"


async def test_a_model_that_never_answers_gets_no_column(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    suite = suite_of(recorded=recorded(3, "b"))
    await library.save(database, suite)
    proxy = await proxy_of(start_proxy, openai_server)
    openai_server.on("a-target", RIGHT).on("b-target", HttpError(401))
    found = await carry_out(plan_recording(suite, ["b", "a"]), proxy.url, database, retries=0)
    assert found.missing == {"b": 3}
    assert found.suite.recorded is not None
    assert found.suite.recorded.models == ("a",), "its old outcomes are gone too: it was to be recorded anew"
    openai_server.on("a-target", HttpError(500))
    with pytest.raises(ReplayFailed, match="nothing was recorded"):
        await carry_out(plan_recording(suite, ["a"]), proxy.url, database, retries=0)


async def test_the_cap_stops_and_the_same_call_goes_on(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    suite = suite_of(6)
    await library.save(database, suite)
    openai_server.default = RIGHT
    proxy = await proxy_of(start_proxy, openai_server)
    plan = plan_recording(suite, ["a"])
    # Two calls cost exactly as much; the third is not made.
    with pytest.raises(ReplayFailed, match=r"stopped at --max-cost.*2 of 6 calls done"):
        await carry_out(plan, proxy.url, database, concurrency=1, max_cost=Decimal("0.00004"))
    assert (await library.load(database, "s")).recorded is None
    started: list[tuple[int, int]] = []
    with pytest.raises(ReplayFailed, match="3 of 6"):
        # What was spent before counts.
        await carry_out(plan, proxy.url, database, concurrency=1, max_cost=Decimal("0.00006"))
    found = await carry_out(
        plan, proxy.url, database, name="new", on_start=lambda _run, done, total: started.append((done, total))
    )
    assert started == [(3, 6)]
    assert len(openai_server.chats) == 6
    assert found.progress.cost == Decimal("0.00012")
    assert (await library.load(database, "s")).recorded is None
    new = (await library.load(database, "new")).recorded
    assert new is not None
    assert not np.isnan(new.cost).any()


async def test_a_reply_is_kept_as_soon_as_it_is_there(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    suite = suite_of()
    await library.save(database, suite)
    proxy = await proxy_of(start_proxy, openai_server)
    gate = Gate()
    openai_server.next(RIGHT, Answer("4", usage=USAGE, gate=gate))
    openai_server.default = RIGHT
    plan = plan_recording(suite, ["a"])
    seen: list[Progress] = []
    work = asyncio.create_task(carry_out(plan, proxy.url, database, concurrency=1, on_progress=seen.append))
    assert await asyncio.to_thread(gate.wait_reached)
    # The second call hangs, and nothing has told the recording that it will not come to its end.
    (run,) = await runs.list_runs(database)
    (row,) = await runs.load_results(database, run.id)
    assert (row.item, row.reply, row.quality) == ("i0", "The answer is 4.", 1.0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    gate.open()
    found = await carry_out(plan, proxy.url, database)
    assert found.run == run.id
    asked = [chat.body["messages"][0]["content"] for chat in openai_server.chats]
    assert sorted(asked) == ["0: 2 + 2?", "1: 2 + 2?", "1: 2 + 2?", "2: 2 + 2?"]


async def test_an_unknown_cost_stops_at_once(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    suite = suite_of()
    await library.save(database, suite)
    openai_server.default = RIGHT
    entry = {
        "model_name": "free",
        "litellm_params": {"model": "openai/nobody-prices-this", "api_base": openai_server.url, "api_key": "k"},
    }
    proxy = await start_proxy({"model_list": [entry]})
    plan = plan_recording(suite, ["free"])
    with pytest.raises(ReplayFailed, match="`free` answered at an unknown cost: give it a price"):
        await carry_out(plan, proxy.url, database, concurrency=1)
    assert len(openai_server.chats) == 1
    assert len(await remaining(database, plan, "live")) == 3


async def test_an_answer_of_another_model_is_none(database: Database, openai_server: FakeOpenAI) -> None:
    suite = suite_of(1)
    await library.save(database, suite)
    openai_server.default = replace(RIGHT, model="other")
    with pytest.raises(ReplayFailed, match="asked for model `a`, answered by `other`"):
        await carry_out(plan_recording(suite, ["a"]), openai_server.origin, database)


async def test_a_proxy_that_is_gone(database: Database) -> None:
    suite = suite_of()
    await library.save(database, suite)
    with pytest.raises(ReplayFailed, match="is gone"):
        await carry_out(plan_recording(suite, ["a"]), "http://127.0.0.1:9", database)


async def test_nothing_is_asked_that_could_not_be_kept(database: Database) -> None:
    suite = suite_of()
    for broken, names, grader, words in (
        (suite, ["a", "b", "a"], None, "model `a` is named twice"),
        (suite, [], None, "name at least one model"),
        (suite, ["a"], "recorded", "has no grader"),
        (replace(suite, grader=None), ["a"], None, "has no grader"),
        (suite, ["a"], "nmber", "no grader is called 'nmber'"),
        (
            replace(suite, items=(*suite.items, Item(id="x", category="c", messages=suite.items[0].messages))),
            ["a"],
            None,
            "item `x` of suite `s` has no target",
        ),
    ):
        with pytest.raises(ConfigError, match=words):
            plan_recording(broken, names, grader)
    await library.save(database, suite)
    await library.save(database, suite_of(2, name="taken"))
    plan = plan_recording(suite, ["a"], "exact")
    with pytest.raises(ConfigError, match="'taken' already, of other items"):
        await record(plan, Target("http://127.0.0.1:9", "live", known_pool=False), database, name="taken")
    assert await runs.list_runs(database) == []
    assert (await check_name(database, plan, "new")).name == "new"
