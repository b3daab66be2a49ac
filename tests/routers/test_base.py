"""The words routers and proxy share: queries, utility, outcomes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers import Candidate, Query
from routers.base import price_of_quality, rank_by_utility, seed_for
from routers.params import bind
from routers.pool import Pool
from tests.routers.toy import outcomes


def test_the_text_is_the_last_users_and_the_length_that_of_all() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "image_url"}, {"type": "text", "text": "two"}]
    query = Query(
        [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None},
        ],
        (),
    )
    assert query.text == "one\ntwo"
    assert query.length == len("be kind") + len("one\ntwo")
    assert Query([{"role": "system", "content": "alone"}], ()).text == "alone"
    assert (Query([], ()).text, Query([], ()).length) == ("", 0)


def test_an_expected_cost_is_the_observed_mean_or_the_price_or_unknown() -> None:
    assert Candidate("a", 1e-6, 2e-6, mean_cost=0.5).expected_cost(1000) == 0.5
    assert Candidate("a", 1e-6, 2e-6).expected_cost(1000, 100) == pytest.approx(0.0012)
    assert Candidate("a", 1e-6).expected_cost(1000) is None


def test_seeds_tell_parts_apart_and_stay_the_same() -> None:
    assert seed_for("uniform", 1) == 7378785528483782463
    assert len({seed_for("a", "b"), seed_for("ab"), seed_for("b", "a"), seed_for("\ud800")}) == 4
    assert 0 <= seed_for("x") < 2**63


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 10)), min_size=1, max_size=8),
    st.floats(0, 1),
    st.sampled_from([0.0, 5e-324, 1e-9, 10.0]),
)
def test_the_first_has_the_greatest_utility(cells: list[tuple[float, float]], tradeoff: float, dearest: float) -> None:
    names = [f"m{index}" for index in range(len(cells))]
    quality, cost = [q for q, _ in cells], [c for _, c in cells]
    weight = price_of_quality(tradeoff, dearest)
    first = rank_by_utility(names, quality, cost, tradeoff=tradeoff, dearest=dearest, reason="x").ranking[0]
    if math.isinf(weight):
        assert first.cost == min(cost)
    else:
        best = max(q - weight * c for q, c in cells)
        assert first.quality - weight * first.cost == best
        assert first.cost == min(c for q, c in cells if q - weight * c == best)


def test_the_price_of_quality_follows_the_formula() -> None:
    assert price_of_quality(0.0, 2.0) == 0
    assert price_of_quality(0.75, 2.0) == 1.5
    assert math.isinf(price_of_quality(1.0, 2.0))


@pytest.mark.parametrize("field", ["items", "prompts", "lengths", "models", "quality", "cost"])
def test_the_digest_tells_tables_apart(field: str) -> None:
    table = outcomes(9)
    assert table.digest() == outcomes(9).digest()
    value = getattr(table, field)
    other = (*value[:-1], "other") if isinstance(value, tuple) else value * 0.5
    if field == "lengths":
        other = value + 1
    assert dataclasses.replace(table, **{field: other}).digest() != table.digest()


@pytest.mark.parametrize(
    ("field", "value"),
    [("quality", 1.5), ("quality", -0.1), ("cost", -1.0), ("cost", math.inf)],
)
def test_impossible_cells_are_refused(field: str, value: float) -> None:
    table = outcomes(9)
    matrix = getattr(table, field).copy()
    matrix[3, 1] = value
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(table, **{field: matrix})


def test_a_model_without_outcomes_has_no_mean_cost() -> None:
    table = outcomes(9)
    cost = table.cost.copy()
    cost[:, 1] = np.nan
    hollow = dataclasses.replace(table, cost=cost)
    assert np.isnan(hollow.mean_costs()).tolist() == [False, True, False, False]
    assert [c.mean_cost is None for c in hollow.candidates()] == [False, True, False, False]


@pytest.mark.parametrize(
    ("points", "hull"),
    [
        ({"a": (1, 0.5), "b": (2, 0.7), "c": (4, 0.6), "d": (5, 0.9)}, ("a", "b", "d")),
        ({"a": (1, 0.5), "b": (2, 0.4), "c": (3, 0.9)}, ("a", "c")),
        ({"a": (1, 0.9), "b": (2, 0.5), "c": (3, 0.4)}, ("a",)),
        ({"a": (0.5, 0.2), "b": (1, 0.6), "c": (2, 0.65), "d": (3, 0.8), "e": (6, 0.81)}, ("a", "b", "d", "e")),
        ({"a": (1, 0.5), "b": (1, 0.6), "c": (1, 0.6)}, ("b",)),
    ],
)
def test_the_hull_is_the_zero_routers(points: dict[str, tuple[float, float]], hull: tuple[str, ...]) -> None:
    cost, quality = np.array([list(point) for point in points.values()]).T
    pool = Pool(tuple(points), quality, cost)
    for models in (list(points), list(points)[::-1]):
        assert pool.hull(models) == hull


def test_binding_knows_the_forms_a_parameter_can_take() -> None:
    def takes(names: list[str], share: float | None = None, mode: str = "a", /, **rest: object) -> str:
        return "never"

    def plain(names: list[str], share: float | None = None) -> tuple[list[str], float | None]:
        return names, share

    assert bind(plain, {"names": ["a"], "share": 1}, "it") == (["a"], 1)
    for wrong in ({"names": "abc"}, {"names": [1]}, {"names": ["a"], "share": "1"}, {"names": ["a"], "share": False}):
        with pytest.raises(ValueError, match=r"^it: parameter '(names|share)' must be .*it takes names: list\[str\]"):
            bind(plain, wrong, "it")
    with pytest.raises(ValueError, match=r"^it: "):
        bind(takes, {"anything": 1}, "it")
