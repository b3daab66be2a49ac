"""Routers that see replies, live: models asked side by side, compared, climbed, billed and logged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from routers import Choice, Decision, Query, Reply, Router
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Fault, Gate, HttpError
from tests.serving import Running, StartProxy, models


class Majority(Router):
    """Asks two, then one more at a time; the first answer with two votes wins, else the last model's."""

    name = "majority"
    fast = True

    def __init__(self, *arm: str) -> None:
        self.arm = arm

    def route(self, query: Query) -> Decision:
        if query.max_calls < len(self.arm):
            return Decision(tuple(map(Choice, self.arm)), "single")
        ranking = (Choice(self.arm[0], 0.8, 0.001, 1.0), *(Choice(model, 0.9) for model in self.arm[1:]))
        return Decision(ranking, "ladder", ask=2, review=self._judge, detail={"arm": list(self.arm)})

    def _judge(self, replies: Sequence[Reply]) -> Decision:
        votes: dict[str, list[str]] = {}
        for reply in replies:
            if reply.text is not None:
                votes.setdefault(reply.text, []).append(reply.model)
        for agreed in votes.values():
            if len(agreed) > 1:
                return Decision((), "agree", reply=agreed[0], detail={"agreed": agreed})
        waiting = self.arm[len(replies) :]
        if waiting:
            return Decision(tuple(map(Choice, waiting)), "ladder", review=self._judge)
        return Decision((), "no majority", reply=self.arm[-1])


class Judged(Router):
    """Asks its two models and judges as a test says."""

    name = "judged"

    def __init__(self, judge: Callable[[Sequence[Reply]], Any], *, fast: bool = True) -> None:
        self.judge = judge
        type(self).fast = fast

    def route(self, query: Query) -> Decision:
        ranking = (Choice("a", 0.3, None, 1.0), Choice("b", 0.7), Choice("c", 0.9))
        return Decision(ranking, "asked", ask=2, review=self.judge)


async def start(start_proxy: StartProxy, server: FakeOpenAI, router: Router, **routing: Any) -> Running:
    config = {"model_list": models(server.url, "a", "b", "c"), "routing": routing}
    return await start_proxy(config, routers={"r": router})


def say(server: FakeOpenAI, **texts: str) -> None:
    for model, text in texts.items():
        server.on(f"{model}-target", Answer(text, prompt_tokens=100, completion_tokens=10))


