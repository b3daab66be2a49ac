"""What OpenAI's SDK does by itself: schemas as classes, a loop of tools, its errors, its retries, its time-outs; on the
direct path, and with a model of Anthropic's behind litellm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Fault, HttpError, ToolCall, context_length_exceeded, rate_limited
from tests.fakes.server import FakeServer
from tests.serving import Running, StartProxy, models

pytestmark = [
    pytest.mark.xdist_group("litellm"),
    pytest.mark.filterwarnings("ignore:.*using the `ReadOnly` qualifier:UserWarning"),
]
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "look_up",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"key": {"type": "string"}},
            "required": ["key"],
            "additionalProperties": False,
        },
    },
}


class Step(BaseModel):
    """What a reply is to be."""

    title: str
    number: int


@pytest.fixture(params=["direct", "litellm"])
def fake(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeOpenAI() if request.param == "direct" else FakeAnthropic() as server:
        yield server


def config(fake: FakeServer) -> dict[str, Any]:
    (entry,) = models(fake.url, "m")
    if isinstance(fake, FakeAnthropic):
        entry["litellm_params"]["model"] = "anthropic/claude-sonnet-4-5"
    return {"model_list": [entry]}


def speaks_in_schemas(fake: FakeServer) -> Answer:
    """A `Step`, as each provider gives one that was asked for."""
    step = {"title": "go", "number": 7}
    wanted = fake.last.body
    if any(tool.get("name") == "json_tool_call" for tool in wanted.get("tools") or ()):
        return Answer(tool_calls=(ToolCall("json_tool_call", step),))
    return Answer(json.dumps(step))


async def test_a_class_as_the_schema(start_proxy: StartProxy, fake: FakeServer) -> None:
    proxy = await start_proxy(config(fake))
    asked: dict[str, Any] = {"model": "m", "messages": HELLO, "response_format": Step}
    # How a model is asked for a schema depends on what litellm knows of it: seen first, answered then.
    await proxy.sdk.chat.completions.create(model="m", messages=HELLO, response_format=_format(Step))
    fake.default = speaks_in_schemas(fake)
    whole = await proxy.sdk.chat.completions.parse(**asked)
    async with proxy.sdk.chat.completions.stream(**asked) as stream:
        streamed = await stream.get_final_completion()
    for completion in (whole, streamed):
        assert completion.choices[0].message.parsed == Step(title="go", number=7)


def _format(model: type[BaseModel]) -> Any:
    schema = {**model.model_json_schema(), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": model.__name__, "schema": schema, "strict": True}}


async def test_a_loop_of_tools(start_proxy: StartProxy, fake: FakeServer) -> None:
    proxy = await start_proxy(config(fake))
    fake.next(Answer(tool_calls=(ToolCall("look_up", {"key": "a"}),)), Answer("It is 42."))
    said: list[Any] = list(HELLO)
    while True:
        completion = await proxy.sdk.chat.completions.parse(model="m", messages=said, tools=[TOOL])
        message = completion.choices[0].message
        if not message.tool_calls:
            break
        said.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            assert call.function.parsed_arguments == {"key": "a"}
            said.append({"role": "tool", "tool_call_id": call.id, "content": "42"})
    assert message.content == "It is 42."
    assert [logged.call.outcome for logged in await proxy.calls()] == ["ok", "ok"]


async def test_the_events_of_its_stream(start_proxy: StartProxy, fake: FakeServer) -> None:
    proxy = await start_proxy(config(fake))
    fake.default = Answer("one two three", prompt_tokens=11, completion_tokens=3)
    options: Any = {"include_usage": True}
    async with proxy.sdk.chat.completions.stream(model="m", messages=HELLO, stream_options=options) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert kinds.count("content.delta") >= 1
    assert kinds[-1] in ("content.done", "chunk")
    assert final.choices[0].message.content == "one two three"
    assert final.usage is not None
    assert (final.usage.prompt_tokens, final.usage.completion_tokens) == (11, 3)


ERRORS: list[tuple[Any, type[openai.APIStatusError]]] = [
    (HttpError(400, "no"), openai.BadRequestError),
    (context_length_exceeded(), openai.BadRequestError),
    (HttpError(401, "no"), openai.AuthenticationError),
    (HttpError(403, "no"), openai.PermissionDeniedError),
    (HttpError(404, "no"), openai.NotFoundError),
    (HttpError(409, "no"), openai.ConflictError),
    (HttpError(422, "no"), openai.UnprocessableEntityError),
    (rate_limited(), openai.RateLimitError),
    (HttpError(500, "no"), openai.InternalServerError),
    (HttpError(503, "no"), openai.InternalServerError),
    (Fault("cut_before_headers"), openai.InternalServerError),
]


async def test_its_errors(start_proxy: StartProxy, fake: FakeServer) -> None:
    proxy = await start_proxy(config(fake))
    for stream in (False, True):
        for reply, error in ERRORS:
            fake.default = reply
            with pytest.raises(error) as caught:
                await proxy.sdk.chat.completions.create(model="m", messages=HELLO, stream=stream)
            assert caught.value.request_id
            assert caught.value.type
    with pytest.raises(openai.NotFoundError) as missing:
        await proxy.sdk.chat.completions.create(model="nobody", messages=HELLO)
    assert missing.value.code == "model_not_found"


async def test_its_error_in_a_stream(start_proxy: StartProxy, fake: FakeServer) -> None:
    proxy = await start_proxy(config(fake))
    fake.default = Fault("cut_mid_event", 2, Answer("one two three four"))
    stream = await proxy.sdk.chat.completions.create(model="m", messages=HELLO, stream=True)
    words: list[str] = []

    async def read() -> None:
        async for chunk in stream:
            words.append(chunk.choices[0].delta.content or "")

    with pytest.raises(openai.APIError) as caught:
        await read()
    assert "".join(words).startswith("one")
    assert caught.value.code == "upstream_broken_reply"


def patient(proxy: Running, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="none", **options)


async def test_its_retries(start_proxy: StartProxy, fake: FakeServer) -> None:
    """It tries again what we say is worth it, as often as it is told, and says how often it has."""
    proxy = await start_proxy({**config(fake), "routing": {"retries": 2}})
    fake.default = HttpError(503, headers={"retry-after-ms": "1"})
    async with patient(proxy, max_retries=2) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="m", messages=HELLO)
    # The first request is tried three times, the second, which says that it is one, twice, the third once.
    assert sorted(len(logged.call.attempts) for logged in await proxy.calls()) == [1, 2, 3]


async def test_what_is_not_worth_it_is_not_retried(start_proxy: StartProxy, fake: FakeServer) -> None:
    proxy = await start_proxy(config(fake))
    fake.default = HttpError(400, "no")
    async with patient(proxy, max_retries=2) as client:
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="m", messages=HELLO)
    assert len(fake.chats) == 1


async def test_its_timeout_cancels_the_call(start_proxy: StartProxy, fake: FakeServer) -> None:
    proxy = await start_proxy(config(fake))
    await proxy.sdk.chat.completions.create(model="m", messages=HELLO)
    fake.forget_requests()
    fake.default = Fault("stall")
    async with patient(proxy, max_retries=0, timeout=0.5) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(model="m", messages=HELLO)
    (seen,) = fake.chats
    assert await seen.over()
    assert seen.disconnected
    while proxy.proxy.admission.inflight:
        await asyncio.sleep(0.01)
    assert (await proxy.calls())[0].call.outcome == "client_cancelled"
