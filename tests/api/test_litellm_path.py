"""The litellm path end to end: a client, the real proxy, real litellm, and providers that do not speak OpenAI's
dialect. What holds on the direct path (`test_chat.py`) holds here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import pytest

from app.core.types import Usage
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.gemini_server import FakeGemini
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Fault, Gate, HttpError, ToolCall, Wire, context_length_exceeded, rate_limited
from tests.fakes.server import FakeServer
from tests.serving import Running, StartProxy, models

pytestmark = [
    # Its import takes seconds and much memory: once is enough.
    pytest.mark.xdist_group("litellm"),
    # litellm's types, built in the first test that needs them, use a feature that Pydantic warns of. The proxy has a
    # filter of its own, which pytest takes back after each test.
    pytest.mark.filterwarnings("ignore:.*using the `ReadOnly` qualifier:UserWarning"),
]

SECRET = "sk-planted-secret-1234567890"
CHEAP_FIRST = {"default": "cheapest"}
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks a key up.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"key": {"type": "string"}},
            "required": ["key"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class Provider:
    """A fake provider and how a config names it."""

    kind: str
    fake: FakeServer

    @property
    def target(self) -> str:
        return {"anthropic": "claude-x", "gemini": "gemini-x"}[self.kind]

    def entry(self, name: str = "far", *, info: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
        """An entry of `model_list`, dearer than the first of `models` and cheaper than its second."""
        given = {
            "model": f"{self.kind}/{self.target}",
            "api_base": self.fake.url,
            "api_key": SECRET,
            "input_cost_per_token": 3e-6,
            "output_cost_per_token": 15e-6,
        }
        return {"model_name": name, "litellm_params": given | params, "model_info": info or {}}


@pytest.fixture
def anthropic_server() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as fake:
        yield fake


@pytest.fixture
def gemini_server() -> Iterator[FakeGemini]:
    with FakeGemini() as fake:
        yield fake


@pytest.fixture(params=["anthropic", "gemini"])
def provider(request: pytest.FixtureRequest) -> Provider:
    return Provider(request.param, request.getfixturevalue(f"{request.param}_server"))


def ask(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "far", "messages": [{"role": "user", "content": text}], **fields}


async def events_of(http: httpx.AsyncClient, body: dict[str, Any]) -> list[str]:
    """The data of every event of a stream."""
    reply = await http.post("/v1/chat/completions", json={**body, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream"), reply.text
    return [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]


async def chunks_of(http: httpx.AsyncClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a stream; the end marker must be there."""
    events = await events_of(http, body)
    assert events[-1] == "[DONE]", events[-1]
    return [json.loads(event) for event in events[:-1]]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


async def warm_up(proxy: Running) -> None:
    """A first call, to the model `warm`: litellm builds much of itself then, which must not count as waiting."""
    for stream in (False, True):
        reply = await proxy.http.post("/v1/chat/completions", json=ask(model="warm", stream=stream))
        assert reply.status_code == 200, reply.text


async def idle(proxy: Running) -> None:
    """Wait until the proxy is done with every request."""
    for _ in range(500):
        if proxy.proxy.gateway.admission.inflight == 0:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the proxy is still busy")


