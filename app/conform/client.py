"""An HTTP/1.1 client that hides nothing: the bytes of a reply as they came, when they came, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self
from urllib.parse import urlsplit

from app.conform.check import Broken

LIMIT = 1 << 20
"""Longest line of a reply's head."""


@dataclass(frozen=True)
class Base:
    """Where a gateway is."""

    host: str
    port: int
    tls: bool
    path: str

    @classmethod
    def parse(cls, url: str) -> Base:
        """From a base URL, with or without `/v1` at its end. Raises `ValueError`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with http:// or https:// and a host")
        tls = parts.scheme == "https"
        path = parts.path.rstrip("/").removesuffix("/v1")
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, path)

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    """Names in lower case; of a repeated name all values, joined by a comma."""
    body: bytes = b""
    complete: bool = False
    """The body ended in good order."""
    first_byte: float | None = None
    """Seconds from sending the request to the first byte of the body."""
    seconds: float = 0.0
    """The same, to the end."""
    nonce: str = ""
    """What the request's text held, and no other's."""
    _comments: list[str] = field(default_factory=list)

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @cached_property
    def json(self) -> Any:
        """The body of a whole reply. Raises `Broken`."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Broken(f"status {self.status}, and the body is no JSON: {self.body[:80]!r}") from None

    @cached_property
    def events(self) -> list[str]:
        """`data` of each event, read by the letter (WHATWG HTML, 9.2.6). Raises `Broken` for what is no stream."""
        if not self.is_stream:
            kind = self.headers.get("content-type", "none")
            raise Broken(f"status {self.status}, content type {kind}, instead of an event stream: {self.body[:120]!r}")
        try:
            text = self.body.decode()
        except UnicodeDecodeError as error:
            raise Broken(f"the stream is not UTF-8: {error}") from None
        found: list[str] = []
        data: list[str] = []
        for line in text.replace("\r\n", "\n").split("\n"):
            if not line:
                if data:
                    found.append("\n".join(data))
                data = []
            elif line.startswith(":"):
                if data:
                    raise Broken("a comment stands inside an event")
                self._comments.append(line[1:].strip())
            elif line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif not line.startswith(("event:", "id:", "retry:")):
                raise Broken(f"a line of the stream is none of the format's: {line[:80]!r}")
        if data:
            raise Broken("the last event is not closed by an empty line")
        return found

    @property
    def comments(self) -> list[str]:
        """The stream's comments."""
        assert self.events is not None
        return self._comments

    @cached_property
    def chunks(self) -> list[Any]:
        """The JSON of each event but `[DONE]`. Raises `Broken`."""
        try:
            return [json.loads(data) for data in self.events if data != "[DONE]"]
        except ValueError:
            raise Broken("an event of the stream is no JSON") from None

    @property
    def done(self) -> bool:
        """Whether the stream's last event is `[DONE]`."""
        return bool(self.events) and self.events[-1] == "[DONE]"

    @property
    def text(self) -> str:
        """The text of the first choice, streamed or whole. Raises `Broken`."""
        return "".join(self.texts.get(0, []))

    @property
    def told(self) -> str:
        """The text, and the error behind it where there is one. Raises `Broken`."""
        ended = "" if self.complete else " … (cut off)"
        return f"{self.text}{f' … {self.error}' if self.error else ended}"

    @property
    def texts(self) -> dict[int, list[str]]:
        """Pieces of text by choice."""
        found: dict[int, list[str]] = {}
        for chunk in self.chunks if self.is_stream else [self.json]:
            for choice in chunk.get("choices") or () if isinstance(chunk, dict) else ():
                said = (choice.get("delta") or choice.get("message") or {}).get("content")
                found.setdefault(choice.get("index", 0), []).append(said or "")
        return found

    @property
    def finish_reasons(self) -> dict[int, str]:
        """By choice."""
        chunks = self.chunks if self.is_stream else [self.json]
        return {
            choice.get("index", 0): choice["finish_reason"]
            for chunk in chunks
            for choice in chunk.get("choices") or ()
            if choice.get("finish_reason")
        }

    @property
    def error(self) -> Any:
        """The `error` of the body, or of the stream's last event; None where there is none. Raises `Broken`."""
        if self.is_stream:
            last = self.chunks[-1] if self.chunks else None
            return last.get("error") if isinstance(last, dict) else None
        return self.json.get("error") if isinstance(self.json, dict) else None


