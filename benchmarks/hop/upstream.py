"""The provider behind all gateways where nginx cannot be it: streams, and Anthropic's dialect.

`python -m benchmarks.hop.upstream PORT [PACE]`. Any POST is answered: a body that asks for a stream with 50 chunks,
each in a write of its own; `/v1/messages` in Anthropic's dialect; all else with a whole reply. `GET /requests` says
how many it answered. PACE: milliseconds between two chunks; by default they follow each other at once.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import httptools
import uvloop

from benchmarks.hop.traffic import anthropic_reply, events, reply

_STREAM = re.compile(rb'"stream"\s*:\s*true')


def _whole(body: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind, len(body), body)


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_REPLY, _MESSAGE = _whole(reply()), _whole(anthropic_reply())
_EVENTS = [_chunked(event) for event in events()]
# The head goes out with the first event, and the last three events at once, as providers send them.
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_PIECES = [_HEAD + _EVENTS[0], *_EVENTS[1:-3], b"".join(_EVENTS[-3:]) + b"0\r\n\r\n"]


class Upstream:
    """What all connections share."""

    def __init__(self, pace: float) -> None:
        """`pace`: seconds between two chunks."""
        self.pace = pace
        self.answered = 0


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.loop = asyncio.get_running_loop()
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.url = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_begin(self) -> None:
        self.body = self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.url == b"/requests":
            self.transport.write(_whole(str(self.upstream.answered).encode(), b"text/plain"))
            return
        self.upstream.answered += 1
        if _STREAM.search(self.body):
            self._piece(0)
        else:
            self.transport.write(_MESSAGE if self.url.endswith(b"/messages") else _REPLY)

    def _piece(self, number: int) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(_PIECES[number])
        if number + 1 < len(_PIECES):
            if self.upstream.pace:
                self.loop.call_later(self.upstream.pace, self._piece, number + 1)
            else:
                self.loop.call_soon(self._piece, number + 1)


async def serve(port: int, pace: float) -> None:
    """Until the process is ended."""
    upstream = Upstream(pace)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(upstream), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0))
