"""Answers that are kept for a moment, by a clock that the test turns."""

from __future__ import annotations

import asyncio

import pytest

from app.core.briefly import Briefly


class Source:
    """Answers with how often it was asked, when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.now = 100.0
        self.let = asyncio.Event()
        self.let.set()
        self.takes = 0.0

    def clock(self) -> float:
        return self.now

    async def find(self) -> int:
        self.asked += 1
        await self.let.wait()
        self.now += self.takes
        return self.asked


async def test_an_answer_is_kept_for_its_time() -> None:
    source = Source()
    briefly = Briefly[int](1.0, clock=source.clock)
    assert [await briefly.get("a", source.find) for _ in range(3)] == [1, 1, 1]
    assert await briefly.get("b", source.find) == 2
    source.now += 1
    assert await briefly.get("a", source.find) == 3


async def test_what_took_long_is_kept_longer() -> None:
    source = Source()
    source.takes = 0.5
    briefly = Briefly[int](1.0, clock=source.clock)
    await briefly.get("a", source.find)
    source.now += 4.9
    assert await briefly.get("a", source.find) == 1
    source.now += 0.2
    assert await briefly.get("a", source.find) == 2


async def test_who_asks_meanwhile_waits_for_the_same_and_may_leave() -> None:
    source = Source()
    source.let.clear()
    briefly = Briefly[int](clock=source.clock)
    first, second = (asyncio.create_task(briefly.get("a", source.find)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    source.let.set()
    assert await second == 1
    assert first.cancelled()


async def test_what_was_begun_is_there_for_who_asks_next() -> None:
    source = Source()
    briefly = Briefly[int](clock=source.clock)
    briefly.begin("a", source.find)
    briefly.begin("a", source.find)
    for _ in range(3):
        await asyncio.sleep(0)
    assert source.asked == 1
    assert await briefly.get("a", source.find) == 1


async def test_an_error_is_shared_and_soon_forgotten() -> None:
    source = Source()
    asked = 0

    async def fail() -> int:
        nonlocal asked
        asked += 1
        source.now += 5
        raise ValueError(asked)

    briefly = Briefly[int](1.0, clock=source.clock)
    for said in ("1", "1"):
        with pytest.raises(ValueError, match=said):
            await briefly.get("a", fail)
    source.now += 1
    with pytest.raises(ValueError, match="2"):
        await briefly.get("a", fail)


async def test_the_oldest_are_let_go() -> None:
    source = Source()
    briefly = Briefly[int](most=2, clock=source.clock)
    for key in "abc":
        await briefly.get(key, source.find)
    assert await briefly.get("c", source.find) == 3
    assert await briefly.get("a", source.find) == 4
