"""Drawings of cost against quality."""

from __future__ import annotations

import math

import pytest

from app.bench.cost_plane import CostPlane
from app.bench.pool import pool_figure
from app.store.queries.suites import RecordedModel


def test_a_mix_is_straight_over_cost_and_bent_over_its_logarithm() -> None:
    plane = CostPlane.of([0.001, 0.1])
    assert plane.is_log
    line = plane.line([(0.001, 0.2), (0.1, 0.8)])
    assert (line["x"][0], line["x"][-1]) == (1, 100)
    for cost, quality in zip(line["x"], line["y"], strict=True):
        assert quality == pytest.approx(0.2 + 0.6 * (cost - 1) / 99)
    near = CostPlane.of([0.01, 0.02])
    assert near.line([(0.01, 0.2), (0.02, 0.8)]) == {"x": [10, 20], "y": [0.2, 0.8]}


def test_names_stay_within_the_plane() -> None:
    costs = [0.001, 0.01, 0.1]
    assert CostPlane.of(costs).names(costs, "top") == ["top right", "top center", "top left"]
    assert CostPlane.of([1.0]).names([1.0], "bottom") == ["bottom center"]
    low, high = CostPlane.of(costs).axis("USD")["range"]
    assert low < 0
    assert high > math.log10(100)


@pytest.mark.parametrize("costs", [[], [0.0], [0.0, 0.5], [0.25, None]])
def test_a_pool_with_little_to_draw(costs: list[float | None]) -> None:
    models = [
        RecordedModel(model=f"m{place}", quality=0.5, cost=cost, items=1, replies=1) for place, cost in enumerate(costs)
    ]
    figure = pool_figure(models)
    assert figure["layout"]["xaxis"]["type"] == "linear"
    assert figure["data"][1]["x"] == [1000 * cost for cost in costs if cost is not None]
