"""Calls in the order of their end, and figures by outcome and session against numpy's."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from app.core.metrics import Metrics
from app.core.types import Call, Usage
from app.store.database import Database
from app.store.journal import Journal
from app.store.queries.arrivals import arrived_calls
from app.store.queries.calls import CallFilter
from app.store.queries.grouped import grouped_calls
from app.store.writer import Ledger
from tests.store.samples import NOW, full_call, small_call

Store = Callable[..., Awaitable[None]]


@pytest.fixture
async def store(database: Database, tmp_path: Path) -> AsyncIterator[Store]:
    """Records calls and returns once they can be read."""
    ledger = Ledger(database, Journal(tmp_path / "journal", max_bytes=1 << 24), Metrics())
    await ledger.start()

    async def write(*recorded: Call) -> None:
        for call in recorded:
            ledger.record(call)
        assert await ledger.flush(30)

    yield write
    await ledger.close()


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


async def test_figures_of_each(database: Database, store: Store) -> None:
    draw = random.Random(7)
    recorded = [
        full_call(
            started_at=NOW + timedelta(minutes=index),
            source="live",
            outcome=draw.choice(["ok", "ok", "error", "truncated", "rejected"]),
            session=draw.choice(["a", None]),
            latency=draw.random(),
            overhead=draw.choice([None, draw.random() / 1000]),
            usage=Usage(draw.randint(1, 100), draw.randint(1, 10)),
            cost_usd=draw.choice([None, Decimal(draw.randint(1, 100)) / 10**6]),
        )
        for index in range(200)
    ]
    await store(*recorded, full_call(started_at=NOW + timedelta(minutes=30)))
    since, until = NOW + timedelta(minutes=20), NOW + timedelta(minutes=180)
    for by in ("outcome", "session"):
        found = await grouped_calls(database, since, until, by, source="live")
        assert sum(sums.calls for sums in found.values()) == 160
        assert [one.calls for one in found.values()] == sorted((one.calls for one in found.values()), reverse=True)
        for key, sums in found.items():
            of = [call for call in recorded[20:180] if (getattr(call, by) or "none") == key]
            assert (sums.calls, sums.attempts) == (len(of), 2 * len(of))
            assert sums.failed == sum(call.outcome in ("error", "truncated") for call in of)
            assert sums.cost_usd == sum(call.cost_usd or 0 for call in of)
            assert sums.unpriced == sum(call.cost_usd is None for call in of)
            assert sums.prompt_tokens == sum(call.usage.prompt_tokens for call in of if call.usage)
            assert sums.latency is not None
            expected = np.quantile([call.latency for call in of], [0.5, 0.9, 0.99])
            assert (sums.latency.p50, sums.latency.p90, sums.latency.p99) == pytest.approx(tuple(expected))
            assert sums.overhead is not None
            assert sums.overhead.mean == pytest.approx(np.mean([c.overhead for c in of if c.overhead is not None]))
    assert sum(sums.calls for sums in (await grouped_calls(database, since, until, "outcome")).values()) == 161
