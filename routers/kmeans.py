"""Clusters of prompts: each model is worth on a prompt what it was worth on prompts of that kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from routers import artifacts
from routers.artifacts import TrainedOn
from routers.clusters import Clusters, shrunk_means
from routers.features import stripped
from routers.outcomes import Outcomes
from routers.params import bind
from routers.pool import Pool, known_cells
from routers.predictive import PredictiveRouter
from routers.spaces import Space, fit_space, given, read_space


@dataclass(frozen=True, slots=True)
class KmeansParams:
    """Parameters of `KmeansRouter.fit`."""

    clusters: int = 8
    """Fewer where there are not that many different prompts. Avengers-Pro has 60, for far more prompts."""
    nearest: int = 1
    """Clusters that speak for a prompt, the nearer the louder; Avengers-Pro asks several."""
    sharpness: float = 9.0
    """How much louder the nearer: a cluster weighs exp(−sharpness · squared distance / 2)."""
    pseudo_counts: float = 20.0
    """Prompts of a cluster that the model's mean over all prompts counts for; 0 is Avengers-Pro's."""
    seed: int = 0
    """Of the SVD and of k-means."""

    def __post_init__(self) -> None:
        for name in ("clusters", "nearest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name!r} must be at least 1, not {getattr(self, name)}")
        for name in ("sharpness", "pseudo_counts"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name!r} must be a number ≥ 0, not {getattr(self, name)}")


class KmeansRouter(PredictiveRouter):
    """Mean quality and cost of each model per k-means cluster, shrunk to its mean over all prompts.

    Source: Avengers-Pro (Zhang et al. 2025, arXiv:2508.12631). It weighs quality against cost after scaling both to
    [0, 1] within the cluster; here the utility is the same as everywhere, and the means are shrunk, without which
    small clusters cost more than they tell.
    """

    name: ClassVar[str] = "kmeans"

    def __init__(
        self,
        pool: Pool,
        embedding: Space,
        trained_on: TrainedOn,
        params: Mapping[str, Any],
        *,
        clusters: Clusters,
        quality: NDArray[np.float64],
        cost: NDArray[np.float64],
    ) -> None:
        """`quality`, `cost`: means per cluster, shape (k, m)."""
        super().__init__(pool, embedding, trained_on, params)
        self._settings = KmeansParams(**params)
        self._clusters, self._quality, self._cost = clusters, quality, cost

    @classmethod
    def fit(cls, outcomes: Outcomes, **params: Any) -> Self:
        """Cluster the training prompts. Parameters: those of `KmeansParams`."""
        settings = bind(KmeansParams, params, owner="fitting router 'kmeans'")
        pool, known = Pool.of(outcomes), known_cells(outcomes)
        embedding = fit_space(outcomes, seed=settings.seed)
        texts = [stripped(prompt, embedding.wrappers) for prompt in outcomes.prompts]
        vectors = np.array([embedding.embed(text, vector) for text, vector in zip(texts, given(outcomes), strict=True)])
        clusters = Clusters.fit(vectors, settings.clusters, seed=settings.seed)
        labels = clusters.labels(vectors)
        quality, cost = (
            shrunk_means(labels, np.where(known, cells, np.nan), len(clusters), settings.pseudo_counts)
            for cells in (outcomes.quality, outcomes.cost)
        )
        return cls(
            pool,
            embedding,
            TrainedOn.of(outcomes),
            asdict(settings),
            clusters=clusters,
            quality=quality,
            cost=cost,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = artifacts.read(folder, cls)
        pool, embedding = Pool.read(artifact), read_space(artifact)
        clusters = Clusters.read(artifact, embedding.dimensions)
        if not len(clusters):
            raise artifacts.ArtifactError(f"{folder}: there is no cluster; train the router again")
        quality, cost = (artifact.array(name, "f", len(clusters), len(pool.models)) for name in ("quality", "cost"))
        params = asdict(artifact.settings(KmeansParams))
        return cls(pool, embedding, artifact.trained_on, params, clusters=clusters, quality=quality, cost=cost)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self._clusters.arrays() | {"quality": self._quality, "cost": self._cost}

    def predict(
        self, text: str, vector: NDArray[np.float32], length: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        quality, cost, _ = self.tell(text, vector, length)
        return quality, cost

    def tell(
        self, text: str, vector: NDArray[np.float32], length: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Mapping[str, Any]]:
        distances = self._clusters.distances(vector)
        nearest = np.argsort(distances, kind="stable")[: self._settings.nearest]
        weights = np.exp(-self._settings.sharpness * (distances[nearest] - distances[nearest[0]]) / 2)
        weights /= weights.sum()
        quality, cost = (np.einsum("k,km->m", weights, table[nearest]) for table in (self._quality, self._cost))
        asked = [[int(cluster), round(float(weight), 4)] for cluster, weight in zip(nearest, weights, strict=True)]
        return np.clip(quality, 0.0, 1.0), cost, {"clusters": {"of": len(self._clusters), "asked": asked}}
