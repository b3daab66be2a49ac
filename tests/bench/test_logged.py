"""Off-policy estimates out of a real proxy's ledger: what they find, what they leave out, and what they say of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import astuple

from app.bench.logged import Estimates, estimate_routers
from app.core.errors import ConfigError, HullspeedError
from app.store.database import Database
from app.store.queries.calls import CallFilter
from routers import Candidate, Choice, Decision, Query, Reply, Router, registry
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, HttpError
from tests.serving import Running, StartProxy, models

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
COST = {"a": 20e-6, "b": 200e-6, "c": 2000e-6}
"""What `tests.serving.models` charges for one such reply, USD."""
ALL = CallFilter()


class ByPrompt(Router):
    """`c` for what is hard, else `a`: perfect, and of no use without the prompt."""

    name = "by-prompt"

    def route(self, query: Query) -> Decision:
        first = "c" if "hard" in query.text else "a"
        return Decision((Choice(first, probability=1.0),), "prompt")


class Comparing(Router):
    """Asks one model and then prefers another's reply."""

    name = "comparing"

    def route(self, query: Query) -> Decision:
        return Decision((Choice("a", probability=1.0), Choice("b")), "asks", review=self.review)

    def review(self, replies: Any) -> Decision:
        asked: list[Reply] = list(replies)
        if len(asked) == 1:
            return Decision((Choice("b"),), "asks")
        return Decision((), "second", reply="b")


def quality(model: str, text: str) -> float:
    """`a` is right on what is easy, `b` half right on all, `c` right on all."""
    return {"a": float("easy" in text), "b": 0.5, "c": 1.0}[model]


async def serve(start_proxy: StartProxy, fake: FakeOpenAI, *, store_text: bool = True, **more: Any) -> Running:
    fake.default = Answer("yes", usage=USAGE)
    ledger = {"ledger": {"store_text": store_text}}
    routing = {"routing": {"default": "uniform"}}
    return await start_proxy({"model_list": models(fake.url, "a", "b", "c"), **routing, **ledger}, **more)


async def ask(proxy: Running, n: int, model: str = "auto", *, scored: bool = True) -> None:
    """`n` calls, half of them hard, each scored by what the model that answered is worth."""

    async def one(place: int) -> None:
        text = f"{'easy' if place % 2 else 'hard'} {place}"
        reply = await proxy.chat(model, text, routing={"seed": place, "tradeoff": 0.25})
        if scored:
            call, answered = reply.headers["x-hullspeed-call-id"], reply.headers["x-hullspeed-model"]
            judged = {"value": quality(answered, text)}
            assert (await proxy.http.post(f"/v1/calls/{call}/scores", json=judged)).status_code == 201

    for start in range(0, n, 20):
        await asyncio.gather(*(one(place) for place in range(start, min(start + 20, n))))
    assert await proxy.proxy.ledger.flush(10)


def routers(*names: str) -> dict[str, Router]:
    fixed = {name: registry.build("fixed", {"model": name.removeprefix("fixed:")}) for name in names if ":" in name}
    return {name: fixed.get(name) or registry.build(name, {}) for name in names}


