"""Hulls, areas and the oracle's curve: golden numbers, edge cases and the mathematics behind them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bench.curves import (
    Frame,
    Point,
    aiq,
    aiq_log,
    aiq_many,
    aiq_rb_compat,
    cost_save,
    entropy,
    gap_closed,
    ndch,
    oracle,
    oracle_curve,
    pareto,
    pareto_dist,
    perf_gain,
    regret,
)
from tests.bench.tables import shared_suite

A = ([1, 2, 4, 5], [0.5, 0.7, 0.6, 0.9])
F = ([0.5, 1, 2, 3, 6], [0.2, 0.6, 0.65, 0.8, 0.81])


def vertices(cost: list[float], quality: list[float]) -> list[tuple[float, float]]:
    hull = ndch(cost, quality)
    return list(zip(hull.cost.tolist(), hull.quality.tolist(), strict=True))


# ------------------------------------------------------------------------------------------------------ hull


@pytest.mark.parametrize(
    ("cost", "quality", "expected"),
    [
        (*A, [(1, 0.5), (2, 0.7), (5, 0.9)]),
        ([1, 2, 3], [0.5, 0.4, 0.9], [(1, 0.5), (3, 0.9)]),
        ([1, 2, 3], [0.9, 0.5, 0.4], [(1, 0.9)]),
        (*F, [(0.5, 0.2), (1, 0.6), (3, 0.8), (6, 0.81)]),
    ],
)
def test_toy_hulls(cost: list[float], quality: list[float], expected: list[tuple[float, float]]) -> None:
    assert vertices(cost, quality) == expected


def test_one_point_gives_a_constant() -> None:
    hull = ndch([2], [0.6])
    assert hull.at([2, 3, 100]).tolist() == [0.6, 0.6, 0.6]
    assert math.isnan(float(hull.at(1.9)))


def test_two_points_give_a_segment_or_the_better_alone() -> None:
    assert vertices([1, 3], [0.4, 0.8]) == [(1, 0.4), (3, 0.8)]
    assert float(ndch([1, 3], [0.4, 0.8]).at(2)) == pytest.approx(0.6)
    assert vertices([1, 3], [0.8, 0.8]) == [(1, 0.8)]
    assert vertices([1, 3], [0.8, 0.4]) == [(1, 0.8)]


def test_of_equal_costs_the_better_counts() -> None:
    assert vertices([1, 1, 2, 2], [0.3, 0.5, 0.6, 0.9]) == [(1, 0.5), (2, 0.9)]


def test_the_hull_is_cut_after_the_leftmost_maximum() -> None:
    assert vertices([1, 2, 3, 4], [0.2, 0.9, 0.9, 0.9]) == [(1, 0.2), (2, 0.9)]


def test_collinear_points_are_no_vertices() -> None:
    assert vertices([1, 2, 3], [0.25, 0.5, 0.75]) == [(1, 0.25), (3, 0.75)]


def test_index_names_the_points_that_stand_on_the_hull() -> None:
    assert ndch([5, 1, 4, 2], [0.9, 0.5, 0.6, 0.7]).index.tolist() == [1, 3, 0]


@pytest.mark.parametrize(
    ("cost", "quality", "message"),
    [
        ([1, math.nan], [0.5, 0.5], "NaN"),
        ([1, 2], [0.5, math.nan], "NaN"),
        ([1, math.inf], [0.5, 0.5], "infinite"),
        ([1, -0.1], [0.5, 0.5], "negative"),
        ([], [], "as many costs"),
        ([1, 2], [0.5], "as many costs"),
    ],
)
def test_what_is_no_point_is_an_error(cost: list[float], quality: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ndch(cost, quality)


def test_reading_a_hull_at_a_budget_and_at_a_quality() -> None:
    hull = ndch(*A)
    assert hull.quality_at(0.99) is None
    assert hull.quality_at(1.5) == pytest.approx(0.6)
    assert hull.quality_at(50) == 0.9
    assert hull.cost_at(0.3) == 1
    assert hull.cost_at(0.8) == pytest.approx(3.5)
    assert hull.cost_at(0.91) is None


# ------------------------------------------------------------------------------------------------------- AIQ


def test_toy_aiq_and_why_the_limits_are_fixed() -> None:
    frame = Frame(1, 6, 0.5)
    assert aiq_rb_compat(*A, reach=6) == pytest.approx(0.65)
    assert aiq_rb_compat(*F, reach=6) == pytest.approx(0.6691667, abs=1e-7)
    assert aiq(*A, frame) == pytest.approx(0.78)
    assert aiq(*F, frame) == pytest.approx(0.763)


def test_below_the_first_point_a_client_mixes_with_the_cheapest_model() -> None:
    frame = Frame(1, 5, 0.4)
    # From (1, .4) up to (3, .8), then flat.
    assert aiq([3], [0.8], frame) == pytest.approx((0.6 * 2 + 0.8 * 2) / 4)
    # Worse than the cheapest model: held at .4 up to the router's own point, then the router is what it is.
    assert aiq([3], [0.2], frame) == pytest.approx((0.4 * 2 + 0.2 * 2) / 4)
    # Dearer than every model: its point is never reached, the way to it is.
    assert aiq([9], [0.8], frame) == pytest.approx(0.5)


def test_points_outside_the_limits_count_by_their_curve_inside() -> None:
    assert aiq([0, 10], [0.0, 1.0], Frame(2, 6, 0.9)) == pytest.approx(0.4)


def test_a_pool_without_width_gives_the_quality_at_its_cost() -> None:
    frame = Frame.of([2, 2], [0.5, 0.7])
    assert frame == Frame(2, 2, 0.7)
    assert aiq([2], [0.6], frame) == 0.6
    assert aiq_log([2], [0.6], frame) == 0.6
    assert aiq([3], [0.9], frame) == 0.7


def test_log_cost_weighs_every_doubling_alike() -> None:
    frame = Frame(1, 4, 0.5)
    step = aiq_log([1, 1.000001], [0.5, 0.9], frame)
    assert step == pytest.approx(0.9, abs=1e-5)
    # A straight line from (1, 0) to (4, .9): the mean of .3 (c − 1) over ln c.
    assert aiq_log([1, 4], [0.0, 0.9], Frame(1, 4, 0.0)) == pytest.approx(0.3 * (3 - math.log(4)) / math.log(4))
    assert aiq_log([0, 4], [0.0, 0.9], Frame(0, 4, 0.0)) is None


def test_rb_compat_of_a_router_that_costs_nothing() -> None:
    assert aiq_rb_compat([0], [0.7], reach=0) == 0.7


def test_gap_saving_and_gain() -> None:
    best = Point(4, 0.8)
    assert gap_closed(0.85, 0.8, 0.9) == pytest.approx(0.5)
    assert gap_closed(0.85, 0.9, 0.9) is None
    hull = ndch([1, 3], [0.6, 1.0])
    assert cost_save(hull, best) == pytest.approx(0.5)
    assert perf_gain(hull, best) == pytest.approx(0.25)
    assert cost_save(ndch([1, 8], [0.6, 0.8]), best) == pytest.approx(-1)
    assert cost_save(ndch([1, 3], [0.6, 0.79]), best) is None
    assert cost_save(hull, Point(0, 0.8)) is None
    assert perf_gain(hull, Point(1, 0)) is None


def test_reaching_a_quality_survives_the_order_of_summation() -> None:
    quality = np.random.default_rng(0).random(10_001)
    hull = ndch([1.0], [float(quality[::-1].cumsum()[-1]) / len(quality)])
    assert cost_save(hull, Point(2.0, math.fsum(quality) / len(quality) + 1e-14)) == 0.5


# ---------------------------------------------------------------------------------------------------- oracle


def test_oracle_takes_the_best_ties_to_the_cheapest() -> None:
    quality = np.array([[1.0, 1.0, 0.0], [0.0, 0.5, 0.75], [0.0, 0.0, 0.0]])
    cost = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 9.0], [4.0, 3.0, 5.0]])
    picks = oracle(quality, cost)
    assert picks.index.tolist() == [1, 2, 1]
    assert picks.cost.tolist() == [2, 9, 3]
    assert picks.quality.tolist() == [1, 0.75, 0]
    assert oracle(quality, cost, rb_compat=True).cost.tolist() == [2, 9, 0]


def test_oracle_never_picks_what_is_missing() -> None:
    nan = math.nan
    quality, cost = np.array([[nan, 0.0], [nan, nan]]), np.array([[nan, 5.0], [nan, nan]])
    picks = oracle(quality, cost)
    assert picks.index[0] == 1
    assert picks.cost.tolist() == [5, 0]
    assert picks.quality.tolist() == [0, 0]
    assert [part.tolist() for part in oracle_curve(quality, cost)] == [[2.5], [0]]


def test_oracle_curve_of_two_prompts_by_hand() -> None:
    quality = np.array([[0.0, 1.0], [0.5, 1.0]])
    cost = np.array([[1.0, 3.0], [1.0, 2.0]])
    # Slopes: .5 on both prompts; both edges join into one line from (1, .25) to (2.5, 1).
    costs, qualities = oracle_curve(quality, cost)
    assert vertices(costs.tolist(), qualities.tolist()) == [(1, 0.25), (2.5, 1)]


def test_regret_at_a_tradeoff() -> None:
    quality, cost = np.array([[0.0, 1.0], [0.5, 1.0]]), np.array([[1.0, 3.0], [1.0, 2.0]])
    always_dear = (quality[:, 1], cost[:, 1])
    assert regret(always_dear, quality, cost, 0.0) == 0
    assert regret(always_dear, quality, cost, 1.0) == pytest.approx((1 + 0.5) / 2)
    assert regret(always_dear, quality, cost, math.inf) is None
    missing = np.full((1, 2), math.nan)
    assert regret((np.zeros(1), np.zeros(1)), missing, missing, 1.0) == 0


# -------------------------------------------------------------------------------------- Pareto and shares


def test_pareto_set_keeps_what_nothing_beats() -> None:
    assert pareto([1, 2, 2, 3, 3], [0.5, 0.5, 0.7, 0.7, 0.9]).tolist() == [True, False, True, False, True]
    assert pareto([1, 1], [0.5, 0.5]).tolist() == [True, True]


def test_distance_to_the_pareto_set_is_in_ranges_of_the_pool() -> None:
    front = ([1.0, 3.0], [0.5, 0.9])
    assert pareto_dist([1, 3], [0.5, 0.9], front, Point(2, 0.4)) == 0
    assert pareto_dist([3], [0.7], front, Point(2, 0.4)) == pytest.approx(0.5)
    assert pareto_dist([3], [0.7], front, Point(2, 0)) == 0


def test_entropy_in_bits() -> None:
    assert entropy([0.25] * 4) == pytest.approx(2)
    assert entropy([0.4, 0.4]) == pytest.approx(1)
    assert entropy([1.0]) == 0
    assert entropy([]) == 0


# ------------------------------------------------------------------------------------------------ mathematics

numbers = st.floats(0, 1, allow_subnormal=False).map(lambda value: round(value, 6))
points = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12)


def split(chosen: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [cost for cost, _ in chosen], [quality for _, quality in chosen]


@given(points, st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(chosen: list[tuple[float, float]], random: object) -> None:
    shuffled = list(chosen)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert vertices(*split(shuffled)) == vertices(*split(chosen))


@given(points, st.data())
def test_a_dominated_point_changes_nothing(chosen: list[tuple[float, float]], data: st.DataObject) -> None:
    cost, quality = data.draw(st.sampled_from(chosen))
    worse = (cost + data.draw(numbers), quality - data.draw(numbers))
    assert vertices(*split([*chosen, worse])) == vertices(*split(chosen))


@given(points)
def test_the_hull_rises_bends_down_and_covers_every_point(chosen: list[tuple[float, float]]) -> None:
    hull = ndch(*split(chosen))
    assert (np.diff(hull.cost) > 0).all()
    assert (np.diff(hull.quality) > 0).all()
    slopes = np.diff(hull.quality) / np.diff(hull.cost)
    assert (np.diff(slopes) < 1e-9 * np.abs(slopes[1:])).all()
    for cost, quality in chosen:
        assert hull.at(cost) >= quality - 1e-12


@given(points, points)
def test_aiq_lies_between_the_lowest_and_the_highest_quality(
    pool: list[tuple[float, float]], router: list[tuple[float, float]]
) -> None:
    frame = Frame.of(*split(pool))
    qualities = [frame.floor, *split(router)[1]]
    assert min(qualities) - 1e-9 <= aiq(*split(router), frame) <= max(qualities) + 1e-9


@given(points, st.lists(points.filter(lambda chosen: len(chosen) == 3), min_size=1, max_size=4))
def test_many_at_once_agrees_with_one_at_a_time(
    pool: list[tuple[float, float]], routers: list[list[tuple[float, float]]]
) -> None:
    frame = Frame.of(*split(pool))
    cost, quality = (np.array([split(router)[axis] for router in routers]) for axis in (0, 1))
    limits = (np.full(len(routers), value) for value in (frame.low, frame.high, frame.floor))
    one_by_one = [aiq(*split(router), frame) for router in routers]
    assert aiq_many(cost, quality, *limits) == pytest.approx(one_by_one, abs=1e-9)


tables = st.integers(1, 6).flatmap(
    lambda models: st.lists(
        st.lists(st.tuples(numbers, numbers), min_size=models, max_size=models), min_size=1, max_size=8
    )
)


@given(tables, st.floats(0.001, 1000))
def test_the_oracle_curve_has_the_best_utility_at_every_price(
    table: list[list[tuple[float, float]]], weight: float
) -> None:
    cost, quality = (np.array([[cell[axis] for cell in row] for row in table]) for axis in (0, 1))
    costs, qualities = oracle_curve(quality, cost)
    best = (quality - weight * cost).max(axis=1).mean()
    assert (qualities - weight * costs).max() == pytest.approx(best, abs=1e-9)
    assert (costs[-1], qualities[-1]) == pytest.approx(oracle(quality, cost).point, abs=1e-9)


@given(tables)
def test_the_oracle_curve_lies_above_the_zero_router(table: list[list[tuple[float, float]]]) -> None:
    cost, quality = (np.array([[cell[axis] for cell in row] for row in table]) for axis in (0, 1))
    singles = (cost.mean(axis=0), quality.mean(axis=0))
    frame = Frame.of(*singles)
    assert aiq(*oracle_curve(quality, cost), frame) >= aiq(*singles, frame) - 1e-9


# -------------------------------------------------------------------------------------------- golden numbers

ZERO = {
    "zeroeval_4sets_8models": {
        "all": (0.81204, 0.82372),
        "crux": (0.79354, 0.80617),
        "gsm": (0.93408, 0.94873),
        "math-l5": (0.52551, 0.53218),
        "numersense": (0.94408, 0.96126),
    },
    "zeroeval_gsm_crux_mathl5": {
        "gsm": (0.94443, 0.96471),
        "crux": (0.79772, 0.85783),
        "math-l5": (0.54181, 0.58465),
        "all": (0.79454, 0.82994),
    },
}


@pytest.mark.parametrize(
    ("name", "part", "compat", "fixed"),
    [(name, part, *numbers) for name, parts in ZERO.items() for part, numbers in parts.items()],
)
def test_zero_router_of_the_recorded_sets(name: str, part: str, compat: float, fixed: float) -> None:
    outcomes = shared_suite(name).outcomes()
    rows = [row for row, category in enumerate(outcomes.categories) if part in ("all", category)]
    taken = outcomes.take(rows)
    cost, quality = taken.cost.mean(axis=0), taken.quality.mean(axis=0)
    hull = ndch(cost, quality)
    assert aiq_rb_compat(cost, quality, reach=float(hull.cost[-1])) == pytest.approx(compat, abs=5.1e-6)
    assert aiq(cost, quality, Frame.of(cost, quality)) == pytest.approx(fixed, abs=5.1e-6)


@pytest.mark.parametrize(
    ("name", "low", "high", "hull_ends"),
    [
        ("zeroeval_4sets_8models", 0.0674, 4.7501, ("gemini-1.5-flash", "gpt-4o-2024-05-13")),
        ("zeroeval_gsm_crux_mathl5", 0.0487, 17.027, ("gemma-2-2b-it", "claude-3-5-sonnet-20241022")),
    ],
)
def test_limits_of_the_recorded_sets(name: str, low: float, high: float, hull_ends: tuple[str, str]) -> None:
    outcomes = shared_suite(name).outcomes()
    cost, quality = outcomes.cost.mean(axis=0), outcomes.quality.mean(axis=0)
    frame = Frame.of(cost, quality)
    assert 1000 * frame.low == pytest.approx(low, abs=5.1e-5)
    assert 1000 * frame.high == pytest.approx(high, abs=5.1e-4 if high > 10 else 5.1e-5)
    hull = [outcomes.models[index] for index in ndch(cost, quality).index]
    assert (hull[0], hull[-1]) == hull_ends


def test_hull_of_the_eight_models() -> None:
    outcomes = shared_suite("zeroeval_4sets_8models").outcomes()
    hull = ndch(outcomes.cost.mean(axis=0), outcomes.quality.mean(axis=0))
    assert [outcomes.models[index] for index in hull.index] == [
        "gemini-1.5-flash",
        "gpt-4o-mini-2024-07-18",
        "gpt-4o-2024-05-13",
    ]


@pytest.mark.parametrize(
    ("name", "quality", "free", "charged", "area"),
    [
        ("zeroeval_4sets_8models", (0.9341, 4), 0.31607, 0.32243, 0.9330),
        ("zeroeval_gsm_crux_mathl5", (0.95951, 5), 0.21566, None, 0.9593),
    ],
)
def test_oracle_of_the_recorded_sets(
    name: str, quality: tuple[float, int], free: float, charged: float | None, area: float
) -> None:
    outcomes = shared_suite(name).outcomes()
    point = oracle(outcomes.quality, outcomes.cost).point
    assert round(point.quality, quality[1]) == quality[0]
    assert round(1000 * oracle(outcomes.quality, outcomes.cost, rb_compat=True).point.cost, 5) == free
    if charged is not None:
        assert round(1000 * point.cost, 5) == charged
    frame = Frame.of(outcomes.cost.mean(axis=0), outcomes.quality.mean(axis=0))
    assert round(aiq(*oracle_curve(outcomes.quality, outcomes.cost), frame), 4) == area
