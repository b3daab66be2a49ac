"""The fake Anthropic against the official client."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.replies import Answer, Fault, HttpError, ToolCall, rate_limited

HELLO: list[MessageParam] = [{"role": "user", "content": "Hello there"}]
WEATHER: ToolParam = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture
def fake() -> Iterator[FakeAnthropic]:
    with FakeAnthropic(key="sk-right") as server:
        yield server


@pytest.fixture
def client(fake: FakeAnthropic) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=fake.url, api_key="sk-right", max_retries=0, timeout=20) as made:
        yield made


def test_whole(fake: FakeAnthropic, client: anthropic.Anthropic) -> None:
    fake.next(Answer(cached_tokens=64, cache_write_tokens=32, reasoning="hm"))
    reply = client.messages.create(model="m", max_tokens=100, messages=HELLO)
    thinking, text = reply.content
    assert thinking.type == "thinking"
    assert thinking.thinking == "hm"
    assert text.type == "text"
    assert text.text == "Echo: Hello there"
    assert reply.stop_reason == "end_turn"
    usage = reply.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (
        7,
        64,
        32,
    )
    assert fake.last.path == "/v1/messages"


def test_stream(fake: FakeAnthropic, client: anthropic.Anthropic) -> None:
    fake.next(Answer("one two three", reasoning="hm hm", tool_calls=(ToolCall("weather", {"city": "Zürich"}),)))
    with client.messages.stream(model="m", max_tokens=100, messages=HELLO, tools=[WEATHER]) as stream:
        kinds = {event.type for event in stream}
        reply = stream.get_final_message()
    assert {"message_start", "content_block_delta", "message_delta", "message_stop"} <= kinds
    thinking, text, call = reply.content
    assert thinking.type == "thinking"
    assert (thinking.thinking, thinking.signature) == ("hm hm", "c2lnbmF0dXJl")
    assert text.type == "text"
    assert text.text == "one two three"
    assert call.type == "tool_use"
    assert call.input == {"city": "Zürich"}
    assert reply.stop_reason == "tool_use"
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 4 + 2 + 8 + 6)


async def test_async(fake: FakeAnthropic) -> None:
    async with anthropic.AsyncAnthropic(base_url=fake.url, api_key="sk-right", max_retries=0) as client:
        stream = await client.messages.create(model="m", max_tokens=9, messages=HELLO, stream=True)
        text = ""
        async for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                text += event.delta.text
    assert text == "Echo: Hello there"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (HttpError(401), "authentication_error"),
        (rate_limited(), "rate_limit_error"),
        (HttpError(500), "api_error"),
        (HttpError(529), "overloaded_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors(fake: FakeAnthropic, client: anthropic.Anthropic, error: HttpError, kind: str, stream: bool) -> None:
    fake.next(error)
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model="m", max_tokens=9, messages=HELLO, stream=stream)
    assert caught.value.status_code == error.status
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == kind


def test_error_after_a_200(fake: FakeAnthropic, client: anthropic.Anthropic) -> None:
    fake.next(Fault("error_event", after=1, error=HttpError(529)))
    stream = client.messages.create(model="m", max_tokens=9, messages=HELLO, stream=True)
    with stream, pytest.raises(anthropic.APIStatusError) as caught:
        list(stream)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == "overloaded_error"


def test_wrong_key(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="sk-wrong").messages.create(model="m", max_tokens=9, messages=HELLO)
