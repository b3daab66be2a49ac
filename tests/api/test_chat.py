"""`/v1/chat/completions` end to end: real sockets, the real OpenAI SDK, a real ledger."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest

from app.core.types import Usage
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Fault, Gate, HttpError, ToolCall, rate_limited
from tests.serving import StartProxy, models

CHEAP_FIRST = {"default": "cheapest"}


async def test_a_call_from_request_to_ledger(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large"), "routing": CHEAP_FIRST})
    openai_server.next(Answer("Hi.", prompt_tokens=11, completion_tokens=7, cached_tokens=3, model="small-2026-01-01"))
    reply = await proxy.chat(headers={"x-request-id": "mine", "x-hullspeed-session": "s1"})
    assert reply.status_code == 200
    body = reply.json()
    assert body["choices"][0]["message"]["content"] == "Hi."
    assert body["model"] == reply.headers["x-hullspeed-model"] == "small"
    assert reply.headers["x-hullspeed-router"] == "cheapest"
    assert reply.headers["x-hullspeed-reason"] == "cheapest"
    assert reply.headers["x-hullspeed-attempts"] == "1"
    assert Decimal(reply.headers["x-hullspeed-cost-usd"]) == Decimal("0.000025")
    assert body["usage"]["cost"] == pytest.approx(0.000025)
    assert float(reply.headers["x-hullspeed-overhead-ms"]) >= 0
    logged = await proxy.call()
    call = logged.call
    assert call.id == reply.headers["x-hullspeed-call-id"] == reply.headers["x-request-id"]
    assert call.client_request_id == "mine"
    assert call.session == "s1"
    assert (call.outcome, call.status, call.model, call.stream, call.source) == ("ok", 200, "small", False, "live")
    assert call.usage == Usage(prompt_tokens=11, completion_tokens=7, cached_tokens=3)
    assert call.cost_usd == Decimal("0.000025")
    assert call.decision is not None
    assert [ranked.model for ranked in call.decision.ranking] == ["small", "large"]
    assert call.decision.ranking[0].probability == 1.0
    (attempt,) = call.attempts
    assert (attempt.model, attempt.upstream_model, attempt.outcome) == ("small", "small-2026-01-01", "ok")
    assert attempt.price is not None
    assert attempt.price.input == Decimal("0.000001")
    assert call.request_text is None
    assert call.reply_text is None


async def test_the_upstream_gets_the_body_as_it_came(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    await proxy.chat(
        "auto/cheapest", temperature=0.25, some_new_parameter={"a": [1, 2.50]}, routing={"tradeoff": 0.3}, top_k=5
    )
    sent = openai_server.last
    assert sent.headers["authorization"] == "Bearer sk-planted-secret-1234567890"
    assert sent.body == {
        "model": "small-target",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.25,
        "some_new_parameter": {"a": [1, 2.50]},
        "top_k": 5,
    }


async def test_unknown_reply_fields_pass_through(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    openai_server.default = Answer("x", extra={"from_the_future": {"deep": [1]}}, reasoning="thinking")
    body = (await proxy.chat("small")).json()
    assert body["from_the_future"] == {"deep": [1]}
    assert body["choices"][0]["message"]["reasoning_content"] == "thinking"
    assert body["service_tier"] == "default"
    chunks = await _stream(proxy.http, {"model": "small", "messages": [{"role": "user", "content": "x"}]})
    assert chunks[0]["from_the_future"] == {"deep": [1]}


@pytest.mark.parametrize("model", ["auto", "auto/uniform", "small"])
async def test_the_sdk_streamed_and_not(start_proxy: StartProxy, openai_server: FakeOpenAI, model: str) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    openai_server.default = Answer("one two three")
    ask: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "count"}]}
    whole = await proxy.sdk.chat.completions.create(**ask)
    assert whole.choices[0].message.content == "one two three"
    assert whole.usage is not None
    stream = await proxy.sdk.chat.completions.create(**ask, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert text == "one two three"
    blocking = proxy.blocking_sdk()
    with blocking:
        again = await asyncio.to_thread(blocking.chat.completions.create, **ask)
    assert again.choices[0].message.content == "one two three"


async def test_explicit_model_and_router_names(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    reply = await proxy.chat("large")
    assert (reply.headers["x-hullspeed-router"], reply.headers["x-hullspeed-reason"]) == ("none", "explicit")
    assert reply.headers["x-hullspeed-model"] == "large"
    unknown = await proxy.chat("larg")
    assert unknown.status_code == 404
    assert unknown.json()["error"] == {
        "message": "The model `larg` does not exist here. Did you mean `large`?",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    router = await proxy.chat("auto/nope")
    assert router.status_code == 404
    assert "auto/cheapest" in router.json()["error"]["message"]


async def test_tools_and_schemas_pass_through(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    openai_server.default = Answer(tool_calls=(ToolCall("look_up", {"key": "a", "api_base": "data"}, id="call_1"),))
    tool = {
        "type": "function",
        "function": {"name": "look_up", "strict": True, "parameters": {"properties": {"api_base": {}}}},
    }
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": {"headers": {}}}}}
    ask: dict[str, Any] = {
        "model": "auto",
        "messages": [{"role": "user", "content": "x"}],
        "tools": [tool],
        "response_format": schema,
    }
    whole = await proxy.sdk.chat.completions.create(**ask)
    (called,) = whole.choices[0].message.tool_calls or []
    assert called.id == "call_1"
    assert json.loads(called.function.arguments) == {"key": "a", "api_base": "data"}  # type: ignore[union-attr]
    assert openai_server.last.body["tools"] == [tool]
    assert openai_server.last.body["response_format"] == schema
    async with proxy.sdk.chat.completions.stream(
        model="auto",
        messages=[{"role": "user", "content": "x"}],
        tools=[tool],  # type: ignore[list-item]
    ) as stream:
        final = await stream.get_final_completion()
    streamed = (final.choices[0].message.tool_calls or [])[0]
    assert json.loads(streamed.function.arguments) == {"key": "a", "api_base": "data"}


async def _stream(http: httpx.AsyncClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a stream; the end marker must be there."""
    reply = await http.post("/v1/chat/completions", json={**body, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream"), reply.text
    events = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert events[-1] == "[DONE]", events[-1]
    return [json.loads(event) for event in events[:-1]]


@pytest.mark.parametrize("usage_at", ["own_chunk", "with_choices", "several", "always"])
async def test_usage_in_streams(start_proxy: StartProxy, openai_server: FakeOpenAI, usage_at: Any) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    openai_server.default = Answer("a b c", prompt_tokens=10, completion_tokens=20, usage_at=usage_at)
    body = {"model": "small", "messages": [{"role": "user", "content": "x"}]}
    unasked = await _stream(proxy.http, body)
    assert all("usage" not in chunk for chunk in unasked)
    asked = await _stream(proxy.http, {**body, "stream_options": {"include_usage": True}})
    assert [chunk["usage"] for chunk in asked[:-1]] == [None] * (len(asked) - 1)
    last = asked[-1]
    assert last["choices"] == []
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == (10, 20)
    assert last["usage"]["cost"] == pytest.approx(10 * 1e-6 + 20 * 2e-6)
    assert all(chunk["model"] == "small" for chunk in asked)
    for logged in await proxy.calls():
        assert logged.call.usage == Usage(prompt_tokens=10, completion_tokens=20)
        assert logged.call.cost_usd == Decimal("0.00005")
        assert logged.call.time_to_first_token is not None


async def test_what_is_not_known_of_usage_reaches_the_client(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    details = {"cached_tokens": 3, "audio_tokens": 2}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": details, "queue_time": 0.5}
    openai_server.default = Answer("a b", usage=usage, extra={"x_group": {"id": "r1"}})
    body = {"model": "small", "messages": [{"role": "user", "content": "x"}]}
    streamed = (await _stream(proxy.http, {**body, "stream_options": {"include_usage": True}}))[-1]
    whole = (await proxy.http.post("/v1/chat/completions", json=body)).json()
    for reply in (streamed, whole):
        assert reply["usage"].items() >= usage.items()
        assert reply["usage"]["cost"] == pytest.approx(10 * 1e-6 + 5 * 2e-6)
        assert reply["x_group"] == {"id": "r1"}
    assert streamed["usage"]["total_tokens"] == 15


def _event_stream(*choices: dict[str, Any]) -> HttpError:
    """A stream of chunks with one choice each, as written, and no end marker."""
    chunks = [{"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]} for choice in choices]
    body = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks)
    return HttpError(200, body=body, content_type="text/event-stream")


SAID = [{"index": index, "delta": {"content": text}} for index, text in enumerate(("one", "two"))]
ENDS = [{"index": index, "delta": {}, "finish_reason": "stop"} for index in range(2)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_each_of_several_choices_must_end(
    start_proxy: StartProxy, openai_server: FakeOpenAI, order: tuple[int, int]
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    first, second = order
    openai_server.next(_event_stream(*SAID, ENDS[first]), _event_stream(*SAID, ENDS[first], ENDS[second]))
    cut, whole = [(await proxy.chat("small", stream=True, n=2)).text.split("\n\n") for _ in range(2)]
    assert "error" in json.loads(cut[-2].removeprefix("data: "))
    assert whole[-2] == "data: [DONE]"
    assert sorted(logged.call.outcome for logged in await proxy.calls()) == ["ok", "truncated"]


async def test_a_server_that_counts_choices_from_one(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    openai_server.next(_event_stream(SAID[1], ENDS[1]))
    assert (await proxy.chat("small", stream=True)).text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_utf8_reaches_no_client(
    start_proxy: StartProxy, openai_server: FakeOpenAI, stream: bool
) -> None:
    """Also where it stands in a part of the reply that is passed on unread."""
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "BROKEN"}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": said, "delta": said, "finish_reason": "stop"}
    reply = json.dumps({"id": "c", "model": "m", "choices": [choice]}).replace("BROKEN", "\xff").encode("latin-1")
    body, kind = (b"data: %b\n\n" % reply, "text/event-stream") if stream else (reply, "application/json")
    openai_server.default = HttpError(200, body=body, content_type=kind)
    broken = await proxy.chat("small", stream=stream)
    assert (broken.status_code, broken.json()["error"]["code"]) == (502, "upstream_broken_reply")


async def test_missing_usage_is_estimated_and_says_so(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    openai_server.default = Answer("x" * 40, usage_at="none")
    assert (await proxy.chat("small")).status_code == 200
    usage = (await proxy.call()).call.usage
    assert usage is not None
    assert usage.estimated
    assert usage.completion_tokens == 11


async def test_an_unknown_price_is_null_never_zero(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    entry = {
        "model_name": "odd",
        "litellm_params": {"model": "openai/nobody-knows-this", "api_base": openai_server.url, "api_key": "k"},
    }
    proxy = await start_proxy({"model_list": [entry]})
    reply = await proxy.chat("odd")
    assert "x-hullspeed-cost-usd" not in reply.headers
    assert "cost" not in reply.json()["usage"]
    call = (await proxy.call()).call
    assert call.cost_usd is None
    assert call.attempts[0].cost_usd is None
    metrics = (await proxy.http.get("/metrics")).text
    assert 'hullspeed_unpriced_attempts_total{model="odd"} 1.0' in metrics


@pytest.mark.parametrize(
    "failure",
    [
        HttpError(500),
        HttpError(503),
        HttpError(529),
        HttpError(401),
        HttpError(404),
        rate_limited(),
        Fault("cut_before_headers"),
        Fault("cut_after_headers"),
        Fault("broken_json"),
        Fault("empty_body"),
        Fault("wrong_content_type"),
        Fault("error_event"),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
async def test_falls_back_before_the_first_byte(
    start_proxy: StartProxy, openai_server: FakeOpenAI, failure: Any, stream: bool
) -> None:
    if isinstance(failure, Fault):
        failure = Fault(failure.kind, after=0)
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large"), "routing": CHEAP_FIRST})
    openai_server.on("small-target", failure)
    reply = await proxy.chat(stream=stream)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-hullspeed-model"] == "large"
    assert reply.headers["x-hullspeed-attempts"] == "2"
    call = (await proxy.call()).call
    assert (call.outcome, call.model) == ("ok", "large")
    assert [attempt.model for attempt in call.attempts] == ["small", "large"]
    assert call.attempts[0].outcome in ("error", "rate_limited", "timeout")
    assert call.attempts[1].outcome == "ok"
    assert "hullspeed_fallbacks_total 1.0" in (await proxy.http.get("/metrics")).text


async def test_a_request_at_fault_is_not_tried_elsewhere(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large"), "routing": CHEAP_FIRST})
    openai_server.next(HttpError(400, "temperature must be below 2", param="temperature"))
    reply = await proxy.chat(temperature=9)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "temperature"
    assert len(openai_server.chats) == 1


async def test_too_long_goes_to_a_larger_window_only(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    entries = models(openai_server.url, "a", "b", "c")
    for entry, window in zip(entries, (1000, 900, 5000), strict=True):
        entry["model_info"] = {"max_input_tokens": window}
    proxy = await start_proxy({"model_list": entries, "routing": CHEAP_FIRST})
    too_long = HttpError(400, "This model's maximum context length is 1000 tokens.", code="context_length_exceeded")
    openai_server.on("a-target", too_long)
    reply = await proxy.chat()
    assert reply.headers["x-hullspeed-model"] == "c"
    assert [seen.model for seen in openai_server.chats] == ["a-target", "c-target"]
    openai_server.on("c-target", too_long)
    failed = await proxy.chat()
    assert failed.status_code == 400
    assert failed.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (HttpError(401), 401, "invalid_api_key"),
        (HttpError(403), 403, "unsupported_country_region_territory"),
        (HttpError(404), 404, "model_not_found"),
        (HttpError(500), 502, "upstream_error"),
        (HttpError(503), 503, "overloaded"),
        (HttpError(529), 503, "overloaded"),
        (rate_limited(retry_after="7"), 429, "rate_limit_exceeded"),
        (rate_limited(quota=True), 429, "insufficient_quota"),
        (Fault("cut_before_headers"), 502, "upstream_unreachable"),
        (Fault("broken_json"), 502, "upstream_broken_reply"),
    ],
    ids=str,
)
async def test_errors_keep_openais_envelope_and_no_secret(
    start_proxy: StartProxy, openai_server: FakeOpenAI, failure: Any, status: int, code: str
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    openai_server.default = failure
    for stream in (False, True):
        if isinstance(failure, Fault):
            openai_server.default = Fault(failure.kind, after=0)
        reply = await proxy.chat("small", stream=stream)
        assert reply.status_code == status, reply.text
        assert reply.headers["content-type"] == "application/json"
        error = reply.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == code
        assert "sk-" not in reply.text
        assert "127.0.0.1" not in reply.text
    if status == 429 and code != "insufficient_quota":
        assert reply.headers["retry-after"] == "7"
    for logged in await proxy.calls():
        assert logged.call.outcome == "error"
        assert logged.call.error_code == code
        assert len(logged.call.attempts) == 1


async def test_secrets_in_configured_headers_do_not_leak(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    headers = {"x-team-secret": "planted one", "authorization": "Bearer planted-two"}
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", extra_headers=headers)})
    openai_server.default = HttpError(400, "I do not know planted one, nor planted-two.")
    reply = await proxy.chat("small")
    assert reply.json()["error"]["message"] == "Model `small`: I do not know [key], nor [key]."
    assert "planted" not in str((await proxy.call()).call)


async def test_a_bad_provider_key_says_what_to_check(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.key = "sk-right"
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    with pytest.raises(openai.AuthenticationError) as caught:
        await proxy.sdk.chat.completions.create(model="auto", messages=[{"role": "user", "content": "x"}])
    message = str(caught.value)
    assert "The provider of model `small` refused its key (401): check api_key in the config" in message


@pytest.mark.parametrize("kind", ["cut_mid_event", "reset", "broken_json", "error_event", "no_finish"])
async def test_a_stream_that_breaks_is_an_error_not_an_end(
    start_proxy: StartProxy, openai_server: FakeOpenAI, kind: Any
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large"), "routing": CHEAP_FIRST})
    openai_server.default = Fault(kind, after=2, answer=Answer("one two three four five"))
    reply = await proxy.chat(stream=True)
    events = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert "[DONE]" not in events
    assert "error" in json.loads(events[-1])
    assert "one two" in "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1])
    assert len(openai_server.chats) == 1, "two models' words must never be spliced"
    call = (await proxy.call()).call
    assert (call.outcome, call.status, call.model) == ("truncated", 200, "small")
    assert call.attempts[0].outcome == "truncated"
    assert call.usage is not None
    assert call.usage.estimated


async def test_slow_upstreams_time_out(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", timeout=0.2)})
    openai_server.default = Fault("stall")
    reply = await proxy.chat("small")
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "upstream_timeout")
    assert (await proxy.call()).call.attempts[0].outcome == "timeout"


@pytest.mark.parametrize(("stream", "gate_after"), [(False, None), (True, None), (True, 2)])
async def test_a_client_that_leaves_cancels_the_upstream(
    start_proxy: StartProxy, openai_server: FakeOpenAI, stream: bool, gate_after: int | None
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large"), "routing": CHEAP_FIRST})
    gate = Gate()
    openai_server.default = Answer("one two three four", gate=gate, gate_after=gate_after)
    asked = asyncio.create_task(proxy.chat(stream=stream))
    assert await asyncio.to_thread(gate.wait_reached)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    (seen,) = openai_server.chats
    assert await seen.over()
    assert seen.disconnected
    call = (await proxy.call_once_idle()).call
    assert call.outcome == "client_cancelled"
    assert [attempt.outcome for attempt in call.attempts] == ["client_cancelled"]
    assert call.attempts[0].sent
    assert call.usage is not None
    assert call.usage.estimated


@pytest.mark.parametrize("size", [10, 2_000_000], ids=["small", "large"])
@pytest.mark.parametrize(("stream", "gate_after"), [(False, None), (True, None), (True, 2)])
async def test_a_model_is_read_on_where_that_is_wanted(
    start_proxy: StartProxy, openai_server: FakeOpenAI, stream: bool, gate_after: int | None, size: int
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small"), "routing": {"read_on_seconds": 60}})
    gate = Gate()
    openai_server.default = Answer("one two", gate=gate, gate_after=gate_after, prompt_tokens=77)
    asked = asyncio.create_task(proxy.chat("small", "x" * size, stream=stream))
    assert await asyncio.to_thread(gate.wait_reached)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    # By the time that another request is answered, the proxy has heard that this client is gone.
    await proxy.http.get("/healthz")
    gate.open()
    (seen,) = openai_server.chats
    assert await seen.over()
    assert not seen.disconnected
    call = (await proxy.call_once_idle()).call
    assert (call.outcome, [attempt.outcome for attempt in call.attempts]) == ("client_cancelled", ["ok"])
    assert call.usage is not None
    assert (call.usage.prompt_tokens, call.usage.estimated) == (77, False)


@pytest.mark.parametrize("stream", [False, True])
async def test_reading_on_has_an_end(start_proxy: StartProxy, openai_server: FakeOpenAI, stream: bool) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small"), "routing": {"read_on_seconds": 0.1}})
    gate = Gate()
    openai_server.default = Answer("one two", gate=gate, gate_after=1 if stream else None)
    asked = asyncio.create_task(proxy.chat("small", stream=stream))
    assert await asyncio.to_thread(gate.wait_reached)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    (seen,) = openai_server.chats
    assert await seen.over()
    assert seen.disconnected
    call = (await proxy.call_once_idle()).call
    assert (call.outcome, [attempt.outcome for attempt in call.attempts]) == ("client_cancelled", ["client_cancelled"])
    assert call.usage is not None
    assert call.usage.estimated


async def test_what_was_never_sent_is_told_apart(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    entries = models("http://127.0.0.1:1", "nowhere") + models(openai_server.url, "small")
    proxy = await start_proxy({"model_list": entries, "routing": {"fallback": ["nowhere", "small"]}})
    openai_server.next(HttpError(503))
    assert (await proxy.chat("nowhere")).status_code == 502
    assert (await proxy.chat("small")).status_code == 503
    assert (await proxy.chat("small")).status_code == 200
    tried = [(attempt.model, attempt.sent) for logged in await proxy.calls() for attempt in logged.call.attempts]
    assert sorted(tried) == [("nowhere", False), ("small", True), ("small", True)]


async def test_a_dead_host_is_one_clear_line(start_proxy: StartProxy) -> None:
    proxy = await start_proxy({"model_list": models("http://127.0.0.1:9", "small")})
    reply = await proxy.chat("small")
    assert reply.status_code == 502
    message = reply.json()["error"]["message"]
    assert message.startswith("Model `small` cannot be reached: connection failed")
    assert "127.0.0.1" not in message


async def test_text_is_kept_only_when_switched_on(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.default = Answer("the reply")
    config = {"model_list": models(openai_server.url, "small"), "ledger": {"store_text": True}}
    proxy = await start_proxy(config)
    await proxy.chat("small", "the question")
    await proxy.chat("small", "the question", stream=True)
    for logged in await proxy.calls():
        assert logged.call.reply_text == "the reply"
        assert "the question" in (logged.call.request_text or "")


async def test_run_and_item_tag_a_call(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")})
    await proxy.chat("small", headers={"x-hullspeed-run": "r1", "x-hullspeed-item": "n%C3%BAmero%25/0#('1', '2')"})
    call = (await proxy.call()).call
    assert (call.run, call.item, call.source) == ("r1", "número%/0#('1', '2')", "replay")
