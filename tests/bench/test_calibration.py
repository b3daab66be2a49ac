"""Calibration: by hand, against plain counting, and at the edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bench.calibration import BINS, auc, brier, ece, mape, reliability, wilson


def test_brier_is_the_mean_squared_error() -> None:
    assert brier([1, 0, 0.5], [1, 0, 1]) == pytest.approx(0.25 / 3)
    assert brier([0.5] * 4, [0, 1, 0, 1]) == 0.25
    assert brier([0.75], [0.25]) == 0.25


def test_ece_weighs_each_bin_by_its_prompts() -> None:
    # Bin [.2, .3): predicted .25, observed 1/2; bin [.9, 1]: predicted .95, observed 1.
    assert ece([0.25, 0.25, 0.95, 1.0], [0, 1, 1, 1]) == pytest.approx((2 * 0.25 + 0.05) / 4)
    assert ece([0.25, 0.25, 0.95, 1.0], [0, 1, 1, 1], bins=1) == pytest.approx(abs(2.45 - 3) / 4)


def test_ece_of_what_is_predicted_outside_the_range_stands_in_the_last_bins() -> None:
    assert ece([1.5, -0.5], [1, 0]) == pytest.approx(0.5)


def test_calibrated_on_average_is_not_calibrated_in_its_bins() -> None:
    predicted, quality = [0.1] * 10 + [0.9] * 10, [1] * 10 + [0] * 10
    assert ece(predicted, quality, bins=1) == pytest.approx(0)
    assert ece(predicted, quality) == pytest.approx(0.9)


def test_auc_of_right_wrong_and_no_order() -> None:
    assert auc([0.1, 0.4, 0.9], [0, 0, 1]) == 1
    assert auc([0.9, 0.4, 0.1], [0, 0, 1]) == 0
    assert auc([0.5, 0.5, 0.5], [0, 1, 1]) == 0.5
    assert auc([0.1, 0.9], [1, 1]) is None


def test_auc_of_graded_quality_is_concordance() -> None:
    assert auc([0.1, 0.2, 0.3, 0.4], [0, 0.25, 0.5, 1]) == 1
    # Of the 6 pairs only (.25, .5) is ordered wrongly.
    assert auc([0.1, 0.3, 0.2, 0.4], [0, 0.25, 0.5, 1]) == pytest.approx(5 / 6)


grades = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
forecasts = st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


@given(st.lists(st.tuples(forecasts, grades), min_size=1, max_size=30))
def test_auc_counts_every_pair(prompts: list[tuple[float, float]]) -> None:
    better = [(p, r) for p, q in prompts for r, s in prompts if q > s]
    expected = sum((p > r) + (p == r) / 2 for p, r in better) / len(better) if better else None
    assert auc(*zip(*prompts, strict=True)) == (None if expected is None else pytest.approx(expected))


@given(st.lists(st.tuples(st.floats(0, 1), grades), min_size=1, max_size=30))
def test_ece_lies_under_the_mean_error_and_brier_under_1(prompts: list[tuple[float, float]]) -> None:
    predicted, quality = (np.array(column) for column in zip(*prompts, strict=True))
    assert abs(float((predicted - quality).mean())) - 1e-9 <= ece(predicted, quality)
    assert ece(predicted, quality) <= float(np.abs(predicted - quality).mean()) + 1e-9
    assert 0 <= brier(predicted, quality) <= 1


def test_cost_error_is_relative_and_leaves_out_what_was_free() -> None:
    assert mape([0.002, 0.001, 5], [0.001, 0.002, 0]) == pytest.approx((1 + 0.5) / 2)
    assert mape([1.0], [0.0]) is None


@pytest.mark.parametrize("figure", [brier, ece, auc, mape])
@pytest.mark.parametrize(
    ("predicted", "observed"), [([], []), ([0.5], [1, 0]), ([math.nan], [1]), ([0.5], [math.nan]), ([[0.5]], [[1]])]
)
def test_what_is_no_pair_of_lists_is_refused(figure: Callable[..., Any], predicted: Any, observed: Any) -> None:
    with pytest.raises(ValueError, match="calibration"):
        figure(predicted, observed)


def test_ece_needs_a_bin() -> None:
    with pytest.raises(ValueError, match="at least one bin"):
        ece([0.5], [1], bins=0)


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    # Worked by hand from Wilson's formula with z = 1.96.
    [(0.5, 10, 0.2366, 0.7634), (0.0, 20, 0.0, 0.1611), (1.0, 20, 0.8389, 1.0), (0.1, 50, 0.0435, 0.2136)],
)
def test_wilsons_interval(share: float, n: int, low: float, high: float) -> None:
    assert wilson(share, n) == pytest.approx((low, high), abs=1e-4)


@given(st.floats(0, 1), st.integers(1, 10**6))
def test_wilsons_interval_holds_the_share_and_stays_in_bounds(share: float, n: int) -> None:
    low, high = wilson(share, n)
    assert 0 <= low <= share <= high <= 1


def test_the_bins_of_a_reliability_diagram() -> None:
    first, last = reliability([0.25, 0.21, 0.95, 1.0], [0, 1, 1, 1])
    assert (first.n, first.predicted, first.observed) == (2, pytest.approx(0.23), 0.5)
    assert (last.n, last.predicted, last.observed) == (2, pytest.approx(0.975), 1.0)
    assert (first.low, first.high) == wilson(0.5, 2)


@given(st.lists(st.tuples(st.floats(-0.5, 1.5), st.floats(0, 1)), min_size=1, max_size=60))
def test_ece_is_read_off_the_diagram(pairs: list[tuple[float, float]]) -> None:
    predicted, quality = map(np.array, zip(*pairs, strict=True))
    parts = reliability(predicted, quality)
    assert sum(part.n for part in parts) == len(pairs)
    assert len(parts) <= BINS
    edges = [part.predicted for part in parts]
    assert edges == sorted(edges)
    gaps = sum(part.n * abs(part.predicted - part.observed) for part in parts) / len(pairs)
    assert ece(predicted, quality) == pytest.approx(gaps)
    assert all(part.low <= part.observed + 1e-12 and part.observed - 1e-12 <= part.high for part in parts)