async def test_uniform_traffic_tells_what_others_would_have_got(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    proxy = await serve(start_proxy, openai_server)
    await ask(proxy, 240)
    wanted = routers("fixed:a", "fixed:b", "fixed:c", "uniform", "cheapest") | {"by-prompt": ByPrompt()}
    found = await estimate_routers(database, wanted, ALL, draws=400)
    assert (found.calls, found.n, found.left_out, found.logged_by) == (240, 240, {}, {"uniform": 240})
    by_name = {router.router: router for router in found.routers}
    truth = {"fixed:a": 0.5, "fixed:b": 0.5, "fixed:c": 1.0, "uniform": 2 / 3, "cheapest": 0.5, "by-prompt": 1.0}
    for name, value in truth.items():
        router = by_name[name]
        assert router.quality is not None, name
        assert router.uncovered == 0
        assert router.warnings == ()
        for figure in (router.quality.snips, router.quality.ips, router.quality.dr):
            assert figure is not None
            assert figure.low - 0.05 <= value <= figure.high + 0.05, (name, figure)
    assert by_name["fixed:b"].quality is not None
    assert by_name["fixed:b"].quality.snips.value == pytest.approx(0.5, abs=1e-12), "every call of it was worth that"
    assert by_name["fixed:b"].cost_per_1k is not None
    assert by_name["fixed:b"].cost_per_1k.value == pytest.approx(1000 * COST["b"])
    assert by_name["by-prompt"].cost_per_1k is not None
    assert by_name["by-prompt"].cost_per_1k.value == pytest.approx(1000 * (COST["a"] + COST["c"]) / 2, rel=0.3)
    own = by_name["uniform"].quality
    assert own is not None
    assert own.ess == pytest.approx(240), "its own log, every call of weight 1"
    for figure in (own.ips, own.snips):
        assert astuple(figure) == pytest.approx(astuple(found.logged_quality))
    assert by_name["uniform"].cost_per_1k is not None
    assert found.logged_cost_per_1k is not None
    assert astuple(by_name["uniform"].cost_per_1k) == pytest.approx(astuple(found.logged_cost_per_1k))


async def test_what_cannot_speak_is_left_out_and_said(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    proxy = await serve(start_proxy, openai_server, routers={"comparing": Comparing()})
    await ask(proxy, 150)
    await ask(proxy, 3, "c")
    await ask(proxy, 4, "auto/comparing")
    await ask(proxy, 5, scored=False)
    for _ in range(3):
        openai_server.next(HttpError(400))
    await proxy.chat("auto", "easy", routing={"seed": 1})
    assert await proxy.proxy.ledger.flush(10)
    found = await estimate_routers(database, routers("fixed:c"), ALL, draws=100)
    assert (found.n, found.left_out) == (150, {"explicit": 3, "compared": 4, "failed": 1, "unscored": 5})
    assert "3 calls named their model themselves: nothing was drawn" in " ".join(found.notes)
    only = await estimate_routers(database, routers("fixed:c"), CallFilter(router="uniform"), draws=100)
    assert (only.calls, only.n) == (156, 150)
    assert only.routers == found.routers
    with pytest.raises(ConfigError, match="`comparing` compares the replies of several models"):
        await estimate_routers(database, {"comparing": Comparing()}, ALL)


async def test_a_log_without_chance_speaks_for_nobody_else(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    proxy = await serve(start_proxy, openai_server)
    await ask(proxy, 60, "auto/cheapest")
    found = await estimate_routers(database, routers("cheapest", "fixed:c", "uniform"), ALL, draws=100)
    same, other, mixed = found.routers
    assert same.quality is not None
    assert astuple(same.quality.snips) == pytest.approx(astuple(found.logged_quality))
    assert same.uncovered == 0
    assert other.quality is None
    assert other.uncovered == 1
    assert "tell as much as 0.0 calls" in other.warnings[0]
    assert "Every choice in the log was certain" in other.warnings[1]
    assert mixed.uncovered == pytest.approx(2 / 3)
    assert mixed.quality is not None
    assert mixed.quality.mean_weight == pytest.approx(1 / 3)
    assert "66.7% of its choices are models that had no chance on that call" in mixed.warnings[0]
    await ask(proxy, 2, "c")
    with pytest.raises(ConfigError, match="None of 2 calls can be used: 2 named their model themselves"):
        await estimate_routers(database, routers("uniform"), CallFilter(router="none"))


async def test_a_router_that_looks_at_prompts_needs_them(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    silent = await serve(start_proxy, openai_server, store_text=False)
    await ask(silent, 120)
    wanted = routers("fixed:c") | {"by-prompt": ByPrompt()}
    found = await estimate_routers(database, wanted, ALL, draws=100)
    blind, reading = found.routers
    assert blind.quality is not None, "it never looks"
    assert reading.quality is None
    assert reading.warnings == (
        "by-prompt looks at prompts, and no call has its text: serve with `ledger: {store_text: true}`; the calls from "
        "then on can be used.",
    )
    await ask(await serve(start_proxy, openai_server), 120)
    both: Estimates = await estimate_routers(database, wanted, ALL, draws=100)
    assert [router.n for router in both.routers] == [240, 120]
    assert "120 calls without their text are left out for it" in both.routers[1].warnings[0]


async def test_the_tradeoff_and_the_candidates_are_those_of_the_call(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    seen: list[Query] = []

    class Watching(Router):
        name = "watching"

        def route(self, query: Query) -> Decision:
            seen.append(query)
            return Decision((), "declines")

    proxy = await serve(start_proxy, openai_server)
    await ask(proxy, 40)
    await estimate_routers(database, {"watching": Watching()}, ALL, draws=10)
    assert {query.tradeoff for query in seen} == {0.25}
    assert sorted(query.seed for query in seen) == list(range(40))
    prices = [(one.model, one.input_price) for one in seen[0].candidates]
    assert prices == [("a", 1e-6), ("b", pytest.approx(1e-5)), ("c", pytest.approx(1e-4))]
    seen.clear()
    given = {name: Candidate(name, mean_cost=1.0) for name in ("c", "a")}
    await estimate_routers(database, {"watching": Watching()}, ALL, tradeoff=0.9, candidates=given, draws=10)
    assert {query.tradeoff for query in seen} == {0.9}
    assert [one.model for one in seen[0].candidates] == ["c", "a", "b"], "the catalog's order; what it lacks behind"


async def test_no_calls_at_all(database: Database) -> None:
    with pytest.raises(HullspeedError, match="No call fits"):
        await estimate_routers(database, routers("uniform"), ALL)


async def test_a_router_that_fails_or_tells_no_probabilities_is_named(
    start_proxy: StartProxy, database: Database, openai_server: FakeOpenAI
) -> None:
    class Failing(Router):
        name = "failing"

        def route(self, query: Query) -> Decision:
            raise RuntimeError("broken")

    class Silent(Router):
        name = "silent"

        def route(self, query: Query) -> Decision:
            return Decision((Choice("a"),), "no probability")

    proxy = await serve(start_proxy, openai_server, routers={"silent": Silent()})
    await ask(proxy, 2, "auto/silent")
    with pytest.raises(ConfigError, match=r"`failing` failed on a logged call \(RuntimeError: broken\)"):
        await estimate_routers(database, {"failing": Failing()}, ALL)
    with pytest.raises(ConfigError, match="`silent` gives its choices no probabilities"):
        await estimate_routers(database, {"silent": Silent()}, ALL)
    with pytest.raises(ConfigError, match="router `silent` logged no probability for what it chose on 2 calls"):
        await estimate_routers(database, routers("uniform"), ALL)
