"""Intervals and tests for routers that were asked the same prompts.

Everything is paired: a hard prompt is hard for every router, so the spread of a difference is far smaller than the
spread of either side, and resampling the sides apart would hide it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CHUNK_CELLS = 2_000_000
"""Most cells of one block of bootstrap weights (16 MB, held three times over): it bounds the memory whatever the number
of items, up to one draw per block."""


def bootstrap_means(columns: Floats, *, draws: int, seed: int) -> Floats:
    """Means of each column over resampled rows, shape (draws, k), from shape (n, k).

    A row is one prompt with all that every router did on it; each draw takes n rows with replacement, so what stands
    in one row stays together (paired bootstrap, Efron and Tibshirani, 1993). A draw is a row of multinomial weights and
    all means are one matrix product. Same seed, same draws, whatever the number of columns.
    """
    n = len(columns)
    if n == 0 or draws < 1:
        raise ValueError(f"bootstrap: needs at least one row and one draw, got {n} and {draws}")
    rng = np.random.default_rng(seed)
    means = np.empty((draws, columns.shape[1]))
    size = max(1, CHUNK_CELLS // n)
    for start in range(0, draws, size):
        count = min(size, draws - start)
        cells = rng.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(cells.ravel(), minlength=count * n).reshape(count, n)
        means[start : start + count] = weights.astype(np.float64) @ columns / n
    return means


def interval(samples: Floats, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap `samples`, shape (draws,)."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class Difference(NamedTuple):
    """Mean of first − second over the same prompts."""

    value: float
    error: float
    """Standard error of the paired difference; NaN for fewer than two prompts."""


def paired_difference(first: Floats, second: Floats) -> Difference:
    """Mean paired difference of two routers' qualities, both of shape (n,), with its standard error."""
    gap = first - second
    error = float(gap.std(ddof=1)) / math.sqrt(len(gap)) if len(gap) > 1 else math.nan
    return Difference(float(gap.mean()), error)


class McNemar(NamedTuple):
    """Exact McNemar test of two routers that were asked the same prompts."""

    only_first: int
    """Prompts that the first had right and the second wrong."""
    only_second: int
    p: float
    """Two-sided exact p value; 1 where they never differ."""


def mcnemar(first: Floats, second: Floats) -> McNemar:
    """Exact McNemar test for 0/1 qualities, both of shape (n,). Raises `ValueError` for graded ones."""
    for quality in (first, second):
        if not np.isin(quality, (0, 1)).all():
            raise ValueError("mcnemar: quality must be 0 or 1; use the paired bootstrap for graded quality")
    only_first, only_second = int(np.sum(first > second)), int(np.sum(second > first))
    return McNemar(only_first, only_second, _sign_test(only_first, only_second))


def _sign_test(first: int, second: int) -> float:
    """Two-sided exact binomial p value at 1/2, summed in logarithms so that thousands of pairs do not overflow."""
    total, fewer = first + second, min(first, second)
    steps = np.arange(1, fewer + 1)
    logs = np.concatenate(([0.0], np.cumsum(np.log((total - steps + 1) / steps)))) - total * math.log(2)
    return min(1.0, 2 * math.exp(float(np.logaddexp.reduce(logs))))
