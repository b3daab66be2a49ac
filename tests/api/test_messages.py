"""`/v1/messages` end to end: the real Anthropic SDK, the real proxy, and providers that speak its dialect or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import AsyncAnthropic, beta_async_tool

from app.core.types import Usage
from app.gateway.simulated import SimulatedUpstream, simulated_catalog
from routers import Choice, Decision, Query, Router
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.gemini_server import FakeGemini
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import (
    Answer,
    Fault,
    FaultKind,
    Gate,
    HttpError,
    ToolCall,
    context_length_exceeded,
    rate_limited,
)
from tests.fakes.server import FakeServer
from tests.serving import Running, StartProxy, models

SECRET = "sk-planted-secret-1234567890"
TOOL: dict[str, Any] = {
    "name": "look_up",
    "description": "Looks a key up.",
    "input_schema": {"type": "object", "properties": {"key": {"type": "string"}, "api_base": {}}, "required": ["key"]},
}
SCHEMA = {"type": "object", "properties": {"headers": {}}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def anthropic_server() -> Iterator[FakeAnthropic]:
    with FakeAnthropic(key=SECRET) as fake:
        yield fake


@dataclass(frozen=True)
class Side:
    """A provider behind the proxy, called `far`, and whether it is asked in the client's dialect."""

    fake: FakeServer
    native: bool

    @property
    def config(self) -> dict[str, Any]:
        if self.native:
            return {"model_list": [claude(self.fake)]}
        return {"model_list": models(self.fake.url, "far", input_cost_per_token=3e-6, output_cost_per_token=15e-6)}

    def finish(self, native: str, translated: str) -> str:
        return native if self.native else translated


def claude(fake: FakeServer, name: str = "far", **params: Any) -> dict[str, Any]:
    given = {
        "model": "anthropic/claude-x",
        "api_base": fake.url,
        "api_key": SECRET,
        "input_cost_per_token": 3e-6,
        "output_cost_per_token": 15e-6,
    }
    info = {"cache_read_input_token_cost": 3e-7, "cache_creation_input_token_cost": 3.75e-6}
    return {"model_name": name, "litellm_params": given | params, "model_info": info}


@pytest.fixture(params=["native", "translated"])
def side(request: pytest.FixtureRequest) -> Side:
    native = request.param == "native"
    return Side(request.getfixturevalue("anthropic_server" if native else "openai_server"), native)


@pytest.fixture
async def connect() -> AsyncIterator[Any]:
    """Makes clients of the SDK."""
    clients: list[AsyncAnthropic] = []

    def make(proxy: Running, **options: Any) -> AsyncAnthropic:
        known = {"api_key": "none", "max_retries": 0, **options}
        clients.append(AsyncAnthropic(base_url=proxy.url, **known))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


def ask(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "far", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **fields}


