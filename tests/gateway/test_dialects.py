"""The dialects by themselves: whatever a client or a server sends, a request is read or refused, a reply is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import InvalidRequest
from app.core.types import Attempt, Usage
from app.gateway.catalog import CHAT, Model
from app.gateway.dialects.base import Asked, Dialect
from app.gateway.dialects.chat import Chat
from app.gateway.dialects.completions import Completions
from app.gateway.dialects.embeddings import Embeddings
from app.gateway.dialects.messages import Messages, count_tokens
from app.gateway.dialects.responses import Responses
from app.gateway.replies import read_reply
from app.gateway.sse import EventParser
from app.gateway.upstream import UpstreamError
from app.mock.anthropic import Anthropic
from app.mock.completions import Completions as MockCompletions
from app.mock.dialect import Dialect as MockDialect
from app.mock.replies import Answer, ToolCall
from app.mock.responses import Responses as MockResponses

ATTEMPT = Attempt(model="m", upstream="direct", outcome="ok", offset=0, latency=1, usage=Usage(9, 4, 2, 1))
REQUESTS: list[tuple[Dialect, dict[str, Any]]] = [
    (Chat(), {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}),
    (
        Messages(),
        {
            "model": "m",
            "max_tokens": 5,
            "system": [{"type": "text", "text": "a"}],
            "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}]},
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "1", "content": []}],
                },
                {"role": "user", "content": [{"type": "search_result", "content": [{"type": "text", "text": "b"}]}]},
            ],
            "tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "web_search_1", "name": "w"}],
            "tool_choice": {"type": "tool", "name": "f"},
            "thinking": {"type": "enabled", "budget_tokens": 5000},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
        },
    ),
    (
        Responses(),
        {
            "model": "m",
            "instructions": "a",
            "input": [
                {"role": "user", "content": [{"type": "input_image", "image_url": "u"}]},
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "a"}]},
                {"type": "reasoning", "id": "rs_hullspeed_1", "summary": []},
            ],
            "tools": [
                {"type": "function", "name": "f", "parameters": {}},
                {"type": "custom", "name": "c", "format": {}},
            ],
            "tool_choice": {"type": "function", "name": "f"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
            "reasoning": {"effort": "low"},
        },
    ),
    (Completions(), {"model": "m", "prompt": ["a", "b"], "max_tokens": 5, "stop": ["c"], "echo": True}),
    (Embeddings(), {"model": "m", "input": ["a", [1, 2]], "dimensions": 5}),
]
KEYS = ("type", "role", "a")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=2),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values inside `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [deeper for key, below in inner for deeper in [(*path, key), *places(below, (*path, key))]]


def altered(value: Any, path: Sequence[Any], other: Any) -> Any:
    """A copy of `value` with `other` at `path`."""
    copy = deepcopy(value)
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = other
    return copy


@pytest.mark.parametrize(("dialect", "body"), REQUESTS, ids=lambda value: type(value).__name__)
@given(data=st.data())
def test_any_request_is_read_or_refused(dialect: Dialect, body: dict[str, Any], data: st.DataObject) -> None:
    dialect.parse(json.dumps(body).encode())
    for _ in range(data.draw(st.integers(1, 2))):
        body = altered(body, data.draw(st.sampled_from(places(body))), data.draw(JSON))
    sent = json.dumps(body).encode()
    try:
        asked = dialect.parse(sent)
    except InvalidRequest:
        return
    model = Model("m", "direct", "t", endpoints=frozenset({CHAT, dialect.endpoint}))
    told = asked.fields_for(model, native=asked.is_native(model), stream=False, usage=True)
    assert bytes(told["model"]) == b'"t"'
    if asked.obstacle(other := Model("o", "direct", "t")) is None:
        assert "messages" in asked.fields_for(other, native=False, stream=True, usage=True)
    else:
        with pytest.raises(UpstreamError):
            asked.fields_for(other, native=False, stream=True, usage=True)


CHUNKS: list[dict[str, Any]] = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "", "tool_calls": None}}]},
    {"choices": [{"index": 0, "delta": {"reasoning_content": "Hmm."}}]},
    {"choices": [{"index": 0, "delta": {"content": "a"}}]},
    {"choices": [{"index": 0, "delta": {"refusal": "b"}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f"}}]}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 1, "id": "2", "function": {"name": "g"}}]}}]},
    # Late: the second call has begun already.
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    {"choices": [], "usage": {"prompt_tokens": 1}},
]


def tell(dialect: Dialect, asked: Asked, chunks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of a stream in the client's dialect."""
    telling = dialect.telling(asked, "m", native=False)
    said = b""
    for chunk in chunks:
        try:
            pair = read_reply(json.dumps(chunk).encode())
        except msgspec.DecodeError:
            continue  # The attempt fails of it.
        said += telling.say(*pair)
    said += telling.end(ATTEMPT, None)
    return [json.loads(data) for data in EventParser().feed(said) if data != b"[DONE]"]


