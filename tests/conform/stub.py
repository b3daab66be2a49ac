"""Gateways that are broken on purpose, so that every check of the contract is seen to fail.

Each is a tiny server between the checks and the mock. `Plain` passes everything through and does nothing for anybody;
the others have a vice each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from typing import Any, Self

from app.conform.check import Broken
from app.conform.client import Base, Connection, Reply
from app.conform.gateways import BACKUP, UPSTREAM_KEY
from app.mock.wire import Link, Request, Sender, read_request

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
MOST = 4_000_000
"""Bytes of one reply that a stub reads at most, where the mock never ends."""


class Plain:
    """Relays bytes. No ids, no envelopes of its own, no retries, no fallbacks, no limits; deaf to clients that go."""

    def __init__(self, mock_port: int) -> None:
        self.mock = Base("127.0.0.1", mock_port, False, "")
        self.port = 0
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(lambda: Link(self._converse), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in list(self._links):
            await link.abort()

    async def _converse(self, link: Link) -> None:
        self._links.add(link)
        try:
            while (request := await self.receive(link)) is not None:
                await self.serve(request, Sender(link))
                if not self.keeps_connections:
                    return
        except Broken:
            return  # The upstream hung up, and so do we.
        finally:
            self._links.discard(link)

    keeps_connections = True

    async def receive(self, link: Link) -> Request | None:
        return await read_request(link)

    async def serve(self, request: Request, sender: Sender) -> None:
        if request.path == CHAT and request.method == "POST":
            await self.chat(request, sender)
        elif request.path == "/v1/models":
            await sender.send(200, b'{"object": "list", "data": []}', JSON)
        else:
            await sender.send(404, b"nothing here", {"content-type": "text/plain"})

    async def chat(self, request: Request, sender: Sender) -> None:
        async with await Connection.open(self.mock) as upstream:
            reply = await self.ask(upstream, request)
            kind = reply.headers.get("content-type", "")
            if "content-length" in reply.headers:
                await upstream.read(reply)
                await sender.send(reply.status, reply.body, {"content-type": kind})
                return
            await sender.open(reply.status, {"content-type": kind})
            with contextlib.suppress(asyncio.IncompleteReadError):
                async for piece in upstream.pieces(reply):
                    await sender.write(piece)
            await sender.end()

    async def ask(self, upstream: Connection, request: Request, body: bytes | None = None) -> Reply:
        await upstream.send("POST", CHAT, self.headers(request), self.body(request.body) if body is None else body)
        return await upstream.head()

    def headers(self, request: Request) -> dict[str, str]:
        return {**JSON, "authorization": f"Bearer {UPSTREAM_KEY}"}

    def body(self, body: bytes) -> bytes:
        return body.replace(b'"auto/', b'"', 1)


class Mangler(Plain):
    """Understands a little of everything and rebuilds it wrongly; holds streams back until they are over; answers
    what it does not understand with a web page and status 200."""

    async def serve(self, request: Request, sender: Sender) -> None:
        if request.path == CHAT and request.method == "POST":
            await self.chat(request, sender)
        else:
            await self.shrug(sender)

    async def shrug(self, sender: Sender) -> None:
        await sender.send(200, b"<p>Something went wrong.</p>", {"content-type": "text/html"})

    async def chat(self, request: Request, sender: Sender) -> None:
        try:
            asked = json.loads(request.body)
            async with await Connection.open(self.mock) as upstream:
                reply = await self.ask(upstream, request)
                await upstream.read(reply)
            if reply.is_stream:
                await self.tell_stream(reply, sender)
            else:
                await self.tell(asked, reply, sender)
        except (ValueError, KeyError, TypeError, IndexError, Broken):
            await self.shrug(sender)

    def body(self, body: bytes) -> bytes:
        """The last words of the last message, and of all else what everybody knows."""
        asked = json.loads(body)
        text = str(asked["messages"][-1]["content"])[-1000:].upper()
        kept = {"model": asked["model"], "stream": "stream" in asked}
        return json.dumps({**kept, "messages": [{"role": "user", "content": text}]}).encode()

    async def tell(self, asked: Any, reply: Reply, sender: Sender) -> None:
        said = reply.json["choices"][0]["message"]["content"]
        told = {"choices": [{"index": 0, "message": {"role": "assistant", "content": said[:1000]}}]}
        await sender.send(200, json.dumps(told).encode(), JSON)

    async def tell_stream(self, reply: Reply, sender: Sender) -> None:
        """Lines, as Python's `splitlines` sees them, that begin with `data: ` and hold a word for us."""
        words = ""
        for line in reply.body.decode(errors="replace").split("\n"):
            for part in line.splitlines():
                with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
                    words += json.loads(part.removeprefix("data: "))["choices"][0]["delta"].get("content") or ""
        told = {"choices": [{"index": 0, "delta": {"content": words[:1000]}}], "usage": {"prompt_tokens": -1}}
        await sender.open(200, {"content-type": "text/event-stream"})
        await sender.write(b"data: %b\n\n" % json.dumps(told).encode() * 2)  # Says everything twice.
        await sender.end()


