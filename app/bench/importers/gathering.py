"""A suite put together from files that each hold one model's answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.bench.importers.cells import Cells
from app.bench.importers.complaints import fail
from app.bench.suite import Item, Suite
from app.store.text import clean


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model did with one item."""

    quality: float
    """NaN, with a cost of NaN, where there is no outcome."""
    cost: float
    """USD."""
    prompt_tokens: int
    completion_tokens: int
    reply: str | None


@dataclass
class Gathering:
    """Collects answers; items and models stand in the order in which they come first."""

    items: dict[str, Item] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)
    _asked: dict[str, Any] = field(default_factory=dict)
    _answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    _reworded: set[str] = field(default_factory=set)

    def add(self, path: Path, item: Item, asked: Any, model: str, answer: Answer) -> None:
        """One answer out of the file at `path`. `asked`: what the question is, its wording aside; equal for all models.
        None where that is not known for sure: then the item is what another model was asked.

        Raises `ConfigError` where the item is known with another question, or the model has answered it already.
        """
        # JSON may hold half a surrogate pair, which neither a digest nor Postgres can take.
        item = Item(**clean(msgspec.structs.asdict(item)))
        known = self.items.setdefault(item.id, item)
        if asked is not None and item.id not in self._asked:
            self._asked[item.id] = asked
            self.items[item.id] = item
        elif asked is not None:
            if self._asked[item.id] != asked:
                fail(path, f"item {item.id} is not the question that other models were asked: import them apart")
            if known.messages != item.messages:
                self._reworded.add(item.id)
        self.models.setdefault(model, len(self.models))
        if (item.id, model) in self._answers:
            fail(path, f"({item.id}, {model}) stands there more than once: keep one record for each")
        self._answers[item.id, model] = answer

    def suite(self, path: Path, name: str, *, allow_missing: bool) -> tuple[Suite, list[str]]:
        """The suite, and notes on it. Raises `ConfigError` where a cell is wrong or, unless allowed, missing."""
        ids, models = list(self.items), list(self.models)
        place = {item_id: row for row, item_id in enumerate(ids)}
        shape = (len(ids), len(models))
        quality, cost = np.full(shape, np.nan), np.full(shape, np.nan)
        prompt_tokens, completion_tokens = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        replies: NDArray[np.object_] = np.full(shape, None, dtype=np.object_)
        for (item_id, model), answer in self._answers.items():
            cell = place[item_id], self.models[model]
            quality[cell], cost[cell] = answer.quality, answer.cost
            prompt_tokens[cell], completion_tokens[cell] = answer.prompt_tokens, answer.completion_tokens
            replies[cell] = clean(answer.reply)
        cells = Cells.of_matrices(
            ids,
            models,
            quality,
            cost,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            replies=replies,
        )
        cells.check(path, allow_missing=allow_missing)
        notes = []
        if self._reworded:
            notes.append(
                f"{len(self._reworded):,} items were worded differently for some models; the first wording counts."
            )
        return Suite(name, tuple(self.items.values()), recorded=cells.recorded(ids)), notes
