"""A suite: items to ask, targets to grade against, and what models answered when they were recorded."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from routers import Outcomes, Query
from routers.base import message_text

Split = Literal["all", "train", "test"]
TRAIN_SHARE = 0.7


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One question of a suite."""

    id: str
    category: str
    messages: list[dict[str, Any]]
    """The chat to send, in OpenAI's form."""
    target: str | None = None
    """What a right reply says; read by the grader."""
    grader: str | None = None
    """Overrides the suite's grader for this item."""

    def as_query(self) -> Query:
        """The item as a router sees its text (no candidates)."""
        return Query(self.messages, ())


def bare_text(item: Item) -> str:
    """The item's text without case, spaces and punctuation; its id where there is no text."""
    text = " ".join(message_text(message) for message in item.messages)
    return re.sub(r"[\W_]+", "", text.casefold()) or f"id {item.id}"


@dataclass(frozen=True)
class Recorded:
    """What m models did on the n items of a suite. A missing cell is NaN in `quality` and `cost`."""

    models: tuple[str, ...]
    quality: NDArray[np.float64]
    """Shape (n, m), in [0, 1], as the recording's own judge gave it."""
    cost: NDArray[np.float64]
    """Shape (n, m), USD."""
    prompt_tokens: NDArray[np.int64]
    """Shape (n, m); 0 where missing or unknown."""
    completion_tokens: NDArray[np.int64]
    """Shape (n, m); 0 where missing or unknown."""
    replies: NDArray[np.object_]
    """Shape (n, m) of str, or None where no text was kept."""


@dataclass(frozen=True)
class Suite:
    """A named list of items, with recorded outcomes where there are any."""

    name: str
    items: tuple[Item, ...]
    grader: str | None = None
    """Name of the grader of all items that name none; None: only recorded quality can be used."""
    recorded: Recorded | None = None
    simulated: bool = False
    """True where the recorded models are simulated ones."""
    description: str = ""

    def __post_init__(self) -> None:
        if len({item.id for item in self.items}) != len(self.items):
            raise ValueError(f"suite {self.name!r}: ids of items must be unique")
        if self.recorded is None:
            return
        shape = (len(self.items), len(self.recorded.models))
        for name in ("quality", "cost", "prompt_tokens", "completion_tokens", "replies"):
            found = getattr(self.recorded, name).shape
            if found != shape:
                raise ValueError(f"suite {self.name!r}: recorded {name} has shape {found}, expected {shape}")

    @property
    def digest(self) -> str:
        """SHA-256 over ids, messages, targets and graders of all items, in order."""
        return hashlib.sha256(msgspec.json.encode([self.grader, list(self.items)], order="sorted")).hexdigest()

    def rows(self, split: Split, seed: int) -> NDArray[np.int64]:
        """Positions of the items of a part, ascending; about 70 % of each category are `train`.

        Within a category the ids are sorted and shuffled with `seed`, so the split depends on ids, texts and seed
        alone, not on the order of a file. Items whose texts differ in nothing but case, spaces and punctuation stand
        on the same side, across categories too: a router must not be tested on what it was fitted to.
        """
        if split == "all":
            return np.arange(len(self.items))
        train = np.zeros(len(self.items), dtype=bool)
        side: dict[str, bool] = {}
        for category in sorted({item.category for item in self.items}):
            members = sorted(
                (index for index, item in enumerate(self.items) if item.category == category),
                key=lambda index: self.items[index].id,
            )
            room = round(TRAIN_SHARE * len(members))
            for place in np.random.default_rng([seed, len(members)]).permutation(len(members)).tolist():
                member = members[place]
                train[member] = side.setdefault(bare_text(self.items[member]), room > 0)
                room -= int(train[member])
        return np.flatnonzero(train if split == "train" else ~train)

    def outcomes(self, quality: NDArray[np.float64] | None = None) -> Outcomes:
        """The recorded outcomes as a router's `fit` and the scorer take them.

        `quality`, shape (n, m), replaces the recorded quality where replies were graded anew. Raises `ValueError`
        where nothing is recorded.
        """
        if self.recorded is None:
            raise ValueError(f"suite {self.name!r} has no recorded outcomes")
        queries = [item.as_query() for item in self.items]
        return Outcomes(
            items=tuple(item.id for item in self.items),
            prompts=tuple(query.text for query in queries),
            lengths=np.array([query.length for query in queries], dtype=np.int64),
            categories=tuple(item.category for item in self.items),
            models=self.recorded.models,
            quality=self.recorded.quality if quality is None else quality,
            cost=self.recorded.cost,
            suite=self.name,
        )
