"""The cap on calls in flight, of one worker and of several."""

from __future__ import annotations

import asyncio

import pytest

from app.core.shared import Shared
from app.gateway.admission import Admission, Overloaded


def worker(shared: Shared, number: int, limit: int, patience: float = 30.0) -> Admission:
    shared.join(number)
    return Admission(limit, patience, shared)


async def test_two_workers_have_one_limit() -> None:
    shared = Shared(2)
    one, other = worker(shared, 0, 3, patience=0.01), worker(shared, 1, 3, patience=0.01)
    for place in (one, other, one):
        await place.enter()
    for full in (one, other):
        assert full.inflight == 3
        with pytest.raises(Overloaded):
            await full.enter()
    one.leave()
    await other.enter()
    assert one.inflight == 3


async def test_who_waits_gets_the_place_that_another_worker_gives_free() -> None:
    shared = Shared(2)
    one, other = worker(shared, 0, 1), worker(shared, 1, 1)
    await one.enter()
    waiting = asyncio.create_task(other.enter())
    while not shared.waiting.total:
        await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await one.enter()  # the queue is as long as it may be, whoever waits in it
    one.leave()
    await waiting
    assert (one.inflight, shared.waiting.total) == (1, 0)


async def test_what_a_dead_worker_held_is_free() -> None:
    shared = Shared(2)
    one, other = worker(shared, 0, 1), worker(shared, 1, 1)
    await one.enter()
    shared.forget(0)
    await other.enter()
    assert other.inflight == 1


async def test_alone_the_first_that_waits_is_the_first_served() -> None:
    alone = Admission(1, 30)
    await alone.enter()
    order: list[int] = []

    async def call(number: int) -> None:
        await alone.enter()
        order.append(number)
        alone.leave()

    first = asyncio.create_task(call(1))
    await asyncio.sleep(0)
    # Only one may wait where one may run.
    with pytest.raises(Overloaded):
        await alone.enter()
    alone.leave()
    await first
    assert (order, alone.inflight) == ([1], 0)
