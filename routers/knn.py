"""Ask the training prompts nearest to this one how each model did on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from routers import artifacts
from routers.artifacts import TrainedOn, item_hash
from routers.features import stripped
from routers.outcomes import Outcomes
from routers.params import bind
from routers.pool import Pool, known_cells, read_cells
from routers.predictive import PredictiveRouter
from routers.spaces import Space, fit_space, given, read_space

ROWS = 10_000
"""Most training prompts kept, drawn at random: bounds the decision (about a millisecond) and the artifact (20 MB
with 25 models)."""
_NEIGHBOURS = "neighbours"
"""Name of the artifact's document with the items of the prompts, in the order of the arrays."""
NAMED = 5
"""Nearest prompts that a decision names."""


@dataclass(frozen=True, slots=True)
class KnnParams:
    """Parameters of `KnnRouter.fit`."""

    k: int = 200
    """Neighbours asked; never more than a tenth of the training prompts."""
    pseudo_counts: float = 50.0
    """Neighbours that the model's mean over all prompts counts for."""
    seed: int = 0
    """Of the SVD, and of the draw where there are more than `ROWS` prompts."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"'k' must be at least 1, not {self.k}")
        if not 0 <= self.pseudo_counts < float("inf"):
            raise ValueError(f"'pseudo_counts' must be a number ≥ 0, not {self.pseudo_counts}")


class KnnRouter(PredictiveRouter):
    """Cosine nearest neighbours, unweighted, shrunk to the model's mean over all prompts.

    Quality and cost of a model are (sum over the k neighbours + p · mean) / (neighbours with an outcome + p), with p
    pseudo-counts. Source: the kNN router of RouterBench (Hu et al. 2024, arXiv:2403.12031), which without shrinkage
    and with k of 5 to 40 often loses to the zero router; the shrinkage is additive smoothing towards the mean.
    """

    name: ClassVar[str] = "knn"

    def __init__(
        self,
        pool: Pool,
        embedding: Space,
        trained_on: TrainedOn,
        params: Mapping[str, Any],
        *,
        vectors: NDArray[np.float32],
        quality: NDArray[np.float32],
        cost: NDArray[np.float32],
        items: Sequence[str] = (),
    ) -> None:
        """`vectors`: embeddings of the r prompts kept, shape (r, d); `quality`, `cost`: shape (r, m), NaN where
        there is no outcome; `items`: `item_hash` of each prompt's item, length r, or empty where they are not known."""
        super().__init__(pool, embedding, trained_on, params)
        settings = KnnParams(**params)
        self._vectors, self._quality, self._cost, self._items = vectors, quality, cost, tuple(items)
        known = ~np.isnan(quality)
        # Side by side, so that one gather and one sum serve all three.
        self._table = np.hstack([np.where(known, quality, 0), np.where(known, cost, 0), known.astype(np.float32)])
        self._k = min(settings.k, max(1, len(vectors) // 10))
        self._pseudo = settings.pseudo_counts

    @classmethod
    def fit(cls, outcomes: Outcomes, **params: Any) -> Self:
        """Remember the training prompts. Parameters: those of `KnnParams`."""
        settings = bind(KnnParams, params, owner="fitting router 'knn'")
        pool, known = Pool.of(outcomes), known_cells(outcomes)
        embedding = fit_space(outcomes, seed=settings.seed)
        rows = np.arange(len(outcomes.prompts))
        if len(rows) > ROWS:
            rows = np.sort(np.random.default_rng(settings.seed).choice(rows, ROWS, replace=False))
        kept = outcomes.take(rows)
        texts = [stripped(prompt, embedding.wrappers) for prompt in kept.prompts]
        vectors = [embedding.embed(text, vector) for text, vector in zip(texts, given(kept), strict=True)]
        return cls(
            pool,
            embedding,
            TrainedOn.of(outcomes),
            asdict(settings),
            vectors=np.array(vectors, dtype=np.float32),
            quality=np.where(known, outcomes.quality, np.nan)[rows].astype(np.float32),
            cost=np.where(known, outcomes.cost, np.nan)[rows].astype(np.float32),
            items=tuple(map(item_hash, kept.items)),
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = artifacts.read(folder, cls)
        pool, embedding = Pool.read(artifact), read_space(artifact)
        vectors = artifact.array("vectors", "f", None, embedding.dimensions)
        if not len(vectors):
            raise artifacts.ArtifactError(f"{folder}: no training prompt is kept; train the router again")
        quality, cost = read_cells(artifact, len(vectors), len(pool.models))
        params = artifact.settings(KnnParams)
        # An artifact of an older version does not name them.
        items = artifact.texts(_NEIGHBOURS) if _NEIGHBOURS in artifact.documents else ()
        if items and len(items) != len(vectors):
            raise artifacts.ArtifactError(f"{folder}: {_NEIGHBOURS}.json does not fit; train the router again")
        return cls(
            pool,
            embedding,
            artifact.trained_on,
            asdict(params),
            vectors=vectors,
            quality=quality,
            cost=cost,
            items=items,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"vectors": self._vectors, "quality": self._quality, "cost": self._cost}

    def documents(self) -> dict[str, Any]:
        return super().documents() | ({_NEIGHBOURS: self._items} if self._items else {})

    def predict(
        self, text: str, vector: NDArray[np.float32], length: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        quality, cost, _ = self.tell(text, vector, length)
        return quality, cost

    def tell(
        self, text: str, vector: NDArray[np.float32], length: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Mapping[str, Any]]:
        # Row by row, like the embedding's sum: a matrix product would wake the library's threads.
        likeness = np.vecdot(self._vectors, vector)
        nearest = np.argpartition(likeness, -self._k)[-self._k :]
        quality, cost, count = self._table.take(nearest, axis=0).sum(axis=0, dtype=np.float64).reshape(3, -1)
        weight = count + self._pseudo
        # Without pseudo-counts a model may have no outcome among the neighbours; then its mean is all there is.
        blind = weight == 0
        weight = np.where(blind, 1.0, weight)
        pseudo = np.where(blind, 1.0, self._pseudo)
        predicted = (quality + pseudo * self.pool.quality) / weight
        behind = {"neighbours": self._named(nearest, likeness[nearest])}
        return np.clip(predicted, 0.0, 1.0), (cost + pseudo * self.pool.cost) / weight, behind

    def _named(self, nearest: NDArray[np.intp], likeness: NDArray[np.float32]) -> dict[str, Any]:
        """How many were asked, how near the farthest of them is, and the nearest: `item_hash` and cosine of each."""
        first = np.argsort(-likeness, kind="stable")[:NAMED]
        named = [
            [self._items[row] if self._items else None, round(near, 4)]
            for row, near in zip(nearest[first].tolist(), likeness[first].tolist(), strict=True)
        ]
        return {"asked": len(nearest), "farthest": round(float(likeness.min()), 4), "nearest": named}
