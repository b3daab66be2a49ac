"""What every model did on every item: the table that routers are fitted to and scored on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Candidate


@dataclass(frozen=True)
class Outcomes:
    """A prompt × model matrix of outcomes, n items by m models. Missing cells are NaN in both matrices."""

    items: tuple[str, ...]
    """Ids of the items, length n, unique."""
    prompts: tuple[str, ...]
    """Text of each item as `Query.text` gives it, length n."""
    lengths: NDArray[np.int64]
    """Characters in all messages of each item as `Query.length` gives it, shape (n,)."""
    categories: tuple[str, ...]
    """Category of each item, length n."""
    models: tuple[str, ...]
    """Names of the models, length m, unique."""
    quality: NDArray[np.float64]
    """Shape (n, m), in [0, 1]."""
    cost: NDArray[np.float64]
    """Shape (n, m), USD, not negative."""
    suite: str = ""
    """Name of the suite the outcomes are of."""
    replies: NDArray[np.object_] | None = None
    """Text of what each model answered, shape (n, m) of str, or None where no text was kept; None where none was."""
    embeddings: NDArray[np.float32] | None = None
    """Sentence embedding of each prompt, unit vectors, shape (n, e); None: routers read the prompts themselves."""
    embedder: str = ""
    """Name of the embedder they are by."""

    def __post_init__(self) -> None:
        n, m = len(self.items), len(self.models)
        for name, length in (
            ("prompts", len(self.prompts)),
            ("lengths", len(self.lengths)),
            ("categories", len(self.categories)),
        ):
            if length != n:
                raise ValueError(f"outcomes: {name} has {length} entries for {n} items")
        for name, matrix in (("quality", self.quality), ("cost", self.cost)):
            if matrix.shape != (n, m):
                raise ValueError(f"outcomes: {name} has shape {matrix.shape}, expected ({n}, {m})")
        if self.replies is not None and self.replies.shape != (n, m):
            raise ValueError(f"outcomes: replies has shape {self.replies.shape}, expected ({n}, {m})")
        if self.embeddings is not None and (self.embeddings.ndim != 2 or len(self.embeddings) != n):
            raise ValueError(f"outcomes: embeddings has shape {self.embeddings.shape}, expected ({n}, any)")
        if (self.embeddings is None) != (not self.embedder):
            raise ValueError("outcomes: embeddings and the name of their embedder go together")
        if len(set(self.items)) != n or len(set(self.models)) != m:
            raise ValueError("outcomes: ids of items and names of models must be unique")
        known = self.quality[~np.isnan(self.quality)]
        if known.size and (known.min() < 0 or known.max() > 1):
            raise ValueError("outcomes: quality lies outside [0, 1]")
        if np.any(self.cost < 0) or np.any(np.isinf(self.cost)):
            raise ValueError("outcomes: cost is negative or infinite")

    def take(self, rows: Sequence[int] | NDArray[Any]) -> Outcomes:
        """The same table with only the items at `rows`, in that order."""
        picked = [int(row) for row in rows]
        return Outcomes(
            items=tuple(self.items[row] for row in picked),
            prompts=tuple(self.prompts[row] for row in picked),
            lengths=self.lengths[picked],
            categories=tuple(self.categories[row] for row in picked),
            models=self.models,
            quality=self.quality[picked],
            cost=self.cost[picked],
            suite=self.suite,
            replies=None if self.replies is None else self.replies[picked],
            embeddings=None if self.embeddings is None else self.embeddings[picked],
            embedder=self.embedder,
        )

    def words_only(self) -> Outcomes:
        """The same table without sentence embeddings, for a router that reads the prompts itself."""
        return replace(self, embeddings=None, embedder="")

    def mean_costs(self) -> NDArray[np.float64]:
        """Mean USD per call of each model over the items it has an outcome for, shape (m,); NaN where none."""
        known = ~np.isnan(self.cost)
        totals = np.where(known, self.cost, 0.0).sum(axis=0)
        counts = known.sum(axis=0)
        means: NDArray[np.float64] = np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)
        return means

    def candidates(self) -> tuple[Candidate, ...]:
        """The pool as a router sees it when nothing but these outcomes is known of it."""
        return tuple(
            Candidate(model, mean_cost=None if np.isnan(cost) else float(cost))
            for model, cost in zip(self.models, self.mean_costs(), strict=True)
        )

    def digest(self) -> str:
        """SHA-256 over ids, prompts, lengths, models, both matrices and the replies: equal tables, equal digests."""
        hasher = hashlib.sha256()
        for texts in (self.items, self.prompts, self.models):
            hasher.update(len(texts).to_bytes(8, "big"))
            for text in texts:
                raw = text.encode("utf-8", "surrogatepass")
                hasher.update(len(raw).to_bytes(8, "big") + raw)
        hasher.update(np.asarray(self.lengths, dtype="<i8").tobytes())
        for matrix in (self.quality, self.cost):
            hasher.update(np.asarray(matrix, dtype="<f8").tobytes())
        for reply in [] if self.replies is None else self.replies.ravel().tolist():
            raw = b"" if reply is None else b"\x01" + str(reply).encode("utf-8", "surrogatepass")
            hasher.update(len(raw).to_bytes(8, "big") + raw)
        return hasher.hexdigest()
