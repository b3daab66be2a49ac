"""knn and ridge: what they learn, and what they do about what they have not learned."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from routers import Candidate, Outcomes, knn
from routers.features import counts, stripped
from routers.knn import KnnRouter
from routers.predictive import PredictiveRouter
from routers.quality import standardised
from routers.ridge import RidgeRouter
from tests.routers.toy import COSTS, MODELS, WORDS, ask, outcomes, outcomes_once

both = pytest.mark.parametrize("cls", [KnnRouter, RidgeRouter])
SHARP: dict[type[PredictiveRouter], dict[str, Any]] = {
    KnnRouter: {"k": 20, "pseudo_counts": 2.0},
    RidgeRouter: {"alpha": 1.0},
}


def fit(cls: type[PredictiveRouter], table: Outcomes | None = None) -> PredictiveRouter:
    return cls.fit(table or outcomes_once(), **SHARP[cls])


def predictions(router: PredictiveRouter, text: str) -> dict[str, tuple[float, float]]:
    return {choice.model: (choice.quality, choice.cost) for choice in router.route(ask(text)).ranking}


@both
@pytest.mark.parametrize(("topic", "expected"), [("sum", "small"), ("code", "coder"), ("poem", "poet")])
def test_a_new_prompt_goes_to_the_cheap_model_that_can_do_it(cls, topic: str, expected: str) -> None:
    text = " ".join(WORDS[topic][:7])
    assert fit(cls).route(ask(text, tradeoff=0.7)).ranking[0].model == expected
    assert fit(cls).route(ask(text, tradeoff=1.0)).ranking[0].model == "small"


@both
def test_it_learns_from_a_table_with_holes(cls) -> None:
    router = fit(cls, outcomes(400, missing=0.3))
    assert router.route(ask(" ".join(WORDS["poem"]), tradeoff=0.7)).ranking[0].model == "poet"


@both
def test_a_cell_without_cost_is_left_out(cls) -> None:
    table = outcomes(90)
    cost = table.cost.copy()
    cost[::2, 1] = np.nan
    router = fit(cls, dataclasses.replace(table, cost=cost))
    known = ~np.isnan(cost[:, 1])
    assert router.pool.quality[1] == pytest.approx(table.quality[known, 1].mean())
    assert all(np.isfinite(value) for pair in predictions(router, "add python moon").values() for value in pair)


@both
def test_a_model_without_any_outcome_is_an_error_that_names_it(cls) -> None:
    table = outcomes(30)
    quality = table.quality.copy()
    quality[:, 2] = np.nan
    with pytest.raises(ValueError, match="poet"):
        cls.fit(dataclasses.replace(table, quality=quality))


@both
def test_an_unseen_model_gets_the_mean_quality_and_its_own_price(cls) -> None:
    router = fit(cls)
    pool = (*outcomes_once().candidates()[:2], Candidate("new", input_price=1e-6, output_price=1e-6), Candidate("dark"))
    decision = router.route(ask("add " * 100, pool))
    by_model = {choice.model: choice for choice in decision.ranking}

    assert decision.reason == "predicted, unseen model by prior"
    assert by_model["new"].quality == by_model["dark"].quality == pytest.approx(outcomes_once().quality.mean())
    assert by_model["new"].cost == pytest.approx((101 + 256) * 1e-6)
    assert by_model["dark"].cost == pytest.approx(outcomes_once().cost.mean(axis=0).max())


@both
def test_the_tradeoff_is_in_units_of_the_dearest_model_on_offer(cls) -> None:
    """With `large` away, the same tradeoff makes a given sum of money weigh more."""
    router, text = fit(cls), " ".join(WORDS["code"])
    everyone = outcomes_once().candidates()
    means = dict(zip(MODELS, outcomes_once().mean_costs(), strict=True))
    for pool, dearest in ((everyone, means["large"]), (everyone[:2], means["coder"])):
        for tradeoff in (0.1, 0.4, 0.6, 0.8, 0.9):
            ranking = router.route(ask(text, pool, tradeoff=tradeoff)).ranking
            worth = [choice.quality - tradeoff / (1 - tradeoff) / dearest * choice.cost for choice in ranking]
            assert worth == sorted(worth, reverse=True)


@both
@pytest.mark.parametrize("text", ["", "完全不同的文字", "zzz qqq"])
def test_a_prompt_without_a_known_word_gets_the_means(cls, text: str) -> None:
    router = fit(cls)
    decision = router.route(ask(text))
    assert decision.reason == "no known word"
    means = dict(zip(MODELS, outcomes_once().quality.mean(axis=0), strict=True))
    assert {c.model: c.quality for c in decision.ranking} == pytest.approx(means)


@both
def test_training_prompts_without_words_still_give_a_router(cls) -> None:
    table = dataclasses.replace(outcomes(12), prompts=("",) * 12)
    assert len(cls.fit(table).route(ask("add", tradeoff=0.5)).ranking) == 4


@both
def test_free_models_are_ranked_by_quality(cls) -> None:
    table = outcomes(90)
    router = fit(cls, dataclasses.replace(table, cost=np.zeros_like(table.cost)))
    pool = tuple(Candidate(model, mean_cost=0.0) for model in MODELS)
    for tradeoff in (0.0, 0.5, 1.0):
        ranking = router.route(ask(" ".join(WORDS["poem"]), pool, tradeoff=tradeoff)).ranking
        assert {ranking[0].model, ranking[1].model} == {"poet", "large"}
        assert all(choice.cost == pytest.approx(0, abs=1e-12) for choice in ranking)


@pytest.mark.parametrize(
    ("cls", "params", "named"),
    [
        (KnnRouter, {"k": 0}, "k"),
        (KnnRouter, {"k": 2.5}, "k"),
        (KnnRouter, {"k": True}, "k"),
        (KnnRouter, {"neighbours": 5}, "neighbours"),
        (KnnRouter, {"pseudo_counts": -1.0}, "pseudo_counts"),
        (KnnRouter, {"seed": "x"}, "seed"),
        (RidgeRouter, {"alpha": 0.0}, "alpha"),
        (RidgeRouter, {"alpha": float("nan")}, "alpha"),
        (RidgeRouter, {"k": 5}, "k"),
    ],
)
def test_wrong_parameters_are_named(cls: type[PredictiveRouter], params: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"fitting router '{cls.name}'.*'{named}'"):
        cls.fit(outcomes(30), **params)


def neighbours_by_hand(table: Outcomes, text: str, k: int, pseudo: float) -> dict[str, float]:
    router = KnnRouter.fit(table, k=k, pseudo_counts=pseudo)
    wrappers = router.embedding.wrappers
    vectors = np.array([router.embedding.embed(stripped(prompt, wrappers)) for prompt in table.prompts])
    nearest = np.argsort(-(vectors @ router.embedding.embed(text)), kind="stable")[:k]
    near = table.quality[nearest]
    count = (~np.isnan(near)).sum(axis=0)
    mean = np.nanmean(table.quality, axis=0)
    return dict(zip(table.models, (np.nansum(near, axis=0) + pseudo * mean) / (count + pseudo), strict=True))


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_knn_is_the_shrunk_mean_of_the_nearest(missing: float) -> None:
    table = outcomes(300, seed=5, missing=missing)
    router = KnnRouter.fit(table, k=25, pseudo_counts=10.0)
    text = "apples total python 17 winter number"
    expected = neighbours_by_hand(table, text, 25, 10.0)
    assert {m: q for m, (q, _) in predictions(router, text).items()} == pytest.approx(expected, abs=1e-5)


def test_knn_asks_no_more_than_a_tenth_of_the_training_prompts() -> None:
    table, text = outcomes(60, seed=3), "apples total python 17 winter number"
    few = {m: q for m, (q, _) in predictions(KnnRouter.fit(table, pseudo_counts=1.0), text).items()}
    assert few == pytest.approx(neighbours_by_hand(table, text, 6, 1.0), abs=1e-5)


def test_knn_without_pseudo_counts_falls_back_to_the_mean_where_no_neighbour_has_an_outcome() -> None:
    table = outcomes(60)
    quality, cost = table.quality.copy(), table.cost.copy()
    sums = np.array(table.categories) == "sum"
    quality[sums, 3] = cost[sums, 3] = np.nan
    router = KnnRouter.fit(dataclasses.replace(table, quality=quality, cost=cost), k=3, pseudo_counts=0.0)
    assert predictions(router, " ".join(WORDS["sum"]))["large"] == pytest.approx(
        (np.nanmean(quality[:, 3]), np.nanmean(cost[:, 3]))
    )


def test_knn_keeps_a_seeded_sample_of_a_large_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "ROWS", 50)
    first, again, other = (KnnRouter.fit(outcomes(90), seed=seed).arrays() for seed in (1, 1, 2))
    assert first["vectors"].shape[0] == first["quality"].shape[0] == 50
    np.testing.assert_array_equal(first["quality"], again["quality"])
    assert not np.array_equal(first["quality"], other["quality"])


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_ridge_solves_what_scikit_learn_solves(missing: float) -> None:
    table = outcomes(200, seed=4, missing=missing)
    router = RidgeRouter.fit(table, alpha=5.0)
    texts = [stripped(prompt, router.embedding.wrappers) for prompt in table.prompts]
    written = np.array([counts(text, int(n)) for text, n in zip(texts, table.lengths, strict=True)])
    vectors = np.array([router.embedding.embed(text) for text in texts])
    inputs = np.hstack([vectors, standardised(written, router.arrays()["scaling"])])
    assert np.abs(inputs[:, -7:].mean(axis=0)).max() < 0.1
    for column, model in enumerate(MODELS):
        known = ~np.isnan(table.quality[:, column])
        line = Ridge(alpha=5.0).fit(inputs[known], table.quality[known, column])
        money = Ridge(alpha=0.5).fit(inputs[known], table.cost[known, column])
        for row in range(5):
            quality, cost = predictions(router, table.prompts[row])[model]
            assert quality == pytest.approx(np.clip(line.predict(inputs[row : row + 1])[0], 0, 1), abs=1e-6)
            assert cost == pytest.approx(money.predict(inputs[row : row + 1])[0], abs=1e-8)


def test_ridge_never_predicts_a_cost_of_nothing() -> None:
    """A cost that grows with length would be below zero for the shortest prompts."""
    table = outcomes(120)
    steep = np.where(table.lengths > np.median(table.lengths), 1.0, 1e-6)[:, None] * np.array(COSTS)
    router = RidgeRouter.fit(dataclasses.replace(table, cost=steep), alpha=1e-3)
    costs = [cost for text in ("add", "moon", "loop", *table.prompts) for _, cost in predictions(router, text).values()]
    assert min(costs) == pytest.approx(0.1 * steep.mean(axis=0).min())


def test_ridge_does_not_run_away_on_a_huge_prompt() -> None:
    router = fit(RidgeRouter)
    mean = dict(zip(MODELS, outcomes_once().mean_costs(), strict=True))
    for model, (_, cost) in predictions(router, "add apples " * 60_000).items():
        assert cost < 5 * mean[model]
