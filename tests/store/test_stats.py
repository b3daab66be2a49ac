"""Figures over many calls, against what numpy makes of the same ones."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest

from app.core.types import Call, Usage
from app.store.database import Database
from app.store.queries import CallFilter, arrived_calls
from app.store.shipping import ship
from app.store.stats import GROUPINGS, Figures, call_stats
from app.store.text import encode
from tests.store.samples import NOW, full_call, small_call

Store = Callable[..., Awaitable[None]]


@pytest.fixture
def store(database: Database) -> Store:
    async def write(*recorded: Call) -> None:
        async with database.begin() as connection:
            await ship(connection, "call", [encode(call) for call in recorded])

    return write


def some_calls() -> list[Call]:
    draw = random.Random(7)
    made = []
    for index in range(200):
        outcome = draw.choice(["ok", "ok", "ok", "error", "truncated", "rejected", "client_cancelled"])
        made.append(
            full_call(
                started_at=NOW + timedelta(minutes=index),
                source="live",
                outcome=outcome,
                model=draw.choice(["small", "large", None]),
                session=draw.choice(["a", None]),
                latency=draw.random(),
                overhead=draw.choice([None, draw.random() / 1000]),
                usage=Usage(draw.randint(1, 100), draw.randint(1, 10)),
                cost_usd=draw.choice([None, Decimal(draw.randint(1, 100)) / 10**6]),
            )
        )
    return made


def expect(found: Figures, recorded: list[Call]) -> None:
    assert found.calls == len(recorded)
    outcomes = [call.outcome for call in recorded]
    assert found.failed == outcomes.count("error") + outcomes.count("truncated")
    assert (found.rejected, found.cancelled) == (outcomes.count("rejected"), outcomes.count("client_cancelled"))
    assert found.cost_usd == sum(call.cost_usd or 0 for call in recorded)
    assert found.unpriced == sum(call.cost_usd is None for call in recorded)
    assert found.prompt_tokens == sum(call.usage.prompt_tokens for call in recorded if call.usage)
    assert found.completion_tokens == sum(call.usage.completion_tokens for call in recorded if call.usage)
    assert found.latency == pytest.approx(np.quantile([call.latency for call in recorded], [0.5, 0.95, 0.99]))
    overheads = [call.overhead for call in recorded if call.overhead is not None]
    assert found.overhead == pytest.approx(np.quantile(overheads, [0.5, 0.95, 0.99]))


async def test_figures_of_all_and_of_each(database: Database, store: Store) -> None:
    recorded = some_calls()
    replay = full_call(started_at=NOW + timedelta(minutes=5))
    await store(*recorded, replay)
    since, until = NOW + timedelta(minutes=20), NOW + timedelta(minutes=180)
    inside = recorded[20:180]
    found = await call_stats(database, since, until, GROUPINGS)
    expect(found.total, inside)
    assert found.by.keys() == set(GROUPINGS)
    for name, groups in found.by.items():
        assert [one.calls for one in groups] == sorted((one.calls for one in groups), reverse=True)
        for group in groups:
            of = [c for c in inside if group.key == ("knn" if name == "router" else getattr(c, name))]
            expect(group, of)
        assert sum(one.calls for one in groups) == len(inside)
    everything = (await call_stats(database, NOW, until, replays=True)).total
    assert everything.calls == 180 + 1


async def test_nothing_is_no_error(database: Database) -> None:
    found = await call_stats(database, NOW, NOW + timedelta(days=1), ("model",))
    assert (found.total.calls, found.total.cost_usd, found.total.latency) == (0, 0, None)
    assert found.by == {"model": []}


async def test_calls_arrive_in_the_order_in_which_they_end(database: Database, store: Store) -> None:
    # The first to start is the last to end.
    slow = full_call(started_at=NOW, latency=60.0, session="s")
    quick = full_call(started_at=NOW + timedelta(seconds=10), latency=1.0)
    before = small_call(started_at=NOW - timedelta(minutes=1), latency=1.0)
    endless = full_call(started_at=NOW - timedelta(hours=1), latency=4000.0)
    await store(slow, quick, before, endless)
    assert [row.id for row in await arrived_calls(database, since=NOW)] == [quick.id, slow.id]
    assert [row.id for row in await arrived_calls(database, since=NOW, known={quick.id})] == [slow.id]
    found = await arrived_calls(database, CallFilter(session="s"), since=NOW)
    assert [row.id for row in found] == [slow.id]
    assert await arrived_calls(database, since=NOW + timedelta(seconds=60)) == []