async def test_a_call_from_request_to_ledger(start_proxy: StartProxy, provider: Provider) -> None:
    info = {"cache_read_input_token_cost": 3e-7, "cache_creation_input_token_cost": 3.75e-6}
    proxy = await start_proxy({"model_list": [provider.entry(info=info)]})
    written = 32 if provider.kind == "anthropic" else 0
    provider.fake.default = Answer(
        "one two three", prompt_tokens=200, completion_tokens=7, cached_tokens=64, cache_write_tokens=written
    )
    reply = await proxy.http.post("/v1/chat/completions", json=ask(temperature=0.5, max_tokens=50))
    assert reply.status_code == 200, reply.text
    body = reply.json()
    (choice,) = body["choices"]
    assert choice["message"]["content"] == "one two three"
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "stop"
    assert body["object"] == "chat.completion"
    assert body["model"] == reply.headers["x-hullspeed-model"] == "far"
    assert not [name for name in body if name.startswith("vertex_ai")]
    expected = Usage(prompt_tokens=200, completion_tokens=7, cached_tokens=64, cache_write_tokens=written)
    cost = (200 - 64 - written) * Decimal("0.000003") + 64 * Decimal("0.0000003")
    cost += written * Decimal("0.00000375") + 7 * Decimal("0.000015")
    assert Decimal(reply.headers["x-hullspeed-cost-usd"]) == cost
    chunks = await chunks_of(proxy.http, ask(stream_options={"include_usage": True}))
    assert text_of(chunks) == "one two three"
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1] if c["choices"][0]["finish_reason"]] == ["stop"]
    assert {chunk["model"] for chunk in chunks} == {"far"}
    assert {chunk["object"] for chunk in chunks[:-1]} == {"chat.completion.chunk"}
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert (chunks[-1]["usage"]["prompt_tokens"], chunks[-1]["usage"]["completion_tokens"]) == (200, 7)
    unasked = await chunks_of(proxy.http, ask())
    assert all("usage" not in chunk for chunk in unasked)
    calls = await proxy.calls()
    assert len(calls) == 3
    for logged in calls:
        assert (logged.call.outcome, logged.call.status, logged.call.model) == ("ok", 200, "far")
        assert logged.call.usage == expected
        assert logged.call.cost_usd == cost
        (attempt,) = logged.call.attempts
        assert (attempt.upstream, attempt.upstream_model) == ("litellm", provider.target)
        assert attempt.finish_reason == "stop"
        assert (logged.call.time_to_first_token is not None) == logged.call.stream
    assert [seen.disconnected for seen in provider.fake.chats] == [False] * 3


async def test_reasoning_tokens(start_proxy: StartProxy, gemini_server: FakeGemini) -> None:
    provider = Provider("gemini", gemini_server)
    proxy = await start_proxy({"model_list": [provider.entry()]})
    gemini_server.default = Answer("x", reasoning="hm", prompt_tokens=10, completion_tokens=9, reasoning_tokens=5)
    whole = (await proxy.http.post("/v1/chat/completions", json=ask())).json()
    assert whole["choices"][0]["message"]["reasoning_content"] == "hm"
    chunks = await chunks_of(proxy.http, ask())
    assert "hm" in "".join(chunk["choices"][0]["delta"].get("reasoning_content") or "" for chunk in chunks)
    for logged in await proxy.calls():
        assert logged.call.usage == Usage(prompt_tokens=10, completion_tokens=9, reasoning_tokens=5)


async def test_tools_both_ways(start_proxy: StartProxy, provider: Provider) -> None:
    proxy = await start_proxy({"model_list": [provider.entry()]})
    calls = (ToolCall("look_up", {"key": "ä", "api_base": "data"}), ToolCall("look_up", {"key": "b"}))
    provider.fake.default = Answer(tool_calls=calls, reasoning="first a thought")
    whole = await proxy.sdk.chat.completions.create(**ask(tools=[TOOL]))
    (choice,) = whole.choices
    assert choice.finish_reason == "tool_calls"
    called = choice.message.tool_calls or []
    assert [json.loads(call.function.arguments) for call in called] == [{"key": "ä", "api_base": "data"}, {"key": "b"}]
    assert all("index" not in call.model_dump() for call in called)
    async with proxy.sdk.chat.completions.stream(**ask(tools=[TOOL])) as stream:
        final = await stream.get_final_completion()
    streamed = final.choices[0].message.tool_calls or []
    assert [json.loads(call.function.arguments) for call in streamed] == [
        {"key": "ä", "api_base": "data"},
        {"key": "b"},
    ]
    assert final.choices[0].finish_reason == "tool_calls"
    assert len({call.id for call in streamed}) == 2
    assert [final.choices[0].message.model_dump().get("reasoning_content")] == ["first a thought"]
    if provider.kind == "anthropic":
        # Needed to go on after a tool call: the thought with its signature, in one piece.
        (thought,) = final.choices[0].message.model_dump()["thinking_blocks"]
        assert (thought["thinking"], thought["signature"]) == ("first a thought", "c2lnbmF0dXJl")
    # And the way back: the model's calls and their results as a part of the conversation.
    provider.fake.default = Answer("found")
    said = choice.message.model_dump(include={"role", "content", "tool_calls"})
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"value {n}"} for n, call in enumerate(called)]
    body = ask(tools=[TOOL])
    body["messages"] = [*body["messages"], said, *results]
    again = await proxy.http.post("/v1/chat/completions", json=body)
    assert again.json()["choices"][0]["message"]["content"] == "found"
    sent = json.dumps(provider.fake.last.body)
    assert "value 0" in sent
    assert "value 1" in sent
    assert "look_up" in sent


