"""Connections to upstreams, kept alive between requests.

A connection that the server has closed is noticed before anything is sent on it, and another one is taken; once a byte
of a request is out, it is never sent again by itself, for the server may have begun to work on it (RFC 9110, 9.2.2).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohappyeyeballs

from app.gateway.http1 import BrokenOff, Connection, Origin, Reply, Unreachable

CONNECT_SECONDS = 10.0
NO_CONNECTION = f"no connection within {CONNECT_SECONDS:g} s"
IDLE_SECONDS = 15.0
"""A connection unused for longer is closed: the server may be about to do so."""
DNS_SECONDS = 60.0
SWEEP_SECONDS = 5.0


@dataclass(slots=True)
class _Addresses:
    infos: Sequence[aiohappyeyeballs.AddrInfoType]
    expires: float


class Pool:
    """Keep-alive connections to any number of origins. Belongs to one event loop."""

    def __init__(self) -> None:
        self._idle: dict[Origin, deque[Connection]] = {}
        self._all: set[Connection] = set()
        self._addresses: dict[tuple[str, int], _Addresses] = {}
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def post(
        self,
        origin: Origin,
        head: bytes,
        body: bytes,
        *,
        most: int,
        deadline: float | None = None,
        on_sent: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Send a request; returns with the head of the reply.

        `head`: request line and headers, with the empty line; `most`: bytes the body may have, read whole;
        `deadline`: of the loop's clock, for connecting and for the reply to its end; `on_sent` is told where the
        request has gone out whole, whatever then becomes of it. Raises `Unreachable` where nothing was sent,
        `BrokenOff`, `TimeoutError`.
        """
        connection = self._take(origin)
        if connection is None:
            connection = await self._connect(origin, deadline)
        return await connection.post(head, body, most, deadline, on_sent)

    def _take(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        # The one used last is the one that lives longest; the others may run out.
        while idle:
            connection = idle.pop()
            if connection.usable:
                if connection.loop.time() - connection.idle_since <= IDLE_SECONDS:
                    return connection
                connection.close()
        return None

    async def _connect(self, origin: Origin, deadline: float | None) -> Connection:
        loop = asyncio.get_running_loop()
        due = loop.time() + CONNECT_SECONDS
        try:
            async with asyncio.timeout_at(due if deadline is None else min(due, deadline)):
                connection = await self._open(origin, loop)
        except TimeoutError:
            if deadline is not None and deadline <= due:
                raise
            raise Unreachable(NO_CONNECTION) from None
        self._all.add(connection)
        if self._sweeper is None and not self._closed:
            self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)
        return connection

    async def _open(self, origin: Origin, loop: asyncio.AbstractEventLoop) -> Connection:
        infos = await self._resolve(origin, loop)
        try:
            sock = await aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=0.25, interleave=1)
        except OSError as error:
            self._addresses.pop(origin[:2], None)
            raise Unreachable(f"connection failed ({error.strerror or type(error).__name__})") from None
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _, connection = await loop.create_connection(
                lambda: Connection(origin, self, loop),
                sock=sock,
                ssl=self._context() if origin.tls else None,
                server_hostname=origin.host if origin.tls else None,
            )
        except (ssl.CertificateError, ssl.SSLError) as error:
            sock.close()
            what = "certificate" if isinstance(error, ssl.CertificateError) else "handshake"
            raise Unreachable(f"its TLS {what} is not accepted") from None
        except OSError as error:
            sock.close()
            raise Unreachable(f"connection failed ({error.strerror or type(error).__name__})") from None
        except BaseException:
            sock.close()
            raise
        return connection

    async def _resolve(
        self, origin: Origin, loop: asyncio.AbstractEventLoop
    ) -> Sequence[aiohappyeyeballs.AddrInfoType]:
        known = self._addresses.get(origin[:2])
        if known is not None and loop.time() < known.expires:
            return known.infos
        try:
            infos = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        except OSError:
            raise Unreachable("its host name does not resolve") from None
        if not infos:
            raise Unreachable("its host name does not resolve")
        self._addresses[origin[:2]] = _Addresses(infos, loop.time() + DNS_SECONDS)
        return infos

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            # A stream is many small records: HTTP/1.1 is all that is spoken here.
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def put(self, connection: Connection) -> None:
        """A connection has nothing to do."""
        if self._closed:
            connection.close()
        else:
            self._idle.setdefault(connection.origin, deque()).append(connection)

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._all.discard(connection)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - IDLE_SECONDS
        for origin, idle in list(self._idle.items()):
            while idle and (idle[0].idle_since < oldest or not idle[0].usable):
                idle.popleft().close()
            if not idle:
                del self._idle[origin]
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep) if self._all else None

    @property
    def open_connections(self) -> int:
        """How many there are, busy ones too."""
        return len(self._all)

    async def close(self) -> None:
        """Close all connections; exchanges under way end with `BrokenOff`."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._all):
            connection.fail(BrokenOff("the proxy stops"))
        self._idle.clear()
        # A turn of the loop, in which the transports close.
        await asyncio.sleep(0)