async def events_of(http: httpx.AsyncClient, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of every event of a stream."""
    reply = await http.post("/v1/messages", json={**body, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream"), reply.text
    found = []
    for block in reply.text.split("\n\n"):
        if block:
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_a_call_from_request_to_ledger(start_proxy: StartProxy, side: Side, connect: Any) -> None:
    proxy = await start_proxy(side.config)
    side.fake.next(Answer("one two three", prompt_tokens=200, completion_tokens=7, cached_tokens=64))
    raw = await connect(proxy).messages.with_raw_response.create(**ask(), extra_headers={"x-hullspeed-session": "s1"})
    message = await raw.parse()
    assert [block.text for block in message.content] == ["one two three"]
    assert (message.model, message.role, message.stop_reason) == ("far", "assistant", "end_turn")
    # Cached tokens are beside the others in this dialect, and within them in the ledger.
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (136, 64)
    assert message.usage.output_tokens == 7
    call = (await proxy.call()).call
    assert call.endpoint == "/v1/messages"
    assert call.id == raw.headers["x-request-id"] == raw.headers["x-hullspeed-call-id"] == message._request_id
    assert raw.headers["x-hullspeed-model"] == "far"
    assert raw.headers["x-hullspeed-reason"] == "explicit"
    assert (call.outcome, call.status, call.model, call.stream, call.session) == ("ok", 200, "far", False, "s1")
    assert call.usage == Usage(prompt_tokens=200, completion_tokens=7, cached_tokens=64)
    cached = Decimal("3e-7") if side.native else Decimal("3e-6")
    assert call.cost_usd == 136 * Decimal("3e-6") + 64 * cached + 7 * Decimal("15e-6")
    assert Decimal(raw.headers["x-hullspeed-cost-usd"]) == call.cost_usd
    assert message.usage.cost == pytest.approx(float(call.cost_usd))
    (attempt,) = call.attempts
    assert (attempt.upstream, attempt.outcome, attempt.finish_reason) == ("direct", "ok", "stop")


async def test_the_stream_helper(start_proxy: StartProxy, side: Side, connect: Any) -> None:
    proxy = await start_proxy(side.config)
    side.fake.default = Answer("one two three", prompt_tokens=50, completion_tokens=7, cached_tokens=10)
    async with connect(proxy).messages.stream(**ask()) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        message = await stream.get_final_message()
    assert text == "one two three"
    assert (message.model, message.stop_reason) == ("far", "end_turn")
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (40, 10)
    assert message.usage.output_tokens == 7
    call = (await proxy.call()).call
    assert (call.outcome, call.stream, call.usage) == ("ok", True, Usage(50, 7, 10))
    assert call.time_to_first_token is not None
    assert call.cost_usd is not None


async def test_the_order_of_events(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy(side.config)
    side.fake.default = Answer(
        "a b", prompt_tokens=10, completion_tokens=20, tool_calls=(ToolCall("look_up", {"k": 1}),)
    )
    events = await events_of(proxy.http, ask(tools=[TOOL]))
    names = [name for name, _ in events if name != "ping"]
    assert [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(name == data["type"] for name, data in events)
    ending = events[-2][1]
    assert ending["delta"]["stop_reason"] == "tool_use"
    assert ending["usage"]["output_tokens"] == 20
    assert ending["usage"]["cost"] == pytest.approx(10 * 3e-6 + 20 * 15e-6)
    assert events[0][1]["message"]["model"] == "far"


async def test_tools_and_their_results(start_proxy: StartProxy, side: Side, connect: Any) -> None:
    proxy = await start_proxy(side.config)
    client = connect(proxy)
    arguments = {"key": "a", "api_base": "data"}
    side.fake.default = Answer(
        "I look.", tool_calls=(ToolCall("look_up", arguments), ToolCall("look_up", {"key": "b"}))
    )
    asked = ask(tools=[TOOL], tool_choice={"type": "any"})
    whole = await client.messages.create(**asked)
    async with client.messages.stream(**asked) as stream:
        streamed = await stream.get_final_message()
    for message in (whole, streamed):
        assert message.stop_reason == "tool_use"
        said, first, second = message.content
        assert said.text == "I look."
        assert (first.type, first.name, first.input) == ("tool_use", "look_up", arguments)
        assert second.input == {"key": "b"}
        assert first.id != second.id
    side.fake.default = Answer("Done.")
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": "42"}]}
        for block in whole.content[1:]
    ]
    turn = [{"role": "assistant", "content": whole.content}, {"role": "user", "content": results}]
    final = await client.messages.create(**ask(tools=[TOOL]) | {"messages": [*ask()["messages"], *turn]})
    assert final.content[0].text == "Done."
    sent = side.fake.last.body["messages"]
    if side.native:
        assert sent[2]["content"] == results
    else:
        (_, made, *told) = sent
        assert made["content"] == "I look."
        assert [json.loads(call["function"]["arguments"]) for call in made["tool_calls"]] == [arguments, {"key": "b"}]
        assert [(message["role"], message["content"]) for message in told] == [("tool", "42")] * 2
        assert [message["tool_call_id"] for message in told] == [call["id"] for call in made["tool_calls"]]


async def test_what_a_model_of_anthropics_gets(
    start_proxy: StartProxy, anthropic_server: FakeAnthropic, connect: Any
) -> None:
    """All of it, as it came, in the same order, with the right key and the client's beta features."""
    proxy = await start_proxy({"model_list": [claude(anthropic_server, top_k=7)]}, api_key="guard")
    client = connect(proxy, api_key="guard", default_headers={"anthropic-beta": "context-1m-2025-08-07"})
    marked = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
    body = ask(
        system=[marked],
        thinking={"type": "enabled", "budget_tokens": 1024},
        metadata={"user_id": "u"},
        stop_sequences=["END"],
        tools=[TOOL, {"type": "web_search_20250305", "name": "web_search"}],
    )
    anthropic_server.default = Answer("x", reasoning="Hmm.")
    message = await client.messages.create(**body, extra_body={"from_the_future": [1], "routing": {"tradeoff": 0.3}})
    thought, said = message.content
    assert (thought.type, thought.thinking, thought.signature) == ("thinking", "Hmm.", "c2lnbmF0dXJl")
    assert said.text == "x"
    seen = anthropic_server.last
    assert seen.body == {**body, "model": "claude-x", "from_the_future": [1], "top_k": 7}
    assert seen.headers["x-api-key"] == SECRET
    assert "authorization" not in seen.headers
    assert seen.headers["anthropic-version"] == client.default_headers["anthropic-version"]
    assert seen.headers["anthropic-beta"] == "context-1m-2025-08-07"
    async with client.messages.stream(**body) as stream:
        streamed = await stream.get_final_message()
    assert streamed.content[0].thinking == "Hmm."
    assert streamed.content[0].signature == "c2lnbmF0dXJl"
    await proxy.http.post("/v1/messages", json=body, headers={"x-api-key": "guard"})
    assert anthropic_server.last.headers["anthropic-version"] == "2023-06-01"


async def test_what_any_other_model_gets(start_proxy: StartProxy, openai_server: FakeOpenAI, connect: Any) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "far")})
    long_name = "mcp__" + "n" * 90
    openai_server.default = Answer(reasoning="Hmm.", tool_calls=(ToolCall("placeholder"),))
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    body = {
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "…", "signature": "x"},
                    {"type": "tool_use", "id": "t1", "name": long_name, "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [picture], "is_error": False},
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
        "tools": [{**TOOL, "name": long_name}],
        "tool_choice": {"type": "tool", "name": long_name, "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "output_config": {
            "format": {"type": "json_schema", "schema": {"type": "object", "properties": {"headers": {}}}}
        },
    }
    await proxy.http.post("/v1/messages", json=ask(temperature=0.5, top_k=3) | body)
    sent = openai_server.last.body
    short = sent["tools"][0]["function"]["name"]
    assert len(short) == 64
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    assert sent == {
        "model": "far-target",
        "messages": [
            {"role": "system", "content": "Be brief.\nBe kind."},
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "t1", "type": "function", "function": {"name": short, "arguments": '{"a":1}'}}],
            },
            {"role": "tool", "tool_call_id": "t1", "content": ""},
            {"role": "user", "content": [image, {"type": "text", "text": "And now?"}]},
        ],
        "max_completion_tokens": 100,
        "stop": ["END"],
        "temperature": 0.5,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "reply",
                "strict": True,
                "schema": SCHEMA,
            },
        },
        "tools": [
            {
                "type": "function",
                "function": {"name": short, "description": TOOL["description"], "parameters": TOOL["input_schema"]},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": short}},
        "parallel_tool_calls": False,
    }
    openai_server.default = Answer(reasoning="Hmm.", tool_calls=(ToolCall(short, {"a": 2}),))
    for message in (
        await connect(proxy).messages.create(**ask() | body),
        await _final(connect(proxy), ask() | body),
    ):
        thought, called = message.content
        assert (thought.type, thought.thinking, thought.signature) == ("thinking", "Hmm.", "")
        assert (called.name, called.input) == (long_name, {"a": 2})


async def _final(client: AsyncAnthropic, body: dict[str, Any]) -> Any:
    async with client.messages.stream(**body) as stream:
        return await stream.get_final_message()


async def test_foreign_thoughts_do_not_reach_anthropic(
    start_proxy: StartProxy, anthropic_server: FakeAnthropic, connect: Any
) -> None:
    """What another provider's model thought has no signature, and Anthropic refuses it."""
    proxy = await start_proxy({"model_list": [claude(anthropic_server)]})
    mine = {"type": "thinking", "thinking": "a", "signature": "s"}
    other = {"type": "thinking", "thinking": "b", "signature": ""}
    said = {"type": "text", "text": "c"}
    turns = [*ask()["messages"], {"role": "assistant", "content": [mine, other, said]}, *ask("more")["messages"]]
    await connect(proxy).messages.create(**ask() | {"messages": turns})
    assert anthropic_server.last.body["messages"][1]["content"] == [mine, said]


@pytest.mark.parametrize("stream", [False, True])
async def test_routed_like_a_chat(start_proxy: StartProxy, openai_server: FakeOpenAI, stream: bool) -> None:
    """The same question gets the same decision, whatever dialect it is asked in."""
    proxy = await start_proxy(
        {
            "model_list": models(openai_server.url, "small", "large"),
            "routing": {"default": "r", "routers": {"r": {"router": "length"}}},
        }
    )
    routing = {"seed": 7, "tradeoff": 0.4}
    tool = {"type": "function", "function": {"name": "look_up", "parameters": TOOL["input_schema"]}}
    for text in ("short", "long " * 2000):
        system = "Be brief."
        chat = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        shared = {"model": "auto", "stream": stream, "routing": routing}
        bodies: dict[str, dict[str, Any]] = {
            "/v1/chat/completions": {"messages": chat, "tools": [tool]},
            "/v1/messages": {
                "system": system,
                "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
                "max_tokens": 10,
                "tools": [{"name": "look_up", "input_schema": TOOL["input_schema"]}],
            },
            "/v1/responses": {
                "instructions": system,
                "input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}],
                "tools": [{"type": "function", "name": "look_up", "parameters": TOOL["input_schema"]}],
            },
        }
        for path, body in bodies.items():
            reply = await proxy.http.post(path, json={**shared, **body}, headers={"x-hullspeed-run": "r"})
            assert reply.status_code == 200, reply.text
    calls = [logged.call for logged in await proxy.calls()]
    assert len(calls) == 6
    for three in (calls[:3], calls[3:]):
        assert {call.endpoint for call in three} == {"/v1/chat/completions", "/v1/messages", "/v1/responses"}
        first = three[0].decision
        assert first is not None
        for call in three:
            assert call.decision is not None
            assert call.decision.ranking == first.ranking
            assert (call.decision.reason, call.decision.seed) == (first.reason, 7)
            assert call.prompt_hash == three[0].prompt_hash
    assert calls[0].model != calls[3].model


async def test_auto_over_both_kinds(
    start_proxy: StartProxy, openai_server: FakeOpenAI, anthropic_server: FakeAnthropic, connect: Any
) -> None:
    """Falls back across dialects before the first content: each model is asked in the one it speaks."""
    config = {
        "model_list": [*models(openai_server.url, "small"), claude(anthropic_server)],
        "routing": {"default": "cheapest"},
    }
    proxy = await start_proxy(config)
    client = connect(proxy)
    openai_server.default = HttpError(500)
    anthropic_server.default = Answer("from far")
    whole = await client.messages.create(**ask(model="auto"))
    streamed = await _final(client, ask(model="auto"))
    for message in (whole, streamed):
        assert message.content[0].text == "from far"
        assert message.model == "far"
    anthropic_server.default, openai_server.default = HttpError(529), Answer("from small")
    back = await client.messages.create(**ask(model="auto"))
    assert back.content[0].text == "from small"
    calls = [logged.call for logged in await proxy.calls()]
    assert [[attempt.model for attempt in call.attempts] for call in calls] == [["small"], *[["small", "far"]] * 2]
    assert all(call.outcome == "ok" for call in calls)


ERRORS: list[tuple[Any, int, str, type[anthropic.APIStatusError]]] = [
    (HttpError(400, "bad"), 400, "invalid_request_error", anthropic.BadRequestError),
    (HttpError(401), 401, "authentication_error", anthropic.AuthenticationError),
    (HttpError(404), 404, "not_found_error", anthropic.NotFoundError),
    (rate_limited(), 429, "rate_limit_error", anthropic.RateLimitError),
    (HttpError(500), 502, "api_error", anthropic.InternalServerError),
    (HttpError(529), 503, "overloaded_error", anthropic.InternalServerError),
    (Fault("cut_after_headers"), 502, "api_error", anthropic.InternalServerError),
    (Fault("error_event", 0, error=HttpError(529)), 503, "overloaded_error", anthropic.InternalServerError),
    (Fault("empty_body"), 502, "api_error", anthropic.InternalServerError),
    (Fault("broken_json", 0), 502, "api_error", anthropic.InternalServerError),
]


@pytest.mark.parametrize("stream", [False, True])
async def test_errors_before_the_first_content(start_proxy: StartProxy, side: Side, connect: Any, stream: bool) -> None:
    proxy = await start_proxy(side.config)
    client = connect(proxy)
    for number, (reply, status, kind, error) in enumerate(ERRORS, 1):
        if not side.native and isinstance(reply, Fault) and reply.kind == "error_event":
            status, kind = 502, "api_error"  # OpenAI's errors inside a reply bear no status.
        side.fake.default = reply
        with pytest.raises(error) as caught:
            await client.messages.create(**ask(), stream=stream)
        assert caught.value.status_code == status
        body = caught.value.response.json()
        assert (body["type"], body["error"]["type"]) == ("error", kind)
        assert SECRET not in caught.value.response.text
        if status == 429:
            assert caught.value.response.headers["retry-after"] == "1"
        calls = await proxy.calls()
        assert len(calls) == number
        call = calls[0].call
        assert (call.id, call.outcome, call.status) == (caught.value.response.headers["request-id"], "error", status)
        assert len(call.attempts) == 1


async def test_faults_in_the_middle_of_a_stream(start_proxy: StartProxy, side: Side, connect: Any) -> None:
    proxy = await start_proxy({**side.config, "routing": {"idle_timeout": 0.3}})
    kinds: tuple[FaultKind, ...] = (
        "cut_between_events", "cut_mid_event", "reset", "broken_json", "no_finish", "error_event", "stall_mid_stream",
    )  # fmt: skip
    for kind in kinds:
        side.fake.default = Fault(kind, 2, Answer("one two three four five six"))
        events = await events_of(proxy.http, ask())
        assert events[-1][0] == "error", kind
        assert events[-1][1]["error"]["type"] in ("api_error", "timeout_error")
        assert not any(name in ("message_stop", "message_delta") for name, _ in events)
        call = (await proxy.calls())[0].call
        assert (call.outcome, call.status) == ("truncated", 200)
        assert [attempt.outcome for attempt in call.attempts] == [
            "timeout" if kind == "stall_mid_stream" else "truncated"
        ]
        assert call.usage is not None
    with pytest.raises(anthropic.APIStatusError):
        await _final(connect(proxy), ask())
    assert len(await proxy.calls()) == len(kinds) + 1


async def test_a_stream_without_its_end_marker_is_finished(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy(side.config)
    side.fake.default = Fault("no_done", answer=Answer("a b"))
    assert (await events_of(proxy.http, ask()))[-1][0] == "message_stop"
    assert (await proxy.call()).call.outcome == "ok"


async def test_pings_keep_the_line_alive(start_proxy: StartProxy, side: Side, connect: Any) -> None:
    proxy = await start_proxy({**side.config, "routing": {"keep_alive": 0.02}})
    gate = Gate()
    side.fake.default = Answer("a b", gate=gate)
    async with proxy.http.stream("POST", "/v1/messages", json=ask(stream=True)) as reply:
        pieces = reply.aiter_text()
        assert await anext(pieces) == 'event: ping\ndata: {"type":"ping"}\n\n'
        gate.open()
        rest = "".join([piece async for piece in pieces])
    assert rest.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')
    side.fake.default = Answer("a b", gap=0.03)
    assert (await _final(connect(proxy), ask())).content[0].text == "a b"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away(start_proxy: StartProxy, side: Side, stream: bool) -> None:
    proxy = await start_proxy(side.config)
    gate = Gate()
    side.fake.default = Answer("one two three four", gate=gate, gate_after=1 if stream else None)
    asked = asyncio.create_task(proxy.http.post("/v1/messages", json=ask(stream=stream)))
    assert await asyncio.to_thread(gate.wait_reached)
    asked.cancel()
    seen = side.fake.last
    assert await seen.over()
    assert seen.disconnected
    call = (await proxy.call()).call
    assert call.outcome == "client_cancelled"
    assert [attempt.outcome for attempt in call.attempts] == ["client_cancelled"]
    assert call.usage is not None
    if side.native and stream:
        # Anthropic says at the beginning what the prompt took.
        assert call.usage.prompt_tokens > 0
        assert not call.usage.estimated


async def test_refused_requests(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy(side.config)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"api_base": "http://evil"}, "api_base"),
        ({"metadata": {"api_key": "x"}}, "metadata.api_key"),
        ({"routing": {"tradeof": 1}}, "routing.tradeof"),
        ({"model": "nope"}, "nope"),
        ({"model": "auto/nope"}, "auto/nope"),
    ]
    for change, param in refused:
        reply = await proxy.http.post("/v1/messages", json=ask() | change)
        body = reply.json()
        assert body["type"] == "error"
        kind = "not_found_error" if "model" in change else "invalid_request_error"
        assert (reply.status_code, body["error"]["type"]) == (404 if "model" in change else 400, kind)
        assert param in body["error"]["message"]
    assert [logged.call.outcome for logged in await proxy.calls()] == ["rejected"] * len(refused)
    assert side.fake.chats == []


