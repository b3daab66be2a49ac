"""What holds for every router, whatever it is asked."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers import Candidate, Query, Router
from tests.routers.toy import ask, every_router, outcomes_once

prices = st.none() | st.sampled_from([0.0, 1e-7, 1e-5]) | st.floats(0, 1e-3)
candidates = st.lists(
    st.builds(
        Candidate,
        model=st.sampled_from(["small", "coder", "poet", "large", "unseen", "другая", "z"]),
        input_price=prices,
        output_price=prices,
        mean_cost=prices,
    ),
    max_size=7,
    unique_by=lambda candidate: candidate.model,
).map(tuple)
texts = st.one_of(
    st.text(max_size=300),
    st.sampled_from([*outcomes_once().prompts[:20], "", " \n\t", "解释量子力学", "مرحبا بالعالم", "\ud800 half"]),
    st.sampled_from(["add python moon " * 50_000, "x" * 800_000, "\n" * 100_000]),
)
parts = st.sampled_from(
    [
        [],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
        [{"type": "text", "text": "add python"}, {"type": "image_url", "image_url": {"url": "u"}}],
        [{"type": "text"}, {"type": "text", "text": None}],
    ]
)
message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", "tool"]), "content": texts | parts | st.none()}
)
queries = st.builds(
    Query,
    messages=st.lists(message, max_size=3),
    candidates=candidates,
    tradeoff=st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
)
each_router = pytest.mark.parametrize(
    "router", every_router(), ids=lambda router: f"{router.name}-{every_router().index(router)}"
)


@each_router
@settings(max_examples=60, deadline=None)
@given(query=queries)
def test_a_ranking_is_a_permutation_with_propensities_and_possible_predictions(router: Router, query: Query) -> None:
    decision = router.route(query)

    assert decision.reason
    if not decision.ranking:
        return
    ranked = [choice.model for choice in decision.ranking]
    assert sorted(ranked) == sorted(candidate.model for candidate in query.candidates)
    assert math.isclose(math.fsum(choice.probability for choice in decision.ranking), 1.0)
    assert decision.ranking[0].probability > 0
    for choice in decision.ranking:
        assert choice.quality is None or 0 <= choice.quality <= 1
        assert choice.cost is None or 0 <= choice.cost < math.inf
        assert type(choice.quality) in (float, type(None))


@each_router
@settings(max_examples=30, deadline=None)
@given(query=queries)
def test_the_same_query_gets_the_same_decision(router: Router, query: Query) -> None:
    again = Query(query.messages, query.candidates, query.tradeoff, seed=query.seed)
    assert router.route(query) == router.route(again)


@each_router
def test_only_oracle_and_fixed_decline_a_pool_they_could_serve(router: Router) -> None:
    pool = (Candidate("unseen", mean_cost=0.5), Candidate("other"))
    decision = router.route(ask("never seen before", pool))
    declines = router.name in {"oracle", "fixed"} or getattr(router, "weights", None) is not None
    assert bool(decision.ranking) is not declines


@each_router
@pytest.mark.parametrize("price", [None, 0.0, 0.01])
def test_a_pool_of_one_and_a_pool_of_equal_prices_are_served(router: Router, price: float | None) -> None:
    text = outcomes_once().prompts[0]
    one = router.route(ask(text, (Candidate("small", mean_cost=price),)))
    assert [choice.model for choice in one.ranking] == ["small"]
    for tradeoff in (0.0, 0.5, 1.0):
        pool = tuple(Candidate(model, mean_cost=price) for model in ("small", "coder", "large"))
        ranking = router.route(ask(text, pool, tradeoff=tradeoff)).ranking
        assert {choice.model for choice in ranking} == {"small", "coder", "large"}


@each_router
def test_an_empty_pool_is_declined(router: Router) -> None:
    assert router.route(ask("anything", ())).ranking == ()
