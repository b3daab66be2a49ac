"""Single models, the oracle and the fitted baselines that stand in every report."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from app.bench.baselines import ScoredPool, know_dataset, length
from app.bench.curves import Point
from app.bench.scoring import score_router
from routers.length import LengthRouter
from tests.bench.tables import shared_suite, small_suite

NAN = math.nan


def pool_of(quality: list[list[float]], cost: list[list[float]]) -> ScoredPool:
    return ScoredPool.of(small_suite(quality, cost).outcomes())


def test_cheapest_and_best_single_break_ties_by_the_other_axis() -> None:
    pool = pool_of([[0.2, 0.4, 0.8, 0.8]], [[1, 1, 5, 4]])
    assert pool.models[pool.cheapest] == "b"
    assert pool.models[pool.best_single] == "d"


def test_random_is_the_expectation() -> None:
    pool = pool_of([[0.0, 1.0], [0.5, 1.0]], [[1, 3], [2, 4]])
    assert pool.random == Point(2.5, 0.625)


def test_zero_router_is_the_hull_of_the_single_models() -> None:
    pool = pool_of([[0.5, 0.4, 0.9]], [[1, 2, 3]])
    assert [pool.models[index] for index in pool.zero.index] == ["a", "c"]
    assert (pool.frame.low, pool.frame.high, pool.frame.floor) == (1, 3, 0.5)


def test_the_zero_router_at_a_cost_mixes_the_two_models_around_it() -> None:
    pool = pool_of([[0.5, 0.4, 0.9, 0.95]], [[1, 2, 3, 5]])
    assert [pool.models[index] for index in pool.zero.index] == ["a", "c", "d"]
    shares = {cost: pool.zero_at(cost) for cost in (0.9, 1, 1 - 1e-15, 1.5, 3, 3 + 1e-15, 4.5, 5, 50)}
    assert shares.pop(0.9) is None
    assert {cost: None if share is None else share.tolist() for cost, share in shares.items()} == {
        1: [1, 0, 0, 0],
        1 - 1e-15: [1, 0, 0, 0],
        1.5: [0.75, 0, 0.25, 0],
        3: [0, 0, 1, 0],
        3 + 1e-15: pytest.approx([0, 0, 1, 0]),
        4.5: [0, 0, 0.25, 0.75],
        5: [0, 0, 0, 1],
        50: [0, 0, 0, 1],
    }
    for share in shares.values():
        assert share is not None
        assert share.sum() == pytest.approx(1)


def test_a_free_model_is_the_zero_router_at_no_cost() -> None:
    share = pool_of([[0.5, 0.9]], [[0, 3]]).zero_at(0.0)
    assert share is not None
    assert share.tolist() == [1, 0]


def test_a_missing_outcome_counts_as_a_failed_call() -> None:
    pool = pool_of([[1.0, 1.0], [1.0, NAN]], [[1, 4], [1, NAN]])
    assert pool.points == (Point(1, 1), Point(2, 0.5))
    assert pool.coverage.tolist() == [1, 0.5]
    assert pool.oracle.point == Point(1, 1)


def test_a_model_without_any_outcome_is_not_the_cheapest_of_the_pool() -> None:
    pool = pool_of([[1.0, NAN], [0.5, NAN]], [[1, NAN], [1, NAN]])
    assert pool.models == ("a",)
    with pytest.raises(ValueError, match="no model has an outcome"):
        pool_of([[NAN]], [[NAN]])


def test_a_cell_half_known_is_missing() -> None:
    pool = pool_of([[1.0, 1.0], [1.0, 1.0]], [[1, 2], [1, NAN]])
    assert pool.coverage.tolist() == [1, 0.5]
    assert pool.points[1] == Point(1, 0.5)


def test_how_many_prompts_nobody_and_everybody_solves() -> None:
    pool = pool_of([[0, 0], [1, 1], [0, 1], [1, 0.5]], [[1, 2]] * 4)
    assert (pool.unsolved, pool.solved_by_all) == (0.25, 0.25)


def test_know_dataset_takes_the_best_model_of_each_category() -> None:
    kinds = ["easy", "easy", "hard", "hard", "easy", "hard", "new"]
    quality = [[0.8, 1.0], [0.8, 1.0], [0.0, 1.0], [0.0, 1.0], [0.25, 0.75], [0.5, 0.0], [0.5, 1.0]]
    outcomes = small_suite(quality, [[1, 10]] * 7, categories=kinds).outcomes()
    result = know_dataset(outcomes, np.arange(4), np.arange(4, 7), (0.0, 0.3, 1.0))
    # At .3 the dear model costs .43 × .9 more utility: worth it on hard (gain 1), not on easy (gain .2); over all
    # training rows the gain is .6, so a category never seen gets it.
    assert [setting.model for setting in result.settings] == [("b", "b", "b"), ("a", "b", "b"), ("a", "a", "a")]
    assert result.settings[1].quality.tolist() == [0.25, 0.0, 1.0]
    assert result.settings[1].cost.tolist() == [1, 10, 10]


def test_know_dataset_passes_over_models_a_category_has_no_outcome_of() -> None:
    quality, cost = [[0.5, NAN], [0.5, 1.0], [0.1, 0.2]], [[1, NAN], [1, 3], [1, 3]]
    outcomes = small_suite(quality, cost, categories=["x", "y", "x"]).outcomes()
    result = know_dataset(outcomes, np.arange(2), np.array([2]), (0.0,))
    assert result.settings[0].model == ("a",)


def test_know_dataset_needs_something_to_know() -> None:
    outcomes = small_suite([[1.0]], [[1.0]]).outcomes()
    with pytest.raises(ValueError, match="no training item"):
        know_dataset(outcomes, np.arange(0), np.arange(1), (0.5,))


def test_length_sends_long_prompts_to_the_better_model() -> None:
    suite = small_suite([[0.5, 1.0]] * 40, [[1, 10]] * 40)
    outcomes = suite.outcomes()
    result = length(suite, outcomes, np.arange(40), np.arange(40), (0.0, 0.5, 1.0), seed=1)
    shares = [setting.model.count("b") / 40 for setting in result.settings]
    assert (shares[0], shares[2]) == (1, 0)
    assert 0 < shares[1] < 1
    assert result.settings[1].model[0] == "a"
    assert result.settings[1].model[-1] == "b"


def test_length_asked_once_per_length_answers_as_if_asked_for_every_prompt() -> None:
    rng = np.random.default_rng(0)
    suite = small_suite(rng.random((40, 3)), rng.random((40, 3)) * [1, 3, 9])
    items = tuple(
        msgspec.structs.replace(item, messages=[{"role": "user", "content": "x" * (row % 7 + 1)}])
        for row, item in enumerate(suite.items)
    )
    suite = replace(suite, items=items)
    outcomes, train, rows = suite.outcomes(), np.arange(0, 40, 2), np.arange(39, 0, -2)
    router = LengthRouter.fit(outcomes.take(train))
    expected = score_router(router, suite, outcomes, rows, (0.0, 0.4, 1.0), seed=3)
    found = length(suite, outcomes, train, rows, (0.0, 0.4, 1.0), seed=3)
    for one, other in zip(found.settings, expected.settings, strict=True):
        assert one.model == other.model
        assert one.quality.tolist() == other.quality.tolist()
        assert one.predicted_quality is not None
        assert other.predicted_quality is not None
        assert one.predicted_quality.tolist() == other.predicted_quality.tolist()


# -------------------------------------------------------------------------------------------- golden numbers

SINGLES = [
    ("zeroeval_4sets_8models", "gpt-4o-2024-05-13", 0.8496, 4.7501),
    ("zeroeval_4sets_8models", "gpt-4o-mini-2024-07-18", 0.8010, 0.1914),
    ("zeroeval_4sets_8models", "gemini-1.5-flash", 0.7282, 0.0674),
    ("zeroeval_4sets_8models", "claude-3-5-sonnet-20240620", 0.8037, 3.7445),
    ("zeroeval_gsm_crux_mathl5", "claude-3-5-sonnet-20241022", 0.8359, 3.4371),
    ("zeroeval_gsm_crux_mathl5", "gpt-4o-2024-08-06", 0.8324, 3.3602),
    ("zeroeval_gsm_crux_mathl5", "gpt-4o-mini-2024-07-18", 0.7838, 0.2101),
    ("zeroeval_gsm_crux_mathl5", "gemma-2-2b-it", 0.3113, 0.0487),
    ("zeroeval_gsm_crux_mathl5", "claude-3-opus-20240229", 0.7359, 17.027),
]


@pytest.mark.parametrize(("name", "model", "quality", "cost"), SINGLES)
def test_single_models_of_the_recorded_sets(name: str, model: str, quality: float, cost: float) -> None:
    pool = ScoredPool.of(shared_suite(name).outcomes())
    point = pool.points[pool.models.index(model)]
    assert round(point.quality, 4) == quality
    assert round(1000 * point.cost, 3 if cost > 10 else 4) == cost


@pytest.mark.parametrize(
    ("name", "best", "cheapest"),
    [
        ("zeroeval_4sets_8models", "gpt-4o-2024-05-13", "gemini-1.5-flash"),
        ("zeroeval_gsm_crux_mathl5", "claude-3-5-sonnet-20241022", "gemma-2-2b-it"),
    ],
)
def test_best_and_cheapest_of_the_recorded_sets(name: str, best: str, cheapest: str) -> None:
    pool = ScoredPool.of(shared_suite(name).outcomes())
    assert (pool.models[pool.best_single], pool.models[pool.cheapest]) == (best, cheapest)


def test_how_hard_the_bigger_recorded_set_is() -> None:
    pool = ScoredPool.of(shared_suite("zeroeval_gsm_crux_mathl5").outcomes())
    assert round(pool.unsolved, 4) == 0.0405
    assert round(pool.solved_by_all, 4) == 0.1560