async def test_the_key(start_proxy: StartProxy, side: Side, connect: Any) -> None:
    proxy = await start_proxy(side.config, api_key="guard")
    with pytest.raises(anthropic.AuthenticationError) as caught:
        await connect(proxy, api_key="wrong").messages.create(**ask())
    assert caught.value.response.json()["error"]["type"] == "authentication_error"
    for options in ({"api_key": "guard"}, {"api_key": None, "auth_token": "guard"}):
        message = await connect(proxy, **options).messages.create(**ask())
        assert message.content[0].text == "Echo: hello"
    assert len(await proxy.calls()) == 2


async def test_what_only_anthropic_can_do(
    start_proxy: StartProxy, openai_server: FakeOpenAI, anthropic_server: FakeAnthropic, connect: Any
) -> None:
    """A request that chat has no words for goes to a model that speaks the dialect, or is refused by name."""
    cheap = models(openai_server.url, "small")
    proxy = await start_proxy({"model_list": [*cheap, claude(anthropic_server)], "routing": {"default": "cheapest"}})
    search = {"type": "web_search_20250305", "name": "web_search"}
    message = await connect(proxy).messages.create(**ask(model="auto", tools=[search]))
    assert message.model == "far"
    file = {"type": "image", "source": {"type": "file", "file_id": "f1"}}
    message = await connect(proxy).messages.create(
        **ask(model="auto") | {"messages": [{"role": "user", "content": [file]}]}
    )
    assert message.model == "far"
    with pytest.raises(anthropic.BadRequestError, match=r"`small` cannot be asked with `tools\[0\]`"):
        await connect(proxy).messages.create(**ask(model="small", tools=[search]))
    # Beside tools of the client's own it is an offer that a model may lack.
    message = await connect(proxy).messages.create(**ask(model="auto", tools=[TOOL, search]))
    assert message.model == "small"
    assert len(openai_server.last.body["tools"]) == 1


