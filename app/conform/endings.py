"""Points 6, 7 and 8: streams that do not end well, and limits of time."""

from __future__ import annotations

from app.conform.check import Dialect, check, expect
from app.conform.client import Reply
from app.conform.errors import FIELDS
from app.conform.stand import Case
from app.mock.replies import Answer, Fault, FaultKind

WORDS = Answer("One two three four five six seven eight.")
LIMIT = 2.0
"""Seconds of `timeout` that the printed configuration gives models that stall."""
MARGIN = 18.0
"""Seconds by which such a call must be over, retries and all."""


def _judge_broken(reply: Reply, beginning: str) -> str:
    """The client was told, after what had come so far, or at once where nothing had gone out yet."""
    if not reply.is_stream:
        expect(reply.status >= 500 and isinstance(reply.error, dict), f"status {reply.status}: {reply.body[:80]!r}")
        return f"{reply.status} in the envelope, before the first byte"
    expect(reply.status == 200, f"status {reply.status}")
    expect(not reply.done, "[DONE], as if all were well")
    expect(reply.complete, "the connection was cut instead of an error event")
    error = reply.error
    expect(isinstance(error, dict), f"the last event is no error: {reply.events[-1:]}"[:160])
    missing = [name for name in FIELDS if name not in error]
    expect(not missing, f"the error event has no {', '.join(missing)}")
    text = "".join(reply.texts.get(0, []))
    expect(text.startswith(beginning), f"the text was {text!r}")
    return f"{text[:20]!r}, then error {error['code']!r}, no [DONE]"


def _ending(kind: FaultKind, words: str, dialects: tuple[Dialect, ...] = ("openai", "anthropic", "gemini")) -> None:
    @check(
        7,
        name=f"stream-{kind.replace('_', '-')}",
        what=f"A stream that {words} ends in an error event, without [DONE]",
        params={"timeout": LIMIT},
        dialects=dialects,
    )
    async def ending(case: Case) -> str:
        case.always(Fault(kind, after=2, answer=WORDS))
        return _judge_broken(await case.stream(within=MARGIN), "One")


_ending("no_finish", "ends without finish reason and [DONE]")
_ending("cut_between_events", "is cut between two events")
_ending("cut_mid_event", "is cut within an event")
_ending("broken_json", "holds a line that is no JSON")
_ending("error_event", "brings an error event")
_ending("invalid_utf8", "holds bytes that are not UTF-8", ("openai",))
_ending("stall_mid_stream", "stalls past the idle limit")


@check(7)
async def stream_reset(case: Case) -> str:
    """A stream whose connection is reset ends in an error, as an event or, before the first byte, as a status."""
    case.always(Fault("reset", after=2, answer=WORDS))
    # A reset may overtake what was sent before it.
    return _judge_broken(await case.stream(), "")


@check(7)
async def empty_stream(case: Case) -> str:
    """A stream without a single event is an error with a status, not an empty success."""
    case.always(Fault("no_finish", after=0, answer=Answer("", chunks=())))
    reply = await case.stream()
    expect(not reply.is_stream, f"an event stream: {reply.body[:100]!r}")
    expect(reply.status == 502 and isinstance(reply.error, dict), f"status {reply.status}: {reply.body[:80]!r}")
    return "502 in the envelope"


@check(7)
async def no_done_is_consistent(case: Case) -> str:
    """A stream with a finish reason but no end marker ends in `[DONE]` or an error event, never in silence."""
    case.always(Fault("no_done", answer=WORDS))
    reply = await case.stream()
    expect(reply.is_stream and reply.complete, f"status {reply.status}, complete: {reply.complete}")
    expect(reply.done or reply.error, f"it just ends after {reply.events[-1:]}"[:120])
    return "[DONE]" if reply.done else "an error event"


@check(6, fallback=True)
async def no_splice(case: Case) -> str:
    """Once a token has gone out no other model takes over."""
    case.always(Fault("cut_between_events", after=3, answer=WORDS))
    reply = await case.stream()
    expect(reply.status == 200, f"status {reply.status}")
    spliced = case.backup_seen(reply.nonce)
    expect(not spliced, "the backup was asked after tokens had gone out")
    expect(reply.text in str(WORDS.text), f"the text is {reply.text!r}")
    expect(not reply.done, "[DONE], as if all were well")
    return f"{reply.text!r}, then the end; the backup was not asked"


# ---------------------------------------------------------------------- point 8: limits of time


def _silent(streamed: bool) -> None:
    name = "first-token-limit" if streamed else "whole-reply-limit"
    what = "first token" if streamed else "whole reply"

    @check(
        8, name=name, what=f"A {what} that never comes is given up in time, as 504 or 408", params={"timeout": LIMIT}
    )
    async def silent(case: Case) -> str:
        case.always(Fault("stall"))
        reply = await case.ask(stream=streamed, within=MARGIN)
        if reply.is_stream:
            expect(isinstance(reply.error, dict) and not reply.done, f"the stream ends in {reply.events[-1:]}"[:120])
            return f"an error event after {reply.seconds:.1f} s"
        expect(reply.status in (504, 408), f"status {reply.status}")
        expect(isinstance(reply.error, dict), "no error object")
        return f"{reply.status} after {reply.seconds:.1f} s, with timeout: {LIMIT:g}"


_silent(streamed=True)
_silent(streamed=False)


@check(8, params={"timeout": LIMIT})
async def stall_after_headers(case: Case) -> str:
    """Headers and then silence is given up in time."""
    case.always(Fault("stall_after_headers"))
    reply = await case.stream(within=MARGIN)
    if reply.is_stream:
        expect(isinstance(reply.error, dict) and not reply.done, f"the stream ends in {reply.events[-1:]}"[:120])
        return f"an error event after {reply.seconds:.1f} s"
    expect(reply.status in (504, 408), f"status {reply.status}")
    return f"{reply.status} after {reply.seconds:.1f} s"


def _dripping(streamed: bool) -> None:
    name = "slow-loris-streamed" if streamed else "slow-loris"

    @check(
        8, name=name, what=f"A reply a byte at a time ({name}) does not outlive the limit", params={"timeout": LIMIT}
    )
    async def dripping(case: Case) -> str:
        case.always(Fault("drip", answer=Answer("word " * 50, chunks=50, gap=0.05)))
        reply = await case.ask(stream=streamed, within=MARGIN)
        if reply.is_stream:
            expect(isinstance(reply.error, dict) and not reply.done, f"the stream ends in {reply.events[-1:]}"[:120])
        else:
            expect(reply.status in (504, 408), f"status {reply.status}")
        return f"given up after {reply.seconds:.1f} s, with timeout: {LIMIT:g}"


_dripping(streamed=False)
_dripping(streamed=True)


@check(8, params={"timeout": LIMIT})
async def total_limit(case: Case) -> str:
    """A stream that goes on and on, never idle, ends at the total limit."""
    case.always(Answer("word " * 200, chunks=200, gap=0.2))
    reply = await case.stream(within=MARGIN)
    expect(reply.is_stream, f"status {reply.status}: {reply.body[:80]!r}")
    expect(not reply.done, "[DONE]")
    expect(isinstance(reply.error, dict), f"it ends in {reply.events[-1:]}"[:120])
    return f"an error event after {reply.seconds:.1f} s, with timeout: {LIMIT:g}"
