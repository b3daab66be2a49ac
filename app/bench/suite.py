"""A suite: items to ask, targets to grade against, and what models answered when they were recorded."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, replace
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
    embeddings: NDArray[np.float32] | None = None
    """Sentence embedding of each item's prompt, shape (n, e), where the routers of a run are to have them."""
    embedder: str = ""
    """Name of the embedder they are by."""

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
        on the same side, across categories too: a router must not be tested on what it was fitted to. They go where
        they leave the train part nearer to 70 %.
        """
        if split == "all":
            return np.arange(len(self.items))
        texts = [bare_text(item) for item in self.items]
        categories: dict[str, list[int]] = {}
        for row, item in enumerate(self.items):
            categories.setdefault(item.category, []).append(row)
        side: dict[str, bool] = {}
        for _, members in sorted(categories.items()):
            members.sort(key=lambda row: self.items[row].id)
            size = Counter(texts[row] for row in members)
            room = round(TRAIN_SHARE * len(members)) - sum(count for text, count in size.items() if side.get(text))
            for place in np.random.default_rng([seed, len(members)]).permutation(len(members)).tolist():
                text = texts[members[place]]
                if text not in side:
                    side[text] = 2 * room >= size[text]
                    room -= size[text] * side[text]
        train = np.array([side[text] for text in texts], dtype=bool)
        return np.flatnonzero(train if split == "train" else ~train)

    def only_models(self, columns: NDArray[np.int64]) -> Suite:
        """The suite with only the recorded models at `columns`; raises `ValueError` where nothing is recorded."""
        if self.recorded is None:
            raise ValueError(f"suite {self.name!r} has no recorded outcomes")
        whole = self.recorded
        kept = Recorded(
            tuple(whole.models[column] for column in columns),
            whole.quality[:, columns],
            whole.cost[:, columns],
            whole.prompt_tokens[:, columns],
            whole.completion_tokens[:, columns],
            whole.replies[:, columns],
        )
        return replace(self, recorded=kept)

    def take(self, rows: NDArray[np.int64]) -> Suite:
        """The suite with only the items at `rows`, in that order."""
        recorded = None
        if self.recorded is not None:
            whole = self.recorded
            recorded = Recorded(
                whole.models,
                whole.quality[rows],
                whole.cost[rows],
                whole.prompt_tokens[rows],
                whole.completion_tokens[rows],
                whole.replies[rows],
            )
        return replace(
            self,
            items=tuple(self.items[row] for row in rows),
            recorded=recorded,
            embeddings=None if self.embeddings is None else self.embeddings[rows],
        )

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
            replies=self.recorded.replies,
            embeddings=self.embeddings,
            embedder=self.embedder,
        )