async def test_json_schema(start_proxy: StartProxy, provider: Provider) -> None:
    proxy = await start_proxy({"model_list": [provider.entry()]})
    schema = {"type": "object", "properties": {"headers": {"type": "string"}}, "required": ["headers"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}}
    provider.fake.default = Answer('{"headers": "x"}')
    reply = await proxy.http.post("/v1/chat/completions", json=ask(response_format=wanted))
    assert reply.status_code == 200, reply.text
    assert json.loads(reply.json()["choices"][0]["message"]["content"]) == {"headers": "x"}
    assert "headers" in json.dumps(provider.fake.last.body)


async def test_several_choices(start_proxy: StartProxy, gemini_server: FakeGemini) -> None:
    proxy = await start_proxy({"model_list": [Provider("gemini", gemini_server).entry()]})
    gemini_server.default = Answer(texts=("a", "b"))
    choices = (await proxy.http.post("/v1/chat/completions", json=ask(n=2))).json()["choices"]
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [(0, "a"), (1, "b")]
    assert gemini_server.last.body["generationConfig"]["candidate_count"] == 2


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("anthropic", ""),
        ("anthropic", "/"),
        ("anthropic", "/v1"),
        ("anthropic", "/v1/"),
        ("anthropic", "/v1/messages"),
        ("gemini", ""),
        ("gemini", "/"),
        ("gemini", "/v1beta"),
        ("gemini", "/v1beta/"),
        ("gemini", "/gate/v1beta/models/"),
    ],
)
async def test_every_way_to_write_the_url(
    start_proxy: StartProxy, request: pytest.FixtureRequest, kind: str, path: str
) -> None:
    provider = Provider(kind, request.getfixturevalue(f"{kind}_server"))
    proxy = await start_proxy({"model_list": [provider.entry(api_base=provider.fake.origin + path)]})
    reply = await proxy.http.post("/v1/chat/completions", json=ask())
    assert reply.status_code == 200, reply.text
    gate = "/gate" if "gate" in path else ""
    wanted = {"anthropic": "/v1/messages", "gemini": f"{gate}/v1beta/models/gemini-x:generateContent"}
    assert provider.fake.last.path == wanted[kind]


async def test_options_of_the_provider_pass_and_bookkeeping_does_not(
    start_proxy: StartProxy, anthropic_server: FakeAnthropic
) -> None:
    proxy = await start_proxy({"model_list": [Provider("anthropic", anthropic_server).entry(top_k=7)]})
    body = ask(some_new_option={"a": [1, 2.5]}, metadata={"team": "blue"}, store=True, temperature=0.25)
    reply = await proxy.http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    sent = anthropic_server.last
    assert sent.headers["x-api-key"] == SECRET
    assert sent.body["some_new_option"] == {"a": [1, 2.5]}
    assert (sent.body["temperature"], sent.body["top_k"]) == (0.25, 7)
    assert "metadata" not in sent.body
    assert "store" not in sent.body


@pytest.mark.parametrize(
    "option",
    [
        "litellm_credential_name",
        "model_list",
        "cache",
        "tags",
        "drop_params",
        "callbacks",
        "mock_tool_calls",
        "aws_region_name",
        "snowflake_api_key",
        "_skip_mcp_handler",
        "timeout_by_service_tier",
    ],
)
async def test_options_of_litellms_are_refused_by_name(
    start_proxy: StartProxy, anthropic_server: FakeAnthropic, option: str
) -> None:
    proxy = await start_proxy({"model_list": [Provider("anthropic", anthropic_server).entry()]})
    reply = await proxy.http.post("/v1/chat/completions", json=ask(**{option: "x"}))
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == option
    assert f"`{option}` is not accepted" in reply.json()["error"]["message"]
    assert anthropic_server.requests == []


