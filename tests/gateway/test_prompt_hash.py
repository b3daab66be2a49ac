"""The digest of a chat: what makes it another one, and what does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.prompt_hash import prompt_hash

Messages = list[dict[str, Any]]
PLAIN: Messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "What is 2 + 2?"}]


def user(content: Any, **more: Any) -> Messages:
    return [{"role": "user", "content": content, **more}]


def called(arguments: Any, name: str = "look_up") -> Messages:
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return [*PLAIN, {"role": "assistant", "content": None, "tool_calls": [call]}]


def picture(url: str, **more: Any) -> Messages:
    return user([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url, **more}}])


def test_it_stays_what_it_was() -> None:
    # It stands in ledgers that are there already.
    assert prompt_hash(PLAIN) == "420b0b7d36be9758dc751218628f93d5"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (user("hi"), user([{"type": "text", "text": "hi"}])),
        (user("a\nb"), user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])),
        (user("hi"), user(" hi\n")),
        (user("hi"), user("hi", name="Zoe", type="text", id="x")),
        (user("hi"), user([{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}])),
        (PLAIN, [{"role": "developer", "content": "Be short."}, PLAIN[1]]),
        (picture("data:a"), picture("data:a", detail="high")),
        (called('{"a": 1, "b": 2}'), called('{"b":2,"a":1}')),
        (called('{"a": 1}'), called({"a": 1})),
        (user(None), user("")),
    ],
)
def test_chats_that_say_the_same(one: Messages, other: Messages) -> None:
    assert prompt_hash(one) == prompt_hash(other)


def test_chats_that_say_something_else() -> None:
    chats = [
        PLAIN,
        PLAIN[1:],
        PLAIN[::-1],
        user("hi"),
        user("Hi"),
        user("h i"),
        [{"role": "assistant", "content": "hi"}],
        picture("data:a"),
        picture("data:b"),
        user("What is it?"),
        user([{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}]),
        called('{"a": 1}'),
        called('{"a": 2}'),
        called('{"a": 1}', name="other"),
        called("not JSON"),
        user("a") + user("b"),
        user("a\nb"),
    ]
    assert len({prompt_hash(chat) for chat in chats}) == len(chats)


def test_arguments_nested_without_end() -> None:
    assert prompt_hash(called("[" * 100_000)) != prompt_hash(called("[" * 99_999))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "name"]), json_values), max_size=3))
def test_no_body_that_was_read_is_too_odd(messages: Messages) -> None:
    read = msgspec.json.decode(msgspec.json.encode(messages), type=Messages)
    assert len(prompt_hash(read)) == 32
