"""The way of one reply onto the wire, with its faults, delays and pacing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import cycle, islice

from app.mock.dialect import Dialect, Event, Part, frame
from app.mock.replies import Answer, Fault, Gate, HttpError, Json, Reply
from app.mock.seen import Seen
from app.mock.wire import Sender

DRIP_SECONDS = 0.05
"""Between two bytes of a reply that drips, where its answer sets no gap."""

_BEFORE_BODY = {
    "cut_before_headers",
    "cut_after_headers",
    "stall",
    "stall_after_headers",
    "wrong_content_type",
    "empty_body",
}
_PAGE = b"<!DOCTYPE html><html><body><h1>Welcome to nginx!</h1></body></html>"


class Responder:
    """Answers one request in one dialect."""

    def __init__(self, dialect: Dialect, seen: Seen, sender: Sender) -> None:
        self.dialect = dialect
        self.seen = seen
        self.sender = sender

    async def reply(self, reply: Reply, *, streamed: bool) -> None:
        """Send `reply`. Raises `wire.CutError` where it ends with a cut."""
        self.seen.reply = reply
        if isinstance(reply, HttpError):
            await asyncio.sleep(reply.delay)
            await self.error(reply)
            return
        fault = reply if isinstance(reply, Fault) else None
        answer = fault.answer if fault else reply
        assert isinstance(answer, Answer)
        await asyncio.sleep(answer.delay)
        if answer.gate is not None and answer.gate_after is None:
            await _pass(answer.gate)
        for name in answer.rejects:
            if name in self.seen.body:
                message = f"Unrecognized request argument supplied: {name}"
                await self.error(HttpError(400, message, code="unknown_parameter", param=name))
                return
        if fault is not None and fault.kind == "drip":
            self.sender.drip, fault = answer.gap or DRIP_SECONDS, None
        if fault is not None and fault.kind in _BEFORE_BODY:
            await self._fail_before_body(fault.kind, streamed)
        elif streamed:
            await self._stream(answer, fault)
        else:
            await self._whole(answer, fault)

    async def error(self, error: HttpError) -> None:
        """Send an error with its status."""
        self.seen.reply = error
        body = error.body
        if body is None:
            body = json.dumps(self.dialect.envelope(error)).encode()
        await self.sender.send(error.status, body, {"content-type": error.content_type, **error.headers})

    async def _whole(self, answer: Answer, fault: Fault | None) -> None:
        said: Json = self.dialect.whole(self.seen.body, self.seen.model or "", answer)
        if fault is not None and fault.kind == "error_event":
            said = self.dialect.envelope(fault.error)
        body = json.dumps(said, ensure_ascii=answer.wire.ascii_only).encode()
        headers = {"content-type": "application/json", **answer.wire.headers}
        sender = self.sender
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
                await self._fail_mid_body(fault.kind)
        if answer.wire.split:
            await sender.open(200, {**headers, "content-length": str(len(body))})
            await sender.write_pieces(body, answer.wire.split)
        else:
            await sender.send(200, body, headers)

    async def _stream(self, answer: Answer, fault: Fault | None) -> None:
        events = self.dialect.events(self.seen.body, self.seen.model or "", answer)
        if fault is not None and fault.kind == "error_event":
            events = [*_opening(events, fault.after), self.dialect.error_event(fault.error)]
        elif fault is not None and fault.kind == "no_finish":
            events = _opening(events, fault.after)
        elif fault is not None and fault.kind == "no_done":
            events = [event for event in events if event.part != "end"]
        frames = [(event.part, frame(event, answer.wire)) for event in events]
        await self.sender.open(200, {"content-type": "text/event-stream; charset=utf-8", **answer.wire.headers})
        await asyncio.sleep(answer.first_delay)
        if answer.wire.split and fault is None:
            await self.sender.write_pieces(b"".join(data for _, data in frames), answer.wire.split)
        else:
            async for data in self._paced(frames, answer, fault):
                await self.sender.write(data)
        await self.sender.end()

    async def _paced(
        self, frames: Sequence[tuple[Part, bytes]], answer: Answer, fault: Fault | None
    ) -> AsyncIterator[bytes]:
        """The frames at the answer's pace, with the fault in its place."""
        sent = 0
        pending = fault
        for part, data in _forever(frames) if fault and fault.kind == "endless" else frames:
            if pending is not None and part != "open" and sent >= pending.after:
                async for piece in self._fault_in_stream(pending.kind, data):
                    yield piece
                pending = None
            if answer.gate is not None and answer.gate_after == sent and part != "open":
                await _pass(answer.gate)
            yield data
            sent += part == "content"
            if answer.gap:
                await asyncio.sleep(answer.gap)

    async def _fail_before_body(self, kind: str, streamed: bool) -> None:
        headers = {"content-type": "text/event-stream" if streamed else "application/json"}
        sender = self.sender
        match kind:
            case "cut_before_headers":
                sender.hang_up()
            case "stall":
                await _forever_asleep()
            case "wrong_content_type":
                await sender.send(200, _PAGE, {"content-type": "text/html"})
            case "empty_body":
                await sender.send(200, b"", headers)
            case _:
                await sender.open(200, headers if streamed else {**headers, "content-length": "1000"})
                if kind == "cut_after_headers":
                    sender.hang_up()
                await _forever_asleep()

    async def _fail_mid_body(self, kind: str) -> None:
        if kind == "stall_mid_stream":
            await _forever_asleep()
        self.sender.hang_up(reset=kind == "reset")

    async def _fault_in_stream(self, kind: str, data: bytes) -> AsyncIterator[bytes]:
        """What goes out in place of, or before, `data`."""
        match kind:
            case "broken_json":
                yield b'data: {"id": "chatcmpl-broken", "choices": [{"index": 0, "del\n\n'
            case "invalid_utf8":
                yield data.replace(b'"', b'"\xff\xfe', 1)
            case "cut_mid_event" | "reset":
                yield data[: len(data) // 2]
                await self._fail_mid_body(kind)
            case "cut_between_events" | "stall_mid_stream":
                await self._fail_mid_body(kind)


async def _forever_asleep() -> None:
    await asyncio.get_running_loop().create_future()


async def _pass(gate: Gate) -> None:
    gate.arrive()
    # A gate belongs to threads as well, so there is no event of this loop to wait for.
    while not gate.is_open:  # noqa: ASYNC110
        await asyncio.sleep(0.002)


def _opening(events: Sequence[Event], after: int) -> list[Event]:
    """The opening events and the first `after` with content."""
    opening = [event for event in events if event.part == "open"]
    return opening + list(islice((event for event in events if event.part == "content"), after))


def _forever(frames: Sequence[tuple[Part, bytes]]) -> Iterator[tuple[Part, bytes]]:
    yield from (pair for pair in frames if pair[0] == "open")
    yield from cycle([pair for pair in frames if pair[0] == "content"])
