"""The paired bootstrap and the exact tests beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bench import statistics
from app.bench.statistics import bootstrap_means, interval, mcnemar, paired_difference
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
