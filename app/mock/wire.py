"""HTTP/1.1 on raw streams (RFC 9112): just what a server that must send broken bytes needs.

No web framework can stop in the middle of a header, or send half an event and reset the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import pairwise
from urllib.parse import parse_qsl, unquote, urlsplit

LONGEST_LINE = 1 << 16


class CutError(Exception):
    """The server has closed the connection on purpose."""


class BadRequest(Exception):
    """What came is no HTTP request."""


@dataclass(frozen=True)
class Request:
    """A request that has been read whole."""

    method: str
    target: str
    """As it came."""
    headers: dict[str, str]
    """Names in lower case; of a repeated name the last value."""
    body: bytes
    keep_alive: bool

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


class Link(asyncio.StreamReaderProtocol):
    """One connection. Knows at once when the other side has gone, also while nothing is written."""

    def __init__(self, serve: Callable[[Link], Awaitable[None]]) -> None:
        self.reader = asyncio.StreamReader(limit=LONGEST_LINE)
        self.gone = asyncio.Event()
        self.writer: asyncio.StreamWriter
        self._serve = serve
        self._task: asyncio.Future[None] | None = None
        super().__init__(self.reader, self._begin)

    def _begin(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, BadRequest, CutError):
            await self._serve(self)
        self.writer.close()

    def eof_received(self) -> bool | None:
        self.gone.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)

    async def abort(self) -> None:
        """End the connection from this side, whatever is going on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self.writer.transport.abort()


async def read_request(link: Link) -> Request | None:
    """The next request of a connection; None at its end. Raises `BadRequest`."""
    reader = link.reader
    line = await _line(reader)
    if not line:
        return None
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequest(line)
    headers: dict[str, str] = {}
    while line := await _line(reader):
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest(line)
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        link.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = await _chunked(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    asked = headers.get("connection", "").lower()
    keep_alive = "keep-alive" in asked if parts[2] == "HTTP/1.0" else "close" not in asked
    return Request(parts[0], parts[1], headers, body, keep_alive)


async def _line(reader: asyncio.StreamReader) -> str:
    """A line without its end; empty also at the end of the connection."""
    try:
        return (await reader.readuntil(b"\n")).decode("latin-1").rstrip("\r\n")
    except asyncio.IncompleteReadError:
        return ""
    except asyncio.LimitOverrunError:
        raise BadRequest("a line is too long") from None


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await _line(reader)).partition(";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await _line(reader):
        pass
    return b"".join(parts)


class Sender:
    """The writing side of one reply."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.opened = False
        self.cut = False
        self.on_sent: Callable[[int], None] = lambda _: None
        """Told how many bytes of the body have just been given to the socket."""
        self.drip: float | None = None
        """Where set, every byte goes out by itself, so many seconds after the last."""
        self._chunked = False

    async def open(self, status: int, headers: Mapping[str, str]) -> None:
        """Status and headers. Without `content-length` among them the body goes out in chunks."""
        self.opened = True
        names = {name.lower() for name in headers}
        self._chunked = "content-length" not in names and "transfer-encoding" not in names
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unassigned"
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        if self._chunked:
            lines.append("transfer-encoding: chunked")
        await self._put("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def write(self, data: bytes) -> None:
        """A part of the body; waits while the client is slow."""
        if not data:
            return
        await self._put(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        self.on_sent(len(data))

    async def write_pieces(self, data: bytes, split: int | tuple[int, ...]) -> None:
        """`data` in pieces of `split` bytes, or cut at these offsets."""
        offsets = range(split, len(data), split) if isinstance(split, int) else sorted(split)
        edges = [0, *(offset for offset in offsets if 0 < offset < len(data)), len(data)]
        for start, end in pairwise(edges):
            await self.write(data[start:end])
            # Gives the reader a turn, so that it sees the pieces apart; correct readers do not care either way.
            await asyncio.sleep(0.0005)

    async def end(self) -> None:
        """The orderly end of the body."""
        if self._chunked:
            await self._put(b"0\r\n\r\n")

    async def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """A whole reply."""
        await self.open(status, {**headers, "content-length": str(len(body))})
        await self.write(body)

    def hang_up(self, *, reset: bool = False) -> None:
        """Close the connection from this side: what was written goes out first, unless `reset`. Raises `CutError`."""
        self.cut = True
        if reset:
            sock: socket.socket = self.link.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.link.writer.transport.abort()
        else:
            self.link.writer.close()
        raise CutError

    async def _put(self, data: bytes) -> None:
        writer = self.link.writer
        pieces = [data] if self.drip is None else [data[at : at + 1] for at in range(len(data))]
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if self.drip is not None:
                await asyncio.sleep(self.drip)
