"""Nearest training prompts: what each model did on the ones most like a prompt, and how near the nearest is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1000
"""Prompts compared with all others at once: bounds the memory."""


@dataclass(frozen=True)
class Neighbours:
    """Cosine nearest neighbours, unweighted, shrunk to each column's mean over all rows."""

    vectors: NDArray[np.float32]
    """Unit vectors of the n prompts kept, shape (n, d)."""
    values: NDArray[np.float32]
    """Shape (n, m), NaN where missing."""
    k: int
    """Neighbours asked; never more than a tenth of the prompts, and at least one."""
    pseudo: float
    """Neighbours that the mean over all prompts counts for; more than 0."""

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """Mean of each column, shape (m,); 0 where it has no value."""
        known = ~np.isnan(self.values)
        total: NDArray[np.float64] = np.where(known, self.values, 0).sum(axis=0, dtype=np.float64)
        means: NDArray[np.float64] = total / np.maximum(known.sum(axis=0), 1)
        return means

    @cached_property
    def _table(self) -> NDArray[np.float32]:
        known = ~np.isnan(self.values)
        return np.hstack([np.where(known, self.values, 0), known]).astype(np.float32)

    @property
    def _asked(self) -> int:
        return min(self.k, max(1, len(self.vectors) // 10))

    def likeness(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine of a unit vector, shape (d,), with every prompt kept, shape (n,)."""
        # Row by row: a matrix product would wake the library's threads.
        found: NDArray[np.float32] = np.vecdot(self.vectors, vector)
        return found

    def predict(self, likeness: NDArray[np.float32]) -> NDArray[np.float64]:
        """Shrunk mean of each column over the nearest prompts, shape (m,)."""
        nearest = np.argpartition(likeness, -self._asked)[-self._asked :]
        sums, counts = self._table[nearest].sum(axis=0, dtype=np.float64).reshape(2, -1)
        return self._shrunk(sums, counts)

    def predict_many(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """`predict` for each of `vectors`, shape (r, d): shape (r, m)."""
        totals = []
        for start in range(0, len(vectors), BLOCK):
            likeness = np.asarray(vectors[start : start + BLOCK], dtype=np.float32) @ self.vectors.T
            nearest = np.argpartition(likeness, -self._asked, axis=1)[:, -self._asked :]
            totals += [self._table[rows].sum(axis=0, dtype=np.float64) for rows in nearest]
        sums, counts = np.array(totals).reshape(len(vectors), 2, -1).transpose(1, 0, 2)
        return self._shrunk(sums, counts)

    def _shrunk(self, sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return (sums + self.pseudo * self.means) / (counts + self.pseudo)


def nearest_likeness(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Cosine of each unit vector, shape (n, d), with the nearest of the others, shape (n,); −1 for one alone."""
    nearest = np.full(len(vectors), -1.0)
    for start in range(0, len(vectors) if len(vectors) > 1 else 0, BLOCK):
        likeness = vectors[start : start + BLOCK] @ vectors.T
        rows = np.arange(len(likeness))
        likeness[rows, rows + start] = -2
        nearest[start : start + BLOCK] = likeness.max(axis=1)
    return nearest
