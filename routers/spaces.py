"""Where a prompt lies: in a space fitted to the training prompts, or in one of sentence embeddings.

Sentence embeddings are computed by whoever asks the router, never here: `Query.embedding` brings them, `Outcomes` has
those of the training prompts. What is kept of them is at most `DIMENSIONS` numbers, by a principal component analysis
that is fitted in numpy and kept with the artifact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.artifacts import Artifact, ArtifactError
from routers.features import DIMENSIONS, Embedding, one_thread
from routers.outcomes import Outcomes

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Sentences:
    """Sentence embeddings of one embedder, turned and cut; `embed` gives unit vectors of d dimensions."""

    embedder: str
    """Name of the embedder: vectors of another one mean nothing here."""
    centre: NDArray[np.float32]
    """Mean over the training prompts, shape (e,)."""
    axes: NDArray[np.float32]
    """Shape (e, d): the directions in which the training prompts differ most."""
    wrappers: frozenset[str] = frozenset()
    """None: the embedder has read the prompt as it is."""

    @classmethod
    def fit(cls, embedder: str, vectors: NDArray[np.float32]) -> Sentences:
        """Fit to the embeddings of the training prompts, shape (n, e); n = 0 leaves no dimension."""
        centre = vectors.mean(axis=0, dtype=np.float64) if len(vectors) else np.zeros(vectors.shape[1])
        with one_thread():
            spread = (vectors - centre).T @ (vectors - centre)
            variance, found = np.linalg.eigh(spread)
        d = min(DIMENSIONS, *vectors.shape)
        axes, variance = found[:, ::-1][:, :d], variance[::-1][:d]
        axes = axes[:, variance > 1e-9 * max(float(variance.max(initial=0.0)), 1e-300)]
        # An axis may point either way: its largest number is made positive, so that the same fit gives the same axes.
        signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]) if axes.size else 1.0
        return cls(embedder, centre.astype(np.float32), np.ascontiguousarray(axes * signs, dtype=np.float32))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The numbers as an artifact keeps them."""
        return {"sentence_centre": self.centre, "sentence_axes": self.axes}

    def documents(self) -> dict[str, Any]:
        """The texts as an artifact keeps them."""
        return {"embedder": [self.embedder]}

    @property
    def dimensions(self) -> int:
        """d."""
        return int(self.axes.shape[1])

    @property
    def missing(self) -> str:
        """Reason of a decision on a prompt whose vector is zero."""
        return "no embedding"

    def embed(self, text: str, given: Vector | None = None) -> Vector:
        """A unit vector, shape (d,); zero where none of e numbers is `given`."""
        if given is None or given.shape != self.centre.shape:
            return np.zeros(self.dimensions, np.float32)
        vector: Vector = np.einsum("i,ij->j", np.asarray(given, np.float32) - self.centre, self.axes)
        norm = math.sqrt(float(vector @ vector))
        return vector / np.float32(norm) if 0 < norm < math.inf else np.zeros(self.dimensions, np.float32)

    def known_share(self, text: str) -> float:
        """1: no word is unknown to an embedder."""
        return 1.0


Space = Embedding | Sentences


def fit_space(outcomes: Outcomes, *, seed: int) -> Space:
    """Sentence embeddings where the outcomes bring them, else a space of words."""
    if outcomes.embeddings is not None:
        return Sentences.fit(outcomes.embedder, outcomes.embeddings)
    return Embedding.fit(outcomes.prompts, seed=seed)


def read_space(artifact: Artifact) -> Space:
    """The space that `arrays` and `documents` were written from; raises `ArtifactError`."""
    if "embedder" not in artifact.documents:
        return Embedding.read(artifact)
    names = artifact.texts("embedder")
    if len(names) != 1:
        raise ArtifactError(f"{artifact.folder / 'embedder.json'} does not name one embedder; train the router again")
    centre = artifact.array("sentence_centre", "f", None)
    return Sentences(names[0], centre, artifact.array("sentence_axes", "f", len(centre), None))


def needed_by(space: Space) -> str | None:
    """The embedder whose vectors a router has to be given; None where it reads the prompt itself."""
    return space.embedder if isinstance(space, Sentences) else None


def given(outcomes: Outcomes) -> Sequence[Vector | None]:
    """The sentence embedding of each item, None where there are none; length n."""
    return [None] * len(outcomes.items) if outcomes.embeddings is None else list(outcomes.embeddings)
