"""The paired bootstrap and the exact tests beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bench import statistics
from app.bench.statistics import (
    bootstrap_means,
    bootstrap_p,
    holm,
    interval,
    mcnemar,
    paired_difference,
    paired_p,
    permutation_test,
)
from tests.bench.tables import shared_suite


def test_same_seed_same_draws_whatever_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.random.default_rng(1).random((50, 3))
    whole = bootstrap_means(columns, draws=101, seed=7)
    monkeypatch.setattr(statistics, "CHUNK_CELLS", 50 * 8)
    assert bootstrap_means(columns, draws=101, seed=7) == pytest.approx(whole, abs=1e-12)
    assert not np.array_equal(bootstrap_means(columns, draws=101, seed=8), whole)


def test_draws_do_not_depend_on_how_many_routers_are_compared() -> None:
    columns = np.random.default_rng(1).random((50, 3))
    alone = bootstrap_means(columns[:, :1], draws=40, seed=3)
    assert bootstrap_means(columns, draws=40, seed=3)[:, :1] == pytest.approx(alone, abs=1e-12)


def test_what_stands_in_one_row_stays_together() -> None:
    first = np.random.default_rng(2).random(80)
    means = bootstrap_means(np.column_stack([first, first + 0.25]), draws=200, seed=0)
    assert means[:, 1] - means[:, 0] == pytest.approx(np.full(200, 0.25))
    assert means[:, 0].std() > 0.01


def test_every_draw_takes_as_many_rows_as_there_are() -> None:
    means = bootstrap_means(np.ones((17, 1)), draws=50, seed=0)
    assert means.tolist() == [[1.0]] * 50


def test_spread_and_interval_are_those_of_a_mean() -> None:
    sample = np.random.default_rng(3).normal(size=400)
    means = bootstrap_means(sample[:, None], draws=4000, seed=5)[:, 0]
    error = sample.std() / math.sqrt(400)
    assert means.std() == pytest.approx(error, rel=0.05)
    low, high = interval(means)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.06)
    assert low < sample.mean() < high


def test_nothing_to_resample_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        bootstrap_means(np.zeros((0, 2)), draws=10, seed=0)
    with pytest.raises(ValueError, match="one draw"):
        bootstrap_means(np.zeros((3, 2)), draws=0, seed=0)


def test_mcnemar_counts_only_the_prompts_on_which_they_differ() -> None:
    first, second = np.array([1, 1, 1, 1, 0, 0.0]), np.array([1, 0, 0, 0, 0, 1.0])
    assert mcnemar(first, second) == (3, 1, pytest.approx(2 * (1 + 4) / 16))
    assert mcnemar(first, first) == (0, 0, 1.0)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_exact_sign_test(only_first: int, only_second: int) -> None:
    total, fewer = only_first + only_second, min(only_first, only_second)
    first = np.concatenate([np.ones(only_first), np.zeros(only_second)])
    exact = 2 * sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total
    assert mcnemar(first, 1 - first).p == pytest.approx(min(1.0, exact), rel=1e-9)


def test_mcnemar_refuses_graded_quality() -> None:
    with pytest.raises(ValueError, match="0 or 1"):
        mcnemar(np.array([0.5, 1]), np.array([1.0, 1]))


def test_a_single_pair_has_no_standard_error() -> None:
    value, error = paired_difference(np.array([1.0]), np.array([0.25]))
    assert value == 0.75
    assert math.isnan(error)


def test_permutations_of_few_differences_are_all_gone_through() -> None:
    first, second = np.array([0.75, 0.5, 1.0, 0.5]), np.array([0.25, 0.25, 0.0, 0.5])
    # Differences .5, .25, 1 and 0: of the 8 signs of three only the observed and its opposite are as far from 0.
    assert permutation_test(first, second, seed=0) == 2 / 8
    assert permutation_test(second, first, seed=1) == 2 / 8
    assert permutation_test(first, first, seed=0) == 1
    # .5 against −.25, −.25: every assignment is at least as far as 0.
    assert permutation_test(np.array([0.5, 0.25, 0.25]), np.array([0, 0.5, 0.5]), seed=0) == 1


def test_permutations_of_equal_differences_are_the_sign_test() -> None:
    first = np.concatenate([np.full(30, 0.3), np.full(14, 0.2), np.full(50, 0.7)])
    second = np.concatenate([np.full(30, 0.2), np.full(14, 0.3), np.full(50, 0.7)])
    exact = mcnemar((first > second).astype(float), (second > first).astype(float)).p
    drawn = permutation_test(first, second, seed=3)
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact / 10_000))
    assert drawn == permutation_test(first, second, seed=3)


def test_permutations_agree_with_a_normal_test_of_many() -> None:
    rng = np.random.default_rng(5)
    first = rng.random(300)
    second = np.clip(first - 0.02 + rng.normal(0, 0.2, 300), 0, 1)
    difference = paired_difference(first, second)
    expected = math.erfc(abs(difference.value / difference.error) / math.sqrt(2))
    assert 0.02 < expected < 0.9
    assert permutation_test(first, second, seed=0) == pytest.approx(expected, abs=0.02)


def test_permutations_do_not_depend_on_the_size_of_a_block_and_never_say_0(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = np.random.default_rng(0).random((2, 40))
    whole = permutation_test(first, second, seed=0)
    monkeypatch.setattr(statistics, "CHUNK_CELLS", 40 * 7)
    assert permutation_test(first, second, seed=0) == pytest.approx(whole, abs=0.02)
    assert permutation_test(np.ones(60), np.zeros(60), seed=0, permutations=99) == 1 / 100


@pytest.mark.parametrize("second", [np.ones(2), np.array([1, math.nan, 1]), np.zeros((3, 1))])
def test_permutations_refuse_what_is_not_paired(second: np.ndarray) -> None:
    with pytest.raises(ValueError, match="permutation test"):
        permutation_test(np.ones(3), second, seed=0)
    with pytest.raises(ValueError, match="permutation test"):
        permutation_test(np.zeros(0), np.zeros(0), seed=0)


def test_the_test_is_chosen_by_the_grades() -> None:
    right, wrong = np.array([1.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0])
    p, counted = paired_p(right, wrong, seed=0)
    assert counted == (1, 0, p)
    assert paired_p(right / 2, wrong / 2, seed=0) == (1.0, None)


def test_p_of_a_bootstrap_is_below_5_percent_where_the_interval_leaves_0_out() -> None:
    centred = np.linspace(-1, 1, 1999)
    assert bootstrap_p(centred) == 1
    for shift in (0.90, 0.94, 0.96, 1.2):
        low, _ = interval(centred + shift)
        assert (bootstrap_p(centred + shift) < 0.05) == (low > 0)
        assert bootstrap_p(-centred - shift) == pytest.approx(bootstrap_p(centred + shift))
    assert bootstrap_p(centred + 2) == 2 / 2000
    assert bootstrap_p(np.full(10, 1e-17), noise=1e-9) == 1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5]) == [0.5]
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([]) == []
    with pytest.raises(ValueError, match="outside"):
        holm([0.5, math.nan])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_one_and_bonferroni(values: list[float]) -> None:
    adjusted = holm(values)
    for value, corrected in zip(values, adjusted, strict=True):
        assert value <= corrected <= min(1.0, value * len(values)) + 1e-12
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_recorded_models_against_each_other() -> None:
    outcomes = shared_suite("zeroeval_gsm_crux_mathl5").outcomes()
    quality = dict(zip(outcomes.models, outcomes.quality.T, strict=True))
    close = mcnemar(quality["gpt-4o-mini-2024-07-18"], quality["Mistral-Large-2"])
    assert (close.only_first, close.only_second, round(close.p, 4)) == (207, 192, 0.4834)
    sonnet, gpt = quality["claude-3-5-sonnet-20241022"], quality["gpt-4o-2024-08-06"]
    test = mcnemar(sonnet, gpt)
    assert (test.only_first, test.only_second, round(test.p, 3)) == (171, 161, 0.621)
    difference = paired_difference(sonnet, gpt)
    assert (round(difference.value, 4), round(difference.error, 4)) == (0.0035, 0.0064)