async def test_a_client_cannot_override_a_configured_option(
    start_proxy: StartProxy, anthropic_server: FakeAnthropic
) -> None:
    entry = Provider("anthropic", anthropic_server).entry(drop_params=True)
    proxy = await start_proxy({"model_list": [entry]})
    # Configured, it works: Anthropic knows no `n`.
    assert (await proxy.http.post("/v1/chat/completions", json=ask(n=2))).status_code == 200
    reply = await proxy.http.post("/v1/chat/completions", json=ask(drop_params=False))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "drop_params")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_parameter_may_suit_another_model(
    start_proxy: StartProxy, anthropic_server: FakeAnthropic, openai_server: FakeOpenAI, stream: bool
) -> None:
    entry = Provider("anthropic", anthropic_server).entry(input_cost_per_token=0.0, output_cost_per_token=0.0)
    config = {"model_list": [entry, *models(openai_server.url, "near")], "routing": CHEAP_FIRST}
    proxy = await start_proxy(config)
    reply = await proxy.chat(n=2, stream=stream)
    assert reply.headers["x-hullspeed-model"] == "near", reply.text
    alone = await proxy.http.post("/v1/chat/completions", json=ask(n=2, stream=stream))
    assert alone.status_code == 400
    error = alone.json()["error"]
    assert (error["param"], error["code"], error["type"]) == ("n", "unsupported_parameter", "invalid_request_error")
    assert "litellm" not in error["message"]
    assert anthropic_server.requests == []


LIMITED = rate_limited(retry_after="7", retry_after_ms="6500")


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (HttpError(400, "top_k: must be positive"), 400, None),
        (HttpError(401), 401, "invalid_api_key"),
        (HttpError(403), 403, "permission_denied"),
        (HttpError(404), 404, "model_not_found"),
        (HttpError(413), 413, "request_too_large"),
        (LIMITED, 429, "rate_limit_exceeded"),
        (HttpError(500), 502, "upstream_error"),
        (HttpError(500, body=b"<html>502 Bad Gateway</html>", content_type="text/html"), 502, "upstream_error"),
        (HttpError(503), 503, "upstream_overloaded"),
        (HttpError(504), 504, "upstream_timeout"),
        (HttpError(529), 503, "upstream_overloaded"),
        (HttpError(302, headers={"location": "http://127.0.0.1:9/"}), 502, "upstream_error"),
        (Fault("cut_before_headers"), 502, "upstream_unreachable"),
        (Fault("cut_after_headers"), 502, "upstream_broken_reply"),
        (Fault("broken_json", after=0), 502, "upstream_broken_reply"),
        (Fault("empty_body"), 502, "upstream_broken_reply"),
        (Fault("wrong_content_type"), 502, "upstream_broken_reply"),
        (Fault("cut_mid_event", after=0), 502, "upstream_broken_reply"),
        (Fault("reset", after=0), 502, "upstream_broken_reply"),
        (Fault("error_event", after=0, error=HttpError(529)), 503, "upstream_overloaded"),
        (Fault("error_event", after=0, error=HttpError(500)), 502, "upstream_error"),
    ],
    ids=str,
)
async def test_errors(start_proxy: StartProxy, provider: Provider, failure: Any, status: int, code: str | None) -> None:
    proxy = await start_proxy({"model_list": [provider.entry()]})
    provider.fake.default = failure
    for stream in (False, True):
        reply = await proxy.http.post("/v1/chat/completions", json=ask(stream=stream))
        assert reply.status_code == status, reply.text
        assert reply.headers["content-type"] == "application/json"
        error = reply.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == code
        for leak in (SECRET, "127.0.0.1", "litellm", "Traceback", "b'", "{", "Exception", "\n"):
            assert leak not in error["message"]
    if failure is LIMITED:
        assert (reply.headers["retry-after"], reply.headers["retry-after-ms"]) == ("7", "6500")
        assert reply.headers["x-ratelimit-remaining-requests"] == "0"
    assert len(provider.fake.chats) == 2, "litellm must not ask again"
    for logged in await proxy.calls():
        assert (logged.call.outcome, logged.call.error_code) == ("error", code)
        (attempt,) = logged.call.attempts
        assert attempt.outcome == {429: "rate_limited", 504: "timeout"}.get(status, "error")
        if isinstance(failure, HttpError):
            assert attempt.status == failure.status


