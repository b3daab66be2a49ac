"""Serving a proxy: the port it listens on, the signals it hears, and how it drains."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import cast

import uvicorn

from app.api.server import CallProtocol, State
from app.core.errors import ConfigError
from app.core.workers import BACKLOG
from app.gateway.attempt import ABANDONED
from app.main import Proxy
from app.store.retention import retain_hourly

KEEP_ALIVE_SECONDS = 75
"""Longer than load balancers and clients keep a connection unused: who is about to send must not find it closed."""
CUT_OFF_SECONDS = 5.0
LOOK_SECONDS = 0.05
"""How often a server that drains looks whether it is to stop at once."""
TICK_SECONDS = 0.1
"""What uvicorn counts in: it makes a new `date` header every tenth time."""
CLOSING_SECONDS = 0.002
"""How often a server that has drained looks whether its connections are gone, which takes an idle one a moment."""


class Server(uvicorn.Server):
    """uvicorn whose signals tell the proxy at once that it is to drain, and end in exit code 0."""

    def __init__(self, proxy: Proxy, *, signals: bool) -> None:
        """`signals`: stop on SIGTERM and SIGINT, reload on SIGHUP; otherwise they stay the caller's. A worker stops on
        SIGTERM; the rest its supervisor tells it."""
        super().__init__(
            uvicorn.Config(
                proxy,
                loop="none",
                # uvicorn takes whatever makes a protocol.
                http=cast("type[asyncio.Protocol]", partial(CallProtocol, proxy.endpoint)),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                backlog=BACKLOG,
            )
        )
        self.listening = asyncio.Event()
        self._stopped = asyncio.Event()
        self.server_state = self._state = State()
        self._proxy = proxy
        self._tasks: set[asyncio.Task[bool]] = set()
        self._handlers: dict[signal.Signals, Callable[[], None]] = {}
        if signals and proxy.line is not None:
            self._handlers = {signal.SIGTERM: self.stop}
        elif signals:
            self._handlers = {signal.SIGTERM: self._told, signal.SIGINT: self._told, signal.SIGHUP: self.reload}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        # As uvicorn's, which sees only at its next tick that it is to stop.
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stopped.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._proxy.settings.drain_seconds
        await self._drain(end)
        # Calls that cannot be waited for any longer say so to their clients, and are recorded while there is a ledger.
        if cut_off := list(self._state.tasks):
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            for task in cut_off:
                task.cancel(ABANDONED)
            await asyncio.wait(cut_off, timeout=CUT_OFF_SECONDS)
        # As uvicorn's, which waits a tenth of a second before it first looks whether they are gone.
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        end = max(end, loop.time() + TICK_SECONDS)  # What calls that were cut off have said is still on its way.
        while self._state.connections and loop.time() < end and not self.force_exit:  # noqa: ASYNC110 -- no event tells
            await asyncio.sleep(CLOSING_SECONDS)

    async def _drain(self, end: float) -> None:
        """Wait for what is in flight, until `end` on the loop's clock. The port stays open meanwhile: who asks hears
        503, from `/readyz` too, where a closed port would tell a platform nothing."""
        for connection in cast("list[CallProtocol]", list(self._state.connections)):
            if not connection.is_new:
                connection.shutdown()
        while self._state.tasks and not self.force_exit:
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                return
            await asyncio.wait(list(self._state.tasks), timeout=min(left, LOOK_SECONDS))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own version raises the signal again when it is done, which would end in exit code 143. Here they are
        # heard until the ledger is put away.
        loop = asyncio.get_running_loop()
        for number, handler in self._handlers.items():
            loop.add_signal_handler(number, handler)
        yield

    def ignore_signals(self) -> None:
        """Nothing is left to be stopped: by default one that comes late would end the process as if it were killed."""
        loop = asyncio.get_running_loop()
        signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers)
        for number in self._handlers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._handlers)

    def reload(self) -> None:
        """Read the config again."""
        task = asyncio.ensure_future(self._proxy.reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _told(self) -> None:
        """By a signal: asked a second time, exit without waiting."""
        self.stop(at_once=self.should_exit)

    def stop(self, at_once: bool = False) -> None:
        """Drain and exit; `at_once`: without waiting for calls in flight."""
        self.force_exit = self._proxy.hurry = self.force_exit or at_once
        # Who is refused from now on is not to ask over the same connection again.
        self.should_exit = self._state.draining = True
        self._stopped.set()
        self._proxy.drain()


def spare_the_collector() -> None:
    """Have the cyclic garbage collector look seldom, and not at what was there from the start.

    A call leaves next to no cycles behind, but makes some hundred objects: by default it would be looked for garbage
    at every few calls, which took a fifth of their time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 5, 5)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ConfigError` naming host or port."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except socket.gaierror:
        raise ConfigError(f"HULLSPEED_HOST: {host} is not an address of this machine", param="host") from None
    except OSError as error:
        if error.errno in (98, 48, 10048):
            message = f"port {port} on {host} is taken; stop what uses it, or choose another with --port (0: any free)"
        else:
            message = f"{host}:{port} cannot be bound: {error.strerror}; check --host and --port"
        raise ConfigError(f"HULLSPEED_PORT: {message}", param="port") from None


def url_of(sock: socket.socket) -> str:
    """The base URL of a listening socket, as a client would type it."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def bind_all(host: str, port: int, count: int) -> list[socket.socket]:
    """Listening sockets on one port, one for each worker; where the system does not spread connections over several,
    the same one. Raises `ConfigError` as `bind` does."""
    sock = bind(host, port)
    if count == 1 or sys.platform != "linux":
        return [sock] * count
    # The first one made sure that nobody else has the port; now it is had in common.
    family, address = sock.family, sock.getsockname()[:2]
    sock.close()
    return [socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=True) for _ in range(count)]


async def serve(proxy: Proxy, sock: socket.socket, *, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain; reload on SIGHUP and when the config has changed. `on_ready` is told
    the base URL."""
    server = Server(proxy, signals=True)
    spare_the_collector()
    try:
        await _serve(server, proxy, sock, on_ready)
    finally:
        server.ignore_signals()


async def _serve(server: Server, proxy: Proxy, sock: socket.socket, on_ready: Callable[[str], None]) -> None:
    url, line = url_of(sock), proxy.line
    async with proxy:
        if line is not None:
            await proxy.join(line, stop=server.stop, reload=server.reload)
        task = asyncio.create_task(server.serve([sock]))
        await server.listening.wait()
        on_ready(url)
        watch = asyncio.create_task(proxy.watch())
        retain = asyncio.create_task(retain_hourly(proxy.database, lambda: proxy.config.ledger))
        try:
            await task
        finally:
            watch.cancel()
            retain.cancel()
    if line is not None:
        await line.close(proxy.metrics.snapshot())


@contextlib.asynccontextmanager
async def serving(proxy: Proxy, sock: socket.socket) -> AsyncIterator[str]:
    """Serve in the running event loop while the block runs; gives the base URL."""
    server = Server(proxy, signals=False)
    async with proxy:
        task = asyncio.create_task(server.serve([sock]))
        try:
            await server.listening.wait()
            yield url_of(sock)
        finally:
            server.stop()
            await task
