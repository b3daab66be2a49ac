"""A real HTTP server on a loopback port, in a thread with an event loop of its own: the part that all fakes share.

A thread rather than the test's loop, so that synchronous tests, asynchronous ones and child processes can all talk to
it, and a test that blocks its own loop does not block the provider.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice, pairwise
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from aiohttp import web

from tests.fakes.replies import Answer, Fault, Gate, HttpError, Json, Reply, Wire

Part = Literal["open", "content", "finish", "usage", "end"]


@dataclass(frozen=True)
class Event:
    """One server-sent event. A stream's events come in the order of `Part`."""

    data: Json | str
    part: Part = "content"
    name: str | None = None


@dataclass(eq=False)
class Seen:
    """One request that the fake received. Its state changes until `wait` returns."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    raw: bytes
    body: Any
    """The parsed JSON; None where there is none."""
    model: str | None = None
    reply: Reply | None = None
    """What it was answered with."""
    bytes_sent: int = 0
    """Bytes of the reply's body given to the socket so far."""
    disconnected: bool = False
    """The client went away before the end."""
    _over: threading.Event = field(default_factory=threading.Event)

    def wait(self, timeout: float = 10.0) -> bool:
        """Block until the request is over, one way or another."""
        return self._over.wait(timeout)

    async def over(self, timeout: float = 10.0) -> bool:
        """`wait` for a test that is a coroutine."""
        return await asyncio.to_thread(self._over.wait, timeout)


class _CutError(Exception):
    """The server closes the connection."""


