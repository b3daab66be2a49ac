"""cascade: whether a reply is right, chains tried on training outcomes, and the walk along one."""

from __future__ import annotations

import dataclasses
from functools import lru_cache, partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers import Candidate, Outcomes, Query, Reply
from routers.acceptance import LOOKS, Acceptance, looks, numbered
from routers.cascade import CascadeRouter
from routers.walk import follow
from tests.routers.collection import fitted, replied, table
from tests.routers.toy import MODELS, ask, outcomes

FRESH = replied(outcomes(150, seed=77))


def router() -> CascadeRouter:
    return fitted(CascadeRouter)


def walks(of: CascadeRouter, on: Outcomes, tradeoff: float, **fields: int) -> tuple[float, float, float]:
    """Mean quality, cost and number of calls on a table with replies."""
    assert on.replies is not None
    quality, cost, calls = 0.0, 0.0, 0
    for row, text in enumerate(on.prompts):
        query = ask(text, on.candidates(), tradeoff=tradeoff, **fields)
        decision = of.route(query)
        walk = follow(decision, query, lambda model, row=row: Reply(model, on.replies[row, on.models.index(model)]))
        quality += on.quality[row, on.models.index(walk.answer.model)]
        cost += sum(on.cost[row, on.models.index(model)] for model in walk.called)
        calls += len(walk.called)
    n = len(on.items)
    return quality / n, cost / n, calls / n


def test_it_is_better_than_any_single_model_it_costs_less_than() -> None:
    """No model is right on more than nine of ten; two that agree are."""
    quality, cost, calls = walks(router(), FRESH, 0.05)
    singles = dict(zip(MODELS, zip(FRESH.mean_costs(), FRESH.quality.mean(axis=0), strict=True), strict=True))
    assert calls > 1.2
    assert quality > max(mean for price, mean in singles.values() if price <= cost * 1.1) + 0.02


def test_one_call_at_most_is_a_single() -> None:
    quality, _, calls = walks(router(), FRESH, 0.05, max_calls=1)
    assert calls == 1
    assert quality < walks(router(), FRESH, 0.05)[0]


