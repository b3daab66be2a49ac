"""`/v1/completions` end to end: OpenAI's legacy endpoint, of models that have it and of chats."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import openai
import pytest

from app.core.types import Usage
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Fault, FaultKind, Gate, HttpError, rate_limited
from tests.serving import StartProxy, models


@dataclass(frozen=True)
class Side:
    """A provider behind the proxy, called `far`, and whether it is asked in the client's dialect."""

    fake: FakeOpenAI
    native: bool

    @property
    def config(self) -> dict[str, Any]:
        (entry,) = models(self.fake.url, "far")
        entry["model_info"] = {"mode": "completion" if self.native else "chat"}
        return {"model_list": [entry]}


@pytest.fixture(params=["native", "translated"])
def side(request: pytest.FixtureRequest, openai_server: FakeOpenAI) -> Side:
    return Side(openai_server, request.param == "native")


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "far", "prompt": "Once upon", **fields}


async def test_a_call_from_request_to_ledger(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy(side.config)
    side.fake.default = Answer(" a time", prompt_tokens=11, completion_tokens=7, cached_tokens=3)
    raw = await proxy.sdk.completions.with_raw_response.create(**ask(max_tokens=9, stop=["END"]))
    completion = raw.parse()
    assert (completion.object, completion.model) == ("text_completion", "far")
    assert [(choice.text, choice.finish_reason) for choice in completion.choices] == [(" a time", "stop")]
    assert completion.usage is not None
    assert completion.usage.cost == pytest.approx(0.000025)
    sent = side.fake.last.body
    if side.native:
        assert sent == {"model": "far-target", "prompt": "Once upon", "max_tokens": 9, "stop": ["END"]}
    else:
        assert sent == {
            "model": "far-target",
            "messages": [{"role": "user", "content": "Once upon"}],
            "max_completion_tokens": 9,
            "stop": ["END"],
        }
    call = (await proxy.call()).call
    assert (call.endpoint, call.outcome, call.cost_usd) == ("/v1/completions", "ok", Decimal("0.000025"))
    assert call.usage == Usage(prompt_tokens=11, completion_tokens=7, cached_tokens=3)
    assert raw.headers["x-hullspeed-call-id"] == call.id


@pytest.mark.parametrize("asked", [False, True])
async def test_streams(start_proxy: StartProxy, side: Side, asked: bool) -> None:
    proxy = await start_proxy(side.config)
    side.fake.default = Answer("one two three", prompt_tokens=10, completion_tokens=20)
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
    stream = await proxy.sdk.completions.create(**ask(stream=True), **options)
    chunks = [chunk async for chunk in stream]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "one two three"
    assert all((chunk.object, chunk.model) == ("text_completion", "far") for chunk in chunks)
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [asked]
    call = (await proxy.call()).call
    assert (call.outcome, call.usage, call.stream) == ("ok", Usage(10, 20), True)


async def test_what_only_the_old_endpoint_can_do(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    old, chat = models(openai_server.url, "old", "chat")
    old["model_info"] = {"mode": "completion"}
    proxy = await start_proxy({"model_list": [chat, old], "routing": {"fallback": ["chat", "old"]}})
    for fields in ({"prompt": ["a", "b"]}, {"prompt": [1, 2]}, {"prompt": [[1], [2]]}, {"echo": True}, {"suffix": "x"}):
        reply = await proxy.sdk.completions.create(**ask(model="auto") | fields)
        assert reply.model == "old"
        with pytest.raises(openai.BadRequestError, match="`chat` cannot be asked with"):
            await proxy.sdk.completions.create(**ask(model="chat") | fields)
    # And the other way round.
    with pytest.raises(openai.BadRequestError, match="does not serve /v1/chat/completions"):
        await proxy.sdk.chat.completions.create(model="old", messages=[{"role": "user", "content": "x"}])
    assert (await proxy.chat("auto")).json()["model"] == "chat"


async def test_faults(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy({**side.config, "routing": {"idle_timeout": 0.3}})
    refused: tuple[tuple[Any, int], ...] = ((HttpError(400, "bad"), 400), (rate_limited(), 429), (HttpError(500), 502))
    for reply, status in refused:
        side.fake.default = reply
        for stream in (False, True):
            with pytest.raises(openai.APIStatusError) as caught:
                await proxy.sdk.completions.create(**ask(), stream=stream)
            assert caught.value.status_code == status
    kinds: tuple[FaultKind, ...] = ("cut_mid_event", "broken_json", "no_finish", "error_event", "stall_mid_stream")
    for kind in kinds:
        side.fake.default = Fault(kind, 2, Answer("one two three four five six"))
        stream = await proxy.sdk.completions.create(**ask(stream=True))
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass
        assert (await proxy.calls())[0].call.outcome == "truncated"
    calls = await proxy.calls()
    assert len(calls) == 2 * len(refused) + len(kinds)
    assert all(len(logged.call.attempts) == 1 for logged in calls)


async def test_a_client_that_goes_away(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy(side.config)
    gate = Gate()
    side.fake.default = Answer("one two three four", gate=gate, gate_after=1)
    asked = asyncio.create_task(proxy.http.post("/v1/completions", json=ask(stream=True)))
    assert await asyncio.to_thread(gate.wait_reached)
    asked.cancel()
    assert await side.fake.last.over()
    assert side.fake.last.disconnected
    assert (await proxy.call()).call.outcome == "client_cancelled"


async def test_refused_requests(start_proxy: StartProxy, side: Side) -> None:
    proxy = await start_proxy(side.config)
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"prompt": None}, "prompt"), ({"prompt": []}, "prompt"), ({"api_key": "x"}, "api_key"),
    )  # fmt: skip
    for change, param in refused:
        reply = await proxy.http.post("/v1/completions", json=ask() | change)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert [logged.call.outcome for logged in await proxy.calls()] == ["rejected"] * 3
