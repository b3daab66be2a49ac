"""Items that ask the same, word for word or nearly so: which of them must not stand on both sides of a split.

Near is a cosine above `NEAR` between the TF-IDF vectors of two texts, over words, signs and pairs of them. Finding
all such pairs is exact and still fast, by prefix filtering (Bayardo, Ma and Srikant 2007): of each vector only so many
of its rarest terms are indexed that the rest is shorter than `NEAR`. Two texts which share none of those cannot be
near, so hardly any pair is ever compared: 36,500 prompts take seconds and not the product of all with all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.bench.suite import Item, Suite, bare_text
from routers.base import message_text
from routers.features import cut

NEAR = 0.9
"""Cosine above which two texts are near-duplicates."""
WRAPPER_SHARE = 0.5
"""A line in more than this share of a category's prompts is the category's wrapping (instructions, worked examples)."""
WRAPPER_COUNT = 5
"""… and in at least so many prompts: in a handful a share means nothing."""
FEATURES = 2**20
"""Terms are hashed to so many columns."""
WORDS = r"(?u)\w+|[^\w\s]"
"""What counts as a word. Signs do: 2 + 3 does not ask what 2 - 3 asks."""
BLOCK = 1000
"""Rows whose candidates are gathered at once."""
PAIRS = 20_000
"""Candidate pairs compared at once: bounds the memory whatever the texts are."""


def exact_groups(items: Sequence[Item]) -> NDArray[np.int64]:
    """A number per item, shape (n,); items with the same text but for case, spaces and punctuation share theirs."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(bare_text(item), len(numbers)) for item in items], dtype=np.int64)


def near_groups(suite: Suite) -> NDArray[np.int64]:
    """A number per item, shape (n,), read-only; items of one group are near-duplicates, or linked by a chain of them.

    Exact duplicates are in one group. A line that stands in most prompts of a category is left out of the comparison:
    five worked examples in front of every question make no two questions alike.
    """
    labels = _near(tuple(_stripped(suite)), tuple(exact_groups(suite.items).tolist()))
    labels.setflags(write=False)
    return labels


def _stripped(suite: Suite) -> Iterator[str]:
    lines = [[line.strip() for line in _text(item).splitlines()] for item in suite.items]
    size = Counter(item.category for item in suite.items)
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for item, its in zip(suite.items, lines, strict=True):
        seen[item.category].update(set(its))
    for item, its in zip(suite.items, lines, strict=True):
        least = max(WRAPPER_SHARE * size[item.category], WRAPPER_COUNT - 1)
        kept = "\n".join(line for line in its if line and seen[item.category][line] <= least)
        yield cut(kept or "\n".join(its))


def _text(item: Item) -> str:
    return "\n".join(message_text(message) for message in item.messages)


# Splitting asks twice (train, test) and the findings once more; a suite's texts are there anyway.
@lru_cache(maxsize=2)
def _near(texts: tuple[str, ...], exact: tuple[int, ...]) -> NDArray[np.int64]:
    from scipy.sparse import coo_array  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    n = len(texts)
    if n < 2:
        return np.zeros(n, dtype=np.int64)
    # Texts that are the same need no comparing, and a thousand copies of one would each be held against all others.
    first: dict[str, int] = {}
    same = np.array([first.setdefault(text, row) for row, text in enumerate(texts)], dtype=np.int64)
    _, alike = np.unique(np.array(exact, dtype=np.int64), return_inverse=True)
    links = coo_array((np.ones(n), (alike, alike[same])), shape=(n, n))
    labels = connected_components(links, directed=False)[1][alike]
    kept = np.array(list(first.values()), dtype=np.int64)
    whole = _vectors(texts)
    prefixes = _prefixes(whole[kept])
    for start in range(0, len(kept), BLOCK):
        found = (prefixes[start : start + BLOCK] @ prefixes.T).tocoo()
        left, right = kept[found.row.astype(np.int64) + start], kept[found.col]
        # A pair already linked need not be compared.
        open_pairs = (left < right) & (labels[left] != labels[right])
        left, right = left[open_pairs], right[open_pairs]
        for chunk in range(0, len(left), PAIRS):
            a, b = left[chunk : chunk + PAIRS], right[chunk : chunk + PAIRS]
            still = labels[a] != labels[b]
            a, b = a[still], b[still]
            near = np.asarray(whole[a].multiply(whole[b]).sum(axis=1)).ravel() > NEAR
            if near.any():
                links = coo_array((np.ones(int(near.sum())), (labels[a[near]], labels[b[near]])), shape=(n, n))
                labels = connected_components(links, directed=False)[1][labels]
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _vectors(texts: Sequence[str]) -> Any:
    """Unit TF-IDF vectors as a sparse (n, v) matrix whose columns go from the rarest term to the most frequent."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    hashed = HashingVectorizer(
        n_features=FEATURES,
        ngram_range=(1, 2),
        alternate_sign=False,
        norm=None,
        token_pattern=WORDS,
        dtype=np.float32,
    )
    matrix = csr_array(TfidfTransformer().fit_transform(hashed.transform(texts)))
    frequency = np.bincount(matrix.indices, minlength=FEATURES)
    rank = np.empty(FEATURES, dtype=matrix.indices.dtype)
    rank[np.argsort(frequency, kind="stable")] = np.arange(FEATURES, dtype=rank.dtype)
    # Where two terms hash to one column the vector is that of the sum: the same for every text.
    ordered = csr_array((matrix.data, rank[matrix.indices], matrix.indptr), shape=matrix.shape)
    ordered.sort_indices()
    return ordered


def _prefixes(vectors: Any) -> Any:
    """The rarest terms of every row, just enough that the rest of the row is no longer than `NEAR`; all weights 1."""
    from scipy.sparse import csr_array

    squares = np.concatenate([[0.0], np.cumsum(vectors.data.astype(np.float64) ** 2)])
    lengths = np.diff(vectors.indptr)
    before = squares[:-1] - np.repeat(squares[vectors.indptr[:-1]], lengths)
    # The margin covers rounding: one term too many costs time, one too few a pair.
    kept = before <= 1 - NEAR**2 + 1e-6
    rows = np.repeat(np.arange(vectors.shape[0]), lengths)[kept]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=vectors.shape[0]))])
    ones = np.ones(int(kept.sum()), dtype=np.int32)
    return csr_array((ones, vectors.indices[kept], indptr), shape=vectors.shape)
