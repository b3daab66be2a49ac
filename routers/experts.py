"""What three simple predictors, put side by side, foretell of every model on a prompt.

A ridge, the nearest neighbours and the cluster means err in different ways; none of them is picked, all are given to
whoever decides, as in stacking (Wolpert 1992). For that the predictions of a training prompt must come from predictors
that have not seen it: `out_of_fold`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.clusters import Clusters, shrunk_means
from routers.neighbours import Neighbours
from routers.quality import lines
from routers.regression import Line

Floats = NDArray[np.float64]

ALPHA = 100.0
"""Penalty of the ridge."""
NEIGHBOURS, NEIGHBOUR_PSEUDO = 200, 50.0
CLUSTERS, CLUSTER_PSEUDO = 8, 20.0
FOLDS = 5


@dataclass(frozen=True)
class Experts:
    """The three predictors, fitted; m models, embeddings of d dimensions."""

    line: Line
    neighbours: Neighbours
    clusters: Clusters
    means: Floats
    """Per cluster, shape (k, m)."""

    @classmethod
    def fit(cls, rows: Floats, vectors: NDArray[np.float32], quality: Floats, *, seed: int) -> Experts:
        """Fit to n prompts. Call within `features.one_thread`.

        `rows`: inputs of the ridge, shape (n, p); `vectors`: embeddings, shape (n, d); `quality`: shape (n, m), NaN
        where missing, never a whole column.
        """
        clusters = Clusters.fit(vectors, CLUSTERS, seed=seed)
        means = shrunk_means(clusters.labels(vectors), quality, len(clusters), CLUSTER_PSEUDO)
        neighbours = neighbours_of(vectors, quality.astype(np.float32))
        return cls(lines(rows, quality, ALPHA), neighbours, clusters, means)

    def predict(self, row: Floats, vector: NDArray[np.float32], likeness: NDArray[np.float32]) -> Floats:
        """Quality of the m models by each of the three, shape (3m,); `likeness`: that of `neighbours` to `vector`."""
        nearest = self.means[self.clusters.nearest(vector)]
        return np.concatenate([np.clip(self.line.at(row), 0, 1), self.neighbours.predict(likeness), nearest])

    def predict_many(self, rows: Floats, vectors: NDArray[np.float32]) -> Floats:
        """`predict` for n prompts, shape (n, 3m)."""
        by_line = np.clip(self.line.at_many(rows), 0, 1)
        by_cluster = self.means[self.clusters.labels(vectors)]
        return np.hstack([by_line, self.neighbours.predict_many(vectors), by_cluster])


def neighbours_of(vectors: NDArray[np.float32], quality: NDArray[np.float32]) -> Neighbours:
    """The second of the three; embeddings of shape (n, d), `quality` of shape (n, m)."""
    return Neighbours(vectors, quality, NEIGHBOURS, NEIGHBOUR_PSEUDO)


def out_of_fold(rows: Floats, vectors: NDArray[np.float32], quality: Floats, *, seed: int) -> Floats:
    """What experts fitted to the other folds foretell of each prompt, shape (n, 3m); arguments as in `Experts.fit`.

    Needs at least two prompts. A model without an outcome in the other folds is foretold its mean.
    """
    n, m = quality.shape
    foretold = np.empty((n, 3 * m))
    for held in folds(n, seed=seed):
        others = np.setdiff1d(np.arange(n), held)
        seen = quality[others]
        seen = np.where(np.isnan(seen).all(axis=0), np.nanmean(quality, axis=0), seen)
        experts = Experts.fit(rows[others], vectors[others], seen, seed=seed)
        foretold[held] = experts.predict_many(rows[held], vectors[held])
    return foretold


def folds(n: int, *, seed: int) -> list[NDArray[np.intp]]:
    """Positions of n prompts dealt at random into folds, none of them empty."""
    order = np.random.default_rng(seed).permutation(n)
    return [np.sort(order[start::FOLDS]) for start in range(min(FOLDS, n))]
