"""How long one waits for the next chunk of a stream, watched by one lazy timer per stream.

A timeout set anew for every chunk would cost more than relaying the chunk. Here a chunk costs two assignments: the
timer looks by itself, at most once per `idle` seconds, how long the reader has been waiting.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Patience:
    """An async context around reading a stream; leaves with `TimeoutError` when its patience is over."""

    def __init__(self, idle: float, total: float) -> None:
        """Seconds between two chunks, and from now to the end of the stream, the reader's own pauses included."""
        self._loop = asyncio.get_running_loop()
        self._idle = idle
        self._end = self._loop.time() + total
        self._since: float | None = None
        self._limit = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self.exceeded = idle
        """The limit that was passed, in seconds, once one was."""
        self._total = total

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self.wait()
        self._timer = self._loop.call_at(self._due(self._loop.time()), self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def wait(self) -> None:
        """The next chunk is waited for from now on."""
        self._since = self._loop.time()

    def rest(self) -> None:
        """A chunk is there. While nobody waits the clock stands still: a slow reader is not the stream's fault."""
        self._since = None

    def _due(self, now: float) -> float:
        return min((now if self._since is None else self._since) + self._idle, self._end)

    def _look(self) -> None:
        now = self._loop.time()
        due = self._due(now)
        if self._since is not None and now >= due:
            self.exceeded = self._total if due == self._end else self._idle
            self._limit.reschedule(now)
            return
        # Past the end while the reader rests: looked at again soon, since only waiting can be interrupted.
        self._timer = self._loop.call_at(max(due, now + 0.05), self._look)
