"""A proxy of recorded models in processes of its own, so that a replay's client is not kept from its core."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from multiprocessing.connection import Connection

from app.cli.options import run_async
from app.core.config import Config
from app.core.errors import ConfigError
from app.core.logs import configure_logging
from app.core.settings import Settings
from app.gateway.recorded import RecordedUpstream
from app.main import Proxy
from app.serving import bind_all, serving, spare_the_collector
from routers import Router

WORTH_IT = 2000
"""Calls from which a second process saves more time than it takes to start."""
PROCESSES = 2
"""Of the proxy, on one port: where it routes by what it has learned, one takes twice as long as the client does. Each
has the whole suite in memory."""
_END_SECONDS = 30.0


def describe(
    settings: Settings, upstream: RecordedUpstream, source: str, routers: Mapping[str, Router]
) -> bytes | None:
    """The proxy as another process of this program takes it; None where that cannot be, or would be no faster.

    `source`: where its models come from, in words. A router of somebody's own may hold what stays in one process.
    """
    if (os.cpu_count() or 1) < 2:
        return None
    try:
        return pickle.dumps((settings, upstream, source, dict(routers)))
    except Exception:  # whatever a foreign object raises
        return None


@asynccontextmanager
async def served_apart(described: bytes) -> AsyncIterator[str]:
    """Serve what `describe` gave while the block runs; gives the base URL. Raises `ConfigError`."""
    with ExitStack() as stack:
        socks = bind_all("127.0.0.1", 0, PROCESSES)
        for sock in socks:
            stack.callback(sock.close)
        pipes = [stack.enter_context(_process(sock)) for sock in socks]
        try:
            urls = await asyncio.gather(*(asyncio.to_thread(_told, pipe, described) for pipe in pipes))
            # The client has the suite in memory as well.
            spare_the_collector()
            yield urls[0]
        finally:
            for pipe in pipes:
                pipe.close()  # tells it to end
            await asyncio.to_thread(stack.close)


@contextmanager
def _process(sock: socket.socket) -> Iterator[Connection]:
    """A process that serves on `sock` until the pipe is closed."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_main, args=(sock, there), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.join(_END_SECONDS)
        process.kill()


def _told(pipe: Connection, described: bytes) -> str:
    """The base URL, once the process at the other end serves. Raises `ConfigError`."""
    try:
        pipe.send_bytes(described)
        url, trouble = pipe.recv()
    except (EOFError, OSError):
        url, trouble = None, "the process of the proxy ended before it served"
    if url is None:
        raise ConfigError(trouble)
    return str(url)


def _main(sock: socket.socket, pipe: Connection) -> None:
    """The other process."""
    # Ctrl-C reaches both; it goes when the first one does, with everything in the ledger.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Made by the process that started this one, a moment ago.
    settings, upstream, source, routers = pickle.loads(pipe.recv_bytes())  # noqa: S301
    configure_logging(settings.log_level, settings.log_format)
    try:
        proxy = Proxy(
            settings,
            Config(),
            catalog=upstream.catalog(source),
            upstreams={"recorded": upstream},
            routers=routers,
        )
        # A large suite stays as it is, too: nothing of it is to be looked through again and again.
        spare_the_collector()
        run_async(_serve(proxy, sock, pipe))
    except ConfigError as error:
        with suppress(OSError):
            pipe.send((None, error.message))


async def _serve(proxy: Proxy, sock: socket.socket, pipe: Connection) -> None:
    async with serving(proxy, sock) as url:
        pipe.send((url, None))
        with suppress(EOFError, OSError):
            await asyncio.to_thread(pipe.recv)
