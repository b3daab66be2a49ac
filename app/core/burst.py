"""What one turn of the event loop has to send goes out together, behind the last step that had something to send.

A send wakes the process that waits for it, and where that one sleeps on another core, waking it costs the sender more
than all else about a small message: an interrupt to that core, in a virtual machine with a way through its host. Sends
that follow closely on another find it awake. So the replies and requests of a busy proxy, which are made some hundred
microseconds apart, are kept until all of a turn are made; where there is only one, it goes at once. It is what TCP's
cork and a network card's batched doorbell do (tcp(7); NAPI), a layer further up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary

MOST = 64
"""Messages that are kept: the first of them waits for the steps of all others."""


class Burst:
    """What is to be sent over the connections of one event loop; belongs to its thread."""

    __slots__ = ("_waiting", "due")

    def __init__(self) -> None:
        self.due = 0
        """Steps that are about to run in this turn and may send something: whoever schedules one adds it, and the step
        takes it off before it sends."""
        self._waiting: list[tuple[asyncio.Transport, bytes, Callable[[int], None] | None]] = []

    def write(self, transport: asyncio.Transport, data: bytes, on_dropped: Callable[[int], None] | None = None) -> None:
        """Send `data`, at the end of the turn at the latest.

        `on_dropped` is told how many bytes were not, where the connection was lost before.
        """
        waiting = self._waiting
        if not waiting:
            if self.due <= 0:
                transport.write(data)
                return
            # Should the steps that are due send nothing.
            asyncio.get_running_loop().call_soon(self.flush)
        waiting.append((transport, data, on_dropped))
        if self.due <= 0 or len(waiting) >= MOST:
            self.flush()

    def flush(self) -> None:
        """Send what waits: before anything is done to a connection that is not sent by `write`."""
        waiting, self._waiting = self._waiting, []
        for transport, data, on_dropped in waiting:
            if not transport.is_closing():
                transport.write(data)
            elif on_dropped is not None:
                on_dropped(len(data))

    def drop(self, transport: asyncio.Transport) -> None:
        """Send no more of what waits for one connection."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if one[0] is not transport:
                self._waiting.append(one)
            elif one[2] is not None:
                one[2](len(one[1]))


_bursts: WeakKeyDictionary[asyncio.AbstractEventLoop, Burst] = WeakKeyDictionary()


def burst_of(loop: asyncio.AbstractEventLoop) -> Burst:
    """The one that all connections of `loop` share."""
    burst = _bursts.get(loop)
    if burst is None:
        burst = _bursts[loop] = Burst()
    return burst
