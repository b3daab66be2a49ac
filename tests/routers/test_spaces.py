"""Routers that are fitted to sentence embeddings: they use those alone, and get by where none comes."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers import Outcomes, TrainableRouter, registry
from routers.artifacts import ArtifactError, load
from routers.features import DIMENSIONS
from routers.spaces import Sentences
from tests.routers.toy import SKILL, ask, outcomes

EMBEDDER = "onnx:0123456789ab@256"
TAKING = ("knn", "ridge", "kmeans", "mlp", "svm", "factors", "threshold", "ladder")


def vector_of(topic: str, seed: int = 0) -> np.ndarray:
    """A unit vector of 300 numbers that tells the topic."""
    rng = np.random.default_rng([sorted(SKILL).index(topic), seed])
    vector = rng.normal(0, 0.03, 300)
    vector[sorted(SKILL).index(topic)] += 1
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@lru_cache
def embedded() -> Outcomes:
    """The toy's outcomes with prompts that tell nothing, and embeddings that tell the topic."""
    toy = outcomes(240)
    vectors = np.array([vector_of(topic, row) for row, topic in enumerate(toy.categories)])
    same = ("the same words",) * 240
    return replace(toy, prompts=same, lengths=np.full(240, 14), embeddings=vectors, embedder=EMBEDDER)


@lru_cache
def fitted(name: str) -> TrainableRouter:
    cls = registry.find(name)
    assert registry.is_trainable(cls)
    return cls.fit(embedded())


@pytest.mark.parametrize("name", TAKING)
def test_fitted_saved_and_asked(name: str, tmp_path: Path) -> None:
    router = fitted(name)
    assert router.needs_embedding == EMBEDDER
    router.save(tmp_path / "art")
    fitted.__wrapped__(name).save(tmp_path / "again")
    for file in sorted((tmp_path / "art").iterdir()):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name
    again = load(tmp_path / "art")
    assert again.needs_embedding == EMBEDDER
    for topic in SKILL:
        query = ask("the same words", tradeoff=0.3, embedding=vector_of(topic, 999))
        assert again.route(query).ranking == router.route(query).ranking
        assert "no embedding" not in router.route(query).reason


@pytest.mark.parametrize("name", ["knn", "ridge", "kmeans", "svm", "mlp"])
def test_the_vector_alone_tells_the_topic(name: str) -> None:
    for topic, able in (("code", "coder"), ("poem", "poet")):
        decision = fitted(name).route(ask("the same words", embedding=vector_of(topic, 999)))
        quality = {choice.model: choice.quality or 0.0 for choice in decision.ranking}
        assert max(("small", "coder", "poet"), key=quality.__getitem__) == able


@pytest.mark.parametrize("name", TAKING)
def test_without_a_fitting_embedding_the_means_are_served(name: str) -> None:
    router = fitted(name)
    for vector in (None, np.ones(7, np.float32)):
        decision = router.route(ask("the same words", tradeoff=0.3, embedding=vector))
        assert decision.ranking
        if vector is None or name != "threshold":
            assert "no embedding" in decision.reason
        if name in ("knn", "ridge"):
            means = dict(zip(router.pool.models, router.pool.quality.tolist(), strict=True))  # type: ignore[attr-defined]
            assert {choice.model: choice.quality for choice in decision.ranking} == means


@pytest.mark.parametrize("name", ["bandit", "cheapest", "length"])
def test_others_need_none(name: str) -> None:
    router = registry.build(name, {}) if name == "cheapest" else fitted(name)
    assert router.needs_embedding is None


def test_an_artifact_that_names_two_embedders_is_refused(tmp_path: Path) -> None:
    router = fitted("knn")
    documents = {"embedder": [EMBEDDER, "another"]}
    space = router.embedding  # type: ignore[attr-defined]
    try:
        object.__setattr__(space, "documents", lambda: documents)
        router.save(tmp_path / "art")
    finally:
        object.__delattr__(space, "documents")
    with pytest.raises(ArtifactError, match="does not name one embedder"):
        load(tmp_path / "art")


def test_outcomes_take_their_embeddings_along() -> None:
    part = embedded().take([5, 2])
    assert part.embeddings is not None
    assert (part.embeddings == embedded().embeddings[[5, 2]]).all()  # type: ignore[index]
    assert part.words_only().embeddings is None
    with pytest.raises(ValueError, match="expected"):
        replace(embedded(), embeddings=np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match="go together"):
        replace(embedded(), embedder="")


@given(st.integers(1, 30), st.integers(1, 200), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_axes_are_orthonormal_and_vectors_of_length_one(n: int, e: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, e)).astype(np.float32)
    space = Sentences.fit("x", vectors)
    d = space.dimensions
    assert d <= min(DIMENSIONS, n, e)
    assert np.allclose(space.axes.T @ space.axes, np.eye(d), atol=1e-5)
    for vector in vectors:
        length = np.linalg.norm(space.embed("", vector))
        assert np.isclose(length, 1, atol=1e-5) or length == 0


def test_few_dimensions_keep_all_distances() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    space = Sentences.fit("x", vectors)
    assert space.dimensions == 6
    turned = (vectors - space.centre) @ space.axes
    before = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    assert np.allclose(np.linalg.norm(turned[:, None] - turned, axis=2), before, atol=1e-4)
