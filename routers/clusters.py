"""Clusters of training prompts: which of a few kinds a prompt is of, and how each model did on that kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.artifacts import Artifact
from routers.features import one_thread


@dataclass(frozen=True)
class Clusters:
    """The centres of k-means over embeddings of d dimensions."""

    centres: NDArray[np.float32]
    """Shape (k, d)."""

    @classmethod
    def fit(cls, vectors: NDArray[np.floating[Any]], k: int, *, seed: int) -> Clusters:
        """k-means (Lloyd 1982, with the seeding of Arthur and Vassilvitskii 2007) over `vectors`, shape (n, d).

        Never more clusters than different vectors; vectors of no dimension are one cluster. Raises `ValueError` for
        no vectors.
        """
        from sklearn.cluster import KMeans

        if not len(vectors):
            raise ValueError("clusters: there are no vectors")
        k = min(k, len(np.unique(vectors, axis=0))) if vectors.shape[1] else 1
        if k == 1:
            return cls(vectors.mean(axis=0, keepdims=True).astype(np.float32))
        with one_thread():
            found = KMeans(k, n_init=4, random_state=seed).fit(np.asarray(vectors, dtype=np.float64))
        return cls(found.cluster_centers_.astype(np.float32))

    @classmethod
    def read(cls, artifact: Artifact, dimensions: int, name: str = "centres") -> Clusters:
        """The clusters that `arrays` was written from; raises `ArtifactError`."""
        return cls(artifact.array(name, "f", None, dimensions))

    def arrays(self, name: str = "centres") -> dict[str, NDArray[Any]]:
        """The centres as an artifact keeps them."""
        return {name: self.centres}

    def __len__(self) -> int:
        return len(self.centres)

    def distances(self, vector: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Squared distances of one vector, shape (d,), to all centres, shape (k,)."""
        gaps = self.centres - vector
        found: NDArray[np.float64] = np.einsum("ij,ij->i", gaps, gaps, dtype=np.float64)
        return found

    def nearest(self, vector: NDArray[np.floating[Any]]) -> int:
        """The cluster of one vector, shape (d,)."""
        return int(self.distances(vector).argmin())

    def labels(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
        """The cluster of each of `vectors`, shape (n, d); the same as `nearest` gives one by one."""
        return np.array([self.nearest(vector) for vector in vectors], dtype=np.intp)


def shrunk_means(
    labels: Sequence[int] | NDArray[np.intp], values: NDArray[np.floating[Any]], k: int, pseudo: float
) -> NDArray[np.float64]:
    """Mean of each column per cluster, shape (k, m), shrunk to the column's mean over all rows.

    `labels`: the cluster of each row, shape (n,); `values`: shape (n, m), NaN where missing; `pseudo`: rows that the
    overall mean counts for. A column without any value in reach of a cluster gets its overall mean, 0 where it has
    none at all.
    """
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    count = known.sum(axis=0)
    overall = filled.sum(axis=0) / np.maximum(count, 1)
    sums, counts = np.zeros((2, k, values.shape[1]))
    np.add.at(sums, np.asarray(labels, dtype=np.intp), filled)
    np.add.at(counts, np.asarray(labels, dtype=np.intp), known)
    weight = counts + pseudo
    means: NDArray[np.float64] = np.where(
        weight > 0, (sums + pseudo * overall) / np.where(weight > 0, weight, 1), overall
    )
    return means