class FakeServer(ABC):
    """The way of a reply: queue, faults, delays, pacing. A subclass gives the provider's words for it.

    Replies are taken from the queue of the model (`next(…, model=…)`), else from the queue for any model
    (`next(…)`), else from what stands for the model (`on`), else `default`.
    """

    base: ClassVar[str] = ""
    """Path of `url`."""

    def __init__(self, *, key: str | None = None, port: int = 0, default: Reply | None = None) -> None:
        self.key = key
        self.default: Reply = default if default is not None else Answer()
        self.port = port
        self._changed = threading.Condition()
        self._requests: list[Seen] = []
        self._queue: deque[Reply] = deque()
        self._queues: dict[str, deque[Reply]] = {}
        self._standing: dict[str, Reply] = {}
        self._serial = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    # ------------------------------------------------------------------ what a test uses

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address that a client is given."""
        return self.origin + self.base

    @property
    def requests(self) -> list[Seen]:
        """All requests so far, oldest first."""
        with self._changed:
            return list(self._requests)

    @property
    def chats(self) -> list[Seen]:
        """Those that asked for a completion."""
        return [seen for seen in self.requests if seen.method == "POST"]

    @property
    def last(self) -> Seen:
        """The newest request for a completion."""
        return self.chats[-1]

    def wait_for(self, count: int = 1, timeout: float = 10.0) -> list[Seen]:
        """Block until `count` requests have come in."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout):
                raise AssertionError(f"{len(self._requests)} of {count} requests came within {timeout} s")
            return list(self._requests)

    async def arrived(self, count: int = 1, timeout: float = 10.0) -> list[Seen]:
        """`wait_for` for a test that is a coroutine."""
        return await asyncio.to_thread(self.wait_for, count, timeout)

    def next(self, *replies: Reply, model: str | None = None) -> Self:
        """Queue replies for the next requests, each used once."""
        with self._changed:
            queue = self._queue if model is None else self._queues.setdefault(model, deque())
            queue.extend(replies)
        return self

    def on(self, model: str, reply: Reply) -> Self:
        """Answer each request for `model` with this from now on."""
        with self._changed:
            self._standing[model] = reply
        return self

    def clear(self) -> None:
        """Forget requests, queues and standing replies."""
        with self._changed:
            self._requests.clear()
            self._queue.clear()
            self._queues.clear()
            self._standing.clear()

    # ------------------------------------------------------------------ running

    def start(self) -> Self:
        """Listen. After a `stop`, on the same port as before."""
        ready = threading.Event()
        failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(ready, failures), name=type(self).__name__, daemon=True)
        self._thread.start()
        ready.wait()
        if failures:
            self._thread.join()
            self._thread = None
            raise failures[0]
        return self

    def stop(self) -> None:
        """Close the port and every connection. Harmless when not running."""
        if self._thread is None:
            return
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, ready: threading.Event, failures: list[BaseException]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=1 << 30)
        app.add_routes(self.routes())
        # Cancelled handlers are how a disconnect is seen while nothing is being written.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self.port)
            await site.start()
            self.port = runner.addresses[0][1]
            ready.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()

    # ------------------------------------------------------------------ what a provider gives

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Endpoints."""

    @abstractmethod
    def authorised(self, request: web.Request) -> bool:
        """Whether the request bears `key`."""

    @abstractmethod
    def wrong_key(self) -> HttpError:
        """What a wrong key is answered with."""

    @abstractmethod
    def check(self, body: Json, model: str) -> HttpError | None:
        """What a request that the provider would refuse is answered with."""

    @abstractmethod
    def envelope(self, error: HttpError) -> Json:
        """The error body."""

    @abstractmethod
    def whole(self, body: Json, model: str, answer: Answer) -> Json:
        """The reply in one piece."""

    @abstractmethod
    def events(self, body: Json, model: str, answer: Answer) -> list[Event]:
        """The reply as a stream."""

    def error_event(self, error: HttpError) -> Event:
        """An error after a 200."""
        return Event(self.envelope(error))

    def serial(self) -> int:
        """1, 2, 3 … for ids."""
        with self._changed:
            self._serial += 1
            return self._serial

    # ------------------------------------------------------------------ one request

    async def receive(self, request: web.Request, *, model: str | None = None) -> Seen:
        """Note a request down."""
        raw = await request.read()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        if model is None and isinstance(body, dict):
            model = body.get("model")
        seen = Seen(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            raw=raw,
            body=body,
            model=model,
        )
        with self._changed:
            self._requests.append(seen)
            self._changed.notify_all()
        return seen

    def _choose(self, seen: Seen) -> Reply:
        with self._changed:
            queue = self._queues.get(seen.model or "")
            if queue:
                return queue.popleft()
            if self._queue:
                return self._queue.popleft()
            return self._standing.get(seen.model or "", self.default)

    async def complete(
        self, request: web.Request, *, model: str | None = None, stream: bool | None = None
    ) -> web.StreamResponse:
        """Handle one request for a completion."""
        seen = await self.receive(request, model=model)
        stopping = self._stop
        assert stopping is not None
        sender = _Sender(request, seen)
        try:
            return await self._reply(request, seen, sender, stream)
        except _CutError:
            return sender.response or web.Response()
        except (asyncio.CancelledError, ConnectionError):
            seen.disconnected = not sender.cut and not stopping.is_set()
            raise
        finally:
            seen._over.set()

    async def _reply(
        self, request: web.Request, seen: Seen, sender: _Sender, stream: bool | None
    ) -> web.StreamResponse:
        if self.key is not None and not self.authorised(request):
            return await self._error(seen, sender, self.wrong_key())
        if not isinstance(seen.body, dict):
            error = HttpError(400, "We could not parse the JSON body of your request.")
            return await self._error(seen, sender, error)
        refused = self.check(seen.body, seen.model or "")
        if refused is not None:
            return await self._error(seen, sender, refused)
        reply = seen.reply = self._choose(seen)
        if isinstance(reply, HttpError):
            await asyncio.sleep(reply.delay)
            return await self._error(seen, sender, reply)
        answer = reply.answer if isinstance(reply, Fault) else reply
        fault = reply if isinstance(reply, Fault) else None
        await asyncio.sleep(answer.delay)
        if answer.gate is not None and answer.gate_after is None:
            await _pass(answer.gate)
        for name in answer.rejects:
            if name in seen.body:
                message = f"Unrecognized request argument supplied: {name}"
                return await self._error(seen, sender, HttpError(400, message, code="unknown_parameter", param=name))
        streamed = bool(seen.body.get("stream")) if stream is None else stream
        if fault is not None and fault.kind in _BEFORE_BODY:
            return await _fail_before_body(sender, fault.kind, streamed)
        if streamed:
            return await self._stream(seen, sender, answer, fault)
        return await self._whole(seen, sender, answer, fault)

    async def _error(self, seen: Seen, sender: _Sender, error: HttpError) -> web.StreamResponse:
        seen.reply = error
        body = error.body
        if body is None:
            body = json.dumps(self.envelope(error)).encode()
        return await sender.send(error.status, body, {"content-type": error.content_type, **error.headers})

    async def _whole(self, seen: Seen, sender: _Sender, answer: Answer, fault: Fault | None) -> web.StreamResponse:
        said: Json = self.whole(seen.body, seen.model or "", answer)
        if fault is not None and fault.kind == "error_event":
            said = self.envelope(fault.error)
        body = json.dumps(said, ensure_ascii=answer.wire.ascii_only).encode()
        headers = {"content-type": "application/json", **answer.wire.headers}
        match fault.kind if fault else None:
            case "broken_json" | "no_done" | "no_finish":
                body = body[: len(body) // 2]
            case "invalid_utf8":
                body = body.replace(b'"', b'"\xff\xfe', 1)
            case "endless":
                await sender.open(200, headers)
                while True:
                    await sender.write(b" " * 65536)
            case "cut_between_events" | "cut_mid_event" | "reset" | "stall_mid_stream":
                assert fault is not None
                await sender.open(200, {**headers, "content-length": str(len(body))})
                await sender.write(body[: len(body) // 2])
                await _fail_mid_body(sender, fault.kind)
        if answer.wire.split:
            await sender.open(200, {**headers, "content-length": str(len(body))})
            await sender.write_pieces(body, answer.wire.split)
            return await sender.close()
        return await sender.send(200, body, headers)

    async def _stream(self, seen: Seen, sender: _Sender, answer: Answer, fault: Fault | None) -> web.StreamResponse:
        events = self.events(seen.body, seen.model or "", answer)
        if fault is not None and fault.kind == "error_event":
            events = [*_opening(events, fault.after), self.error_event(fault.error)]
        elif fault is not None and fault.kind == "no_finish":
            events = _opening(events, fault.after)
        elif fault is not None and fault.kind == "no_done":
            events = [event for event in events if event.part != "end"]
        frames = [(event.part, _frame(event, answer.wire)) for event in events]
        await sender.open(200, {"content-type": "text/event-stream; charset=utf-8", **answer.wire.headers})
        await asyncio.sleep(answer.first_delay)
        if answer.wire.split and fault is None:
            await sender.write_pieces(b"".join(frame for _, frame in frames), answer.wire.split)
            return await sender.close()
        async for frame in self._paced(frames, sender, answer, fault):
            await sender.write(frame)
        return await sender.close()

    async def _paced(
        self, frames: Sequence[tuple[Part, bytes]], sender: _Sender, answer: Answer, fault: Fault | None
    ) -> AsyncIterator[bytes]:
        """The frames at the answer's pace, with the fault in its place."""
        sent = 0
        pending = fault
        for part, frame in _forever(frames) if fault and fault.kind == "endless" else frames:
            if pending is not None and part != "open" and sent >= pending.after:
                async for piece in _fault_in_stream(sender, pending.kind, frame):
                    yield piece
                pending = None
            if answer.gate is not None and answer.gate_after == sent and part != "open":
                await _pass(answer.gate)
            yield frame
            sent += part == "content"
            if answer.gap:
                await asyncio.sleep(answer.gap)


