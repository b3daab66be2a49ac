"""HTTP/1.1 for upstreams: a connection, on which one POST after the other is sent, and its replies (RFC 9112).

It does what the hop needs and nothing else, on httptools' parser and the event loop's own transports: a request costs
a tenth of what a general client costs. Connections are kept by a `Pool` (`app.gateway.pool`).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast
from urllib.parse import urlsplit

import httptools

from app.core.burst import burst_of

MOST_HEAD_BYTES = 256 << 10
READ_AHEAD = 256 << 10
"""Bytes of a stream that are held for a slow reader before its server is left waiting."""
SLICE = 256 << 10
"""A body is written in such pieces, so that a large one does not block the event loop."""
INFLATED = 1 << 20
LINGER_SECONDS, LINGERING = 2.0, 64 << 10
"""How long, and how many bytes, a reply may go on after what was wanted of it."""

Headers = list[tuple[bytes, bytes]]
"""Names in lower case, as they came otherwise."""


class HttpError(Exception):
    """An exchange failed. The message says why in few words, without addresses."""


class Unreachable(HttpError):
    """Nothing was sent."""


class BrokenOff(HttpError):
    """The connection ended, or what came over it is no HTTP, before the reply was whole."""


class ReplyTooLarge(HttpError):
    """The body is larger than the caller wants."""


class Origin(NamedTuple):
    """Where connections lead."""

    host: str
    port: int
    tls: bool


class Url(NamedTuple):
    """A URL, taken apart for a request."""

    origin: Origin
    host: str
    """The header `host` (RFC 9110, 7.2)."""
    target: str
    """The path with its query (RFC 9112, 3.2.1)."""


def parse_url(url: str) -> Url:
    """Raises `ValueError` where `url` is none of http or https."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("not an http URL")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    name = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode()
    bare = f"[{name}]" if ":" in name else name
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or any(sign <= " " for sign in target):
        raise ValueError("a path with signs that must be percent-encoded")
    return Url(Origin(name, port, tls), bare if port == (443 if tls else 80) else f"{bare}:{port}", target)


