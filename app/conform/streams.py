"""Points 5, 8 and 9: the form of a stream, its usage, and what keeps it alive."""

from __future__ import annotations

import asyncio
from typing import Any

from app.conform.check import OPENAI, NotApplicable, check, expect
from app.conform.client import Reply
from app.conform.stand import PATIENCE, Case
from app.mock.replies import Answer, Gate, UsageAt, Wire

ODD = "naïve — 東京 🚀\nsecond line"
INCLUDE = {"include_usage": True}
ASKED = Answer("a b c", prompt_tokens=100, completion_tokens=20)


@check(9)
async def stream_framing(case: Case) -> str:
    """A stream is an event stream by the letter: `data:` lines, JSON chunks, one id, `[DONE]` at the end."""
    reply = await case.stream()
    expect(reply.status == 200, f"status {reply.status}")
    expect(reply.is_stream, f"content type {reply.headers.get('content-type')}")
    expect(reply.complete, "the body did not end in good order")
    expect(reply.done, f"the last event is {reply.events[-1][:60]!r}")
    expect(reply.events.count("[DONE]") == 1, "several [DONE]")
    wrong = [chunk for chunk in reply.chunks if chunk.get("object") != "chat.completion.chunk"]
    expect(not wrong, f"a chunk is {wrong[0].get('object') if wrong else ''!r}")
    ids = {chunk.get("id") for chunk in reply.chunks}
    expect(len(ids) == 1, f"the chunks bear {len(ids)} ids")
    expect(reply.text == f"Echo: Say it {reply.nonce}", f"the text is {reply.text[:60]!r}")
    expect(reply.finish_reasons == {0: "stop"}, f"finish reasons {reply.finish_reasons}")
    return f"{len(reply.chunks)} chunks with one id, then [DONE]"


@check(9)
async def tokens_arrive_as_they_come(case: Case) -> str:
    """A chunk reaches the client when it is there, not when the stream is over."""
    gate = Gate()
    case.says(Answer("first second", gate=gate, gate_after=1))
    _, body = case.body(stream=True)
    async with case.connect() as connection, case.patience(15):
        await connection.send("POST", "/v1/chat/completions", case.headers(), body)
        await case.until(lambda: gate.reached, "the upstream did not come to its first token")
        try:
            async with case.patience(5):
                reply = await connection.head()
                await connection.read(reply, until=b"first")
        finally:
            gate.open()
    expect(b"first" in reply.body, "the first token did not come before the stream's end")
    return "the first token came while the upstream held back the second"


def _wire(name: str, wire: Wire) -> None:
    @check(9, name=f"reads-{name}", what=f"An upstream's stream with {name.replace('-', ' ')} reads right")
    async def reads(case: Case) -> str:
        case.says(Answer(ODD, chunks=5, wire=wire))
        reply = await case.stream()
        expect(reply.status == 200, f"status {reply.status}: {reply.body[:100]!r}")
        expect(reply.text == ODD, f"{reply.told!r} instead of {ODD!r}")
        expect(reply.done, f"no [DONE], but {reply.told!r}")
        return "the text came through letter by letter, then [DONE]"


_wire("crlf-line-ends", Wire(crlf=True))
_wire("comments-between-events", Wire(comments=True))
_wire("several-data-lines-an-event", Wire(multiline=True))
_wire("no-space-after-data", Wire(space=False))
_wire("every-byte-by-itself", Wire(split=1))
_wire("all-of-that-at-once", Wire(crlf=True, comments=True, multiline=True, space=False, split=3))


@check(9)
async def reads_line_separators(case: Case) -> str:
    """Unicode's own line separators in a text end no line of the stream: only LF and CR do."""
    text = "one\u2028two\u2029three\x85four"
    case.says(Answer(text, chunks=(text,)))
    reply = await case.stream()
    expect(reply.status == 200, f"status {reply.status}: {reply.body[:100]!r}")
    expect(reply.text == text, f"{reply.text!r} instead of {text!r}")
    return "U+2028, U+2029 and U+0085 came through"


# ---------------------------------------------------------------------- point 5: usage


def _usages(reply: Reply) -> list[Any]:
    return [chunk["usage"] for chunk in reply.chunks if chunk.get("usage")]


def _judge_usage(reply: Reply, prompt: int | None = 100, completion: int | None = 20) -> str:
    """Exactly one usage chunk, before `[DONE]`, with no choices."""
    expect(reply.status == 200, f"status {reply.status}: {reply.body[:100]!r}")
    expect(reply.done, "no [DONE]")
    found = _usages(reply)
    expect(len(found) == 1, f"{len(found)} chunks with usage")
    last = reply.chunks[-1]
    expect(last.get("usage"), "the usage chunk is not the last before [DONE]")
    expect(last.get("choices") == [], f"the usage chunk has choices {last.get('choices')}")
    for chunk in reply.chunks[:-1]:
        expect("usage" in chunk and chunk["usage"] is None, "an earlier chunk has no `usage: null`")
    got = (found[0].get("prompt_tokens"), found[0].get("completion_tokens"))
    if prompt is None:
        expect(all(isinstance(count, int) and count > 0 for count in got), f"tokens {got}")
    else:
        expect(got == (prompt, completion), f"tokens {got}, not {(prompt, completion)}")
    return f"one usage chunk, {got[0]} and {got[1]} tokens"


