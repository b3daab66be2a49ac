"""The mock on a loopback port, in a thread with an event loop of its own: what all fakes share.

A thread rather than the test's loop, so that synchronous tests, asynchronous ones and child processes can all talk to
it, and a test that blocks its own loop does not block the provider.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from app.mock.dialect import Dialect
from app.mock.seen import Seen
from app.mock.server import Mock
from tests.fakes.replies import Reply

__all__ = ["FakeServer", "Seen"]


class FakeServer(Mock):
    """A mock of one dialect that starts and stops; after a `stop` it comes back on the same port."""

    def __init__(
        self,
        dialect: Dialect,
        *more: Dialect,
        key: str | None = None,
        port: int = 0,
        default: Reply | None = None,
        models: tuple[str, ...] = ("fake-large", "fake-small"),
    ) -> None:
        super().__init__((dialect, *more), key=key, default=default, models=models)
        self.base = dialect.base
        self.port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address that a client is given."""
        return self.origin + self.base

    @property
    def last(self) -> Seen:
        """The newest request for a completion."""
        return self.chats[-1]

    def wait_for(self, count: int = 1, timeout: float = 10.0) -> list[Seen]:
        """Block until `count` requests have come in."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self._requests) >= count, timeout):
                raise AssertionError(f"{len(self._requests)} of {count} requests came within {timeout} s")
            return list(self._requests)

    async def arrived(self, count: int = 1, timeout: float = 10.0) -> list[Seen]:
        """`wait_for` for a test that is a coroutine."""
        return await asyncio.to_thread(self.wait_for, count, timeout)

    def clear(self) -> None:
        """Forget requests, queues and standing replies."""
        self.forget_requests()
        self.forget_plan()

    def start(self) -> Self:
        """Listen. Raises what goes wrong."""
        ready = threading.Event()
        failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(ready, failures), name=type(self).__name__, daemon=True)
        self._thread.start()
        ready.wait()
        if failures:
            self._thread.join()
            self._thread = None
            raise failures[0]
        return self

    def stop(self) -> None:
        """Close the port and every connection. Harmless when not running."""
        if self._thread is None:
            return
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, ready: threading.Event, failures: list[BaseException]) -> None:
        try:
            asyncio.run(self._serve_until_stopped(ready))
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()

    async def _serve_until_stopped(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            self.port = await self.listen(port=self.port)
            ready.set()
            await self._stop.wait()
        finally:
            await self.close()