class Reply:
    """One reply, from its head on. Read it to its end or `close` it."""

    __slots__ = (
        "_connection", "_decoder", "_error", "_left", "_pieces", "_size", "_waiter", "_whole", "done", "headers",
        "most", "status", "unsent", "until_close",
    )  # fmt: skip

    def __init__(self, connection: Connection, most: int) -> None:
        self.status = 0
        self.headers: Headers = []
        self.most = most
        """Bytes of a body read whole; a stream may have as many waiting."""
        self.done = False
        self.unsent = 0
        """Bytes of the request that were still to be sent when the exchange failed."""
        self.until_close = False
        """The body ends with the connection (RFC 9112, 6.3)."""
        self._connection = connection
        self._pieces: list[bytes] = []
        self._size = 0
        self._error: HttpError | TimeoutError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._whole = self._left = False
        self._decoder: _Inflate | None = None

    def header(self, name: bytes) -> bytes:
        """The first value of a header, empty where it is missing."""
        for known, value in self.headers:
            if known == name:
                return value
        return b""

    async def read(self) -> bytes:
        """The whole body. Raises `BrokenOff`, `ReplyTooLarge`, `TimeoutError`."""
        self._whole = True
        self._connection.resume()
        while not self.done:
            await self._wait()
        if self._error is not None:
            raise self._error
        pieces = self._pieces
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def piece(self) -> bytes:
        """What has come of the body since the last time; empty at its end. Raises as `read` does."""
        if not self._pieces and not self.done:
            await self._wait()
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._size = 0
            self._connection.resume()
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._error is not None:
            raise self._error
        return b""

    def close(self) -> None:
        """Give the reply up: where it is not all here, its connection goes, which tells the server to stop."""
        if not self.done and not self._left:
            self._connection.fail(BrokenOff("given up"))

    def leave(self) -> None:
        """Read no further what is at its end: a server that ends it at once may keep its connection."""
        if not self.done:
            self._left = self._whole = True
            self.most = self._size + LINGERING
            self._connection.linger()

    async def head(self) -> None:
        """Wait for status and headers."""
        while not self.status and self._error is None:
            await self._wait()
        if not self.status and self._error is not None:
            raise self._error

    async def _wait(self) -> None:
        waiter = self._waiter = self._connection.loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None
            if waiter.done() and not waiter.cancelled():
                self._connection.burst.due -= 1

    # What the connection tells.

    def not_sent(self, size: int) -> None:
        self.unsent += size

    def begun(self, status: int) -> None:
        self.status = status
        length = coded = False
        for name, value in self.headers:
            if name in (b"content-length", b"transfer-encoding"):
                length = True
            elif name == b"content-encoding":
                coded = value.strip().lower() not in (b"", b"identity")
        self.until_close = not length and status not in (204, 304)
        if coded:
            self._decoder = _Inflate(self.header(b"content-encoding"))
        self._wake()

    def feed(self, data: bytes) -> None:
        if self._decoder is None:
            self._add(data)
        else:
            for piece in self._decoder.feed(data):
                self._add(piece)

    def _add(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > self.most:
            raise ReplyTooLarge
        if not self._whole:
            if self._size > READ_AHEAD:
                self._connection.pause()
            self._wake()

    def end(self, error: HttpError | TimeoutError | None = None) -> None:
        if self.done:
            return
        if error is None and self._decoder is not None and not self._decoder.is_whole:
            error = BrokenOff("its compressed body is cut short")
        self.done, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
            self._connection.burst.due += 1


class _Inflate:
    """A coded body (RFC 9110, 8.4.1). None is asked for, but some servers send one all the same."""

    def __init__(self, coding: bytes) -> None:
        coding = coding.strip().lower()
        if coding not in (b"gzip", b"x-gzip", b"deflate"):
            raise BrokenOff(f"content coding {coding.decode('latin-1')[:20]}, which was not asked for")
        self._raw = zlib.decompressobj(zlib.MAX_WBITS | 32) if coding != b"deflate" else zlib.decompressobj()

    @property
    def is_whole(self) -> bool:
        return self._raw.eof

    def feed(self, data: bytes) -> list[bytes]:
        pieces = []
        try:
            while data:
                pieces.append(self._raw.decompress(data, INFLATED))
                data = self._raw.unconsumed_tail
                if len(pieces) > 64:
                    raise ReplyTooLarge
        except zlib.error:
            raise BrokenOff("its compressed body is damaged") from None
        return [piece for piece in pieces if piece]


class _Owner(Protocol):
    """Who keeps connections."""

    def put(self, connection: Connection) -> None: ...

    def forget(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One connection, with at most one exchange at a time."""

    def __init__(self, origin: Origin, owner: _Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.origin = origin
        self.loop = loop
        self.burst = burst_of(loop)
        self.idle_since = 0.0
        self.usable = False
        """Open, and nothing has come that nobody asked for."""
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._reply: Reply | None = None
        self._headers: Headers = []
        self._head_bytes = 0
        self._interim = False
        self._writable: asyncio.Future[None] | None = None
        self._write_paused = False
        self._paused = False
        self._sent = True
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._parser = httptools.HttpResponseParser(self)
        # As lenient as other clients are: no reply of a server that is merely sloppy is refused.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
            lenient_optional_crlf_after_chunk=True,
        )

    # The exchange.

    async def post(
        self, head: bytes, body: bytes, most: int, deadline: float | None, on_sent: Callable[[], None]
    ) -> Reply:
        """Send a request and wait for the head of its reply. `deadline`: of the loop's clock, for the reply's end.
        `on_sent` is told, before this returns or raises, where the request has gone out whole.

        Raises `BrokenOff`, `TimeoutError`; after any exception, a cancellation too, the connection is closed.
        """
        transport = self._transport
        assert transport is not None
        reply = self._reply = Reply(self, most)
        if deadline is not None:
            self._arm(deadline)
        try:
            if len(body) <= SLICE:
                self.burst.write(transport, head + body, reply.not_sent)
            else:
                await self._send(transport, head, body, reply)
            await reply.head()
        except BaseException:
            # Where it ended meanwhile, the connection may be another exchange's already.
            if self._reply is reply:
                self.fail(BrokenOff("given up"))
            if self._sent and not reply.unsent:
                on_sent()
            raise
        on_sent()
        return reply

    async def _send(self, transport: asyncio.Transport, head: bytes, body: bytes, reply: Reply) -> None:
        self._sent = False
        transport.write(head)
        view = memoryview(body)
        for start in range(0, len(body), SLICE):
            # A server may answer before it has read all, with an error most likely.
            if reply.status or reply.done:
                return
            transport.write(view[start : start + SLICE])
            if self._write_paused:
                self._writable = self.loop.create_future()
                await self._writable
        self._sent = True

    def fail(self, error: HttpError | TimeoutError) -> None:
        """End the exchange and close."""
        self.usable = False
        self._deadline = None
        transport, reply = self._transport, self._reply
        self._reply = None
        if transport is not None:
            self.burst.drop(transport)
        if transport is not None and not transport.is_closing():
            if reply is not None:
                reply.not_sent(transport.get_write_buffer_size())
            # What is not sent yet is not wanted any more, and a dead peer must not hold it.
            transport.abort()
        if reply is not None:
            reply.end(error)
        self._let_write()

    def close(self) -> None:
        """Close an idle connection."""
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    def linger(self) -> None:
        """Give the exchange a moment to end."""
        self.resume()
        self._arm(self.loop.time() + LINGER_SECONDS)

    def pause(self) -> None:
        """Leave the server waiting."""
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on reading, if it was paused."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _arm(self, deadline: float) -> None:
        # One lazy timer: most exchanges end long before it would ring, and the next ones use it again.
        self._deadline = deadline
        if self._timer is None or self._timer_at > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            self._timer = self.loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        deadline = self._deadline
        if deadline is None:
            return
        if self.loop.time() >= deadline - 0.001:
            self.fail(TimeoutError())
        else:
            self._arm(deadline)

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no subclass.
        self._transport = cast("asyncio.Transport", transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        if self._reply is None:
            # Nobody has asked for it (RFC 9112, 9.5: a late 408, say).
            self.close()
            return
        if not self._reply.status:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self.fail(BrokenOff("its headers are too long"))
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self.fail(cause if isinstance(cause, HttpError) else BrokenOff("it is no HTTP"))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(BrokenOff("it is no HTTP"))

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._transport is not None:
            self.burst.drop(self._transport)
        reply, self._reply = self._reply, None
        if reply is not None:
            if reply.until_close and reply.status and exc is None:
                reply.end()
            else:
                reply.end(BrokenOff("the connection was closed"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._let_write()
        self._owner.forget(self)
        # The two hold each other: they would wait for the garbage collector, which seldom comes.
        del self._parser

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._let_write()

    def _let_write(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # The parser.

    def on_message_begin(self) -> None:
        if self._reply is None:
            self.usable = False
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status, reply = self._parser.get_status_code(), self._reply
        # Interim replies stand before the one that counts (RFC 9110, 15.2); nobody has asked to switch protocols.
        self._interim = 100 <= status < 200
        if status == 101:
            raise BrokenOff("it wants to switch protocols")
        if not self._interim and reply is not None:
            reply.headers = self._headers
            reply.begun(status)
            # Whoever still sends need not: it may never be read.
            self._let_write()

    def on_body(self, data: bytes) -> None:
        if self._reply is not None:
            self._reply.feed(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            return
        reply, self._reply = self._reply, None
        self._deadline = None
        self._head_bytes = 0
        if reply is None:
            return
        reply.end()
        if self._sent and self.usable and self._parser.should_keep_alive() and not reply.until_close:
            # A reader that was slow has left it paused, and a server that goes away would not be noticed.
            self.resume()
            self.idle_since = self.loop.time()
            self._owner.put(self)
        elif self._sent:
            self.close()
        else:
            # A close would wait until a server that has said no reads what it does not want.
            self.fail(BrokenOff("given up"))