class _Sender:
    """The writing side of one reply."""

    def __init__(self, request: web.Request, seen: Seen) -> None:
        self.request = request
        self.seen = seen
        self.response: web.StreamResponse | None = None
        self.cut = False

    async def open(self, status: int, headers: dict[str, str]) -> None:
        self.response = web.StreamResponse(status=status, headers=headers)
        await self.response.prepare(self.request)

    async def write(self, data: bytes) -> None:
        assert self.response is not None
        await self.response.write(data)
        self.seen.bytes_sent += len(data)

    async def write_pieces(self, data: bytes, split: int | tuple[int, ...]) -> None:
        offsets = range(split, len(data), split) if isinstance(split, int) else sorted(split)
        edges = [0, *(offset for offset in offsets if 0 < offset < len(data)), len(data)]
        for start, end in pairwise(edges):
            await self.write(data[start:end])
            # Gives the reader a turn, so that it sees the pieces apart; correct readers do not care either way.
            await asyncio.sleep(0.0005)

    async def close(self) -> web.StreamResponse:
        assert self.response is not None
        await self.response.write_eof()
        return self.response

    async def send(self, status: int, body: bytes, headers: dict[str, str]) -> web.StreamResponse:
        response = web.Response(status=status, body=body, headers=headers)
        self.response = response
        await response.prepare(self.request)
        await response.write_eof()
        self.seen.bytes_sent += len(body)
        return response

    def hang_up(self, *, reset: bool = False) -> None:
        """Close the connection from this side: what was written goes out first, unless `reset`."""
        self.cut = True
        transport = self.request.transport
        if transport is None:
            return
        if reset:
            sock: socket.socket = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        raise _CutError