@pytest.mark.parametrize(("dialect", "body"), REQUESTS[:4], ids=lambda value: type(value).__name__)
@given(data=st.data())
def test_any_stream_is_told(dialect: Dialect, body: dict[str, Any], data: st.DataObject) -> None:
    chunks: Any = data.draw(st.lists(st.sampled_from(CHUNKS), max_size=12))
    if chunks:
        chunks = altered(chunks, data.draw(st.sampled_from(places(chunks))), data.draw(JSON))
    events = tell(dialect, dialect.parse(json.dumps(body).encode()), [c for c in chunks if isinstance(c, dict)])
    if isinstance(dialect, Messages):
        check_messages(events)
    elif isinstance(dialect, Responses):
        check_responses(events)


def check_messages(events: list[dict[str, Any]]) -> None:
    """One start, one end, and blocks one after the other, each begun before anything is said in it."""
    assert [event["type"] for event in (events[0], *events[-2:])] == ["message_start", "message_delta", "message_stop"]
    begun = [event["index"] for event in events if event["type"] == "content_block_start"]
    over = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert begun == over == list(range(len(begun)))
    seen: set[int] = set()
    for event in events:
        seen |= {event["index"]} if event["type"] == "content_block_start" else set()
        assert event.get("index", 0) in seen | {0}


def check_responses(events: list[dict[str, Any]]) -> None:
    """Numbered through; the last one holds what the items were when each was done."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] in ("response.completed", "response.incomplete")
    output = events[-1]["response"]["output"]
    done = [event for event in events if event["type"] == "response.output_item.done"]
    assert [event["output_index"] for event in done] == list(range(len(output)))
    assert [event["item"]["id"] for event in done] == [item["id"] for item in output]
    for item in output:
        if item["type"] == "function_call":
            said = [event["delta"] for event in events if event.get("item_id") == item["id"] and "delta" in event]
            assert item["arguments"] == "".join(said)


NATIVE: list[tuple[Dialect, MockDialect, Answer]] = [
    (Messages(), Anthropic(), Answer("a b", reasoning="c", tool_calls=(ToolCall("f", {"a": 1}),))),
    (Responses(), MockResponses(), Answer("a b", reasoning="c", tool_calls=(ToolCall("f", {"a": 1}),))),
    (Completions(), MockCompletions(), Answer("a b")),
]


@pytest.mark.parametrize(("dialect", "mock", "answer"), NATIVE, ids=lambda value: type(value).__name__)
@given(data=st.data())
def test_any_events_of_a_provider_are_told(
    dialect: Dialect, mock: MockDialect, answer: Answer, data: st.DataObject
) -> None:
    """As they came; where they are none of the dialect's, the attempt fails, and nothing else does."""
    body = {"messages": [], "input": "x", "prompt": "x"}
    events: Any = [event.data for event in mock.events(body, "m", answer) if isinstance(event.data, dict)]
    events = altered(events, data.draw(st.sampled_from(places(events))), data.draw(JSON))
    asked = dialect.parse(json.dumps(next(body for known, body in REQUESTS if type(known) is type(dialect))).encode())
    read, telling = dialect.reader(), dialect.telling(asked, "m", native=True)
    finished = False
    for event in events:
        try:
            part, fields = read(json.dumps(event).encode())
        except msgspec.DecodeError:
            continue
        if part.error is not None:
            assert 400 <= part.error_status < 600
            continue
        part.read_usage()
        finished = finished or part.finish_reason is not None
        telling.say(part, fields)
    if finished:
        assert telling.end(ATTEMPT, Decimal("0.5"))


def test_a_late_piece_goes_to_its_own_call() -> None:
    messages, responses = REQUESTS[1], REQUESTS[2]
    events = tell(messages[0], messages[0].parse(json.dumps(messages[1]).encode()), CHUNKS)
    late = [event for event in events if event["type"] == "content_block_delta"][-1]
    blocks = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [block["type"] for block in blocks] == ["thinking", "text", "text", "tool_use", "tool_use"]
    assert (late["index"], late["delta"]["partial_json"]) == (3, '{"a":1}')
    events = tell(responses[0], responses[0].parse(json.dumps(responses[1]).encode()), CHUNKS)
    calls = [item for item in events[-1]["response"]["output"] if item["type"] == "function_call"]
    assert [(call["name"], call["arguments"]) for call in calls] == [("f", '{"a":1}'), ("g", "")]


def test_usage_says_the_same_in_every_dialect() -> None:
    """The ledger's 9 prompt tokens, 2 of them from the cache and 1 written to it, and 4 completion tokens."""
    body = b'{"model":"m","messages":[{"role":"user"}],"stream_options":{"include_usage":true}}'
    chat = tell(Chat(), Chat().parse(body), [])
    assert chat[-1]["usage"]["prompt_tokens"] == 9
    for dialect, asked in REQUESTS[1:3]:
        events = tell(dialect, dialect.parse(json.dumps(asked).encode()), CHUNKS)
        if isinstance(dialect, Messages):
            assert events[-2]["usage"] == {
                "input_tokens": 6,
                "cache_creation_input_tokens": 1,
                "cache_read_input_tokens": 2,
                "output_tokens": 4,
            }
        else:
            usage = events[-1]["response"]["usage"]
            assert (usage["input_tokens"], usage["total_tokens"]) == (9, 13)
            assert usage["input_tokens_details"] == {"cached_tokens": 2, "cache_write_tokens": 1}


def test_counting_needs_no_bound() -> None:
    assert count_tokens(b'{"model":"m","messages":[{"role":"user","content":"abcdefgh"}]}') == 3
