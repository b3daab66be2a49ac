"""A router that raises, is late, declines or answers nonsense never fails a call."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from routers import Choice, Decision, Query, Router
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import StartProxy, models


class Scripted(Router):
    """Does what a test tells it to."""

    name = "scripted"

    def __init__(self, act: Callable[[Query], Any]) -> None:
        self.act = act

    def route(self, query: Query) -> Decision:
        result: Decision = self.act(query)
        return result


class FastScripted(Scripted):
    fast = True


def _raise(query: Query) -> Decision:
    raise KeyError("no such cluster")


def _cancel(query: Query) -> Decision:
    raise asyncio.CancelledError


def _late(query: Query) -> Decision:
    time.sleep(0.3)
    return Decision((Choice("large"),), "too late")


ODD: dict[str, tuple[Callable[[Query], Any], str, str]] = {
    "raises": (_raise, "default:error", "KeyError"),
    "exits": (lambda query: sys.exit("enough"), "default:error", "SystemExit"),
    "cancels": (_cancel, "default:error", "CancelledError"),
    "declines": (lambda query: Decision((), "out of distribution"), "default:declined", "out of distribution"),
    "unknown model": (lambda query: Decision((Choice("nope"),), "x"), "default:error", "not a candidate"),
    "twice": (lambda query: Decision((Choice("large"), Choice("large")), "x"), "default:error", "twice"),
    "no decision": (lambda query: "large", "default:error", "not a Decision"),
    "late": (_late, "default:late", "no decision within 0.05 s"),
}


# What runs on the event loop cannot be interrupted, hence no late router among the fast ones.
@pytest.mark.parametrize(("kind", "fast"), [(k, f) for k in ODD for f in (False, True) if (k, f) != ("late", True)])
async def test_replaced_by_the_configured_order(
    start_proxy: StartProxy, openai_server: FakeOpenAI, kind: str, fast: bool
) -> None:
    act, reason, detail = ODD[kind]
    router = (FastScripted if fast else Scripted)(act)
    config = {
        "model_list": models(openai_server.url, "small", "large", "spare"),
        "routing": {"fallback": ["spare"], "deadline": 0.05},
    }
    proxy = await start_proxy(config, routers={"odd": router})
    reply = await proxy.chat("auto/odd")
    assert reply.status_code == 200
    assert reply.headers["x-hullspeed-model"] == "spare"
    assert reply.headers["x-hullspeed-reason"] == reason
    decision = (await proxy.call()).call.decision
    assert decision is not None
    assert decision.router == "odd"
    assert detail in (decision.problem or "")
    assert [ranked.model for ranked in decision.ranking] == ["spare", "small", "large"]
    assert decision.ranking[0].probability == 1.0


async def test_what_a_router_leaves_out_is_tried_last(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    router = Scripted(lambda query: Decision((Choice("large", 0.9, 0.01, 1.0),), "just the one"))
    config = {"model_list": models(openai_server.url, "small", "large", "spare")}
    proxy = await start_proxy(config, routers={"one": router})
    await proxy.chat("auto/one")
    decision = (await proxy.call()).call.decision
    assert decision is not None
    assert [ranked.model for ranked in decision.ranking] == ["large", "small", "spare"]
    assert (decision.ranking[0].quality, decision.ranking[0].cost) == (0.9, 0.01)
    assert decision.reason == "just the one"


async def test_stuck_routers_do_not_queue_others_behind_them(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    release = threading.Event()

    def stuck(query: Query) -> Decision:
        release.wait(10)
        return Decision((), "")

    config = {"model_list": models(openai_server.url, "small"), "routing": {"deadline": 0.02}}
    proxy = await start_proxy(config, routers={"stuck": Scripted(stuck)})
    try:
        reasons = [(await proxy.chat("auto/stuck")).headers["x-hullspeed-reason"] for _ in range(8)]
    finally:
        release.set()
    assert reasons == ["default:late"] * 8


async def test_what_a_router_sees(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    seen: list[Query] = []

    def look(query: Query) -> Decision:
        seen.append(query)
        return Decision((Choice("large"),), "looked")

    entries = models(openai_server.url, "small", "large", "blind")
    entries[2]["model_info"] = {"supports_vision": False}
    proxy = await start_proxy({"model_list": entries}, routers={"look": Scripted(look)})
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    reply = await proxy.http.post(
        "/v1/chat/completions",
        json={
            "model": "auto/look",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, image]}],
            "routing": {"tradeoff": 0.25, "seed": 7, "max_cost_usd": 0.5},
        },
        headers={"x-hullspeed-session": "s"},
    )
    assert reply.status_code == 200
    (query,) = seen
    assert query.text == "what is this?"
    assert [candidate.model for candidate in query.candidates] == ["small", "large"]
    assert query.candidates[0].input_price == pytest.approx(1e-6)
    assert (query.tradeoff, query.seed, query.max_cost, query.session) == (0.25, 7, 0.5, "s")


async def test_routing_models_narrows_the_pool(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    config = {"model_list": models(openai_server.url, "a", "b", "c"), "routing": {"models": ["b", "c"]}}
    proxy = await start_proxy(config)
    assert (await proxy.chat("auto/cheapest")).headers["x-hullspeed-model"] == "b"
    narrowed = await proxy.chat("auto/cheapest", routing={"models": ["c"]})
    assert narrowed.headers["x-hullspeed-model"] == "c"
    assert (await proxy.chat("a")).headers["x-hullspeed-model"] == "a"


async def test_a_talkative_router_does_not_flood_the_metrics(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    router = FastScripted(lambda query: Decision((Choice("small"),), f"because {query.text}"))
    proxy = await start_proxy({"model_list": models(openai_server.url, "small")}, routers={"chatty": router})
    for place in range(30):
        assert (await proxy.chat("auto/chatty", f"prompt {place}")).status_code == 200
    lines = [line for line in (await proxy.http.get("/metrics")).text.splitlines() if "decisions_total{" in line]
    assert len(lines) == 21
    assert any('reason="other"' in line and line.endswith(" 10.0") for line in lines)
