"""fixed, uniform, cheapest, length and oracle: what each promises."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from routers import Candidate, Outcomes, Query
from routers.length import LengthRouter
from routers.oracle import OracleRouter
from routers.registry import build
from tests.routers.toy import MODELS, ask, outcomes

POOL = (
    Candidate("b", input_price=1e-6, output_price=1e-6),
    Candidate("free", input_price=0, output_price=0),
    Candidate("unknown"),
    Candidate("a", input_price=1e-6, output_price=1e-6),
    Candidate("dear", mean_cost=0.1),
)


def ranked(router, query) -> list[str]:
    return [choice.model for choice in router.route(query).ranking]


def test_fixed_puts_its_model_first_and_the_others_in_catalog_order() -> None:
    assert ranked(build("fixed", {"model": "a"}), ask("hi", POOL)) == ["a", "b", "free", "unknown", "dear"]


def test_fixed_declines_when_its_model_is_not_offered() -> None:
    decision = build("fixed", {"model": "elsewhere"}).route(ask("hi", POOL))
    assert (decision.ranking, decision.reason) == ((), "model not available")


def test_cheapest_ascends_in_expected_cost_with_ties_by_name_and_unknown_last() -> None:
    assert ranked(build("cheapest"), ask("hi", POOL)) == ["free", "a", "b", "dear", "unknown"]


def test_cheapest_counts_the_tokens_of_this_query() -> None:
    pool = (Candidate("reads", input_price=1e-5, output_price=0), Candidate("writes", input_price=0, output_price=1e-5))
    assert ranked(build("cheapest"), ask("short", pool))[0] == "reads"
    assert ranked(build("cheapest"), ask("long " * 1000, pool))[0] == "writes"


def test_uniform_draws_each_place_in_proportion_to_the_weights() -> None:
    router = build("uniform", {"weights": {"a": 6, "b": 3, "dear": 1, "free": 0}})
    draws = [router.route(ask("hi", POOL, seed=seed)).ranking for seed in range(4000)]
    first = Counter(ranking[0].model for ranking in draws)
    second = Counter(ranking[1].model for ranking in draws if ranking[0].model == "a")

    assert {choice.model: round(choice.probability, 9) for choice in draws[0]} == {
        "a": 0.6, "b": 0.3, "dear": 0.1, "free": 0, "unknown": 0,
    }  # fmt: skip
    assert first["a"] / 4000 == pytest.approx(0.6, abs=0.04)
    assert first["b"] / 4000 == pytest.approx(0.3, abs=0.04)
    assert second["b"] / sum(second.values()) == pytest.approx(0.75, abs=0.05)
    assert all({ranking[3].model, ranking[4].model} == {"free", "unknown"} for ranking in draws)


def test_uniform_without_weights_gives_all_the_same_propensity() -> None:
    ranking = build("uniform").route(ask("hi", POOL)).ranking
    assert {choice.probability for choice in ranking} == {0.2}


@pytest.mark.parametrize("weights", [{"a": -1.0}, {"a": float("nan")}, {"a": float("inf")}, {"a": 0.0}, {}])
def test_uniform_refuses_impossible_weights(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        build("uniform", {"weights": weights})


def test_uniform_declines_where_no_candidate_has_a_weight() -> None:
    assert build("uniform", {"weights": {"elsewhere": 1}}).route(ask("hi", POOL)).ranking == ()


def ladder() -> Outcomes:
    """Four models; `trap` is dearer than `mid` and worse, so it stands under the hull."""
    n = 100
    quality = np.tile([0.2, 0.7, 0.5, 0.9], (n, 1))
    cost = np.tile([1.0, 2.0, 3.0, 9.0], (n, 1))
    prompts = tuple("w" * length for length in range(1, n + 1))
    items = tuple(map(str, range(n)))
    lengths = np.arange(1, n + 1)
    return Outcomes(items, prompts, lengths, ("x",) * n, ("low", "mid", "trap", "top"), quality, cost)


def firsts(router: LengthRouter, table: Outcomes, tradeoff: float) -> list[str]:
    return [ranked(router, ask(text, table.candidates(), tradeoff=tradeoff))[0] for text in table.prompts]


def test_length_gives_the_best_at_0_and_the_cheapest_at_1() -> None:
    router = LengthRouter.fit(ladder())
    assert set(firsts(router, ladder(), 0.0)) == {"top"}
    assert set(firsts(router, ladder(), 1.0)) == {"low"}


def test_length_sends_the_longer_prompts_up_and_fewer_as_the_tradeoff_rises() -> None:
    table, order = ladder(), ["low", "mid", "top"]
    router = LengthRouter.fit(table)
    costs = []
    for tradeoff in np.linspace(0, 1, 21):
        rungs = [order.index(model) for model in firsts(router, table, float(tradeoff))]
        assert rungs == sorted(rungs)
        assert max(rungs) - min(rungs) <= 1
        costs.append(sum(rungs))
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) > 15
    assert Counter(firsts(router, table, 0.25)) == {"mid": 50, "top": 50}


def test_length_leaves_the_dominated_model_for_last() -> None:
    router = LengthRouter.fit(ladder())
    for tradeoff in (0.0, 0.4, 1.0):
        assert ranked(router, ask("w" * 50, ladder().candidates(), tradeoff=tradeoff))[-1] == "trap"


def test_length_serves_untrained_in_order_of_expected_cost() -> None:
    router = build("length", {"median": 100})
    assert ranked(router, ask("w" * 10, POOL, tradeoff=0.0))[0] == "dear"
    assert ranked(router, ask("w" * 9000, POOL, tradeoff=1.0))[0] == "free"
    assert ranked(router, ask("w" * 10, POOL, tradeoff=0.5)) != ranked(router, ask("w" * 9000, POOL, tradeoff=0.5))
    assert ranked(router, ask("w", POOL))[-1] == "unknown"


def test_length_refuses_a_median_that_is_none() -> None:
    with pytest.raises(ValueError, match="median"):
        build("length", {"median": 0.0})


def twice() -> Outcomes:
    """The first prompt stands twice, with different outcomes; nobody solves the third row's."""
    quality = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, np.nan, 1.0]])
    cost = np.array([[1.0, 2.0, 8.0], [3.0, 2.0, 8.0], [3.0, 2.0, 9.0], [5.0, np.nan, 4.0]])
    prompts = ("same", "same", "hopeless", "partly")
    return Outcomes(("1", "2", "3", "4"), prompts, np.array([4, 4, 8, 6]), ("x",) * 4, ("a", "b", "c"), quality, cost)


