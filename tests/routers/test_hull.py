"""The hull that routers train by is the hull that the bench scores by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bench.curves import Frame, aiq, ndch
from routers.hull import hull, mean_height

points = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), min_size=1, max_size=12)


@given(points)
def test_the_same_vertices_as_the_bench(drawn: list[tuple[int, int]]) -> None:
    cost, quality = (np.array(values, dtype=float) for values in zip(*drawn, strict=True))
    vertices = hull(cost, quality)
    expected = ndch(cost, quality)
    assert cost[vertices].tolist() == expected.cost.tolist()
    assert quality[vertices].tolist() == expected.quality.tolist()


@given(points, st.integers(0, 10), st.integers(1, 40), st.integers(0, 20))
def test_the_mean_height_is_aiq_where_the_router_reaches_the_cheapest_model(
    drawn: list[tuple[int, int]], low: int, width: int, floor: int
) -> None:
    cost, quality = (np.array(values, dtype=float) for values in zip(*[*drawn, (low, floor)], strict=True))
    expected = aiq(cost, quality, Frame(low, low + width, floor))
    assert mean_height(cost[:-1], quality[:-1], low, low + width, floor) == pytest.approx(expected)


def test_without_width_the_height_at_that_cost_counts() -> None:
    assert mean_height([1.0, 1.0, 2.0], [0.3, 0.5, 0.9], 1.0, 1.0, 0.4) == 0.5
