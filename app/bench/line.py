"""One kept-alive connection on which a replay asks, one request after another (RFC 9112).

A replay has the whole machine wait for it, so its client is as small as it can be: no pool, no redirects, no
compression, no cookies. Whoever keeps 32 calls in flight keeps 32 lines.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from app.core.burst import burst_of

_HEAD_BYTES = 1 << 16
"""Longest head of a reply."""


class BrokenReply(ConnectionError):
    """What came is no HTTP/1.1 reply, or not a whole one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole reply."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name; of a name that comes twice, the last."""
    body: bytes


class Line:
    """A connection to the host of one URL, made on first use and again once the other side has closed it."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """`url`: where every request goes; `headers`: in every request. Raises `ValueError` for a URL that is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is not an http(s) URL")
        self._host = parts.hostname
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        netloc = parts.netloc.rpartition("@")[2]
        lines = [f"POST {target} HTTP/1.1", f"host: {netloc}", *(f"{name}: {value}" for name, value in headers.items())]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header holds a line break")
        self._head = ("\r\n".join(lines) + "\r\n").encode("latin-1")
        self._wire: _Wire | None = None

    async def post(self, body: bytes, headers: bytes = b"") -> Answer:
        """Send a request and wait for the whole reply, however long it takes. `headers`: lines, each with its end.

        Raises `OSError` where there is no connection or it breaks; nothing is sent twice.
        """
        wire = self._wire
        if wire is None or wire.over:
            wire = self._wire = await self._connect()
        return await wire.ask(b"%b%bcontent-length: %d\r\n\r\n%b" % (self._head, headers, len(body), body))

    async def _connect(self) -> _Wire:
        context = ssl.create_default_context() if self._tls else None
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(_Wire, self._host, self._port, ssl=context)
        return wire

    def close(self) -> None:
        """End the connection, and the request that is on it."""
        if self._wire is not None:
            self._wire.end()


class _Wire(asyncio.Protocol):
    """Sends one request at a time, and reads its reply."""

    def __init__(self) -> None:
        self.over = False
        """Whether no further request can be sent."""
        self._answer: asyncio.Future[Answer] | None = None
        self._burst = burst_of(asyncio.get_running_loop())
        self._reset()

    def _reset(self) -> None:
        self._data = bytearray()
        self._status = 0
        self._headers: dict[str, str] = {}
        self._at = 0
        """Where in `_data` the unread part of the body begins; 0 before the head is read."""
        self._length: int | None = None
        self._parts: list[bytes] | None = None
        """What was read of a chunked body; None where it is not chunked."""

    async def ask(self, request: bytes) -> Answer:
        loop = asyncio.get_running_loop()
        self._reset()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._answer = answer
        self._burst.write(self._transport, request)
        try:
            return await answer
        except asyncio.CancelledError:
            self.end()
            raise
        finally:
            if answer.done() and not answer.cancelled():
                self._burst.due -= 1

    def end(self) -> None:
        self.over = True
        self._burst.drop(self._transport)
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.end()  # nobody asked
            return
        self._data += data
        try:
            body = self._read() if self._at or self._read_head() else None
        except ValueError as error:
            self._fail(BrokenReply(f"not an HTTP reply ({error})"))
            return
        if body is not None:
            self._finish(body)

    def _read_head(self) -> bool:
        """Read the head, where all of it is there."""
        while True:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                if len(self._data) > _HEAD_BYTES:
                    raise ValueError("its head does not end")
                return False
            first, *lines = self._data[:end].decode("latin-1").split("\r\n")
            version, _, rest = first.partition(" ")
            if not version.startswith("HTTP/1."):
                raise ValueError("no status line")
            self._status = int(rest[:3])
            if self._status >= 200:
                break
            del self._data[: end + 4]  # an interim reply; the real one follows
        for line in lines:
            name, _, value = line.partition(":")
            self._headers[name.lower()] = value.strip()
        self._at = end + 4
        if "chunked" in self._headers.get("transfer-encoding", "").lower():
            self._parts = []
        elif self._status in (204, 304):
            self._length = 0
        elif "content-length" in self._headers:
            self._length = int(self._headers["content-length"])
        kept = version == "HTTP/1.1" and self._headers.get("connection", "").lower() != "close"
        self.over = not kept or (self._parts is None and self._length is None)
        return True

    def _read(self) -> bytes | None:
        """The body, where all of it is there."""
        if self._parts is not None:
            return self._read_chunks(self._parts)
        if self._length is None or len(self._data) - self._at < self._length:
            return None
        return bytes(self._data[self._at : self._at + self._length])

    def _read_chunks(self, parts: list[bytes]) -> bytes | None:
        while True:
            end = self._data.find(b"\r\n", self._at)
            if end < 0:
                return None
            size = int(self._data[self._at : end].split(b";", 1)[0], 16)
            if size == 0:
                # Trailers, if any, end in an empty line.
                return b"".join(parts) if self._data.find(b"\r\n\r\n", end) >= 0 else None
            begin = end + 2
            if len(self._data) < begin + size + 2:
                return None
            parts.append(bytes(self._data[begin : begin + size]))
            self._at = begin + size + 2

    def _finish(self, body: bytes) -> None:
        answer = self._answer
        if answer is not None and not answer.done():
            answer.set_result(Answer(self._status, self._headers, body))
            self._burst.due += 1
        if self.over:
            self._transport.close()

    def _fail(self, error: OSError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
            self._burst.due += 1
        self.end()

    def connection_lost(self, error: Exception | None) -> None:
        self.over = True
        if self._answer is None or self._answer.done():
            return
        if error is None and self._at and self._length is None and self._parts is None:
            self._finish(bytes(self._data[self._at :]))  # a body that ends with the connection
        else:
            self._fail(error if isinstance(error, OSError) else BrokenReply("the connection broke off"))
