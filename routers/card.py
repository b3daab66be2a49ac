"""The model card of an artifact: how the router did on items held out when it was trained, and at what setting.

The table of settings is what turns a target ("a third of the best model's cost") into a tradeoff.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from routers.hull import hull
from routers.params import bind

T = TypeVar("T")


@dataclass(frozen=True)
class CardPoint:
    """What the router did on the held-out items at one tradeoff."""

    tradeoff: float
    quality: float
    """Mean, in [0, 1]."""
    cost: float
    """Mean USD per call."""


@dataclass(frozen=True)
class CardModel:
    """What one model, asked for everything, did on the held-out items."""

    model: str
    quality: float
    """Mean, in [0, 1]; a missing outcome counts as a failed call."""
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
    singles: tuple[CardModel, ...] = ()
    """Each model of the pool, the cheapest first; none in cards written before these were kept."""

    @classmethod
    def parse(cls, value: Any) -> Card:
        """A card as `as_json` gives it. Raises `ValueError` that names the field."""
        if not isinstance(value, Mapping) or not isinstance(value.get("points"), list):
            raise ValueError("the card has no 'points'")
        points = _listed(CardPoint, value["points"], "a point of the card")
        if not points:
            raise ValueError("the card has no 'points'")
        singles = _listed(CardModel, value.get("singles", []), "a model of the card")
        card: Card = bind(cls, {**value, "points": points, "singles": singles}, owner="the card")
        return card

    @property
    def zero(self) -> tuple[CardModel, ...]:
        """The models that the zero router mixes: the vertices of their hull, the cheapest first."""
        if not self.singles:
            return ()
        vertices = hull([single.cost for single in self.singles], [single.quality for single in self.singles])
        return tuple(self.singles[vertex] for vertex in vertices)

    @property
    def best_points(self) -> tuple[CardPoint, ...]:
        """The settings on the hull, the cheapest first: no mix of others is better at their cost."""
        vertices = hull([point.cost for point in self.points], [point.quality for point in self.points])
        return tuple(self.points[vertex] for vertex in vertices)

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


def _listed(kind: type[T], values: Any, owner: str) -> tuple[T, ...]:
    if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
        raise ValueError(f"{owner} is no object")
    return tuple(bind(kind, value, owner=owner) for value in values)
