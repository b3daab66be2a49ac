"""uvicorn's HTTP protocol with a short way to the endpoints that ask models.

Everything that is not such a request goes the usual way through ASGI. A call that comes whole and is not large is
given to its endpoint as it is: no scope, no task that watches for the client (the connection says itself when it is
lost), one write for head and body. It is the same endpoint either way, and the same replies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.api.chat import CallEndpoint
from app.api.request_ids import new_ids
from app.core.burst import burst_of
from app.core.errors import InvalidRequest

log = logging.getLogger("hullspeed.server")

MOST_BYTES = 1 << 20
"""Of a body that is taken the short way; a larger one is read under flow control."""
MOST_HEAD_BYTES = 512 << 10
"""Of a request's line and headers, or a client that never ends them would fill the memory. Above what is read at once:
the head and all of a body may come together."""


class State(ServerState):
    """What all connections know of their server."""

    draining = False
    """It stops: a connection ends with the reply that it waits for."""


Find = Callable[[bytes], CallEndpoint | None]
"""The endpoint at a path, as it stands in the request line."""


class CallProtocol(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(
        self,
        find: Find,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._find = find
        self.burst = burst_of(self.loop)
        self._idle_since: float | None = None
        self._state = cast("State", server_state)
        self._default_headers: list[tuple[bytes, bytes]] | None = None
        self._default_lines = b""
        self._in_head = False
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        rest = data
        try:
            while rest:
                rest = self._feed(rest)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
                self._refuse(f"The headers have more than {MOST_HEAD_BYTES >> 10} KiB.")

    def _feed(self, data: bytes) -> bytes:
        """Give the parser `data`; what it has left over.

        It stops behind the head of a request that would like another protocol, as Java's client does in each. Nothing
        else is spoken here, and such a request is served as it is (RFC 9110, 7.8). What follows would be that protocol
        to the parser, so another one reads the body.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_on()
            return data[upgrade.args[0] :]
        return b""

    def _read_on(self) -> None:
        framing = b"".join([b"%b: %b\r\n" % pair for pair in self._framing()])
        behind = _Behind(self)
        self.parser = httptools.HttpRequestParser(behind)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        if framing:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        behind.tells = True

    def _framing(self) -> list[tuple[bytes, bytes]]:
        """What says where the body of the request ends; nothing where it has none."""
        named = [pair for pair in self.headers if pair[0] in (b"content-length", b"transfer-encoding")]
        return [pair for pair in named if pair != (b"content-length", b"0")]

    def _should_upgrade(self) -> bool:
        return False

    # What the parser says.

    def on_message_begin(self) -> None:
        # A scope is made only where one is needed.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        endpoint = self._find(self.url) if self.parser.get_method() == b"POST" else None
        if endpoint is None or not self._is_plain():
            url, headers, waits = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, waits
            self.headers.extend(headers)
            super().on_headers_complete()
            if self._state.draining:
                self.cycle.keep_alive = False
            return
        before: RequestResponseCycle | None = self.cycle
        keep_alive = self.parser.should_keep_alive() and not self._state.draining
        exchange = Exchange(self, endpoint, self.headers, keep_alive=keep_alive)
        # uvicorn asks of a cycle no more than an exchange has.
        self.cycle = cast("RequestResponseCycle", exchange)
        if before is None or before.response_complete:
            exchange.its_turn = True
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _is_plain(self) -> bool:
        """The request can be taken the short way: HTTP/1.1, a small body of known length, nothing to negotiate."""
        if self.expect_100_continue or self.parser.should_upgrade() or self.parser.get_http_version() != "1.1":
            return False
        length = b""
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                return False
        return length.isdigit() and int(length) <= MOST_BYTES

    def on_body(self, body: bytes) -> None:
        cycle: object = self.cycle
        if type(cycle) is Exchange:
            cycle.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade() and self._framing():
            return  # Its body is still to come.
        cycle: object = self.cycle
        if type(cycle) is Exchange:
            cycle.has_come()
        else:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if type(cycle) is Exchange:
            cycle.may_begin()
        else:
            super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """uvicorn's own reply to what is no HTTP, in the form of all other errors."""
        self._refuse(f"{msg.rstrip('.')}: send HTTP/1.1.")

    def _refuse(self, message: str) -> None:
        self.burst.flush()
        before: RequestResponseCycle | None = self.cycle
        if before is not None and not before.response_complete and not self._is_cut_short(before):
            # Another reply is on its way, and nothing may be written into it.
            self.transport.close()
            return
        body = InvalidRequest(message).envelope()
        lines = "".join(f"{name}: {value}\r\n" for name, value in new_ids().items())
        head = STATUS_LINE[400] + self.default_lines() + lines.encode() + b"content-type: application/json\r\n"
        self.transport.write(head + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
        self.transport.close()

    def _is_cut_short(self, cycle: RequestResponseCycle) -> bool:
        """The bad bytes are in the body of the only request there is, and nothing has been said to it."""
        usual = type(cycle) is RequestResponseCycle
        return usual and cycle.more_body and not cycle.response_started and not self.pipeline

    # The connection.

    def eof_received(self) -> None:
        # It closes the connection.
        self.burst.flush()
        super().eof_received()

    @property
    def is_new(self) -> bool:
        """Nothing was asked on it yet: its first request is about to come."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None

    def shutdown(self) -> None:
        self.burst.flush()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        cycles: list[object] = [self.cycle, *(cycle for cycle, _ in self.pipeline)]
        for cycle in cycles:
            if type(cycle) is Exchange:
                cycle.lost()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        # It and its connection hold each other: they would wait for the garbage collector, which seldom comes.
        self.cycle = cast("RequestResponseCycle", None)
        self.pipeline.clear()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        # One lazy timer for all the replies of a connection, which looks how long nothing has come.
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._look)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def _look(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None or self.transport.is_closing():
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0.001:
            self.transport.close()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(left, self._look)

    def default_lines(self) -> bytes:
        """The headers that every reply bears; uvicorn makes them anew each second, for the date."""
        current = self.server_state.default_headers
        if current is not self._default_headers:
            self._default_headers = current
            self._default_lines = b"".join([b"%b: %b\r\n" % pair for pair in current])
        return self._default_lines


class _Behind:
    """Listens in a protocol's place to a parser that reads on behind a head which another one has told already."""

    def __init__(self, protocol: CallProtocol) -> None:
        self.tells = False
        """The head that is repeated to the parser is over."""
        self._protocol = protocol
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        if self.tells:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.tells:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.tells:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.tells:
            self._protocol.on_headers_complete()


class _Nobody:
    """uvicorn tells the waiting ASGI application of news; here nobody waits."""

    def set(self) -> None:
        pass


_NOBODY = _Nobody()


class Exchange:
    """One call over one connection: its request, and the client that its reply goes to."""

    __slots__ = (
        "_endpoint", "_has_come", "_headers", "_protocol", "_runs", "_task", "body", "disconnected", "gone", "its_turn",
        "keep_alive", "leaves", "message_event", "response_complete", "started",
    )  # fmt: skip

    def __init__(
        self, protocol: CallProtocol, endpoint: CallEndpoint, headers: list[tuple[bytes, bytes]], *, keep_alive: bool
    ) -> None:
        self.body = b""
        self.keep_alive = keep_alive
        self.message_event = _NOBODY
        self.disconnected = False
        self.response_complete = False
        self.started = False
        """The head of the reply has gone out."""
        self.gone = False
        """The client has closed the connection."""
        self.leaves = True
        """The call ends with the connection; where not, it goes on without its client."""
        self.its_turn = False
        self._has_come = self._runs = False
        self._protocol = protocol
        self._endpoint = endpoint
        self._headers = headers
        self._task: asyncio.Task[None] | None = None

    # From the protocol.

    def has_come(self) -> None:
        """The request is all here."""
        self._has_come = True
        if self.its_turn:
            self._begin()

    def may_begin(self) -> None:
        """The requests before it on this connection are answered."""
        self.its_turn = True
        if self._has_come:
            self._begin()

    def lost(self) -> None:
        """The connection is gone."""
        if self.response_complete:
            return
        self.disconnected = True
        task = self._task
        if self.leaves and task is not None and not task.done():
            self.gone = True
            seconds = self._endpoint.gateway.read_on
            if seconds:
                ringing = self._protocol.loop.call_later(seconds, task.cancel)
                task.add_done_callback(lambda _: ringing.cancel())
            else:
                task.cancel()

    def _begin(self) -> None:
        protocol = self._protocol
        task = self._task = protocol.loop.create_task(self._run())
        protocol.burst.due += 1
        protocol.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._protocol.tasks.discard(task)
        if not self._runs:
            # Cancelled before its first step.
            self._protocol.burst.due -= 1

    async def _run(self) -> None:
        self._runs = True
        self._protocol.burst.due -= 1
        try:
            await self._endpoint.answer(self._headers, self.body, self)
        except asyncio.CancelledError:
            # Its reply has begun and does not end: the client hears of that at least.
            if not self.gone:
                self._close()
        except Exception:
            log.exception("an endpoint failed")
            self._close()

    # As `gateway.flow.Client`.

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if self.disconnected:
            return
        self.started = True
        length = b"content-length: %d\r\n\r\n" % len(body)
        self._write(self._head(status, headers) + length + body)
        self._complete()

    async def open(self, headers: Mapping[str, str]) -> None:
        if self.disconnected:
            return
        self.started = True
        self._write(self._head(200, headers) + b"transfer-encoding: chunked\r\n\r\n")

    async def write(self, data: bytes) -> None:
        protocol = self._protocol
        if protocol.flow.write_paused:
            await protocol.flow.drain()
        if not self.disconnected and data:
            self._write(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self, data: bytes) -> None:
        protocol = self._protocol
        if protocol.flow.write_paused:
            await protocol.flow.drain()
        if self.disconnected:
            return
        self._write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n")
        self._complete()

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        lines = "\r\n".join([*map(": ".join, headers.items()), ""])
        # A value with a line break in it would be a header more (RFC 9110, 5.5).
        if lines.count("\r") != len(headers) or lines.count("\n") != len(headers):
            raise ValueError("a line break in a header of a reply")
        close = b"" if self.keep_alive else b"connection: close\r\n"
        return STATUS_LINE[status] + self._protocol.default_lines() + lines.encode("latin-1", "replace") + close

    def _write(self, data: bytes) -> None:
        protocol = self._protocol
        protocol.burst.write(protocol.transport, data)

    def _close(self) -> None:
        self._protocol.burst.flush()
        self._protocol.transport.close()

    def _complete(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self._close()
        self._protocol.on_response_complete()
