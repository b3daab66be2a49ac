"""Clusters and neighbours: the shared parts that say how models did on prompts of the same kind."""

from __future__ import annotations

import numpy as np
import pytest

from routers.clusters import Clusters, shrunk_means
from routers.neighbours import Neighbours, nearest_likeness


def three_heaps(n: int = 60) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.repeat(np.eye(3), n // 3, axis=0) + rng.normal(0, 0.05, (n, 3))


def test_heaps_are_found_and_a_vector_is_of_the_nearest() -> None:
    vectors = three_heaps()
    clusters = Clusters.fit(vectors, 3, seed=0)
    labels = clusters.labels(vectors)
    assert len({tuple(labels[start : start + 20]) for start in (0, 20, 40)}) == 3
    assert [clusters.nearest(vector) for vector in vectors] == labels.tolist()


@pytest.mark.parametrize("vectors", [np.ones((5, 3)), np.zeros((4, 0)), np.ones((1, 3))])
def test_equal_vectors_are_one_cluster(vectors: np.ndarray) -> None:
    assert len(Clusters.fit(vectors, 4, seed=0)) == 1


def test_no_vectors_are_an_error() -> None:
    with pytest.raises(ValueError, match="no vectors"):
        Clusters.fit(np.zeros((0, 3)), 2, seed=0)


def test_means_are_shrunk_to_the_column() -> None:
    values = np.array([[1.0, np.nan], [0.0, np.nan], [1.0, 0.5]])
    means = shrunk_means([0, 0, 1], values, 3, 2.0)
    overall = np.array([2 / 3, 0.5])
    np.testing.assert_allclose(means[0], [(1 + 2 * overall[0]) / 4, 0.5])
    np.testing.assert_allclose(means[1], [(1 + 2 * overall[0]) / 3, 0.5])
    np.testing.assert_allclose(means[2], overall)
    np.testing.assert_allclose(shrunk_means([0, 0, 1], values, 3, 0.0)[0], [0.5, 0.5])


def test_neighbours_are_shrunk_and_many_are_each() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(50, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    values = rng.random((50, 3)).astype(np.float32)
    values[rng.random((50, 3)) < 0.3] = np.nan
    neighbours = Neighbours(vectors, values, 200, 2.0)
    likeness = neighbours.likeness(vectors[7])
    near = values[np.argsort(-likeness)[:5]]
    expected = (np.nansum(near, axis=0) + 2 * np.nanmean(values, axis=0)) / ((~np.isnan(near)).sum(axis=0) + 2)
    np.testing.assert_allclose(neighbours.predict(likeness), expected, rtol=1e-5)
    np.testing.assert_allclose(
        neighbours.predict_many(vectors), [neighbours.predict(neighbours.likeness(v)) for v in vectors], rtol=1e-5
    )


def test_likeness_to_the_nearest_other() -> None:
    vectors = np.array([[1.0, 0], [1, 0], [0, 1]])
    assert nearest_likeness(vectors).tolist() == [1, 1, 0]
    assert nearest_likeness(vectors[:1]).tolist() == [-1]
