"""What the mock saw: one record per request, so that attempts can be counted, timed and compared."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

from app.mock.replies import Json, Reply


@dataclass(eq=False)
class Seen:
    """One request that the mock received. Its state changes until `wait` returns."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    raw: bytes
    body: Any
    """The parsed JSON; None where there is none."""
    model: str | None = None
    reply: Reply | None = None
    """What it was answered with."""
    bytes_sent: int = 0
    """Bytes of the reply's body given to the socket so far."""
    disconnected: bool = False
    """The client went away before the end."""
    connection: int = 0
    """Counts the connections; two requests with the same number shared one."""
    arrived: float = 0.0
    """Seconds on the event loop's clock."""
    ended: float | None = None
    """When the reply was over or the client had gone, on the same clock."""
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def count(self, sent: int) -> None:
        """Called by the server."""
        self.bytes_sent += sent

    def close(self, now: float) -> None:
        """Called by the server."""
        self.ended = now
        self._over.set()

    def wait(self, seconds: float = 10.0) -> bool:
        """Block until the request is over, one way or another."""
        return self._over.wait(seconds)

    async def over(self, seconds: float = 10.0) -> bool:
        """`wait` for a coroutine."""
        return await asyncio.to_thread(self._over.wait, seconds)

    def as_json(self) -> Json:
        """For `GET /mock/requests`. `raw` is the body as it came; bytes that are not UTF-8 are escaped."""
        return {
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "raw": self.raw.decode(errors="backslashreplace"),
            "body": self.body,
            "model": self.model,
            "connection": self.connection,
            "arrived": round(self.arrived, 6),
            "ended": None if self.ended is None else round(self.ended, 6),
            "bytes_sent": self.bytes_sent,
            "disconnected": self.disconnected,
        }
