"""Server-sent events towards one client, kept alive while there is nothing to say.

A comment goes out after every `interval` of silence, also before the first token: load balancers and clients cut
connections that are silent for long (WHATWG HTML standard, 9.2.7, advises one about every 15 seconds). It is sent
between events only. The clock is one timer of the event loop: a stream that is never silent pays for no task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

COMMENT = b": keep-alive\n\n"


class Channel(Protocol):
    """What carries the bytes to the client."""

    async def open(self, headers: Mapping[str, str]) -> None: ...

    async def write(self, data: bytes) -> None: ...

    async def end(self, data: bytes) -> None: ...


class EventStream:
    """A stream that opens when there is something to send: the first event or, after a long silence, a `beat`."""

    def __init__(
        self, channel: Channel, headers: Callable[[], Mapping[str, str]], interval: float, beat: bytes = COMMENT
    ) -> None:
        """`headers` is asked for what is known of the call when the stream opens; `interval`: seconds."""
        self.opened = False
        self._channel = channel
        self._headers = headers
        self._interval = interval
        self._sign = beat
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._writing = 0
        self._beating: asyncio.Task[None] | None = None
        self._stopped = False
        self._timer = self._loop.call_later(interval, self._beat)

    async def open(self) -> None:
        """Send the head now, unless that is done."""
        if not self.opened:
            self.opened = True
            await self._channel.open(self._headers())

    async def write(self, data: bytes) -> None:
        """Whole events; waits while the client is slow."""
        self._writing += 1
        try:
            if not self.opened:
                await self.open()
            await self._channel.write(data)
        finally:
            self._writing -= 1
            self._last = self._loop.time()

    async def end(self, data: bytes) -> None:
        """The last events."""
        self.stop()
        if self._beating is not None and not self._beating.done():
            # A comment on its way out goes out whole, and before the end.
            await asyncio.wait((self._beating,))
        await self.open()
        await self._channel.end(data)

    def stop(self) -> None:
        """No more comments; called whatever becomes of the stream."""
        self._stopped = True
        self._timer.cancel()

    def _beat(self) -> None:
        silent = self._loop.time() - self._last
        due = silent >= self._interval
        # A client that does not read gets no comment on top.
        if due and not self._writing:
            self._beating = self._loop.create_task(self._say())
        self._timer = self._loop.call_later(self._interval if due else self._interval - silent, self._beat)

    async def _say(self) -> None:
        # Since the timer rang, the stream may have been given up, and a whole error have gone out in its place.
        if not self._stopped:
            await self.write(self._sign)
