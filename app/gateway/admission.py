"""A cap on the calls in flight, with a short queue: beyond it a client hears 503 at once rather than waiting."""

from __future__ import annotations

import asyncio
from collections import deque

from app.core.errors import HullspeedError


class Overloaded(HullspeedError):
    """More calls than may be in flight, and the queue is full or was too slow."""

    status, type, code = 503, "server_error", "overloaded"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit:,} calls are in flight already (routing.max_inflight); try again in a second.", retry_after=1.0
        )


class Admission:
    """`limit` calls at once; as many more wait at most `patience` seconds, first come, first served."""

    def __init__(self, limit: int, patience: float) -> None:
        self.limit = limit
        self.inflight = 0
        self.patience = patience
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Take a place. Raises `Overloaded`."""
        if self.inflight < self.limit and not self._waiting:
            self.inflight += 1
            return
        if len(self._waiting) >= self.limit:
            raise Overloaded(self.limit)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
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

    def leave(self) -> None:
        """Give the place to who has waited longest, unless the limit has been lowered meanwhile."""
        while self._waiting and self.inflight <= self.limit:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.inflight -= 1