async def test_replies_are_no_longer_than_a_model_can(
    start_proxy: StartProxy, openai_server: FakeOpenAI, anthropic_server: FakeAnthropic
) -> None:
    """`max_tokens` has to be given before it is known who answers: what a model cannot do is not asked of it."""
    entries = [*models(openai_server.url, "small"), claude(anthropic_server)]
    for entry in entries:
        entry["model_info"] = {"max_output_tokens": 4096}
    proxy = await start_proxy({"model_list": entries})
    for model, fake, name, sent in (
        ("auto/cheapest", openai_server, "max_completion_tokens", 4096),
        ("far", anthropic_server, "max_tokens", 64_000),
    ):
        await proxy.http.post("/v1/messages", json=ask(model=model, max_tokens=64_000))
        assert fake.last.body[name] == sent
    openai_server.default = HttpError(500)
    await proxy.http.post("/v1/messages", json=ask(model="auto/cheapest", max_tokens=64_000))
    assert anthropic_server.last.body["max_tokens"] == 4096


async def test_a_prompt_that_is_too_long(start_proxy: StartProxy, side: Side, connect: Any) -> None:
    proxy = await start_proxy(side.config)
    too_long = HttpError(400, "prompt is too long: 200001 tokens > 200000 maximum")
    side.fake.default = too_long if side.native else context_length_exceeded()
    with pytest.raises(anthropic.BadRequestError):
        await connect(proxy).messages.create(**ask())
    assert (await proxy.call()).call.error_code == "context_length_exceeded"


