"""A cap on the calls in flight, with a short queue: beyond it a client hears 503 at once rather than waiting."""

from __future__ import annotations

import asyncio
from collections import deque

from app.core.errors import HullspeedError
from app.core.shared import Shared

LOOK_SECONDS = 0.02
"""How often those who wait look whether another worker has given a place free."""


class Overloaded(HullspeedError):
    """More calls than may be in flight, and the queue is full or was too slow."""

    status, type, code = 503, "server_error", "overloaded"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit:,} calls are in flight already (routing.max_inflight); try again in a second.", retry_after=1.0
        )


class Stopping(HullspeedError):
    """The server stops: it takes no new call, or cannot wait any longer for one that it has."""

    status, type, code = 503, "server_error", "stopping"

    def __init__(self) -> None:
        super().__init__("The proxy stops; ask again, another one may be up already.", retry_after=1.0)


class Admission:
    """`limit` calls at once; as many more wait at most `patience` seconds, first come, first served.

    All workers of a host have the limit together; who waits is served first come, first served within a worker.
    """

    def __init__(self, limit: int, patience: float, shared: Shared | None = None) -> None:
        self.limit = limit
        self.patience = patience
        self.closed = False
        """No call is taken any more: the server drains."""
        shared = shared or Shared()
        self._inflight, self._queued = shared.inflight, shared.waiting
        self._is_alone = shared.workers == 1
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._look_again: asyncio.TimerHandle | None = None

    @property
    def inflight(self) -> int:
        """Calls of all workers that have a place."""
        return self._inflight.total

    async def enter(self) -> None:
        """Take a place. Raises `Overloaded`, `Stopping`."""
        if self.closed:
            raise Stopping
        nobody_waits = not self._waiting and (self._is_alone or not self._queued.total)
        if nobody_waits and self._inflight.total < self.limit:
            self._inflight.add(1)
            return
        if self._queued.total >= self.limit:
            raise Overloaded(self.limit)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._queued.add(1)
        if not self._is_alone and self._look_again is None:
            self._look_again = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)
        try:
            await asyncio.wait_for(place, self.patience)
        except BaseException as error:
            if place.done() and not place.cancelled():
                # The place was given just as the wait ended: it goes to the next.
                self.leave()
            elif place in self._waiting:
                self._waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise Overloaded(self.limit) from None
            raise
        finally:
            self._queued.add(-1)

    def leave(self) -> None:
        """Give the place to who has waited longest, unless the limit has been lowered meanwhile."""
        if not (self._waiting and self._inflight.total <= self.limit and self._give()):
            self._inflight.add(-1)

    def _give(self) -> bool:
        """Give a place to who has waited longest; False where nobody waits any more."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return True
        return False

    def _look(self) -> None:
        """Take the places that other workers have given free."""
        self._look_again = None
        while self._waiting and self._inflight.total < self.limit and self._give():
            self._inflight.add(1)
        if self._waiting:
            self._look_again = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)
