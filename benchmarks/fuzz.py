"""What no input may do: `python -m benchmarks.fuzz [--cases 100000] [--seed 0]`.

Two kinds of input, made by chance with a seed:

Event streams: bytes as servers send them and as they should not, cut at any places. `EventParser` must give the same
events as when fed whole, the events that a slow reading of the standard by the letter gives (`read_by_the_letter`,
WHATWG HTML, 9.2.6), and never raise anything but `EventTooLarge`, that where an event is too large and nowhere else.

Request bodies, for each dialect: good ones with something in them changed, and bytes. Reading one, and what the
gateway then looks up in it, gives a request or a `HullspeedError`, never another exception.

Prints cases per second. Exits with 1 and the input where one is found that does not hold.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import msgspec

from app.core.errors import HullspeedError
from app.gateway.catalog import Model
from app.gateway.dialects.base import Dialect
from app.gateway.dialects.chat import Chat
from app.gateway.dialects.completions import Completions
from app.gateway.dialects.embeddings import Embeddings
from app.gateway.dialects.messages import Messages, count_tokens
from app.gateway.dialects.responses import Responses
from app.gateway.prompt_hash import prompt_hash
from app.gateway.sse import EventParser, EventTooLarge
from app.gateway.upstream import UpstreamError
from routers import Query

SMALL = 48
"""Largest event where the limit itself is tried."""
SHOWN = 5
"""Findings printed of each kind."""

# ------------------------------------------------------------------ event streams

PIECES = (
    b"data", b"data:", b"data: ", b"data:  x", b"data: [DONE]", b'data: {"a": 1}', b"event: x", b"id: 1", b"retry: 5",
    b":", b": comment", b"x", b"datax: 1", b" data: 1", b"data : 1", "data: Zürich \U0001f600".encode(), b"\x00",
    b"\xff", b"\xe2\x82", b"\xef\xbb\xbf", b"\xc2\x85", b"\x0b", b"\x0c", b"\x1c", "\u2028".encode(),
)  # fmt: skip
ENDS = (b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r", b"\r\n\n")


def make_stream(dice: random.Random) -> bytes:
    """Lines, good and bad, with ends of all kinds; now and then bytes from nowhere."""
    parts = [b"\xef\xbb\xbf"] if dice.random() < 0.1 else []
    ends = ENDS if dice.random() < 0.5 else (dice.choice(ENDS),)
    for _ in range(dice.randrange(12)):
        parts.append(dice.choice(PIECES) if dice.random() < 0.95 else dice.randbytes(dice.randrange(8)))
        if dice.random() < 0.8:
            parts.append(dice.choice(ends))
    return b"".join(parts)


def cut(dice: random.Random, stream: bytes) -> list[bytes]:
    """The stream in pieces; one in four times every byte by itself. Some pieces are empty."""
    if dice.random() < 0.25:
        return [stream[at : at + 1] for at in range(len(stream))]
    cuts = sorted(dice.randint(0, len(stream)) for _ in range(dice.randrange(8)))
    return [stream[start:end] for start, end in pairwise([0, *cuts, len(stream)])]


def read_by_the_letter(stream: bytes, most: int) -> list[str] | None:
    """`data` of each event, character by character as the standard says it; None where a line or an event is larger
    than `most` bytes, which the standard knows nothing of."""
    text = stream.decode(errors="replace").removeprefix("\ufeff")
    if any(len(line) > most for line in stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"\n").split(b"\n")):
        return None
    events: list[str] = []
    buffer = ""
    at = 0
    while (end := _line_end(text, at)) is not None:
        line, at = text[at : end[0]], end[1]
        if not line:
            if buffer:
                events.append(buffer[:-1])
            buffer = ""
        elif not line.startswith(":"):
            name, value = line.split(":", 1) if ":" in line else (line, "")
            if name == "data":
                buffer += value.removeprefix(" ") + "\n"
    return events


def _line_end(text: str, at: int) -> tuple[int, int] | None:
    """Where the line that begins at `at` ends, and where the next begins; None where it does not end."""
    for place in range(at, len(text)):
        if text[place] == "\n":
            return place, place + 1
        if text[place] == "\r":
            return place, place + (2 if text[place + 1 : place + 2] == "\n" else 1)
    return None


def parse(pieces: list[bytes], most: int) -> list[str] | None:
    """What `EventParser` makes of it; None where it finds it too large."""
    parser = EventParser(most)
    try:
        return [data.decode(errors="replace") for piece in pieces for data in parser.feed(piece)]
    except EventTooLarge:
        return None


def try_stream(dice: random.Random) -> str | None:
    """One case; what is wrong, or None."""
    stream = make_stream(dice)
    pieces = cut(dice, stream)
    most = SMALL if dice.random() < 0.2 else 1 << 20
    whole, parted = parse([stream], most), parse(pieces, most)
    if whole != parted:
        return f"{stream!r} whole gives {whole}, in pieces {pieces} it gives {parted}"
    if most > SMALL and whole != (wanted := read_by_the_letter(stream, most)):
        return f"{stream!r} gives {whole}, by the letter {wanted}"
    if most == SMALL and whole is not None and read_by_the_letter(stream, most) != whole:
        return f"{stream!r} gives {whole} within {most} bytes, by the letter {read_by_the_letter(stream, most)}"
    return None


# ------------------------------------------------------------------ request bodies

_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
GOOD: Mapping[type[Dialect], list[dict[str, Any]]] = {
    Chat: [
        {
            "model": "auto", "stream": True, "stream_options": {"include_usage": True}, "n": 1, "max_tokens": 5,
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "t"},
                         _IMAGE]}, {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function",
                         "function": {"name": "f", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "c"}],
            "tools": [_TOOL], "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
            "routing": {"tradeoff": 0.5, "models": ["a"], "max_calls": 2, "seed": 1}, "metadata": {"a": {"b": [1]}},
        },
    ],
    Messages: [
        {
            "model": "auto", "max_tokens": 9, "system": [{"type": "text", "text": "s"}], "stop_sequences": ["x"],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "t", "cache_control": {"type": "e"}},
                         {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
                         {"type": "document", "source": {"type": "url", "url": "u"}}]},
                         {"role": "assistant", "content": [{"type": "thinking", "thinking": "h", "signature": ""},
                         {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]},
                         {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [
                         {"type": "text", "text": "r"}], "is_error": True}]}],
            "tools": [{"name": "f", "input_schema": {"type": "object"}, "type": "custom"}], "stream": True,
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
            "metadata": {"user_id": "u"}, "thinking": {"type": "enabled", "budget_tokens": 2000},
            "routing": {"target_cost": 0.5}, "top_k": 1,
        },
    ],
    Responses: [
        {
            "model": "auto", "instructions": "i", "max_output_tokens": 9, "stream": True, "store": False,
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "t"}, {"type": "input_image",
                      "image_url": "u", "detail": "low"}, {"type": "input_file", "file_id": "f"}]},
                      {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                      {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "o"}]},
                      {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "id": "r"},
                      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
                      {"type": "custom_tool_call", "call_id": "d", "name": "g", "input": "i"}],
            "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}, {"type": "web_search"},
                      {"type": "custom", "name": "g", "format": {"type": "text"}}],
            "tool_choice": {"type": "function", "name": "f"}, "reasoning": {"effort": "low", "summary": "auto"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
            "previous_response_id": None, "include": ["x"], "routing": {"seed": 3},
        },
        {"model": "auto", "input": "hello"},
    ],
    Completions: [
        {"model": "m", "prompt": ["a", "b"], "max_tokens": 5, "stream": True, "stop": ["x"], "n": 1, "best_of": 1,
         "suffix": "s", "logprobs": 1, "echo": True, "stream_options": {"include_usage": True}},
        {"model": "m", "prompt": [[1, 2], [3]]},
    ],
    Embeddings: [
        {"model": "m", "input": ["a", "b"], "encoding_format": "float", "dimensions": 3, "user": "u"},
        {"model": "m", "input": [[1, 2], [3]]},
    ],
}  # fmt: skip
"""Bodies in which something is changed."""
NAMES = ("role", "content", "type", "text", "api_key", "Api-Base", "model", "routing", "", "\x00", "ü", "input")
TEXTS = ("\ud800", "\udfff\ud800", "user", "x" * 100, "\u2028", "auto", "[DONE]")
BORDERS = (0, 1, -1, 2**63, 2**64)
NUMBERS = ("1e999", "-0", "1" + "0" * 25, "1" + "0" * 5000, "-1e-999", "NaN", "0.1", "1.", "01", "9223372036854775808")
DEPTHS = (5, 100, 200, 300, 400, 450, 480, 600, 800, 900, 940, 960, 980, 1000, 1100, 5000)


def make_value(dice: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    kind = dice.randrange(10 if depth < 3 else 8)
    if kind == 8:
        return [make_value(dice, depth + 1) for _ in range(dice.randrange(4))]
    if kind == 9:
        return {dice.choice(NAMES): make_value(dice, depth + 1) for _ in range(dice.randrange(4))}
    big = dice.randint(-(2**70), 2**70)
    simple = (None, True, False, big, dice.choice(BORDERS), dice.random(), dice.choice(NAMES), dice.choice(TEXTS))
    return simple[kind]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in `value` with each of its keys."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield value, key
        yield from places(inner)


def make_body(dice: random.Random, good: list[dict[str, Any]]) -> bytes:
    """A good body with up to four changes; sometimes cut, with bytes in it, or deeper than any should be."""
    if dice.random() < 0.02:
        return dice.randbytes(dice.randrange(40))
    body: Any = copy.deepcopy(dice.choice(good))
    for _ in range(dice.randrange(5)):
        container, key = dice.choice(list(places(body)) or [({}, "")])
        what = dice.random()
        if what < 0.25:
            if key in container or isinstance(container, list):
                del container[key]
        elif what < 0.8:
            container[key] = make_value(dice)
        elif isinstance(container, dict):
            container[dice.choice(NAMES)] = make_value(dice)
    text = json.dumps(body, ensure_ascii=dice.random() < 0.7).encode(errors="surrogatepass")
    chance = dice.random()
    if chance < 0.05:
        text = text[: dice.randrange(len(text) + 1)]
    elif chance < 0.1:
        at = dice.randrange(len(text) + 1)
        text = text[:at] + dice.randbytes(dice.randrange(4)) + text[at + dice.randrange(4) :]
    elif chance < 0.15:
        text = text.replace(b"null", dice.choice(NUMBERS).encode()).replace(b"1", dice.choice(NUMBERS).encode(), 1)
    elif chance < 0.17:
        text = _deepen(dice, text)
    return text


def _deepen(dice: random.Random, text: bytes) -> bytes:
    """Put something very deep in place of one value."""
    depth = dice.choice(DEPTHS) + dice.randrange(40)
    opening, closing = dice.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"content":', b"}]")))
    deep = opening * depth + b"1" + closing * depth
    if dice.random() < 0.5:
        return text.replace(b"{", b'{"x":' + deep + b",", 1)
    for mark in dice.sample([b"null", b"true", b'"t"', b"1", b'"auto"', b"{}"], 6):
        if mark in text:
            return text.replace(mark, deep, 1)
    return deep


MODEL = Model(name="m", upstream="direct", target="m", provider="openai", max_output=4)


def read(dialect: Dialect) -> Callable[[bytes], None]:
    """Reads a body as the gateway does, and puts it into the words of a model."""

    def one(body: bytes) -> None:
        asked = dialect.parse(body)
        asked.chat.needs()
        query = Query(asked.chat.messages, ())
        assert query.length >= 0
        assert query.prompt_tokens >= 0
        prompt_hash(asked.chat.messages)
        for raw in asked.fields.values():
            msgspec.json.decode(raw)
        for native in {False, asked.is_native(MODEL)}:
            try:
                asked.fields_for(MODEL, native=native, stream=bool(asked.chat.stream), usage=True)
            except UpstreamError:
                continue

    return one


def try_body(dice: random.Random, one: Callable[[bytes], object], good: list[dict[str, Any]]) -> str | None:
    """One case; what is wrong, or None."""
    body = make_body(dice, good)
    try:
        one(body)
    except HullspeedError:
        return None
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        shown = body if len(body) < 1000 else body[:300] + b" ... " + body[-100:]
        return f"{type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno}) of {shown!r}"
    return None


def run(title: str, cases: int, one: Callable[[random.Random], str | None], seed: int) -> int:
    """Try `cases` of a kind; prints how fast, and what was found. Gives how many findings."""
    dice, found = random.Random(seed), 0
    started = time.perf_counter()
    for _ in range(cases):
        problem = one(dice)
        if problem is not None:
            found += 1
            if found <= SHOWN:
                print(f"  {title}: {problem}")
    seconds = time.perf_counter() - started
    print(f"{title:26}{cases:10,} cases{cases / seconds:12,.0f} a second{found:8,} wrong", flush=True)
    return found


def main(cases: int, seed: int) -> bool:
    """All kinds; whether nothing was found."""
    found = run("event streams", cases, try_stream, seed)
    readers: dict[str, tuple[Callable[[bytes], object], list[dict[str, Any]]]] = {
        kind.endpoint: (read(kind()), good) for kind, good in GOOD.items()
    }
    readers[f"{Messages.endpoint}/count_tokens"] = (count_tokens, GOOD[Messages])
    for title, (one, good) in readers.items():
        found += run(title, cases, lambda dice, one=one, good=good: try_body(dice, one, good), seed)  # type: ignore[misc]
    return not found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(0 if main(given.cases, given.seed) else 1)