async def test_a_wrong_key_says_what_to_check(start_proxy: StartProxy, provider: Provider) -> None:
    provider.fake.key = "another"
    proxy = await start_proxy({"model_list": [provider.entry()]})
    for stream in (False, True):
        reply = await proxy.http.post("/v1/chat/completions", json=ask(stream=stream))
        assert reply.status_code == 401
        assert reply.json()["error"]["message"] == (
            "The provider of model `far` refused its key (401): check api_key in the config."
        )


async def test_no_key_says_which(start_proxy: StartProxy, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    entry = provider.entry()
    del entry["litellm_params"]["api_key"]
    proxy = await start_proxy({"model_list": [entry]})
    for stream in (False, True):
        reply = await proxy.http.post("/v1/chat/completions", json=ask(stream=stream))
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
        key = f"{provider.kind.upper()}_API_KEY"
        assert reply.json()["error"]["message"] == f"Model `far` has no key: set {key}."
    assert provider.fake.requests == []


async def test_what_cannot_be_translated_is_no_fault_of_the_upstream(
    start_proxy: StartProxy, provider: Provider
) -> None:
    proxy = await start_proxy({"model_list": [provider.entry()]})
    body = ask()
    body["messages"] = [{"role": "nobody", "content": "secret prompt"}]
    reply = await proxy.http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["code"] == "unsupported_request"
    assert "secret prompt" not in reply.text
    assert "Traceback" not in reply.text
    assert provider.fake.requests == []


async def test_a_dead_host(start_proxy: StartProxy, provider: Provider) -> None:
    provider.fake.stop()
    proxy = await start_proxy({"model_list": [provider.entry()]})
    for stream in (False, True):
        reply = await proxy.http.post("/v1/chat/completions", json=ask(stream=stream))
        assert reply.status_code == 502
        assert reply.json()["error"]["code"] == "upstream_unreachable"
        assert reply.json()["error"]["message"].startswith("Model `far` cannot be reached: connection failed (")
        assert "127.0.0.1" not in reply.text


TOO_LONG = {
    "anthropic": HttpError(400, "prompt is too long: 205000 tokens > 200000 maximum"),
    "gemini": HttpError(400, "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
}


@pytest.mark.parametrize("stream", [False, True])
async def test_too_long_goes_to_a_larger_window_only(
    start_proxy: StartProxy, provider: Provider, openai_server: FakeOpenAI, stream: bool
) -> None:
    far = provider.entry(info={"max_input_tokens": 1000}, input_cost_per_token=0.0, output_cost_per_token=0.0)
    entries = [far, *models(openai_server.url, "same", "large")]
    for entry, window in zip(entries, (1000, 1000, 5000), strict=True):
        entry["model_info"] = {"max_input_tokens": window}
    proxy = await start_proxy({"model_list": entries, "routing": CHEAP_FIRST})
    provider.fake.default = TOO_LONG[provider.kind]
    reply = await proxy.chat(stream=stream)
    assert reply.headers["x-hullspeed-model"] == "large"
    assert [seen.model for seen in openai_server.chats] == ["large-target"]
    alone = await proxy.http.post("/v1/chat/completions", json=ask(stream=stream))
    assert (alone.status_code, alone.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert "maximum" in alone.json()["error"]["message"]


@pytest.mark.parametrize(
    "failure",
    [
        HttpError(500),
        HttpError(529),
        rate_limited(),
        Fault("cut_before_headers"),
        Fault("cut_after_headers"),
        Fault("broken_json", after=0),
        Fault("empty_body"),
        Fault("wrong_content_type"),
        Fault("error_event", after=0),
        Fault("no_finish", after=0),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
async def test_falls_back_before_the_first_byte(
    start_proxy: StartProxy, provider: Provider, openai_server: FakeOpenAI, failure: Any, stream: bool
) -> None:
    far = provider.entry(input_cost_per_token=0.0, output_cost_per_token=0.0)
    config = {"model_list": [far, *models(openai_server.url, "near")], "routing": CHEAP_FIRST}
    proxy = await start_proxy(config)
    provider.fake.default = failure
    reply = await proxy.chat(stream=stream)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-hullspeed-model"] == "near"
    assert reply.headers["x-hullspeed-attempts"] == "2"
    call = (await proxy.call()).call
    assert [attempt.model for attempt in call.attempts] == ["far", "near"]
    assert call.attempts[0].outcome in ("error", "rate_limited")
    assert call.outcome == call.attempts[1].outcome == "ok"


@pytest.mark.parametrize(
    "kind", ["cut_between_events", "cut_mid_event", "reset", "broken_json", "invalid_utf8", "error_event", "no_finish"]
)
async def test_a_stream_that_breaks_is_an_error_not_an_end(
    start_proxy: StartProxy, provider: Provider, openai_server: FakeOpenAI, kind: Any
) -> None:
    far = provider.entry(input_cost_per_token=0.0, output_cost_per_token=0.0)
    config = {"model_list": [far, *models(openai_server.url, "near")], "routing": CHEAP_FIRST}
    proxy = await start_proxy(config)
    provider.fake.default = Fault(kind, after=2, answer=Answer("one two three four five"))
    events = await events_of(proxy.http, ask(model="auto"))
    assert "[DONE]" not in events
    assert "error" in json.loads(events[-1])
    chunks = [json.loads(event) for event in events[:-1]]
    assert text_of(chunks) == "one two"
    assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])
    assert openai_server.requests == [], "two models' words must never be spliced"
    call = (await proxy.call()).call
    assert (call.outcome, call.status, call.model) == ("truncated", 200, "far")
    assert call.attempts[0].outcome == "truncated"
    assert call.usage is not None


async def test_a_missing_end_marker_is_no_harm(start_proxy: StartProxy, provider: Provider) -> None:
    proxy = await start_proxy({"model_list": [provider.entry()]})
    provider.fake.default = Fault("no_done", answer=Answer("one two"))
    assert text_of(await chunks_of(proxy.http, ask())) == "one two"


@pytest.mark.parametrize("kind", ["stall", "stall_after_headers", "stall_mid_stream"])
@pytest.mark.parametrize("stream", [False, True])
async def test_slow_upstreams_time_out(start_proxy: StartProxy, provider: Provider, kind: Any, stream: bool) -> None:
    # Long enough for litellm to have asked on a busy machine: it is the upstream's time that is to be over.
    proxy = await start_proxy({"model_list": [provider.entry("warm"), provider.entry(timeout=1.0)]})
    await warm_up(proxy)
    provider.fake.default = Fault(kind, after=0)
    async with asyncio.timeout(10):
        reply = await proxy.http.post("/v1/chat/completions", json=ask(stream=stream))
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "upstream_timeout"), reply.text
    assert reply.json()["error"]["message"] == "Model `far` did not answer within 1 s."
    assert await provider.fake.last.over()
    assert provider.fake.last.disconnected
    (logged, *_) = await proxy.calls()
    assert logged.call.attempts[0].outcome == "timeout"


async def test_a_stall_after_content_ends_the_stream(start_proxy: StartProxy, provider: Provider) -> None:
    proxy = await start_proxy({"model_list": [provider.entry("warm"), provider.entry(timeout=1.0)]})
    await warm_up(proxy)
    provider.fake.default = Fault("stall_mid_stream", after=2, answer=Answer("one two three four"))
    async with asyncio.timeout(20):
        events = await events_of(proxy.http, ask())
    assert json.loads(events[-1])["error"]["code"] == "upstream_timeout"
    assert text_of([json.loads(event) for event in events[:-1]]) == "one two"
    call = (await proxy.calls())[0].call
    assert (call.outcome, call.attempts[0].outcome) == ("truncated", "timeout")
    assert await provider.fake.last.over()
    assert provider.fake.last.disconnected


async def test_a_slow_stream_that_never_stalls_is_no_failure(start_proxy: StartProxy, provider: Provider) -> None:
    """The limit is for each read, not for the whole stream."""
    proxy = await start_proxy({"model_list": [provider.entry("warm"), provider.entry(timeout=1.0)]})
    await warm_up(proxy)
    provider.fake.default = Answer("a b c d e f g h", gap=0.2)
    assert text_of(await chunks_of(proxy.http, ask())) == "a b c d e f g h"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("gate_after", [None, 2])
async def test_a_client_that_leaves_cancels_the_upstream(
    start_proxy: StartProxy, provider: Provider, stream: bool, gate_after: int | None
) -> None:
    if gate_after is not None and not stream:
        pytest.skip("a whole reply has no middle")
    proxy = await start_proxy({"model_list": [provider.entry()]})
    gate = Gate()
    provider.fake.default = Answer("one two three four", gate=gate, gate_after=gate_after)
    asked = asyncio.create_task(proxy.http.post("/v1/chat/completions", json=ask(stream=stream)))
    assert await asyncio.to_thread(gate.wait_reached)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    (seen,) = provider.fake.chats
    assert await seen.over()
    assert seen.disconnected
    await idle(proxy)
    call = (await proxy.call()).call
    assert call.outcome == "client_cancelled"
    assert [(attempt.outcome, attempt.sent) for attempt in call.attempts] == [("client_cancelled", True)]


@pytest.mark.parametrize("stream", [False, True])
async def test_rate_limits_are_forwarded(start_proxy: StartProxy, provider: Provider, stream: bool) -> None:
    proxy = await start_proxy({"model_list": [provider.entry()]})
    limits = {
        "anthropic": {
            "anthropic-ratelimit-requests-remaining": "41",
            "anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:00Z",
        },
        "gemini": {"x-ratelimit-remaining-requests": "41", "x-ratelimit-reset-tokens": "2026-01-01T00:00:00Z"},
    }
    provider.fake.default = Answer("x", wire=Wire(headers={**limits[provider.kind], "set-cookie": "a=b"}))
    reply = await proxy.http.post("/v1/chat/completions", json=ask(stream=stream))
    assert reply.headers["x-ratelimit-remaining-requests"] == "41"
    assert reply.headers["x-ratelimit-reset-tokens"] == "2026-01-01T00:00:00Z"
    assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("wire", [Wire(crlf=True), Wire(comments=True), Wire(space=False), Wire(split=3)], ids=str)
async def test_the_same_words_however_they_are_sent(start_proxy: StartProxy, provider: Provider, wire: Wire) -> None:
    proxy = await start_proxy({"model_list": [provider.entry()]})
    provider.fake.default = Answer("één twee drie ✓", wire=wire)
    assert text_of(await chunks_of(proxy.http, ask())) == "één twee drie ✓"


async def test_many_at_once_keep_their_own_words(start_proxy: StartProxy, provider: Provider) -> None:
    proxy = await start_proxy({"model_list": [provider.entry()]})
    texts = [f"number {n}" for n in range(20)]
    found = await asyncio.gather(*(chunks_of(proxy.http, ask(text)) for text in texts))
    assert [text_of(chunks) for chunks in found] == [f"Echo: {text}" for text in texts]


async def test_a_provider_that_comes_back_is_reached_again(start_proxy: StartProxy, provider: Provider) -> None:
    proxy = await start_proxy({"model_list": [provider.entry()]})
    assert (await proxy.http.post("/v1/chat/completions", json=ask())).status_code == 200
    provider.fake.stop()
    assert (await proxy.http.post("/v1/chat/completions", json=ask())).status_code == 502
    provider.fake.start()
    assert (await proxy.http.post("/v1/chat/completions", json=ask())).status_code == 200


async def test_no_secret_in_any_reply_row_or_log(
    start_proxy: StartProxy, provider: Provider, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    proxy = await start_proxy({"model_list": [provider.entry()]})
    leaky = f"bad key {SECRET} for http://10.1.2.3:8080/v1?key={SECRET} (Bearer {SECRET})"
    texts = []
    for failure in (HttpError(400, leaky), HttpError(401, leaky), HttpError(500, leaky), HttpError(500, body=b"")):
        provider.fake.default = failure
        for stream in (False, True):
            reply = await proxy.http.post("/v1/chat/completions", json=ask("a private prompt", stream=stream))
            texts.append(reply.text + str(reply.headers))
    provider.fake.default = Fault("error_event", after=1, error=HttpError(500, leaky), answer=Answer("a b c"))
    texts += await events_of(proxy.http, ask("a private prompt"))
    texts += [repr(logged.call) for logged in await proxy.calls()]
    texts.append((await proxy.http.get("/metrics")).text)
    out, err = capfd.readouterr()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("hullspeed", "LiteLLM"))]
    for text in [*texts, *ours, out, err]:
        assert SECRET not in text
        assert "10.1.2.3" not in text
        assert "a private prompt" not in text


async def test_no_image_is_fetched_from_inside(
    start_proxy: StartProxy, gemini_server: FakeGemini, openai_server: FakeOpenAI
) -> None:
    """For Gemini litellm fetches images by itself: a client must not reach our own network that way."""
    proxy = await start_proxy({"model_list": [Provider("gemini", gemini_server).entry()]})
    image = {"type": "image_url", "image_url": {"url": f"{openai_server.url}/models"}}
    body = ask()
    body["messages"] = [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, image]}]
    reply = await proxy.http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400, reply.text
    assert "127.0.0.1" not in reply.text
    assert openai_server.requests == []
    assert gemini_server.requests == []