class Connection:
    """One connection to a gateway."""

    def __init__(self, base: Base, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.base = base
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, base: Base, *, receive_buffer: int | None = None) -> Self:
        """Connect. `receive_buffer`: bytes the kernel may hold for us. Raises `Broken`."""
        sock = socket.socket(socket.AF_INET6 if ":" in base.host else socket.AF_INET)
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        context = ssl.create_default_context() if base.tls else None
        try:
            await asyncio.get_running_loop().sock_connect(sock, (base.host, base.port))
            # A small buffer of ours, too, where the kernel's is small.
            limit = LIMIT if receive_buffer is None else receive_buffer
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname=base.host if context else None, limit=limit
            )
        except OSError as error:
            sock.close()
            raise Broken(f"no connection to {base.authority}: {error.strerror or error}") from None
        return cls(base, reader, writer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Go away, whatever is still to come."""
        self.writer.transport.abort()

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> None:
        """Send a request. A `content-length` in `headers` stands as it is."""
        given = {"host": self.base.authority, "accept": "*/*", **headers}
        if body is not None and "content-length" not in given:
            given["content-length"] = str(len(body))
        head = [f"{method} {self.base.path}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
        with contextlib.suppress(ConnectionError):
            self.writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + (body or b""))
            await self.writer.drain()

    async def head(self) -> Reply:
        """Status and headers of the next reply. Raises `Broken`."""
        try:
            while True:
                line = await self.reader.readuntil(b"\r\n")
                headers: dict[str, str] = {}
                while (field_line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
                    name, _, value = field_line.decode("latin-1").partition(":")
                    name, value = name.strip().lower(), value.strip()
                    headers[name] = f"{headers[name]}, {value}" if name in headers else value
                status = int(line.split(b" ", 2)[1])
                if status >= 200:
                    return Reply(status, headers)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Broken("the connection was closed without a reply") from None
        except (asyncio.LimitOverrunError, ValueError, IndexError):
            raise Broken("what came back is no HTTP reply") from None

    async def read(self, reply: Reply, *, method: str = "POST", until: bytes | None = None) -> Reply:
        """The body of `reply`, to its end, or until these bytes have come. Never raises for a broken one: `complete`
        tells."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        parts: list[bytes] = []
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError, asyncio.LimitOverrunError):
            async for piece in self.pieces(reply, method):
                if reply.first_byte is None:
                    reply.first_byte = loop.time() - started
                parts.append(piece)
                if until is not None and until in b"".join(parts):
                    break
            else:
                reply.complete = True
        reply.body = b"".join(parts)
        reply.seconds = loop.time() - started
        return reply

    async def pieces(self, reply: Reply, method: str = "POST") -> AsyncIterator[bytes]:
        """The body of `reply` as it comes. Raises what `read` passes over."""
        headers = reply.headers
        if method == "HEAD" or reply.status in (204, 304):
            return
        if "chunked" in headers.get("transfer-encoding", ""):
            while size := int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16):
                piece = await self.reader.readexactly(size)
                await self.reader.readexactly(2)
                yield piece
            while await self.reader.readuntil(b"\r\n") != b"\r\n":
                pass
        elif "content-length" in headers:
            left = int(headers["content-length"])
            while left:
                piece = await self.reader.read(min(left, 1 << 16))
                if not piece:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(piece)
                yield piece
        else:
            while piece := await self.reader.read(1 << 16):
                yield piece

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Reply:
        """Send a request and read its whole reply. Raises `Broken`."""
        started = asyncio.get_running_loop().time()
        await self.send(method, path, headers, body)
        reply = await self.head()
        waited = asyncio.get_running_loop().time() - started
        await self.read(reply, method=method)
        reply.seconds += waited
        reply.first_byte = None if reply.first_byte is None else reply.first_byte + waited
        return reply
