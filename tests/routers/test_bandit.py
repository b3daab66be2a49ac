"""bandit and explore: learning from scores, and propensities that are true."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers import Candidate, Decision, LearningRouter, Query, artifacts
from routers.bandit import DRAWS, BanditRouter
from routers.cascade import CascadeRouter
from routers.explore import ExploreRouter
from routers.registry import build
from tests.routers.collection import fitted, table
from tests.routers.toy import COSTS, MODELS, SKILL, WORDS, ask, prompt

ARMS = tuple(Candidate(model, mean_cost=cost) for model, cost in zip(MODELS, COSTS, strict=True))


def logged(decision: Decision) -> dict[str, object]:
    """The detail as it comes back from the ledger."""
    return json.loads(json.dumps(dict(decision.detail)))


def live(router: BanditRouter, calls: int, seed: int = 0, tradeoff: float = 0.4) -> list[tuple[str, str, float]]:
    """Serve the toy world for a while, a score after each call."""
    rng = np.random.default_rng(seed)
    served = []
    for call in range(calls):
        topic = sorted(SKILL)[rng.integers(3)]
        decision = router.route(ask(prompt(topic, rng), ARMS, tradeoff=tradeoff, seed=call))
        model = decision.ranking[0].model
        reward = float(rng.random() < SKILL[topic][MODELS.index(model)])
        router.update(logged(decision), model, reward)
        served.append((topic, model, reward))
    return served


@pytest.mark.parametrize("method", ["thompson", "linucb"])
def test_it_learns_which_model_is_worth_its_price(method: str) -> None:
    """From nothing but lengths and counts it cannot tell topics apart, but it can find the better model."""
    router = build("bandit", {"method": method})
    assert isinstance(router, BanditRouter)
    served = live(router, 400, tradeoff=0.1)
    late = Counter(model for _, model, _ in served[200:])
    assert late["large"] > 140


@pytest.mark.parametrize("method", ["thompson", "linucb"])
def test_after_training_it_goes_on_learning(method: str) -> None:
    """A model that has turned bad since training is found out."""
    router = BanditRouter.fit(table(), method=method, exploration=0.1, trust=0.1)
    text = " ".join(WORDS["code"])
    assert router.route(ask(text, ARMS, tradeoff=0.7)).ranking[0].model == "coder"
    for _ in range(60):
        router.update(logged(router.route(ask(text, ARMS))), "coder", 0.0)
    assert router.route(ask(text, ARMS, tradeoff=0.7)).ranking[0].model != "coder"
    assert router.route(ask(" ".join(WORDS["poem"]), ARMS, tradeoff=0.7)).ranking[0].model == "poet"


def lessons(router: BanditRouter, count: int) -> list[tuple[dict[str, object], str, float]]:
    rng = np.random.default_rng(3)
    return [
        (logged(router.route(ask(prompt("code", rng), ARMS))), str(rng.choice([*MODELS, "new"])), float(rng.random()))
        for _ in range(count)
    ]


def same(left: BanditRouter, right: BanditRouter) -> None:
    mine, theirs = left.state(), right.state()
    assert mine.keys() == theirs.keys()
    for model, sums in mine.items():
        np.testing.assert_allclose(sums, theirs[model], atol=1e-9)
    query = ask("loop python", (*ARMS, Candidate("new")), tradeoff=0.2)
    first, second = left.route(query), right.route(query)
    assert [choice.model for choice in first.ranking] == [choice.model for choice in second.ranking]
    for ours, others in zip(first.ranking, second.ranking, strict=True):
        assert ours.quality == pytest.approx(others.quality, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_workers_that_share_the_work_know_together_what_one_would(seed: int, workers: int) -> None:
    origin = fitted(BanditRouter)
    taught = lessons(origin, 30)
    alone = BanditRouter.fit(table(), exploration=0.05)
    team = [BanditRouter.fit(table(), exploration=0.05) for _ in range(workers)]
    for lesson in taught:
        alone.update(*lesson)
    shuffled = random.Random(seed).sample(taught, len(taught))
    for place, lesson in enumerate(shuffled):
        team[place % workers].update(*lesson)
    for other in team[1:]:
        team[0].merge(other.state())
    same(alone, team[0])


def test_a_score_can_be_taken_back_and_all_of_them_forgotten() -> None:
    router, untouched = build("bandit"), build("bandit")
    assert isinstance(router, BanditRouter)
    assert isinstance(untouched, BanditRouter)
    taught = lessons(router, 12)
    for lesson in taught:
        router.update(*lesson)
        untouched.update(*lesson)
    router.update(taught[0][0], "large", 1.0)
    router.update(taught[0][0], "large", 1.0, weight=-1)
    same(router, untouched)
    router.restore({})
    assert router.state() == {}
    assert router.route(ask("x", ARMS)).ranking == build("bandit").route(ask("x", ARMS)).ranking


@pytest.mark.parametrize("trained", [False, True])
def test_what_was_learned_is_saved_and_restored(trained: bool, tmp_path: Path) -> None:
    router = BanditRouter.fit(table(), method="linucb") if trained else BanditRouter("linucb", 0.2, 2.0)
    for lesson in lessons(router, 25):
        router.update(*lesson)
    router.save(tmp_path / "a")
    back = artifacts.load(tmp_path / "a")
    assert isinstance(back, BanditRouter)
    assert back.settings == router.settings
    same(router, back)
    same_state = BanditRouter.fit(table(), method="linucb") if trained else BanditRouter("linucb", 0.2, 2.0)
    same_state.restore(router.state())
    same(router, same_state)


def test_a_state_is_a_copy() -> None:
    router = BanditRouter()
    router.update(logged(router.route(ask("x", ARMS))), "small", 1.0)
    router.state()["small"][:] = 0
    assert router.state()["small"].any()


def test_what_it_cannot_learn_from_is_refused() -> None:
    router, other = fitted(BanditRouter), BanditRouter()
    detail = logged(other.route(ask("x", ARMS)))
    with pytest.raises(ValueError, match=r"basis.*another router, or by one fitted otherwise"):
        router.update(detail, "small", 1.0)
    with pytest.raises(ValueError, match="basis"):
        router.update({}, "small", 1.0)
    for context in (None, [1.0], ["a"] * 8, [math.nan] * 8, 3):
        with pytest.raises(ValueError, match="no context of 8 numbers"):
            other.update({**detail, "context": context}, "small", 1.0)
    for reward in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="reward"):
            other.update(detail, "small", reward)
    for sums in (np.zeros((2, 2)), np.full((9, 9), np.nan)):
        with pytest.raises(ValueError, match="state of 'small'"):
            other.restore({"small": sums})
    assert other.state() == {}


def test_thompsons_propensities_are_those_of_the_draws() -> None:
    router = BanditRouter.fit(table(), exploration=0.4, trust=0.02)
    text = " ".join(WORDS["code"])
    chances = {c.model: c.probability for c in router.route(ask(text, ARMS, tradeoff=0.1)).ranking}
    assert sum(chances.values()) == pytest.approx(1)
    assert sum(0.02 < chance < 0.98 for chance in chances.values()) >= 2
    assert all((chance * DRAWS) == pytest.approx(round(chance * DRAWS)) for chance in chances.values())
    drawn = Counter(router.route(ask(text, ARMS, tradeoff=0.1, seed=seed)).ranking[0].model for seed in range(3000))
    for model, chance in chances.items():
        assert drawn[model] / 3000 == pytest.approx(chance, abs=0.04)


def test_thompsons_propensities_are_near_the_posteriors_own() -> None:
    """Two models alike but for what is known of them: by symmetry each is the better one with probability 1/2."""
    pool = (Candidate("a", mean_cost=0.001), Candidate("b", mean_cost=0.001))
    chances = {c.model: c.probability for c in BanditRouter().route(ask("x", pool)).ranking}
    assert chances["a"] == pytest.approx(0.5, abs=0.05)


def test_at_a_tradeoff_of_one_nothing_is_drawn() -> None:
    decision = BanditRouter().route(ask("x", ARMS, tradeoff=1.0))
    assert (decision.ranking[0].model, decision.ranking[0].probability) == ("small", 1.0)


def test_explorations_propensities_are_exact() -> None:
    router = ExploreRouter.over(build("uniform", {"weights": {"small": 3.0, "large": 1.0}}), 0.2)
    chances = {c.model: c.probability for c in router.route(ask("x", ARMS)).ranking}
    assert chances == pytest.approx({"small": 0.65, "large": 0.25, "coder": 0.05, "poet": 0.05})
    decisions = [router.route(ask("x", ARMS, seed=seed)) for seed in range(4000)]
    drawn = Counter(decision.ranking[0].model for decision in decisions)
    for model, chance in chances.items():
        assert drawn[model] / 4000 == pytest.approx(chance, abs=0.03)
    explored = [decision for decision in decisions if decision.reason == "explored"]
    assert len(explored) / 4000 == pytest.approx(0.2, abs=0.03)
    assert all(decision.detail["instead_of"] == "drawn" for decision in explored)


def test_exploring_replaces_a_cascade_whole() -> None:
    inner = fitted(CascadeRouter)
    query = next(
        query
        for text in table().prompts
        for tradeoff in (0.01, 0.05, 0.1, 0.3)
        if inner.route(query := ask(text, tradeoff=tradeoff)).review is not None
    )
    always, never = ExploreRouter.over(inner, 1.0), ExploreRouter.over(inner, 0.0)
    assert always.route(query).review is None
    assert (always.route(query).reason, always.route(query).ask) == ("explored", 1)
    assert never.route(query).review is not None
    assert never.route(query).ranking == inner.route(query).ranking
    assert {choice.probability for choice in always.route(query).ranking} == {0.25}


def test_what_the_router_within_declines_is_not_explored() -> None:
    router = ExploreRouter.over(build("fixed", {"model": "gone"}), 1.0)
    assert router.route(ask("x", ARMS)) == Decision((), "model not available")


def test_a_bandit_within_learns_from_explored_calls_too() -> None:
    router = ExploreRouter("bandit", {"exploration": 0.5}, epsilon=1.0)
    learner = router.learner()
    assert isinstance(learner, LearningRouter)
    assert learner is router.within.learner()
    decision = router.route(ask("x", ARMS))
    learner.update(logged(decision), decision.ranking[0].model, 1.0)
    assert learner.state().keys() == {decision.ranking[0].model}
    assert ExploreRouter("cheapest").learner() is None


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({}, "either 'router' .* or 'artifact'"),
        ({"router": "cheapest", "artifact": "x"}, "either"),
        ({"router": "cheapest", "epsilon": 1.5}, "'epsilon' must lie in"),
        ({"router": "cheapest", "epsilon": math.nan}, "'epsilon' must lie in"),
        ({"router": "nobody"}, "no router is named 'nobody'"),
        ({"router": "fixed"}, "router 'fixed' needs the parameter 'model'"),
        ({"artifact": "nowhere"}, "nowhere/manifest.json cannot be read"),
        ({"artifact": "nowhere", "params": {"k": 1}}, "an artifact holds its own"),
    ],
)
def test_exploration_says_what_is_wrong_with_the_router_within(params: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"router 'explore'.*{complaint}"):
        build("explore", params)


def test_exploration_over_an_artifact(tmp_path: Path) -> None:
    fitted(BanditRouter).save(tmp_path / "a")
    router = build("explore", {"artifact": str(tmp_path / "a"), "epsilon": 0.1})
    assert isinstance(router, ExploreRouter)
    assert router.fast is True
    assert len(router.route(Query(ask("x").messages, ARMS)).ranking) == 4
