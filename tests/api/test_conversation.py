"""Stored bodies, read as conversations: all dialects, and whatever else somebody may have sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.pages import conversation
from app.api.pages.conversation import Conversation, Piece, beginning, read


def told(body: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    found = read(json.dumps(body))
    assert found is not None
    return [(turn.role, [(piece.kind, piece.text) for piece in turn.pieces]) for turn in found.turns]


def test_a_chat() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}
    linked = {"type": "image_url", "image_url": {"url": "https://example.com/boat.png"}}
    call = {"type": "function", "function": {"name": "look", "arguments": '{"deep":true}'}}
    body = {
        "model": "auto",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture, linked]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "a boat"},
        ],
        "tools": [{"type": "function", "function": {"name": "look"}}],
        "temperature": 0,
    }
    assert told(body) == [
        ("system", [("text", "Be brief.")]),
        ("user", [("text", "What is it?"), ("image", "image/png 3 kB"), ("image", "https://example.com/boat.png")]),
        ("assistant", [("call", '{\n  "deep": true\n}')]),
        ("tool", [("result", "a boat")]),
    ]
    found = read(json.dumps(body))
    assert found is not None
    assert (dict(found.settings), found.tools) == ({"model": '"auto"', "temperature": "0"}, ("look",))


def test_the_other_dialects() -> None:
    source = {"type": "base64", "media_type": "image/jpeg", "data": "A" * 8000}
    anthropic = {
        "system": [{"type": "text", "text": "Be kind."}],
        "messages": [
            {"role": "user", "content": [{"type": "image", "source": source}]},
            {"role": "assistant", "content": [{"type": "tool_use", "name": "look", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "a cat"}]}]},
        ],
    }
    assert told(anthropic) == [
        ("system", [("text", "Be kind.")]),
        ("user", [("image", "image/jpeg 6 kB")]),
        ("assistant", [("call", "{}")]),
        ("user", [("result", "a cat")]),
    ]
    responses = {
        "instructions": "Be quick.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "name": "f", "arguments": "no JSON"},
            {"type": "function_call_output", "output": "7"},
        ],
    }
    assert told(responses) == [
        ("system", [("text", "Be quick.")]),
        ("user", [("text", "hi")]),
        ("assistant", [("call", "no JSON")]),
        ("tool", [("result", "7")]),
    ]
    assert told({"prompt": "Once"}) == [("user", [("text", "Once")])]
    assert told({"input": ["a", "b"]}) == [("user", [("text", "a")]), ("user", [("text", "b")])]


def test_what_is_long_is_cut() -> None:
    said = [{"role": "user", "content": text} for text in ("x" * 30_000, *["more"] * 299)]
    found = read(json.dumps({"messages": said}))
    assert found is not None
    assert (len(found.turns), found.left_out) == (conversation.MOST_TURNS, 100)
    assert found.turns[0].pieces[0].text.endswith("(10,000 more characters)")
    assert read(json.dumps({"prompt": "x" * conversation.LONGEST_BODY})) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=9)
    | st.sampled_from(["image", "tool_use", "user"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "tool_calls", "function", "input", "image_url", "source"]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from(["messages", "input", "prompt", "system", "tools"]))
def test_nothing_fails_on_it(value: Any, name: str) -> None:
    found = read(json.dumps({name: value}))
    assert found is None or isinstance(found, Conversation)
    for turn in () if found is None else found.turns:
        assert all(isinstance(piece, Piece) and isinstance(piece.text, str) for piece in turn.pieces)


@pytest.mark.parametrize("body", ["", "x", "[]", "1", '{"a": 1}', "[" * 5000, '{"prompt": "\\ud800"}'])
def test_no_conversation(body: str) -> None:
    assert read(body) is None


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ('{"messages": [{"role": "user", "content": "Hello\\nthere"}]}', "Hello there"),
        ('{"messages":[{"role":"system","content":"no"},{"role":"user","content":"yes', "yes"),
        ('{"messages":[{"role":"user","content":[{"type":"text","text":"parts \\u00e9', "parts é"),
        ('{"messages":[{"role":"user","content":"broken \\u00', "broken"),
        ('{"messages":[{"role":"user","content":"half \\ud83d"}]}', "half ?"),
        ('{"model":"m","input":"an input"}', "an input"),
        ('{"prompt":"a prompt', "a prompt"),
        ('{"messages":[{"role":"assistant"', ""),
        ("", ""),
    ],
)
def test_how_it_begins(start: str, said: str) -> None:
    assert beginning(start) == said


def test_the_beginning_is_short() -> None:
    assert len(beginning(json.dumps({"prompt": "é" * 4000}), 50)) == 50


@given(st.text(max_size=300), st.integers(0, 400))
def test_the_beginning_of_anything(text: str, at: int) -> None:
    assert isinstance(beginning(json.dumps({"messages": [{"role": "user", "content": text}]})[:at]), str)
    assert isinstance(beginning(text), str)
