"""Retries, fallbacks, deployments, breakers, limits and caps, seen from outside."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from app.gateway.completions import Completion
from app.gateway.upstream import UpstreamReply, UpstreamRequest, UpstreamStream
from app.mock.server import Mock
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Fault, Gate, HttpError, context_length_exceeded, rate_limited
from tests.serving import StartProxy, models


async def test_a_passing_failure_is_retried(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.next(HttpError(500), Fault("cut_before_headers"))
    proxy = await start_proxy({"model_list": models(openai_server.url, "a"), "routing": {"retries": 2}})
    reply = await proxy.chat("a")
    assert reply.status_code == 200
    call = (await proxy.call()).call
    assert [attempt.outcome for attempt in call.attempts] == ["error", "error", "ok"]
    assert len(openai_server.chats) == 3


class Loading:
    """A way to reach models that has to be loaded first."""

    loaded = False

    async def warm(self) -> None:
        if not self.loaded:
            await asyncio.sleep(0.2)
            self.loaded = True

    async def complete(self, request: UpstreamRequest) -> UpstreamReply:
        await self.warm()
        return UpstreamReply(Completion(request.model.target, "hello", 1, 1).body())

    async def stream(self, request: UpstreamRequest) -> UpstreamStream:
        await self.warm()
        return UpstreamStream(Completion(request.model.target, "hello", 1, 1).stream())

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("stream", [False, True])
async def test_no_model_is_to_blame_for_what_is_loaded(start_proxy: StartProxy, stream: bool) -> None:
    entry = {"model_name": "far", "litellm_params": {"model": "anthropic/claude-x", "api_key": "sk-x"}}
    proxy = await start_proxy({"model_list": [entry]}, upstreams={"litellm": Loading()})
    reply = await proxy.chat("far", stream=stream)
    assert reply.status_code == 200, reply.text
    (attempt,) = (await proxy.call()).call.attempts
    # It begins when all is loaded, and its limits with it.
    assert attempt.offset > 0.19


async def test_falling_back_comes_before_retrying(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", HttpError(503))
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", "b"), "routing": {"retries": 2}})
    reply = await proxy.chat("auto/cheapest")
    assert reply.headers["x-hullspeed-model"] == "b"
    assert [seen.body["model"] for seen in openai_server.chats] == ["a-target", "b-target"]


@pytest.mark.parametrize(
    "error",
    [
        HttpError(400, "no"),
        HttpError(401, "no"),
        HttpError(403, "no"),
        HttpError(422, "no"),
        rate_limited(quota=True),
        HttpError(400, "too long", code="context_length_exceeded"),
    ],
    ids=["400", "401", "403", "422", "quota", "context"],
)
async def test_what_waiting_does_not_help_is_not_retried(
    start_proxy: StartProxy, openai_server: FakeOpenAI, error: HttpError
) -> None:
    openai_server.on("a-target", error)
    proxy = await start_proxy({"model_list": models(openai_server.url, "a"), "routing": {"retries": 2}})
    reply = await proxy.chat("a")
    assert reply.status_code == error.status
    assert len(openai_server.chats) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_model_that_was_too_slow_is_not_asked_again_and_another_may_answer(
    start_proxy: StartProxy, provider: str, stream: bool
) -> None:
    async with Mock() as mock:
        mock.on("slow", Fault("stall"))
        url = f"http://127.0.0.1:{await mock.listen()}" + ("/v1" if provider == "openai" else "")
        params = {"api_base": url, "api_key": "k", "timeout": 0.5}
        entries = [
            {
                "model_name": name,
                "litellm_params": {
                    "model": f"{provider}/{name}",
                    "input_cost_per_token": cost,
                    "output_cost_per_token": cost,
                    **params,
                },
            }
            for name, cost in (("slow", 1e-6), ("quick", 1e-5))
        ]
        proxy = await start_proxy({"model_list": entries, "routing": {"retries": 2}})
        # litellm loads what this provider needs with the first call, which may take longer than the limit.
        await proxy.chat("quick", stream=stream, max_tokens=5)
        asked = len(mock.chats)
        reply = await proxy.chat("slow", stream=stream, max_tokens=5)
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "upstream_timeout")
        assert len(mock.chats) == asked + 1
        reply = await proxy.chat("auto/cheapest", stream=stream, max_tokens=5)
        assert (reply.status_code, reply.headers["x-hullspeed-model"]) == (200, "quick")
        assert len(mock.chats) == asked + 3


async def test_retry_after_is_waited_for(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.next(rate_limited(retry_after=None, retry_after_ms="600"))
    proxy = await start_proxy({"model_list": models(openai_server.url, "a"), "routing": {"retries": 2}})
    assert (await proxy.chat("a")).status_code == 200
    first, second = (await proxy.call()).call.attempts
    assert second.offset - first.offset - first.latency >= 0.6


async def test_too_long_a_pause_is_not_waited_for(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", rate_limited(retry_after="3600"))
    proxy = await start_proxy({"model_list": models(openai_server.url, "a"), "routing": {"retries": 2}})
    reply = await proxy.chat("a")
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "3600")
    assert len(openai_server.chats) == 1


async def test_a_client_that_retries_is_not_multiplied(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", HttpError(500))
    proxy = await start_proxy({"model_list": models(openai_server.url, "a"), "routing": {"retries": 2}})
    await proxy.chat("a", headers={"x-stainless-retry-count": "1"})
    assert len(openai_server.chats) == 2


async def test_nothing_is_retried_after_content_went_out(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", Fault("cut_mid_event", after=1, answer=Answer("one two three")))
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", "b"), "routing": {"retries": 2}})
    reply = await proxy.chat("auto/cheapest", stream=True)
    assert "error" in json.loads(reply.text.strip().splitlines()[-1].removeprefix("data: "))
    assert len(openai_server.chats) == 1


async def test_a_stream_is_retried_before_content(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.next(Fault("cut_mid_event", after=0))
    proxy = await start_proxy({"model_list": models(openai_server.url, "a"), "routing": {"retries": 1}})
    reply = await proxy.chat("a", stream=True)
    assert reply.text.endswith("data: [DONE]\n\n")
    assert len(openai_server.chats) == 2


async def test_stream_options_refused_is_asked_without_and_remembered(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    openai_server.on("a-target", Answer("hi", rejects=("stream_options",)))
    proxy = await start_proxy({"model_list": models(openai_server.url, "a")})
    for _ in range(2):
        reply = await proxy.chat("a", stream=True, stream_options={"include_usage": True})
        assert reply.text.endswith("data: [DONE]\n\n")
        assert '"usage":{"prompt_tokens"' in reply.text  # estimated by us, since the server gives none
    assert ["stream_options" in seen.body for seen in openai_server.chats] == [True, False, False]


@pytest.mark.parametrize(
    "refusal",
    [
        HttpError(
            422,
            body=b'{"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "input": {"a": 1},'
            b' "msg": "Extra inputs are not permitted"}]}',
        ),
        HttpError(
            400,
            body=b'{"object": "error", "message": {"detail": [{"loc": ["body", "stream_options"], "msg": "extra"}]}}',
        ),
        HttpError(400, body=b"unknown field: stream_options", content_type="text/plain"),
    ],
    ids=["FastAPI", "FastAPI in a message", "plain text"],
)
async def test_stream_options_refused_in_other_words(
    start_proxy: StartProxy, openai_server: FakeOpenAI, refusal: HttpError
) -> None:
    openai_server.next(refusal)
    proxy = await start_proxy({"model_list": models(openai_server.url, "a")})
    for _ in range(2):
        assert (await proxy.chat("a", stream=True)).text.endswith("data: [DONE]\n\n")
    assert ["stream_options" in seen.body for seen in openai_server.chats] == [True, False, False]


async def test_an_error_names_what_fastapi_found_and_not_what_was_sent(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    found = {"detail": [{"loc": ["body", "seed"], "msg": "must be small", "input": "the prompt"}]}
    openai_server.default = HttpError(422, body=json.dumps(found).encode())
    proxy = await start_proxy({"model_list": models(openai_server.url, "a")})
    error = (await proxy.chat("a")).json()["error"]
    assert (error["message"], error["param"]) == ("Model `a`: seed: must be small", "seed")


def deployments(server: FakeOpenAI, *targets: str, **params: Any) -> list[dict[str, Any]]:
    """Several deployments of the one model `m`."""
    entries = models(server.url, *targets, **params)
    for entry in entries:
        entry["model_name"] = "m"
    return entries


async def test_deployments_share_the_load(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    gate = Gate()
    for name in "ab":
        openai_server.on(f"{name}-target", Answer("x", gate=gate))
    proxy = await start_proxy({"model_list": deployments(openai_server, "a", "b")})
    calls = [asyncio.ensure_future(proxy.chat("m")) for _ in range(4)]
    seen = await openai_server.arrived(4)
    gate.open()
    await asyncio.gather(*calls)
    assert sorted(request.body["model"] for request in seen) == ["a-target"] * 2 + ["b-target"] * 2


async def test_another_deployment_steps_in(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", HttpError(500))
    proxy = await start_proxy({"model_list": deployments(openai_server, "a", "b")})
    reply = await proxy.chat("m")
    assert (reply.status_code, reply.headers["x-hullspeed-model"]) == (200, "m")
    assert [attempt.outcome for attempt in (await proxy.call()).call.attempts] == ["error", "ok"]


async def test_a_model_that_keeps_failing_is_set_aside_and_comes_back(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    openai_server.on("a-target", HttpError(500))
    config = {
        "model_list": models(openai_server.url, "a", "b"),
        "routing": {"allowed_fails": 1, "cooldown": 0.4},
    }
    proxy = await start_proxy(config)
    asked = []
    for _ in range(4):
        openai_server.clear()
        openai_server.on("a-target", HttpError(500))
        await proxy.chat("auto/cheapest")
        asked.append([seen.body["model"][0] for seen in openai_server.chats])
    assert asked == [["a", "b"], ["a", "b"], ["b"], ["b"]]
    down = (await proxy.http.get("/readyz")).json()
    assert down["down"] == ["a"]
    assert 'hullspeed_model_available{model="a"} 0.0' in (await proxy.http.get("/metrics")).text
    openai_server.clear()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and proxy.proxy.fleet.is_out("a"):
        await asyncio.sleep(0.02)
    assert (await proxy.chat("auto/cheapest")).headers["x-hullspeed-model"] == "a"
    assert 'hullspeed_model_available{model="a"} 1.0' in (await proxy.http.get("/metrics")).text


async def test_the_only_model_is_tried_even_when_it_is_out(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.next(HttpError(500), HttpError(500))
    config = {"model_list": models(openai_server.url, "a"), "routing": {"allowed_fails": 0, "cooldown": 60}}
    proxy = await start_proxy(config)
    statuses = [(await proxy.chat("auto")).status_code for _ in range(3)]
    assert statuses == [502, 502, 200]


async def test_a_rate_limit_sets_aside_for_as_long_as_it_says(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    openai_server.on("a-target", rate_limited(retry_after="30"))
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", "b")})
    for _ in range(3):
        assert (await proxy.chat("auto/cheapest")).headers["x-hullspeed-model"] == "b"
    assert [seen.body["model"][0] for seen in openai_server.chats] == ["a", "b", "b", "b"]


async def test_a_request_at_fault_sets_nothing_aside(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    openai_server.on("a-target", HttpError(400, "bad"))
    config = {"model_list": models(openai_server.url, "a", "b"), "routing": {"allowed_fails": 0}}
    proxy = await start_proxy(config)
    for _ in range(3):
        assert (await proxy.chat("auto/cheapest")).status_code == 400
    assert (await proxy.http.get("/readyz")).json()["down"] == []


async def test_too_many_at_once_hear_it_soon(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    gate = Gate()
    openai_server.on("a-target", Answer("x", gate=gate))
    config = {
        "model_list": models(openai_server.url, "a"),
        "routing": {"max_inflight": 2, "queue_seconds": 0.1},
    }
    proxy = await start_proxy(config)
    served = [asyncio.ensure_future(proxy.chat("a")) for _ in range(2)]
    await openai_server.arrived(2)
    refused = await proxy.chat("a")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"]["code"] == "overloaded"
    queued = asyncio.ensure_future(proxy.chat("a"))
    gate.open()
    assert [reply.status_code for reply in await asyncio.gather(*served, queued)] == [200] * 3
    assert len(await proxy.calls()) == 4


async def test_a_full_model_is_passed_over(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    gate = Gate()
    openai_server.on("a-target", Answer("x", gate=gate))
    entries = models(openai_server.url, "a", "b")
    entries[0]["litellm_params"]["max_parallel_requests"] = 1
    proxy = await start_proxy({"model_list": entries})
    first = asyncio.ensure_future(proxy.chat("auto/cheapest"))
    await openai_server.arrived(1)
    assert (await proxy.chat("auto/cheapest")).headers["x-hullspeed-model"] == "b"
    direct = await proxy.chat("a")
    assert (direct.status_code, direct.json()["error"]["code"]) == (503, "model_saturated")
    assert int(direct.headers["retry-after"]) >= 1
    gate.open()
    assert (await first).headers["x-hullspeed-model"] == "a"
    assert all("max_parallel_requests" not in seen.body for seen in openai_server.chats)


async def test_a_place_at_a_full_model_is_waited_for(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    gate = Gate()
    openai_server.on("a-target", Answer("x", gate=gate))
    entries = models(openai_server.url, "a", max_parallel_requests=1)
    proxy = await start_proxy({"model_list": entries, "routing": {"queue_seconds": 60, "retry_budget": 0}})
    calls = [asyncio.ensure_future(proxy.chat("a")) for _ in range(3)]
    await openai_server.arrived(1)
    gate.open()
    assert [reply.status_code for reply in await asyncio.gather(*calls)] == [200] * 3
    assert [len(logged.call.attempts) for logged in await proxy.calls()] == [1] * 3


async def test_nobody_waits_for_the_next_minute(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy(
        {"model_list": models(openai_server.url, "a", rpm=1), "routing": {"queue_seconds": 30}},
    )
    assert (await proxy.chat("a")).status_code == 200
    full = await proxy.chat("a")
    assert (full.status_code, full.json()["error"]["code"]) == (503, "model_saturated")
    assert int(full.headers["retry-after"]) > 30


async def test_a_model_that_is_too_small_for_a_retry_leaves_the_last_failure(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    """One fails for a passing reason, the other says that the prompt is too long for both."""
    entries = models(openai_server.url, "a", "b")
    for entry in entries:
        entry["model_info"] = {"max_input_tokens": 8192}
    openai_server.on("a-target", HttpError(503)).on("b-target", context_length_exceeded())
    proxy = await start_proxy({"model_list": entries, "routing": {"retries": 1}})
    reply = await proxy.chat("auto/cheapest")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert len(openai_server.chats) == 2


async def test_requests_a_minute(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    entries = models(openai_server.url, "a", "b")
    entries[0]["litellm_params"]["rpm"] = 2
    proxy = await start_proxy({"model_list": entries})
    answered = [(await proxy.chat("auto/cheapest")).headers["x-hullspeed-model"] for _ in range(4)]
    assert answered == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("fault", "limits", "outcome"),
    [
        (Fault("stall_after_headers"), {"first_token_timeout": 0.2}, "error"),
        (Fault("stall_mid_stream", after=1, answer=Answer("one two three")), {"idle_timeout": 0.2}, "truncated"),
        (Fault("endless", answer=Answer("x", gap=0.02)), {"stream_timeout": 0.3}, "truncated"),
        (Fault("stall_after_headers"), {"litellm": 0.2}, "error"),
        (Fault("stall_mid_stream", after=1, answer=Answer("one two three")), {"litellm": 0.2}, "truncated"),
    ],
    ids=["first token", "idle", "whole stream", "litellm's until the first", "litellm's between two"],
)
async def test_the_limits_of_a_stream(
    start_proxy: StartProxy, openai_server: FakeOpenAI, fault: Fault, limits: dict[str, float], outcome: str
) -> None:
    openai_server.on("a-target", fault)
    if "litellm" in limits:
        config = {"model_list": models(openai_server.url, "a", stream_timeout=limits["litellm"])}
    else:
        config = {"model_list": models(openai_server.url, "a"), "routing": limits}
    proxy = await start_proxy(config)
    reply = await proxy.chat("a", stream=True)
    last = reply.text.strip().splitlines()[-1].removeprefix("data: ")
    assert json.loads(last)["error"]["code"] == "upstream_timeout"
    call = (await proxy.call()).call
    assert call.outcome == outcome
    assert call.attempts[0].outcome == "timeout"


async def test_a_slow_reader_is_not_the_upstreams_fault(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    text = "word " * 200_000
    openai_server.on("a-target", Answer(text, chunks=2000))
    proxy = await start_proxy({"model_list": models(openai_server.url, "a"), "routing": {"idle_timeout": 0.3}})
    body = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    received = b""
    async with proxy.http.stream("POST", "/v1/chat/completions", json=body) as reply:
        chunks = reply.aiter_raw()
        received += await anext(chunks)
        await asyncio.sleep(1.0)  # Longer than the idle limit: the reader's own slowness, which is what is tested.
        async for chunk in chunks:
            received += chunk
    assert received.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_whole_reply_without_end_is_cut_before_it_fills_the_memory(
    start_proxy: StartProxy, provider: str
) -> None:
    async with Mock() as mock:
        mock.on("a", Fault("endless"))
        url = f"http://127.0.0.1:{await mock.listen()}" + ("/v1" if provider == "openai" else "")
        params = {"model": f"{provider}/a", "api_base": url, "api_key": "k"}
        proxy = await start_proxy({"model_list": [{"model_name": "a", "litellm_params": params}]})
        reply = await proxy.chat("a", max_tokens=5)
        assert reply.status_code == 502
        assert "larger than" in reply.json()["error"]["message"]
        (seen,) = mock.chats
        assert await seen.over()
        assert seen.disconnected
