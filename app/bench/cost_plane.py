"""A plane of cost and quality for plotly.js, as the pages draw it: USD per 1,000 calls against mean quality."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

DECADE = 10.0
"""Times that the dearest costs the cheapest, from where on costs are drawn on a logarithmic axis."""
BENT = 24
"""Pieces of a straight line on such an axis."""
MARGIN = 0.08
"""Of a logarithmic axis, beyond what is drawn, on each side."""
SIDES = (0.2, 0.75)
"""Parts of the axis from which on a name stands to the right of its place, and to the left of it: in the middle it
would be cut off at the edge."""

Place = tuple[float, float]
"""Cost of a call in USD, and quality."""


class CostPlane(NamedTuple):
    """What the horizontal axis has to hold."""

    low: float
    high: float
    """Costs of a call, USD."""

    @classmethod
    def of(cls, costs: Iterable[float]) -> CostPlane:
        """`costs`: at least one."""
        known = list(costs)
        return cls(min(known), max(known))

    @property
    def is_log(self) -> bool:
        """Prices of models lie decades apart: side by side they are seen on a logarithmic axis only."""
        return self.low > 0 and self.high > DECADE * self.low

    def line(self, places: Sequence[Place]) -> dict[str, list[float]]:
        """x and y of a hull. A mix of two is a straight line, which a logarithmic axis bends."""
        drawn = list(places)
        if self.is_log:
            drawn = [place for pair in pairwise(places) for place in _between(*pair)] + drawn[-1:]
        return {"x": [1000 * cost for cost, _ in drawn], "y": [quality for _, quality in drawn]}

    def names(self, costs: Sequence[float], side: str) -> list[str]:
        """Where the name of each place stands; `side`: `top` or `bottom`."""
        return [f"{side} {self._beside(cost)}" for cost in costs]

    def axis(self, title: str) -> dict[str, Any]:
        """The horizontal axis."""
        axis: dict[str, Any] = {"title": {"text": title}, "type": "log" if self.is_log else "linear", "tickprefix": "$"}
        if self.is_log:
            low, high = math.log10(1000 * self.low), math.log10(1000 * self.high)
            axis |= {"range": [low - MARGIN * (high - low), high + MARGIN * (high - low)], "dtick": 1}
        return axis

    def _beside(self, cost: float) -> str:
        if self.high <= self.low:
            return "center"
        if self.is_log:
            part = math.log(cost / self.low) / math.log(self.high / self.low)
        else:
            part = (cost - self.low) / (self.high - self.low)
        return "right" if part < SIDES[0] else "left" if part > SIDES[1] else "center"


def _between(one: Place, other: Place) -> list[Place]:
    """Places on the straight line between two, evenly spread over the decades of cost; without the second."""
    found = []
    for step in range(BENT):
        cost = one[0] * (other[0] / one[0]) ** (step / BENT)
        part = (cost - one[0]) / (other[0] - one[0]) if other[0] > one[0] else 0.0
        found.append((cost, one[1] + part * (other[1] - one[1])))
    return found
