"""Answers kept for a moment, and shared by all who ask for the same meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Briefly(Generic[T]):
    """However many ask how often, what they ask for is looked for once at a time, and for a bounded share of the time:
    an answer that took long is kept ten times as long as it took. An error is not kept for longer than it must."""

    def __init__(
        self,
        seconds: float = 1.0,
        *,
        times: float = 10.0,
        most: int = 64,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """An answer is kept for `seconds`, or for `times` the time it took if that is more; `most` of them at once."""
        self._seconds, self._times, self._most, self._clock = seconds, times, most, clock
        self._kept: OrderedDict[Hashable, _Kept[T]] = OrderedDict()

    async def get(self, key: Hashable, find: Callable[[], Awaitable[T]]) -> T:
        """The answer under `key`; where none is kept, what `find` gives. Raises what that raised."""
        # Whoever leaves does not take the answer from the others.
        return await asyncio.shield(self.begin(key, find))

    def begin(self, key: Hashable, find: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
        """Have it looked for, where it is not kept, for whoever will ask next."""
        kept = self._kept.get(key)
        if kept is None or self._clock() >= kept.until:
            kept = self._kept[key] = _Kept(asyncio.ensure_future(self._find(key, find)))
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return kept.answer

    async def _find(self, key: Hashable, find: Callable[[], Awaitable[T]]) -> T:
        begun, times = self._clock(), 0.0
        try:
            found = await find()
            times = self._times
            return found
        finally:
            now = self._clock()
            if (kept := self._kept.get(key)) is not None and kept.answer is asyncio.current_task():
                kept.until = now + max(self._seconds, times * (now - begun))


class _Kept(Generic[T]):
    def __init__(self, answer: asyncio.Future[T]) -> None:
        self.answer = answer
        self.until = float("inf")
        """Nobody looks again while it is looked for."""
        # An error that nobody waits for any more is no news.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