class Stubborn(Plain):
    """Tries everything again and again, at once, whatever the upstream says; buffers what it gets without end; then
    goes on with the backup's words in the middle of a sentence."""

    TRIES = 9

    async def chat(self, request: Request, sender: Sender) -> None:
        reply = Reply(599, {})
        for _ in range(self.TRIES):
            with contextlib.suppress(Broken):
                async with await Connection.open(self.mock) as upstream:
                    reply = await self.ask(upstream, request)
                    await self.hoard(upstream, reply)
                    if reply.status == 200:
                        break
        if reply.is_stream and not reply.complete:
            async with await Connection.open(self.mock) as upstream:
                model = re.sub(rb'"model": *"[^"]*"', b'"model": "%b"' % BACKUP.encode(), self.body(request.body))
                more = await upstream.read(await self.ask(upstream, request, model))
            reply.body += more.body
        await sender.send(reply.status, reply.body, {"content-type": reply.headers.get("content-type", "text/plain")})

    async def hoard(self, upstream: Connection, reply: Reply) -> None:
        parts, size = [], 0
        with contextlib.suppress(asyncio.IncompleteReadError):
            async for piece in upstream.pieces(reply):
                parts.append(piece[:100_000] if size > MOST else piece)
                size += len(piece)
            reply.complete = True
        reply.body = b"".join(parts)


class Resigned(Plain):
    """Sets a model aside for ever at its third failure, and then fails without asking anybody."""

    def __init__(self, mock_port: int) -> None:
        super().__init__(mock_port)
        self.failures: Counter[bytes] = Counter()

    async def chat(self, request: Request, sender: Sender) -> None:
        body = self.body(request.body)
        model = body.split(b'"model": "', 1)[1].split(b'"', 1)[0]
        routed = body != request.body
        if self.failures[model] < 3:
            async with await Connection.open(self.mock) as upstream:
                reply = await upstream.read(await self.ask(upstream, request))
            if reply.status == 200:
                await sender.send(200, reply.body, JSON)
                return
            self.failures[model] += 1
        if not routed:
            await sender.send(503, b"{}", JSON)
            return
        async with await Connection.open(self.mock) as upstream:
            body = body.replace(model, BACKUP.encode(), 1)
            reply = await upstream.read(await self.ask(upstream, request, body))
        await sender.send(200, reply.body, JSON)


class Careless(Plain):
    """Open to all, talkative about its upstream, mixes up replies, closes every connection, sends on half requests,
    hands the client's own headers upstream, and keeps books of its own invention."""

    keeps_connections = False

    def __init__(self, mock_port: int) -> None:
        super().__init__(mock_port)
        self.last = b"{}"
        self.rows = 0

    async def receive(self, link: Link) -> Request | None:
        try:
            return await read_request(link)
        except asyncio.IncompleteReadError as half:
            return Request("POST", CHAT, {}, half.partial[: half.partial.rfind(b"}") + 1], False)

    async def serve(self, request: Request, sender: Sender) -> None:
        if request.path.startswith("/v1/calls"):
            await self.ledger(request, sender)
        elif request.path == CHAT and request.method == "POST":
            await super().serve(request, sender)
        else:
            await sender.send(200, b'{"object": "list", "data": []}', JSON)

    async def chat(self, request: Request, sender: Sender) -> None:
        async with await Connection.open(self.mock) as upstream:
            reply = await upstream.read(await self.ask(upstream, request))
        told, self.last = self.last, reply.body
        where = f"http://{self.mock.authority} with {UPSTREAM_KEY}"
        with contextlib.suppress(ConnectionError):
            await sender.send(200, told, {**JSON, "x-upstream": where, "connection": "close"})

    def headers(self, request: Request) -> dict[str, str]:
        kept = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        return {**kept, "content-type": "application/json", "x-forwarded-key": kept.get("authorization", "")}

    async def ledger(self, request: Request, sender: Sender) -> None:
        attempt = {
            "outcome": "fine",
            "usage": {"prompt_tokens": 1003, "completion_tokens": 7},
            "cost_usd": 0.5,
            "price": None,
        }
        row = {"id": "1", "outcome": "fine", "attempts": [attempt], "decision": None, "client_request_id": None}
        said: Any = {"data": [row]} if request.path == "/v1/calls" else row
        await sender.send(200, json.dumps(said).encode(), JSON)