@check(5, dialects=OPENAI)
async def usage_is_asked_upstream(case: Case) -> str:
    """Usage is asked for upstream also where the client did not ask."""
    await case.stream()
    options = case.seen[-1].body.get("stream_options")
    expect(isinstance(options, dict) and options.get("include_usage") is True, f"stream_options {options!r} went up")
    return "stream_options.include_usage went up"


@check(5)
async def no_usage_unasked(case: Case) -> str:
    """A client that did not ask gets no usage chunk."""
    case.always(ASKED)
    reply = await case.stream()
    expect(reply.done, "no [DONE]")
    expect(not _usages(reply), f"usage came unasked: {_usages(reply)[:1]}")
    empty = [chunk for chunk in reply.chunks if not chunk.get("choices")]
    expect(not empty, "a chunk without choices came")
    return "no chunk has usage"


@check(5)
async def usage_when_asked(case: Case) -> str:
    """A client that asked gets exactly one usage chunk, before `[DONE]`, with `choices: []`, earlier ones null."""
    case.always(ASKED)
    return _judge_usage(await case.stream(stream_options=INCLUDE))


def _place(name: str, at: UsageAt, words: str) -> None:
    @check(5, name=f"usage-{name}", what=f"Usage that the upstream states {words} is read right", dialects=OPENAI)
    async def placed(case: Case) -> str:
        case.always(Answer("a b c", prompt_tokens=100, completion_tokens=20, usage_at=at))
        found = _judge_usage(await case.stream(stream_options=INCLUDE))
        unasked = await case.stream()
        expect(not _usages(unasked), "without being asked for, it reached the client")
        return found


_place("with-choices", "with_choices", "in a chunk with choices")
_place("in-several-chunks", "several", "in several chunks, growing (the last wins)")
_place("unasked", "always", "whether asked or not")


@check(5)
async def usage_estimated(case: Case) -> str:
    """An upstream that states no usage: a client that asked gets an estimate, not nothing."""
    case.always(Answer("one two three four", usage_at="none"))
    return _judge_usage(await case.stream(stream_options=INCLUDE), None, None)


@check(5, dialects=OPENAI)
async def stream_options_rejected(case: Case) -> str:
    """An upstream that rejects `stream_options` is asked once more without, and that is remembered."""
    case.always(Answer("fine", rejects=("stream_options",)))
    first = await case.stream(stream_options=INCLUDE)
    expect(first.status == 200, f"status {first.status}: {first.body[:100]!r}")
    expect(first.text == "fine", f"text {first.text!r}")
    asked = len(case.seen)
    await case.stream(stream_options=INCLUDE)
    again = len(case.seen) - asked
    expect(asked <= 2, f"the upstream was asked {asked} times")
    expect(again == 1, f"the next request asked {again} times: not remembered")
    return f"asked {asked} times, the next request once"


# ---------------------------------------------------------------------- point 8: keeping the line alive


@check(8)
async def keep_alive(case: Case) -> str:
    """A comment keeps the line alive while the upstream thinks, before the first token and between two."""
    pause = case.gateway.keep_alive * 1.6
    for gate_after, where in ((None, "before the first token"), (1, "between two tokens")):
        gate = Gate()
        case.says(Answer("a b", gate=gate, gate_after=gate_after))
        asyncio.get_running_loop().call_later(pause, gate.open)
        reply = await case.stream(within=pause + PATIENCE)
        expect(reply.status == 200, f"status {reply.status}")
        expect(reply.comments, f"nothing came in {pause:g} s of silence {where}")
        expect(reply.text == "a b" and reply.done, f"the stream was {reply.text!r}")
    return f"comments within {pause:g} s of silence, before the first token and between two, none inside an event"


@check(9)
async def streams_are_not_cached(case: Case) -> str:
    """A stream says that it must not be cached or transformed on the way."""
    reply = await case.stream()
    control = reply.headers.get("cache-control", "")
    expect("no-cache" in control or "no-store" in control, f"cache-control is {control or 'not there'}")
    return f"cache-control: {control}"


@check(9)
async def whole_stays_whole(case: Case) -> str:
    """`stream: false`, null or left out gives one JSON object."""
    for field in ({}, {"stream": False}, {"stream": None}):
        reply = await case.ask(**field)
        if reply.status == 400 and field == {"stream": None}:
            raise NotApplicable("`stream: null` is refused with a 400")
        expect(reply.status == 200, f"status {reply.status} for {field}")
        expect(reply.headers.get("content-type", "").startswith("application/json"), f"a stream for {field}")
        expect(reply.json.get("object") == "chat.completion", f"object {reply.json.get('object')!r} for {field}")
    return "one chat.completion each"
