"""The outcomes of any format as cells, the checks they all must pass, and the matrices they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.bench.importers.complaints import SHOWN, fail, listing
from app.bench.suite import Recorded


@dataclass(frozen=True)
class Cells:
    """What m models did on n items, one entry per recorded cell, in any order; k entries."""

    ids: Sequence[str]
    """Ids of the items, length n, unique."""
    models: Sequence[str]
    """Names of the models, length m, unique."""
    item: NDArray[np.int64]
    """Shape (k,): which item."""
    model: NDArray[np.int64]
    """Shape (k,): which model."""
    quality: NDArray[np.float64]
    """Shape (k,)."""
    cost: NDArray[np.float64]
    """Shape (k,), USD."""
    prompt_tokens: NDArray[np.int64]
    """Shape (k,); 0 where unknown."""
    completion_tokens: NDArray[np.int64]
    """Shape (k,); 0 where unknown."""
    replies: NDArray[np.object_]
    """Shape (k,) of str, or None where no text was kept."""

    @classmethod
    def of_matrices(
        cls,
        ids: Sequence[str],
        models: Sequence[str],
        quality: NDArray[np.float64],
        cost: NDArray[np.float64],
        *,
        prompt_tokens: NDArray[np.int64] | None = None,
        completion_tokens: NDArray[np.int64] | None = None,
        replies: NDArray[np.object_] | None = None,
    ) -> Cells:
        """The cells of (n, m) matrices; one whose quality and cost are both NaN is none."""
        item, model = np.nonzero(~(np.isnan(quality) & np.isnan(cost)))
        unknown = np.zeros(quality.shape, dtype=np.int64)
        untold = np.full(quality.shape, None, dtype=np.object_)
        return cls(
            ids,
            models,
            item,
            model,
            quality[item, model],
            cost[item, model],
            (unknown if prompt_tokens is None else prompt_tokens)[item, model],
            (unknown if completion_tokens is None else completion_tokens)[item, model],
            (untold if replies is None else replies)[item, model],
        )

    def check(self, path: Path, *, allow_missing: bool) -> None:
        """Raise `ConfigError` where a cell is doubled, missing (unless allowed), or holds what cannot be."""
        self._check_places(path, allow_missing=allow_missing)
        for column, values in (("quality", self.quality), ("cost_usd", self.cost)):
            self.check_values(
                path, column, values, np.isnan(values), "is not known: fill it in, or leave the whole cell out"
            )
        self.check_values(
            path,
            "quality",
            self.quality,
            ~((self.quality >= 0) & (self.quality <= 1)),
            "lies outside [0, 1]: scale or repair it",
        )
        self.check_values(
            path,
            "cost_usd",
            self.cost,
            ~((self.cost >= 0) & np.isfinite(self.cost)),
            "is not a cost in USD: it must be 0 or more",
        )

    def check_values(
        self, path: Path, column: str, values: NDArray[Any], wrong: NDArray[np.bool_], complaint: str
    ) -> None:
        """Raise `ConfigError` about the first of the `wrong` cells. All arrays of shape (k,)."""
        rows = np.flatnonzero(wrong)
        if rows.size:
            first = int(rows[0])
            more = f" ({rows.size} such cells)" if rows.size > 1 else ""
            fail(path, f"{column} of {self._name(first)} is {values[first].item()!r}, which {complaint}{more}")

    def _name(self, row: int) -> str:
        return f"({self.ids[self.item[row]]}, {self.models[self.model[row]]})"

    def _check_places(self, path: Path, *, allow_missing: bool) -> None:
        m = len(self.models)
        known, first, count = np.unique(self.item * m + self.model, return_index=True, return_counts=True)
        doubled = np.flatnonzero(count > 1)
        if doubled.size:
            listed = listing(self._name(int(first[place])) for place in doubled[:SHOWN])
            fail(path, f"{doubled.size} cells stand there more than once, first {listed}: keep one row for each")
        missing = len(self.ids) * m - known.size
        if missing and not allow_missing:
            # Enough of the range to hold the first gaps; the whole matrix may be far larger than the file.
            gaps = np.setdiff1d(np.arange(min(len(self.ids) * m, known.size + SHOWN)), known)[:SHOWN]
            listed = listing(f"({self.ids[gap // m]}, {self.models[gap % m]})" for gap in gaps.tolist())
            fail(
                path,
                f"{missing} of {len(self.ids) * m} cells (sample_id, model) are missing, first {listed}: every model "
                "needs a row for every item, unless missing cells are allowed",
            )

    def recorded(self, order: Sequence[str]) -> Recorded:
        """The matrices, rows in the `order` of the ids; a missing cell is NaN, 0 tokens and no reply."""
        place = {item_id: index for index, item_id in enumerate(order)}
        rows = np.array([place[item_id] for item_id in self.ids], dtype=np.int64)[self.item]

        def matrix(values: NDArray[Any], missing: Any) -> NDArray[Any]:
            grid = np.full((len(order), len(self.models)), missing, dtype=values.dtype)
            grid[rows, self.model] = values
            return grid

        return Recorded(
            models=tuple(self.models),
            quality=matrix(self.quality, np.nan),
            cost=matrix(self.cost, np.nan),
            prompt_tokens=matrix(self.prompt_tokens, 0),
            completion_tokens=matrix(self.completion_tokens, 0),
            replies=matrix(self.replies, None),
        )
