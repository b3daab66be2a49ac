"""The model card of an artifact: how the router did on items held out when it was trained, and at what setting.

The table of settings is what turns a target ("a third of the best model's cost") into a tradeoff.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from routers.params import bind


@dataclass(frozen=True)
class CardPoint:
    """What the router did on the held-out items at one tradeoff."""

    tradeoff: float
    quality: float
    """Mean, in [0, 1]."""
    cost: float
    """Mean USD per call."""


@dataclass(frozen=True)
class Card:
    """What training found out about a router."""

    fitted: int
    """Items of the fit that was validated; the router itself was fitted to these and the held-out ones."""
    held_out: int
    """Items it was validated on."""
    seed: int
    quality_source: str
    """`recorded`, or `grader:<name>`."""
    best_single: str
    """The single model of the highest mean quality on the held-out items."""
    best_quality: float
    best_cost: float
    """Mean USD per call."""
    aiq: float
    aiq_low: float
    aiq_high: float
    delta_aiq: float
    """AIQ over the zero router's, with the bounds of its 95 % interval."""
    delta_low: float
    delta_high: float
    points: tuple[CardPoint, ...]
    """Ascending in tradeoff."""

    @classmethod
    def parse(cls, value: Any) -> Card:
        """A card as `as_json` gives it. Raises `ValueError` that names the field."""
        if not isinstance(value, Mapping) or not isinstance(value.get("points"), list):
            raise ValueError("the card has no 'points'")
        points = tuple(bind(CardPoint, point, owner="a point of the card") for point in value["points"])
        if not points:
            raise ValueError("the card has no 'points'")
        card: Card = bind(cls, {**value, "points": points}, owner="the card")
        return card

    def as_json(self) -> dict[str, Any]:
        """The card as JSON values."""
        return asdict(self)

    def tradeoff_for_cost(self, share: float) -> float:
        """The tradeoff of the best quality among those that cost at most `share` of the best single model's cost.

        The cheapest setting where none is that cheap.
        """
        within = [point for point in self.points if point.cost <= share * self.best_cost]
        if not within:
            return min(self.points, key=lambda point: (point.cost, point.tradeoff)).tradeoff
        return max(within, key=lambda point: (point.quality, -point.cost, -point.tradeoff)).tradeoff

    def tradeoff_for_quality(self, share: float) -> float:
        """The tradeoff of the lowest cost among those that keep at least `share` of the best single model's quality.

        The setting of the best quality where none keeps that much.
        """
        within = [point for point in self.points if point.quality >= share * self.best_quality]
        if not within:
            return max(self.points, key=lambda point: (point.quality, -point.cost, -point.tradeoff)).tradeoff
        return min(within, key=lambda point: (point.cost, -point.quality, point.tradeoff)).tradeoff