class Pair(Router):
    """Asks its two models and takes the second's reply."""

    name = "pair"
    fast = True

    def __init__(self, *models: str) -> None:
        self.models = models

    def route(self, query: Query) -> Decision:
        last = Decision((), "second", reply=self.models[1])
        return Decision(tuple(map(Choice, self.models)), "both", ask=2, review=lambda _: last)


async def test_routers_that_look_at_replies(
    start_proxy: StartProxy, openai_server: FakeOpenAI, anthropic_server: FakeAnthropic, connect: Any
) -> None:
    """They have models answer whole, also where the client wants a stream."""
    proxy = await start_proxy(
        {"model_list": [*models(openai_server.url, "small", "large"), claude(anthropic_server)]},
        routers={"near": Pair("small", "large"), "far": Pair("small", "far")},
    )
    client = connect(proxy)
    anthropic_server.default = Answer("I am far.", reasoning="Am I?")
    far = await client.messages.create(**ask(model="auto/far"))
    assert [block.type for block in far.content] == ["thinking", "text"]
    openai_server.default = Answer("I am near.")
    for message in (
        await client.messages.create(**ask(model="auto/near")),
        await _final(client, ask(model="auto/near")),
    ):
        assert (message.model, message.content[0].text, message.stop_reason) == ("large", "I am near.", "end_turn")
    calls = [logged.call for logged in await proxy.calls()]
    assert [len(call.attempts) for call in calls] == [2, 2, 2]
    assert all(call.outcome == "ok" for call in calls)


