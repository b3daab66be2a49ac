"""The arena score: published figures, its range, and what it refuses."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bench.arena import arena_score, cost_merit


@pytest.mark.parametrize(
    ("cost", "accuracy", "score"),
    [(0.061, 0.7123, 71.60), (0.54, 0.6809, 66.67), (0.07, 0.3201, 33.75), (0.29, 0.6841, 67.66)],
)
def test_figures_of_routerarena(cost: float, accuracy: float, score: float) -> None:
    assert round(100 * arena_score(accuracy, cost), 2) == score


@pytest.mark.parametrize(("cost", "merit"), [(0, 1), (0.0044, 1), (0.001, 1), (200, 0), (1e6, 0)])
def test_the_merit_of_cost_is_held_between_its_ends(cost: float, merit: float) -> None:
    assert cost_merit(cost) == merit


def test_every_factor_in_cost_has_the_same_merit() -> None:
    steps = [cost_merit(cost) - cost_merit(2 * cost) for cost in (0.01, 1, 50)]
    assert steps == pytest.approx([steps[0]] * 3)


def test_nothing_right_or_nothing_affordable_scores_nothing() -> None:
    assert arena_score(0, 1) == 0
    assert arena_score(1, 200) == 0
    assert arena_score(0, 200) == 0
    assert arena_score(1, 0) == pytest.approx(1)


@given(st.floats(0, 1), st.floats(0, 300))
def test_it_lies_between_0_and_1_and_rises_with_accuracy_and_falls_with_cost(accuracy: float, cost: float) -> None:
    score = arena_score(accuracy, cost)
    assert 0 <= score <= 1 + 1e-12
    assert arena_score(min(accuracy + 0.1, 1), cost) >= score - 1e-12
    assert arena_score(accuracy, cost * 1.5) <= score + 1e-12


@pytest.mark.parametrize(("accuracy", "cost"), [(1.1, 1), (-0.1, 1), (math.nan, 1), (0.5, -1), (0.5, math.nan)])
def test_what_is_out_of_range_is_refused(accuracy: float, cost: float) -> None:
    with pytest.raises(ValueError, match="arena score"):
        arena_score(accuracy, cost)
