"""The mock itself: who asked for what, and what they get."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from app.core.errors import HullspeedError, InvalidRequest
from app.mock.anthropic import Anthropic
from app.mock.completions import Completions
from app.mock.dialect import Dialect, Target
from app.mock.embeddings import CohereEmbeddings, Embeddings, GeminiEmbeddings
from app.mock.gemini import Gemini
from app.mock.models import MODELS
from app.mock.openai import OpenAI
from app.mock.plan import Dice, asked_reply, read_plan, read_reply
from app.mock.replies import Answer, HttpError, Json, Reply
from app.mock.respond import Responder
from app.mock.responses import Responses
from app.mock.seen import Seen
from app.mock.wire import CutError, Link, Request, Sender, read_request

CREATED = 1_750_000_000
"""Of the models it lists: fixed, so that two listings are the same."""


class Mock:
    """A provider that fails on demand.

    Which reply a request gets: the one it asks for itself, else the next in the queue of its model
    (`next(…, model=…)`), else in the queue for any (`next(…)`), else what stands for its model (`on`, or a model of
    `app.mock.models`), else a fault by chance, else `default`. Queues may be filled from any thread.
    """

    def __init__(
        self,
        dialects: Sequence[Dialect] | None = None,
        *,
        key: str | None = None,
        default: Reply | None = None,
        models: Sequence[str] = tuple(MODELS),
        keep: int | None = None,
    ) -> None:
        """`key`: what requests must bear; None takes any. `keep`: how many requests are remembered; None: all."""
        self.dialects = dialects or (
            OpenAI(), Anthropic(), Gemini(), Responses(), Completions(), Embeddings(), CohereEmbeddings(),
            GeminiEmbeddings(),
        )  # fmt: skip
        self.key = key
        self.default: Reply = default if default is not None else Answer()
        self.models = models
        self.dice: Dice | None = None
        self.changed = threading.Condition()
        self._requests: deque[Seen] = deque(maxlen=keep)
        self._queue: deque[Reply] = deque()
        self._queues: dict[str, deque[Reply]] = {}
        self._standing: dict[str, Reply] = {}
        self._servers: list[asyncio.Server] = []
        self._links: dict[Link, int] = {}
        self._connections = 0
        self._stopping = False

    # ------------------------------------------------------------------ what it is told, and what it saw

    @property
    def requests(self) -> list[Seen]:
        """All requests so far, oldest first."""
        with self.changed:
            return list(self._requests)

    @property
    def chats(self) -> list[Seen]:
        """Those that asked for a completion."""
        return [seen for seen in self.requests if seen.method == "POST"]

    def next(self, *replies: Reply, model: str | None = None) -> Self:
        """Queue replies for the next requests, each used once."""
        with self.changed:
            queue = self._queue if model is None else self._queues.setdefault(model, deque())
            queue.extend(replies)
        return self

    def on(self, model: str, reply: Reply) -> Self:
        """Answer each request for `model` with this from now on."""
        with self.changed:
            self._standing[model] = reply
        return self

    def forget_plan(self) -> None:
        """Forget queues, standing replies and chance."""
        with self.changed:
            self._queue.clear()
            self._queues.clear()
            self._standing.clear()
            self.dice = None

    def forget_model(self, model: str) -> None:
        """Forget what is queued and standing for one model."""
        with self.changed:
            self._queues.pop(model, None)
            self._standing.pop(model, None)

    def forget_requests(self) -> None:
        """Forget what was seen."""
        with self.changed:
            self._requests.clear()

    # ------------------------------------------------------------------ running

    async def listen(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> int:
        """Take connections on one more address, and give its port. Raises `OSError`."""
        self._stopping = False
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._link, host, port, ssl=tls, backlog=1024)
        self._servers.append(server)
        bound: socket.socket = server.sockets[0]
        return int(bound.getsockname()[1])

    async def close(self) -> None:
        """Close every port and every connection."""
        self._stopping = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        for link in list(self._links):
            await link.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _link(self) -> Link:
        return Link(self._converse)

    async def _converse(self, link: Link) -> None:
        """All requests of one connection."""
        self._connections += 1
        self._links[link] = self._connections
        try:
            while (request := await read_request(link)) is not None:
                await self._serve(link, request)
                if not request.keep_alive:
                    return
        finally:
            del self._links[link]

    async def _serve(self, link: Link, request: Request) -> None:
        sender = Sender(link)
        if request.path.startswith("/mock/"):
            await self._control(request, sender)
            return
        target, dialect = self._find(request)
        seen = self._note(link, request, target)
        watch = asyncio.ensure_future(link.gone.wait())
        work = asyncio.ensure_future(self._answer(seen, dialect, target, sender))
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            seen.disconnected = not work.done() and not sender.cut
        finally:
            for task in (watch, work):
                task.cancel()
            await asyncio.wait((work, watch))
            if not work.cancelled() and isinstance(work.exception(), ConnectionError):
                seen.disconnected = not sender.cut
            seen.disconnected = seen.disconnected and not self._stopping
            seen.close(asyncio.get_running_loop().time())
        if not work.cancelled():
            work.result()
        else:
            raise CutError

    def _find(self, request: Request) -> tuple[Target | None, Dialect]:
        for dialect in self.dialects:
            target = dialect.find(request.method, request.path, request.query)
            if target is not None:
                return target, dialect
        return None, self.dialects[0]

    def _note(self, link: Link, request: Request, target: Target | None) -> Seen:
        try:
            body = json.loads(request.body) if request.body else None
        except ValueError:
            body = None
        model = target.model if target else None
        if model is None and isinstance(body, dict):
            named = body.get("model")
            model = named if isinstance(named, str) else None
        seen = Seen(
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            raw=request.body,
            body=body,
            model=model,
            connection=self._links[link],
            arrived=asyncio.get_running_loop().time(),
        )
        with self.changed:
            self._requests.append(seen)
            self.changed.notify_all()
        return seen

    async def _answer(self, seen: Seen, dialect: Dialect, target: Target | None, sender: Sender) -> None:
        responder = Responder(dialect, seen, sender)
        sender.on_sent = seen.count
        listing = seen.method == "GET" and seen.path.endswith("/models")
        if target is None and not listing:
            await responder.error(HttpError(404, f"There is no {seen.method} {seen.path} here.", code="not_found"))
        elif self.key is not None and not dialect.bears(seen, self.key):
            await responder.error(dialect.wrong_key())
        elif target is None:
            await _send_json(sender, self._listing())
        elif not isinstance(seen.body, dict):
            await responder.error(HttpError(400, "We could not parse the JSON body of your request."))
        elif refused := dialect.check(seen.body, seen.model or ""):
            await responder.error(refused)
        else:
            try:
                reply = asked_reply(seen.headers, seen.body) or self._choose(seen.model or "")
            except InvalidRequest as error:
                reply = HttpError(400, error.message, param=error.param)
            streamed = bool(seen.body.get("stream")) if target.stream is None else target.stream
            await responder.reply(reply, streamed=streamed)

    def _choose(self, model: str) -> Reply:
        with self.changed:
            queue = self._queues.get(model)
            if queue:
                return queue.popleft()
            if self._queue:
                return self._queue.popleft()
            if model in self._standing:
                return self._standing[model]
            if model in MODELS:
                return MODELS[model][1]
            return (self.dice.throw() if self.dice else None) or self.default

    def _listing(self) -> Json:
        entries = [{"id": name, "object": "model", "created": CREATED, "owned_by": "mock"} for name in self.models]
        return {"object": "list", "data": entries}

    # ------------------------------------------------------------------ /mock/…

    async def _control(self, request: Request, sender: Sender) -> None:
        handlers: Mapping[tuple[str, str], Callable[[bytes], Any]] = {
            ("GET", "/mock/models"): lambda _: {name: what for name, (what, _) in MODELS.items()},
            ("GET", "/mock/requests"): lambda _: [seen.as_json() for seen in self.requests],
            ("DELETE", "/mock/requests"): lambda _: self.forget_requests(),
            ("POST", "/mock/plan"): self._take_plan,
            ("DELETE", "/mock/plan"): lambda _: self.forget_plan(),
        }
        handler = handlers.get((request.method, request.path))
        if handler is None:
            known = ", ".join(" ".join(pair) for pair in handlers)
            error: HullspeedError = InvalidRequest(f"There is no {request.method} {request.path}; there are: {known}.")
            await sender.send(404, error.envelope(), {"content-type": "application/json"})
            return
        try:
            await _send_json(sender, handler(request.body))
        except InvalidRequest as refused:
            await sender.send(400, refused.envelope(), {"content-type": "application/json"})

    def _take_plan(self, body: bytes) -> None:
        plan = read_plan(body)
        replies = [read_reply(spec) for spec in plan.replies]
        standing = None if plan.always is None else read_reply(plan.always)
        dice = None if plan.chaos is None else Dice(plan.chaos)
        self.next(*replies, model=plan.model)
        if standing is not None and plan.model is not None:
            self.on(plan.model, standing)
        if dice is not None:
            self.dice = dice


async def _send_json(sender: Sender, value: Any) -> None:
    with contextlib.suppress(ConnectionError):
        await sender.send(200, json.dumps(value).encode(), {"content-type": "application/json"})