async def test_two_that_agree_are_enough(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    say(openai_server, a="42", b="42", c="43")
    proxy = await start(start_proxy, openai_server, Majority("a", "b", "c"))
    reply = await proxy.chat("auto/r")
    assert reply.json()["choices"][0]["message"]["content"] == "42"
    assert reply.json()["model"] == "a"
    assert reply.headers["x-hullspeed-model"] == "a"
    assert reply.headers["x-hullspeed-reason"] == "agree"
    assert reply.headers["x-hullspeed-attempts"] == "2"
    call = (await proxy.call()).call
    assert {attempt.model for attempt in call.attempts} == {"a", "b"}
    assert all(attempt.outcome == "ok" for attempt in call.attempts)
    # 100 tokens in and 10 out at 1 and 2 millionths of a dollar, and ten times that.
    assert call.cost_usd is not None
    assert float(call.cost_usd) == pytest.approx(0.00012 * 11)
    assert reply.json()["usage"]["cost"] == pytest.approx(0.00012 * 11)
    assert call.decision is not None
    assert call.decision.detail == {"arm": ["a", "b", "c"], "agreed": ["a", "b"]}
    assert [ranked.model for ranked in call.decision.ranking] == ["a", "b", "c"]
    assert "hullspeed_fallbacks_total 0.0" in (await proxy.http.get("/metrics")).text


async def test_both_of_a_round_run_at_once(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    gate = Gate()
    for model in ("a", "b"):
        openai_server.on(f"{model}-target", Answer("42", gate=gate))
    proxy = await start(start_proxy, openai_server, Majority("a", "b"))
    asked = asyncio.ensure_future(proxy.chat("auto/r"))
    await openai_server.arrived(2)  # Both have come although neither has been answered.
    gate.open()
    assert (await asked).status_code == 200
    call = (await proxy.call()).call
    assert call.overhead is not None
    assert 0 < call.overhead < call.latency


async def test_disagreement_climbs(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    say(openai_server, a="1", b="2", c="2")
    proxy = await start(start_proxy, openai_server, Majority("a", "b", "c"))
    reply = await proxy.chat("auto/r")
    assert reply.json()["choices"][0]["message"]["content"] == "2"
    assert (reply.headers["x-hullspeed-model"], reply.headers["x-hullspeed-attempts"]) == ("b", "3")


async def test_nobody_agrees(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    say(openai_server, a="1", b="2", c="3")
    proxy = await start(start_proxy, openai_server, Majority("a", "b", "c"))
    reply = await proxy.chat("auto/r")
    assert reply.json()["choices"][0]["message"]["content"] == "3"
    assert reply.headers["x-hullspeed-reason"] == "no majority"


async def test_a_failed_rung_is_a_missing_vote(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    say(openai_server, b="7", c="7")
    openai_server.on("a-target", Fault("cut_before_headers"))
    proxy = await start(start_proxy, openai_server, Majority("a", "b", "c"))
    reply = await proxy.chat("auto/r")
    assert (reply.status_code, reply.headers["x-hullspeed-model"]) == (200, "b")
    call = (await proxy.call()).call
    assert sorted((attempt.model, attempt.outcome) for attempt in call.attempts) == [
        ("a", "error"), ("b", "ok"), ("c", "ok"),
    ]  # fmt: skip


async def test_all_rungs_fail(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    for model in "abc":
        openai_server.on(f"{model}-target", Fault("cut_before_headers"))
    proxy = await start(start_proxy, openai_server, Majority("a", "b", "c"))
    reply = await proxy.chat("auto/r")
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "upstream_unreachable"
    assert len((await proxy.call()).call.attempts) == 3


async def test_a_request_at_fault_is_not_sent_on(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    for model in "abc":
        openai_server.on(f"{model}-target", HttpError(400, "temperature is too high", param="temperature"))
    proxy = await start(start_proxy, openai_server, Majority("a", "b", "c"))
    reply = await proxy.chat("auto/r")
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "temperature")
    assert {seen.body["model"] for seen in openai_server.chats} == {"a-target", "b-target"}


async def test_a_streaming_client_is_kept_alive_and_gets_a_stream(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    gate = Gate()
    for model in ("a", "b"):
        openai_server.on(f"{model}-target", Answer("forty-two", gate=gate, prompt_tokens=100, completion_tokens=10))
    proxy = await start(start_proxy, openai_server, Majority("a", "b"), keep_alive=0.05)
    body = {
        "model": "auto/r",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    lines: list[str] = []
    async with proxy.http.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        async for line in reply.aiter_lines():
            lines.append(line)
            if lines.count(": keep-alive") == 2:
                gate.open()
    events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == "forty-two"
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "stop"
    assert chunks[-1]["usage"]["cost"] == pytest.approx(0.00012 * 11)
    assert {chunk["model"] for chunk in chunks} == {"a"}
    # The models themselves were asked for whole replies.
    assert all("stream" not in seen.body and "stream_options" not in seen.body for seen in openai_server.chats)
    assert (await proxy.call()).call.time_to_first_token is not None


async def test_the_sdk_reads_the_stream(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    say(openai_server, a="42", b="42")
    proxy = await start(start_proxy, openai_server, Majority("a", "b"))
    async with proxy.sdk.chat.completions.stream(
        model="auto/r", messages=[{"role": "user", "content": "hello"}]
    ) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.content == "42"


async def test_failing_after_a_comment_ends_the_stream_with_an_error(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    for model in ("a", "b"):
        openai_server.on(f"{model}-target", Fault("stall"))
    proxy = await start(start_proxy, openai_server, Majority("a", "b"), keep_alive=0.05)
    body = {"model": "auto/r", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    lines: list[str] = []
    async with proxy.http.stream("POST", "/v1/chat/completions", json=body) as reply:
        async for line in reply.aiter_lines():
            lines.append(line)
            if line == ": keep-alive":
                openai_server.stop()
    events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert "error" in json.loads(events[-1])
    call = (await proxy.call()).call
    assert (call.outcome, call.status) == ("error", 200)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    ("judge", "reason", "said"),
    [
        (lambda replies: 1 / 0, "default:error", "division by zero"),
        (lambda replies: "b", "default:error", "not a Decision"),
        (lambda replies: Decision((), ""), "default:declined", ""),
        (lambda replies: Decision((), "x", reply="c"), "default:error", "was not called"),
        (lambda replies: Decision((Choice("a"),), "x", review=lambda replies: None), "default:error", "not called yet"),
    ],
    ids=["raises", "no decision", "declines", "unseen reply", "asks twice"],
)
async def test_a_router_that_fails_at_judging_is_replaced(
    start_proxy: StartProxy,
    openai_server: FakeOpenAI,
    judge: Callable[[Sequence[Reply]], Any],
    reason: str,
    said: str,
    fast: bool,
) -> None:
    say(openai_server, a="1", b="2", c="3")
    proxy = await start(start_proxy, openai_server, Judged(judge, fast=fast))
    reply = await proxy.chat("auto/r")
    # Of the two replies that are there, that of the model foretold to be better.
    assert (reply.headers["x-hullspeed-model"], reply.headers["x-hullspeed-reason"]) == ("b", reason)
    decision = (await proxy.call()).call.decision
    assert decision is not None
    assert said in (decision.problem or "")


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"n": 2},
        {"routing": {"max_calls": 1}},
    ],
    ids=["tools", "n", "max_calls"],
)
async def test_requests_that_get_one_model(
    start_proxy: StartProxy, openai_server: FakeOpenAI, fields: dict[str, Any]
) -> None:
    say(openai_server, a="1", b="2")
    proxy = await start(start_proxy, openai_server, Majority("a", "b"))
    reply = await proxy.chat("auto/r", **fields)
    assert (reply.headers["x-hullspeed-reason"], reply.headers["x-hullspeed-attempts"]) == ("single", "1")


async def test_max_cost_stops_the_climb(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    say(openai_server, a="1", b="2", c="2")
    proxy = await start(start_proxy, openai_server, Majority("a", "b", "c"))
    # All three are candidates by themselves, but a and b together have cost nearly as much as c is expected to.
    reply = await proxy.chat("auto/r", routing={"max_cost_usd": 0.0525})
    assert (reply.headers["x-hullspeed-reason"], reply.headers["x-hullspeed-attempts"]) == ("default:limit", "2")
    call = (await proxy.call()).call
    assert call.cost_usd is not None
    assert float(call.cost_usd) <= 0.0525


async def test_max_latency_gives_up_who_is_late(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    say(openai_server, a="1")
    openai_server.on("b-target", Fault("stall"))
    proxy = await start(start_proxy, openai_server, Majority("a", "b", "c"), max_latency_seconds=0.3)
    reply = await proxy.chat("auto/r")
    assert reply.status_code == 200
    assert (reply.headers["x-hullspeed-model"], reply.headers["x-hullspeed-reason"]) == ("a", "default:limit")
    call = (await proxy.call()).call
    assert sorted((attempt.model, attempt.outcome) for attempt in call.attempts) == [("a", "ok"), ("b", "abandoned")]
    seen = next(seen for seen in openai_server.chats if seen.body["model"] == "b-target")
    assert seen.wait(10)  # The connection to the late one was closed.


async def test_a_client_that_leaves_cancels_all_rungs(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    for model in ("a", "b"):
        openai_server.on(f"{model}-target", Fault("stall"))
    proxy = await start(start_proxy, openai_server, Majority("a", "b"))
    asked = asyncio.ensure_future(proxy.chat("auto/r"))
    seen = await openai_server.arrived(2)
    asked.cancel()
    for request in seen:
        assert await asyncio.to_thread(request.wait, 10)
    call = (await proxy.call()).call
    assert call.outcome == "client_cancelled"
    assert [attempt.outcome for attempt in call.attempts] == ["client_cancelled"] * 2
