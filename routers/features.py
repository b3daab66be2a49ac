"""What the learned routers see of a prompt: where it lies among the training prompts, and how it is written.

The embedding is TF-IDF over words and word pairs, reduced by a truncated SVD. Published comparisons find that the
kind of embedding hardly matters for routing; this one needs no model, no network and no accelerator. It is fitted
with scikit-learn and served by numpy alone.

Only the first `HEAD` and the last `TAIL` characters of a prompt are read. What is asked stands at the start or at
the end, and so a prompt of 200,000 tokens costs milliseconds, not seconds.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.artifacts import Artifact, ArtifactError

HEAD = 4000
"""Characters read from the start of a prompt."""
TAIL = 2000
"""Characters read from its end."""
DIMENSIONS = 128
"""Most dimensions of the embedding; fewer where there are fewer training prompts or terms."""
TERMS = 20_000
"""Most words and pairs in the vocabulary: with `DIMENSIONS` 4-byte numbers each, half an artifact's 20 MB."""
WORD = r"(?u)\b\w+\b"
"""A word: a run of letters, digits or underscores in any script. Single signs count, they carry sums and code."""
WRAPPER_SHARE = 0.03
"""A line that stands in more than this share of the training prompts is the wrapping of a suite, not a question."""
WRAPPER_COUNT = 5
"""… and in at least so many prompts: in a handful of prompts a share means nothing."""

_WORDS = re.compile(WORD)
_DIGITS = b"0123456789"
_CODE_SIGNS = b"{}[]();=<>_"


@dataclass(frozen=True)
class Embedding:
    """TF-IDF and SVD as fitted; `embed` gives unit vectors of d dimensions."""

    terms: tuple[str, ...]
    """The v words and pairs (joined by a space)."""
    idf: NDArray[np.float32]
    """Shape (v,)."""
    components: NDArray[np.float32]
    """Shape (v, d)."""
    wrappers: frozenset[str]
    """Lines that are left out."""

    @classmethod
    def fit(cls, prompts: Sequence[str], *, seed: int) -> Embedding:
        """Fit to the training prompts; without any word in them the embedding has no dimensions."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        wrappers = _wrappers(prompts)
        texts = [stripped(prompt, wrappers) for prompt in prompts]
        nothing = cls((), np.zeros(0, np.float32), np.zeros((0, 0), np.float32), wrappers)
        if not any(_WORDS.search(text) for text in texts):
            return nothing
        often = 2 if len(texts) >= 50 else 1
        vectorizer = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, min_df=often, max_features=TERMS, token_pattern=WORD
        )
        try:
            matrix = vectorizer.fit_transform(texts)
        except ValueError:  # no word stands in two prompts
            return nothing
        components = np.ones((1, 1))  # of a single term; scikit-learn refuses to reduce that
        if matrix.shape[1] > 1:
            # Equal prompts have no variance to explain, which scikit-learn divides by; nothing here reads it.
            with one_thread(), np.errstate(divide="ignore", invalid="ignore"):
                d = min(DIMENSIONS, *matrix.shape)
                components = TruncatedSVD(d, random_state=seed).fit(matrix).components_
        return cls(
            tuple(vectorizer.get_feature_names_out().tolist()),
            vectorizer.idf_.astype(np.float32),
            np.ascontiguousarray(components.T, dtype=np.float32),
            wrappers,
        )

    @classmethod
    def read(cls, artifact: Artifact) -> Embedding:
        """The embedding that `arrays` and `documents` were written from; raises `ArtifactError`."""
        terms = artifact.texts("terms")
        idf = artifact.array("idf", "f", len(terms))
        components = artifact.array("components", "f", len(terms), None)
        if len(set(terms)) != len(terms):
            raise ArtifactError(f"{artifact.folder / 'terms.json'} repeats a term; train the router again")
        return cls(terms, idf, components, frozenset(artifact.texts("wrappers")))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The numbers as an artifact keeps them."""
        return {"idf": self.idf, "components": self.components}

    def documents(self) -> dict[str, Any]:
        """The texts as an artifact keeps them."""
        return {"terms": self.terms, "wrappers": sorted(self.wrappers)}

    @property
    def dimensions(self) -> int:
        """d."""
        return int(self.components.shape[1])

    @property
    def missing(self) -> str:
        """Reason of a decision on a prompt whose vector is zero."""
        return "no known word"

    def embed(self, text: str, given: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """A unit vector, shape (d,); zero for a text without a known word. `text` comes from `stripped`; `given`, a
        sentence embedding, is not looked at."""
        words = _WORDS.findall(text.lower())
        counts = Counter(map(self._rows.get, chain(words, map(" ".join, pairwise(words)))))
        del counts[None]  # What is not in the vocabulary, if anything is not.
        if not counts:
            return np.zeros(self.dimensions, np.float32)
        picked = np.fromiter(counts.keys(), np.intp, len(counts))
        weights = (1 + np.log(np.fromiter(counts.values(), np.float32, len(counts)))) * self.idf.take(picked)
        # Not a matrix product: that wakes the library's threads, which on a busy machine cost 100 times the sum.
        vector: NDArray[np.float32] = np.einsum("i,ij->j", weights, self.components.take(picked, axis=0))
        norm = math.sqrt(float(vector @ vector))
        return vector / norm if norm > 0 else vector

    def known_share(self, text: str) -> float:
        """Share of the words of `text` that stand in the vocabulary, in [0, 1]; 0 without any word."""
        words, rows = _WORDS.findall(text.lower()), self._rows
        return sum(word in rows for word in words) / len(words) if words else 0.0

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {term: row for row, term in enumerate(self.terms)}


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra on one thread: the order of its sums, and so the last digits, hang on the number of threads.

    Fitting only; it comes with scikit-learn.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        yield


def cut(text: str) -> str:
    """The first `HEAD` and last `TAIL` characters, on lines of their own where something was left out between."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


def stripped(text: str, wrappers: frozenset[str]) -> str:
    """The cut text without wrapper lines; with them where there is nothing else."""
    text = cut(text)
    lines = [line for line in text.splitlines() if line.strip() not in wrappers]
    kept = "\n".join(lines)
    return kept if kept.strip() else text


COUNTS = ("characters", "words", "lines", "digits", "code", "questions", "other_scripts")
"""Names of the columns of `counts`."""


def counts(text: str, length: int) -> NDArray[np.float64]:
    """How a prompt is written, shape (7,): logs of the characters of all messages, of words and of lines of `text`;
    shares of digits, of signs of code and of bytes beyond ASCII; whether something is asked with a question mark.

    `text` comes from `stripped`; `length` is `Query.length`.
    """
    n = max(len(text), 1)
    data = text.encode("utf-8", "surrogatepass")
    return np.array(
        [
            math.log1p(length),
            math.log1p(len(text.split())),
            math.log1p(text.count("\n")),
            (len(data) - len(data.translate(None, _DIGITS))) / n,
            (len(data) - len(data.translate(None, _CODE_SIGNS))) / n,
            float("?" in text),
            (len(data) - len(text)) / n,
        ]
    )


def _wrappers(prompts: Sequence[str]) -> frozenset[str]:
    seen: Counter[str] = Counter()
    for prompt in prompts:
        seen.update({line.strip() for line in cut(prompt).splitlines()})
    least = max(WRAPPER_SHARE * len(prompts), WRAPPER_COUNT - 1)
    return frozenset(line for line, count in seen.items() if count > least and line)
