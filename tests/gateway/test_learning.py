"""The bandit, live: scores posted to calls change what it does, in every worker, once each."""

from __future__ import annotations

import numpy as np

from app.gateway.learning import Learning
from routers.bandit import BanditRouter
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import Running, StartProxy, models
from tests.store.samples import score

CONFIG = {"default": "learner", "routers": {"learner": {"router": "bandit", "params": {"method": "thompson"}}}}


async def teach(proxy: Running, calls: int) -> None:
    """Post a score to each of so many calls: the large model is right, the small one is not."""
    for number in range(calls):
        reply = await proxy.chat("auto/learner", f"question {number}", routing={"tradeoff": 0, "seed": number})
        right = float(reply.headers["x-hullspeed-model"] == "large")
        url = f"/v1/calls/{reply.headers['x-hullspeed-call-id']}/scores"
        assert (await proxy.http.post(url, json={"value": right})).status_code == 201
    assert await proxy.proxy.ledger.flush(10)


async def picks(proxy: Running) -> list[str]:
    return [
        (await proxy.chat("auto/learner", "a new one", routing={"tradeoff": 0, "seed": seed})).headers[
            "x-hullspeed-model"
        ]
        for seed in range(1000, 1030)
    ]


async def test_scores_change_what_it_does(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large"), "routing": CONFIG})
    before = (await picks(proxy)).count("large")
    await teach(proxy, 40)
    await proxy.proxy.learning.catch_up()
    assert proxy.proxy.learning.learned == 40
    after = (await picks(proxy)).count("large")
    assert after > before
    assert after >= 25


async def test_every_worker_and_every_start_ends_with_the_same_sums(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large"), "routing": CONFIG})
    await teach(proxy, 12)
    early = BanditRouter(method="thompson")
    worker = Learning(proxy.proxy.database, lambda: {"learner": early})
    assert await worker.catch_up() == 12
    await teach(proxy, 12)
    assert await worker.catch_up() == 12  # not the first ones again
    assert await worker.catch_up() == 0
    late = BanditRouter(method="thompson")
    assert await Learning(proxy.proxy.database, lambda: {"learner": late}).catch_up() == 24
    assert early.state().keys() == late.state().keys()
    for model, sums in early.state().items():
        np.testing.assert_allclose(sums, late.state()[model])


async def test_what_another_router_decided_teaches_nothing(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large"), "routing": CONFIG})
    reply = await proxy.chat("auto/cheapest")
    await proxy.http.post(f"/v1/calls/{reply.headers['x-hullspeed-call-id']}/scores", json={"value": 1})
    assert await proxy.proxy.ledger.flush(10)
    assert await proxy.proxy.learning.catch_up() == 0


async def test_the_newest_score_of_a_call_counts(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large"), "routing": CONFIG})
    reply = await proxy.chat("auto/learner")
    for value in (0.0, 1.0):
        url = f"/v1/calls/{reply.headers['x-hullspeed-call-id']}/scores"
        assert (await proxy.http.post(url, json={"value": value})).status_code == 201
    assert await proxy.proxy.ledger.flush(10)
    once = BanditRouter(method="thompson")
    await Learning(proxy.proxy.database, lambda: {"learner": once}).catch_up()
    (sums,) = once.state().values()
    assert sums[0, 0] == 1  # one call
    assert sums[0, -1] == 1  # with the later score


async def test_a_score_that_comes_late_is_learned_and_yields_to_a_newer_one(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large"), "routing": CONFIG})
    first, second = [(await proxy.chat("auto/learner")).headers["x-hullspeed-call-id"] for _ in range(2)]
    assert (await proxy.http.post(f"/v1/calls/{first}/scores", json={"value": 1.0})).status_code == 201
    assert await proxy.proxy.ledger.flush(10)
    router = BanditRouter(method="thompson")
    learning = Learning(proxy.proxy.database, lambda: {"learner": router})
    assert await learning.catch_up() == 1
    # Given long ago, held back by a journal until now.
    for call in (first, second):
        proxy.proxy.ledger.record_score(score(call, name="quality", value=0.0))
    assert await proxy.proxy.ledger.flush(10)
    assert await learning.catch_up() == 1
    anew = BanditRouter(method="thompson")
    assert await Learning(proxy.proxy.database, lambda: {"learner": anew}).catch_up() == 2
    for model, sums in router.state().items():
        np.testing.assert_allclose(sums, anew.state()[model])


async def test_a_router_that_is_made_when_it_is_first_asked_learns_from_then_on(
    start_proxy: StartProxy, openai_server: FakeOpenAI
) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "small", "large")})
    entry = proxy.proxy.decider.entries["bandit"]
    assert entry.made is None
    assert not proxy.proxy.learning.has_learners
    calls = [(await proxy.chat("auto/bandit")).headers["x-hullspeed-call-id"] for _ in range(2)]
    assert isinstance(entry.made, BanditRouter)
    for call in calls:
        assert (await proxy.http.post(f"/v1/calls/{call}/scores", json={"value": 1})).status_code == 201
    assert await proxy.proxy.ledger.flush(10)
    await proxy.proxy.learning.catch_up()
    assert proxy.proxy.learning.learned == 2