def mistral(openai_server: FakeOpenAI, name: str = "far", **params: Any) -> dict[str, Any]:
    """A provider whose wire is not watched. Its protocol is near enough to OpenAI's for that fake to speak it."""
    given = {
        "model": "mistral/mistral-x",
        "api_base": openai_server.url,
        "api_key": SECRET,
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 2e-6,
    }
    return {"model_name": name, "litellm_params": given | params}


async def test_any_other_provider(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": [mistral(openai_server)]})
    # Mistral states usage in its last chunk, unasked.
    openai_server.default = Answer("one two", prompt_tokens=10, completion_tokens=20, usage_at="with_choices")
    reply = await proxy.http.post("/v1/chat/completions", json=ask())
    assert reply.json()["choices"][0]["message"]["content"] == "one two", reply.text
    chunks = await chunks_of(proxy.http, ask(stream_options={"include_usage": True}))
    assert text_of(chunks) == "one two"
    assert chunks[-1]["usage"]["completion_tokens"] == 20
    openai_server.default = Answer(tool_calls=(ToolCall("look_up", {"key": "a"}),))
    called = (await proxy.http.post("/v1/chat/completions", json=ask(tools=[TOOL]))).json()["choices"][0]
    assert json.loads(called["message"]["tool_calls"][0]["function"]["arguments"]) == {"key": "a"}
    calls = await proxy.calls()
    assert [logged.call.outcome for logged in calls] == ["ok"] * 3
    for logged in calls[1:]:
        assert logged.call.usage == Usage(prompt_tokens=10, completion_tokens=20)
        assert logged.call.cost_usd == Decimal("0.00005")


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (HttpError(400, "temperature must be below 2"), 400, None),
        (HttpError(401), 401, "invalid_api_key"),
        (HttpError(404), 404, "model_not_found"),
        (LIMITED, 429, "rate_limit_exceeded"),
        (HttpError(500), 502, "upstream_error"),
        (HttpError(503), 503, "upstream_overloaded"),
        (context_length_exceeded(), 400, "context_length_exceeded"),
        (Fault("stall"), 504, "upstream_timeout"),
    ],
    ids=str,
)
async def test_errors_of_any_other_provider(
    start_proxy: StartProxy, openai_server: FakeOpenAI, failure: Any, status: int, code: str | None
) -> None:
    config = {"model_list": [mistral(openai_server, "warm"), mistral(openai_server, timeout=1.0)]}
    proxy = await start_proxy(config)
    await warm_up(proxy)
    openai_server.default = failure
    for stream in (False, True):
        reply = await proxy.http.post("/v1/chat/completions", json=ask("a private prompt", stream=stream))
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (status, code), reply.text
        for leak in (SECRET, "127.0.0.1", "litellm", "Traceback", "{", "Exception", "private", "\n"):
            assert leak not in error["message"]
        if failure is LIMITED:
            assert reply.headers["retry-after"] == "7"
    assert len(openai_server.chats) == 4, "litellm must not ask again"


async def test_a_stream_of_any_other_provider_has_an_idle_limit(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    proxy = await start_proxy({"model_list": [mistral(openai_server, "warm"), mistral(openai_server, timeout=1.0)]})
    await warm_up(proxy)
    openai_server.default = Fault("stall_mid_stream", after=2, answer=Answer("one two three four"))
    async with asyncio.timeout(20):
        events = await events_of(proxy.http, ask())
    assert json.loads(events[-1])["error"]["code"] == "upstream_timeout"
    assert await openai_server.last.over()
    assert openai_server.last.disconnected
