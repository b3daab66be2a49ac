"""`POST /v1/decisions`: the decision of a call without the call."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from routers import Choice, Decision, Query, Reply, Router
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import StartProxy, models

MESSAGES = [{"role": "user", "content": "hello"}]


class Explaining(Router):
    """Asks two models, and says more where somebody asks why."""

    name = "explaining"

    def route(self, query: Query) -> Decision:
        ranking = (Choice("large", 0.9, 0.01, 1.0), Choice("small", 0.4, 0.001))
        return Decision(
            ranking, "two", ask=2, review=self._judge, detail={"neighbours": ["x", "y"]} if query.explain else {}
        )

    def _judge(self, replies: Sequence[Reply]) -> Decision:
        return Decision((), "first", reply=replies[0].model)


async def test_a_decision_without_a_call(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy(
        {"model_list": models(openai_server.url, "small", "large")}, routers={"two": Explaining()}
    )
    reply = await proxy.http.post(
        "/v1/decisions", json={"model": "auto/two", "messages": MESSAGES, "routing": {"tradeoff": 0.3}}
    )
    assert reply.status_code == 200, reply.text
    decision = reply.json()
    assert (decision["router"], decision["reason"], decision["tradeoff"]) == ("two", "two", 0.3)
    assert (decision["asked"], decision["reviewed"]) == (["large", "small"], True)
    assert [candidate["model"] for candidate in decision["candidates"]] == ["large", "small"]
    assert decision["candidates"][0]["quality"] == 0.9
    assert decision["detail"] == {"neighbours": ["x", "y"]}
    assert openai_server.chats == []
    assert await proxy.calls() == []


async def test_a_call_does_not_pay_for_explaining(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy(
        {"model_list": models(openai_server.url, "small", "large")}, routers={"two": Explaining()}
    )
    await proxy.chat("auto/two")
    decision = (await proxy.call()).call.decision
    assert decision is not None
    assert decision.detail == {}


async def test_the_same_body_is_the_same_decision(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "a", "b", "c", "d")})
    body = {"model": "auto/uniform", "messages": MESSAGES}
    first, second = [(await proxy.http.post("/v1/decisions", json=body)).json() for _ in range(2)]
    assert first["candidates"] == second["candidates"]
    assert first["seed"] == second["seed"]


async def test_who_cannot_serve_it_is_said(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    entries = models(openai_server.url, "small", "large")
    entries[0]["model_info"] = {"supports_function_calling": False}
    proxy = await start_proxy({"model_list": entries})
    body = {"model": "auto", "messages": MESSAGES, "tools": [{"type": "function", "function": {"name": "f"}}]}
    decision = (await proxy.http.post("/v1/decisions", json=body)).json()
    assert decision["excluded"] == {"small": "lacks tools"}
    named = (await proxy.http.post("/v1/decisions", json={"model": "small", "messages": MESSAGES})).json()
    assert (named["router"], named["reason"], named["asked"]) == ("none", "explicit", ["small"])


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b'{"model": "auto"}', 400, "messages"),
        (b'{"model": "auto/nope", "messages": [{"role": "user"}]}', 404, "model"),
        (
            b'{"model": "auto", "messages": [{"role": "user"}], "routing": {"tradeoff": 0.1, "target_cost": 0.3}}',
            400,
            "routing.target_cost",
        ),
        (
            b'{"model": "auto", "messages": [{"role": "user"}], "routing": {"target_quality": 0.9}}',
            400,
            "routing.target_quality",
        ),
    ],
)
async def test_errors(
    start_proxy: StartProxy, openai_server: FakeOpenAI, body: bytes, status: int, param: str | None
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    reply = await proxy.http.post("/v1/decisions", content=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)
