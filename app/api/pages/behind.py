"""What a router says of how its decision came about (`DecisionRecord.detail`), sorted into what a page can draw.

A router of somebody else's may use the same names for other things: what does not have the expected form is shown as it
is, like everything that is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from app.api.pages.conversation import cut


class Neighbours(msgspec.Struct, frozen=True):
    """`knn`."""

    asked: int
    nearest: list[tuple[str | None, float]]
    """`routers.artifacts.item_hash` of the training prompt's item, and its cosine."""
    farthest: float | None = None


class AskedClusters(msgspec.Struct, frozen=True):
    """Of `kmeans`."""

    of: int
    asked: list[tuple[int, float]]
    """Number and weight."""


class Clustered(msgspec.Struct, frozen=True):
    """`kmeans`."""

    clusters: AskedClusters


class Near(msgspec.Struct, frozen=True):
    """`knn`, whole."""

    neighbours: Neighbours


class Ruled(msgspec.Struct, frozen=True):
    """`rules`."""

    rule: int
    when: dict[str, Any]


class Rung(msgspec.Struct, frozen=True):
    """`length`."""

    length: int
    longer_than: float
    rung: int
    rungs: int


class OfferedArm(msgspec.Struct, frozen=True):
    """What a ladder could have taken."""

    arm: list[str]
    quality: float
    cost_usd: float


class Ladder(msgspec.Struct, frozen=True):
    """`ladder`."""

    arm: list[str]
    foretold_by: str
    quality: float
    cost_usd: float
    nearest_likeness: float | None = None
    answers: dict[str, str | None] = {}
    agreed: list[str] = []
    arms: list[OfferedArm] = []


class Cascade(msgspec.Struct, frozen=True):
    """`cascade`."""

    chain: list[str]
    accept: list[float] = []
    """The chance from which the reply of each model but the last is taken."""
    chances: list[float] = []
    """How likely each reply seemed right, in the order in which they came."""


class Threshold(msgspec.Struct, frozen=True):
    """`threshold`."""

    win_probability: float
    threshold: float | None = None


class Bandit(msgspec.Struct, frozen=True):
    """`bandit`."""

    basis: str
    context: list[float]


class Explored(msgspec.Struct, frozen=True):
    """`explore`."""

    explored: bool
    instead_of: str


KINDS: Mapping[str, type[msgspec.Struct]] = {
    "explored": Explored,
    "neighbours": Near,
    "clusters": Clustered,
    "rule": Ruled,
    "rung": Rung,
    "ladder": Ladder,
    "cascade": Cascade,
    "threshold": Threshold,
    "bandit": Bandit,
}
"""What a page can draw, by the name that its template knows it by."""
_SHOWN_ELSEWHERE = frozenset({"dearest_usd"})
_FORETOLD = {
    "learned": "foretold from the prompt",
    "mix": "the means of training: foretelling them from prompts gained nothing there",
    "novel": "the means of training, since the prompt is unlike all training prompts",
    "no known word": "the means of training, since no word of the prompt was known",
    "no embedding": "the means of training, since there was no embedding",
}


class Behind(msgspec.Struct, frozen=True):
    """A decision's detail, sorted."""

    known: dict[str, Any]
    """Name of `KINDS` → its struct."""
    other: dict[str, str]
    """What is left, as text by name."""
    foretold: str = ""
    """Where a ladder's figures come from, in words."""


def behind(detail: Mapping[str, Any]) -> Behind:
    """Sort `detail`; never raises."""
    known: dict[str, Any] = {}
    used: set[str] = set()
    for name, kind in KINDS.items():
        fields = [field.name for field in msgspec.structs.fields(kind)]
        given = {field: detail[field] for field in fields if field in detail}
        try:
            known[name] = msgspec.convert(given, kind)
            used.update(given)
        except msgspec.ValidationError:
            continue
    other = {
        str(name): _text(value) for name, value in detail.items() if name not in used and name not in _SHOWN_ELSEWHERE
    }
    ladder = known.get("ladder")
    foretold = "" if ladder is None else _FORETOLD.get(ladder.foretold_by, ladder.foretold_by)
    return Behind(known, other, foretold)


def _text(value: Any) -> str:
    return cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 2000)