def test_oracle_takes_the_mean_of_a_prompt_that_stands_twice() -> None:
    router = OracleRouter.fit(twice())
    ranking = router.route(ask("same", twice().candidates(), tradeoff=0.0)).ranking
    assert [(c.model, c.quality, c.cost) for c in ranking] == [("c", 1.0, 8.0), ("a", 0.5, 2.0), ("b", 0.5, 2.0)]


def test_oracle_takes_the_cheapest_on_the_prompt_where_none_is_right_or_cost_is_all() -> None:
    router, pool = OracleRouter.fit(twice()), twice().candidates()
    assert ranked(router, ask("hopeless", pool, tradeoff=0.0))[0] == "b"
    assert ranked(router, ask("partly", pool, tradeoff=1.0)) == ["c", "a", "b"]
    assert ranked(router, ask("same", pool, tradeoff=1.0))[-1] == "c"


def test_oracle_is_the_upper_bound_of_every_single_model() -> None:
    table = outcomes(90)
    router, pool = OracleRouter.fit(table), table.candidates()
    picks = [MODELS.index(ranked(router, ask(text, pool, tradeoff=0.0))[0]) for text in table.prompts]
    assert table.quality[np.arange(90), picks].tolist() == table.quality.max(axis=1).tolist()


def test_oracle_declines_what_it_does_not_know_and_is_for_the_bench_only() -> None:
    router = OracleRouter.fit(twice())
    assert router.bench_only
    assert router.route(ask("other", twice().candidates())).reason == "unknown prompt"
    assert router.route(ask("same", (Candidate("d"),))).reason == "no outcome"
    assert ranked(router, ask("same", (Candidate("d"), Candidate("b")))) == ["b", "d"]


def test_untrained_length_uses_the_whole_ladder() -> None:
    pool = tuple(Candidate(f"m{place}", mean_cost=10.0**place) for place in range(3))

    def pick(length: int, tradeoff: float) -> str:
        query = Query([{"role": "user", "content": "x" * length}], pool, tradeoff=tradeoff)
        return LengthRouter().route(query).ranking[0].model

    assert [pick(length, 0.5) for length in (1, 500, 50_000)] == ["m0", "m1", "m2"]
    assert {pick(length, 0.0) for length in (1, 500, 50_000)} == {"m2"}
    assert {pick(length, 1.0) for length in (1, 500, 50_000)} == {"m0"}