async def test_counting_tokens(start_proxy: StartProxy, side: Side, connect: Any) -> None:
    proxy = await start_proxy(side.config, api_key="guard")
    client = connect(proxy, api_key="guard")
    body = {"model": "auto", "messages": [{"role": "user", "content": "x" * 400}]}
    few = await client.messages.count_tokens(**body)
    assert few.input_tokens == 101
    many = await client.messages.count_tokens(**body, system="y" * 400, tools=[TOOL])
    assert many.input_tokens > 200
    with pytest.raises(anthropic.BadRequestError):
        await client.messages.count_tokens(model="auto", messages=[])
    with pytest.raises(anthropic.AuthenticationError):
        await connect(proxy).messages.count_tokens(**body)
    assert await proxy.calls() == []


@pytest.mark.xdist_group("litellm")
@pytest.mark.filterwarnings("ignore:.*is using the `ReadOnly` qualifier:UserWarning")
async def test_a_model_behind_litellm(start_proxy: StartProxy, connect: Any) -> None:
    with FakeGemini() as fake:
        params = {"model": "gemini/gemini-x", "api_base": fake.url, "api_key": SECRET}
        proxy = await start_proxy({"model_list": [{"model_name": "far", "litellm_params": params}]})
        client = connect(proxy)
        fake.default = Answer("one two", prompt_tokens=20, completion_tokens=5, cached_tokens=8)
        for message in (await client.messages.create(**ask()), await _final(client, ask())):
            assert message.content[0].text == "one two"
            assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (12, 8)
        fake.default = Answer(tool_calls=(ToolCall("look_up", {"key": "a"}),))
        for message in (await client.messages.create(**ask(tools=[TOOL])), await _final(client, ask(tools=[TOOL]))):
            assert message.stop_reason == "tool_use"
            assert message.content[-1].input == {"key": "a"}
        fake.default = Fault("cut_mid_event", 2, Answer("one two three four"))
        assert (await events_of(proxy.http, ask()))[-1][0] == "error"
        calls = [logged.call for logged in await proxy.calls()]
        assert [call.outcome for call in calls] == ["truncated", "ok", "ok", "ok", "ok"]
        assert all(call.attempts[0].upstream == "litellm" for call in calls)