_BEFORE_BODY = {
    "cut_before_headers",
    "cut_after_headers",
    "stall",
    "stall_after_headers",
    "wrong_content_type",
    "empty_body",
}


async def _fail_before_body(sender: _Sender, kind: str, streamed: bool) -> web.StreamResponse:
    headers = {"content-type": "text/event-stream" if streamed else "application/json"}
    match kind:
        case "cut_before_headers":
            sender.hang_up()
        case "stall":
            await _forever_asleep()
        case "wrong_content_type":
            page = b"<!DOCTYPE html><html><body><h1>Welcome to nginx!</h1></body></html>"
            return await sender.send(200, page, {"content-type": "text/html"})
        case "empty_body":
            return await sender.send(200, b"", headers)
        case "cut_after_headers":
            await sender.open(200, headers if streamed else {**headers, "content-length": "1000"})
            # An empty write sends nothing: the headers must leave before the connection does.
            await sender.write(b"")
            sender.hang_up()
        case _:
            await sender.open(200, headers if streamed else {**headers, "content-length": "1000"})
            await sender.write(b"")
            await _forever_asleep()
    raise AssertionError(kind)


async def _fail_mid_body(sender: _Sender, kind: str) -> None:
    if kind == "stall_mid_stream":
        await _forever_asleep()
    sender.hang_up(reset=kind == "reset")


async def _fault_in_stream(sender: _Sender, kind: str, frame: bytes) -> AsyncIterator[bytes]:
    """What goes out in place of, or before, `frame`."""
    match kind:
        case "broken_json":
            yield b'data: {"id": "chatcmpl-broken", "choices": [{"index": 0, "del\n\n'
        case "invalid_utf8":
            yield frame.replace(b'"', b'"\xff\xfe', 1)
        case "cut_mid_event" | "reset":
            yield frame[: len(frame) // 2]
            await _fail_mid_body(sender, kind)
        case "cut_between_events" | "stall_mid_stream":
            await _fail_mid_body(sender, kind)


async def _forever_asleep() -> None:
    await asyncio.get_running_loop().create_future()


async def _pass(gate: Gate) -> None:
    gate.arrive()
    while not gate.is_open:
        await asyncio.sleep(0.002)


def _opening(events: Sequence[Event], after: int) -> list[Event]:
    """The opening events and the first `after` with content."""
    opening = [event for event in events if event.part == "open"]
    return opening + list(islice((event for event in events if event.part == "content"), after))


def _forever(frames: Sequence[tuple[Part, bytes]]) -> Iterator[tuple[Part, bytes]]:
    yield from (frame for frame in frames if frame[0] == "open")
    yield from cycle([frame for frame in frames if frame[0] == "content"])


def _frame(event: Event, wire: Wire) -> bytes:
    if isinstance(event.data, str):
        text = event.data
    elif wire.multiline:
        text = json.dumps(event.data, ensure_ascii=wire.ascii_only, indent=1)
    else:
        text = json.dumps(event.data, ensure_ascii=wire.ascii_only, separators=(",", ":"))
    end = "\r\n" if wire.crlf else "\n"
    data = "data: " if wire.space else "data:"
    lines = [": keep-alive", ""] if wire.comments else []
    if event.name is not None:
        lines.append(f"event: {event.name}")
    lines.extend(data + line for line in text.split("\n"))
    return (end.join([*lines, "", ""])).encode()


def split_text(text: str, chunks: int | tuple[str, ...] | None) -> list[str]:
    """The pieces that a streamed text comes in; together they are the text."""
    if isinstance(chunks, tuple):
        return list(chunks)
    if chunks is None:
        words = text.split(" ")
        return [word if index == 0 else " " + word for index, word in enumerate(words)] if text else []
    size = max(1, -(-len(text) // chunks))
    return [text[start : start + size] for start in range(0, len(text), size)]


def texts_of(content: Any) -> str:
    """All text in a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(part["text"] for part in content if isinstance(part, dict) and "text" in part)
    return ""