def test_cost_falls_as_the_tradeoff_rises_and_ends_at_the_cheapest() -> None:
    costs = [walks(router(), FRESH, tradeoff)[1] for tradeoff in (0.0, 0.1, 0.5, 1.0)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == pytest.approx(FRESH.mean_costs().min())


@lru_cache
def guessers() -> tuple[CascadeRouter, Outcomes]:
    """Models that are right on two prompts of three whatever the topic, each on others, and a dear one on nine of ten:
    a world for chains of three."""
    full = outcomes(300)
    right = np.random.default_rng(8).random(full.quality.shape) < np.array([0.62, 0.66, 0.7, 0.9])
    world = replied(dataclasses.replace(full, quality=right.astype(float)))
    return CascadeRouter.fit(world, calls=3), world


def cascading() -> tuple[CascadeRouter, Query]:
    """A query that gets a chain of three models."""
    of, world = guessers()
    for text in world.prompts:
        for tradeoff in (0.0, 0.03, 0.1, 0.2, 0.3):
            query = ask(text, tradeoff=tradeoff)
            decision = of.route(query)
            if decision.review is not None and len(decision.detail["chain"]) == 3:
                return of, query
    raise AssertionError("no chain of three on the whole table")


def test_agreement_is_accepted_and_disagreement_is_not() -> None:
    of, query = cascading()
    decision = of.route(query)
    agreed = follow(decision, query, lambda model: Reply(model, "The answer is 1005."))
    alone = {choice.model: f"The answer is {1000 + place}." for place, choice in enumerate(decision.ranking)}
    differed = follow(decision, query, lambda model: Reply(model, alone[model]))
    assert len(agreed.called) < len(differed.called) == len(decision.detail["chain"])
    assert agreed.decision.reason == "accepted"
    assert differed.decision.reason == "end of chain"
    assert list(differed.called) == decision.detail["chain"]
    chances = agreed.decision.detail["chances"]
    assert max(chances) >= agreed.decision.detail["accept"][len(agreed.called) - 1]


def test_the_most_likely_reply_is_returned_not_the_last() -> None:
    """Where not even two that agree are accepted, they still win at the end of the chain."""
    of, query = cascading()
    review = of.route(query).review
    assert isinstance(review, partial)
    course = dataclasses.replace(review.args[0], accept=(1.1,) * 3)
    chain = of.route(query).detail["chain"]
    answers = ("The answer is 1005.", "The answer is 1005.", "The answer is 1006.", "The answer is 1007.")
    told = [Reply(model, text) for model, text in zip(chain, answers, strict=False)]
    assert of._review(course, told[:2]).reason == "not accepted"
    ended = of._review(course, told)
    assert (ended.reason, ended.reply in chain[:2]) == ("end of chain", True)


def test_failed_replies_are_passed_over_and_where_all_fail_the_others_follow() -> None:
    of, query = cascading()
    chain = of.route(query).detail["chain"]
    last = follow(of.route(query), query, lambda model: Reply(model, "done: 5" if model == chain[-1] else None))
    assert (last.answer.model, list(last.called)) == (chain[-1], chain)
    none = follow(of.route(query), query, lambda model: Reply(model, None))
    assert none.decision.reason == "no reply"
    assert list(none.called)[: len(chain)] == chain
    assert none.answer.model not in chain


@pytest.mark.parametrize("latency", [5.0, 60.0])
def test_a_chain_must_fit_into_the_time_there_is(latency: float) -> None:
    pool = tuple(dataclasses.replace(candidate, latency=latency) for candidate in table().candidates())
    reviewed = [
        router().route(ask(text, pool, tradeoff=0.03, max_latency=25.0)).review is not None for text in table().prompts
    ]
    assert any(reviewed) is (latency == 5.0)


def test_a_pool_without_a_model_trained_on_is_ranked_by_price() -> None:
    decision = router().route(ask("x", (Candidate("b"), Candidate("c", mean_cost=2.0), Candidate("a", mean_cost=1.0))))
    assert [choice.model for choice in decision.ranking] == ["a", "c", "b"]
    assert decision.reason == "no model trained on"


@pytest.mark.parametrize("emptied", [False, True])
def test_without_replies_there_is_nothing_to_learn_from(emptied: bool) -> None:
    bare = outcomes(30)
    replies = np.full(bare.quality.shape, None, dtype=object) if emptied else None
    with pytest.raises(ValueError, match="router 'cascade' learns from replies"):
        CascadeRouter.fit(dataclasses.replace(bare, replies=replies))


def test_replies_without_answers_still_make_a_router() -> None:
    full = table(90)
    assert full.replies is not None
    essays = np.full(full.replies.shape, "An essay.\n\n" + "It goes on for long. " * 30, dtype=object)
    made = CascadeRouter.fit(dataclasses.replace(full, replies=essays))
    assert len(made.route(ask("add apples")).ranking) == 4


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_the_looks_of_a_reply_are_what_they_say(k: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prior, mean, length = rng.uniform(0.05, 0.95, (3, n, k))
    answers = rng.integers(-1, 3, (n, k)).astype(np.int32)
    seen = looks(prior, mean, length, answers)
    assert seen.shape == (n, k, len(LOOKS))
    for row in range(n):
        for me in range(k):
            others = [j for j in range(k) if j != me]
            told = answers[row, me] >= 0
            same = [j for j in others if told and answers[row, j] == answers[row, me]]
            rivals = [j for j in others if answers[row, j] >= 0 and j not in same]
            found = dict(zip(LOOKS, seen[row, me], strict=True))
            groups = {
                answers[row, j]: sum(prior[row, i] for i in rivals if answers[row, i] == answers[row, j])
                for j in rivals
            }
            assert found["prior"] == pytest.approx(np.log(prior[row, me] / (1 - prior[row, me])))
            assert found["no answer"] == (not told)
            assert found["agreeing"] == len(same)
            assert found["trust in agreeing"] == pytest.approx(sum(prior[row, j] for j in same))
            assert found["trust in others"] == pytest.approx(sum(prior[row, j] for j in rivals))
            assert found["rival"] == pytest.approx(max(groups.values(), default=0))
            assert found["silent"] == sum(answers[row, j] < 0 for j in others)


def test_agreement_is_learned_to_tell_right_from_wrong() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((600, 3)) < 0.5
    answers = np.where(right, 0, rng.integers(1, 50, (600, 3))).astype(np.int32)
    half = np.full((600, 3), 0.5)
    learned = Acceptance.fit(half, half[0], 0 * half, answers, right.astype(float), most=3, seed=0)
    assert len(learned.lines) == 3

    def chance(*replies: str) -> float:
        k = len(replies)
        return float(learned.chances(half[:1, :k], half[:1, :k], 0 * half[:1, :k], numbered(list(replies)))[0, 0])

    assert chance("a") == pytest.approx(0.5, abs=0.06)
    assert chance("a", "a") > 0.95
    assert chance("a", "b") < 0.45
    assert chance("a", "b", "b") < 0.1