async def test_the_tool_runner(start_proxy: StartProxy, side: Side, connect: Any) -> None:
    """The SDK's own loop of calls and results, over its beta endpoint, which is the same with a query."""
    proxy = await start_proxy(side.config)
    side.fake.next(Answer(tool_calls=(ToolCall("look_up", {"key": "a"}),)), Answer("It is 42."))

    @beta_async_tool
    async def look_up(key: str) -> str:
        """Looks a key up."""
        return {"a": "42"}[key]

    runner = connect(proxy).beta.messages.tool_runner(**ask(), tools=[look_up])
    message = await runner.until_done()
    assert message.content[0].text == "It is 42."
    assert "42" in json.dumps(side.fake.last.body["messages"][-1])
    assert [logged.call.outcome for logged in await proxy.calls()] == ["ok", "ok"]


async def test_the_sdks_retries(start_proxy: StartProxy, side: Side, connect: Any) -> None:
    """It says how often it has tried, and ours become fewer."""
    proxy = await start_proxy({**side.config, "routing": {"retries": 2}})
    side.fake.default = HttpError(529, headers={"retry-after-ms": "1"})
    with pytest.raises(anthropic.APIStatusError):
        await connect(proxy, max_retries=2).messages.create(**ask())
    assert sorted(len(logged.call.attempts) for logged in await proxy.calls()) == [1, 2, 3]


async def test_models_that_answer_by_themselves(start_proxy: StartProxy, connect: Any) -> None:
    upstream = SimulatedUpstream({}, pace=0)
    proxy = await start_proxy(catalog=simulated_catalog(), upstreams={"simulated": upstream})
    for message in (
        await connect(proxy).messages.create(**ask(model="auto")),
        await _final(connect(proxy), ask(model="auto")),
    ):
        assert "simulated" in message.content[0].text
    response = await proxy.sdk.responses.create(model="auto", input="hello")
    assert "simulated" in response.output_text
    completion = await proxy.sdk.completions.create(model="auto", prompt="hello")
    assert "simulated" in completion.choices[0].text
    assert [logged.call.outcome for logged in await proxy.calls()] == ["ok"] * 4
