"""Intervals and tests for routers that were asked the same prompts.

Everything is paired: a hard prompt is hard for every router, so the spread of a difference is far smaller than the
spread of either side, and resampling the sides apart would hide it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def intervals(samples: Floats, level: float = 0.95) -> Floats:
    """`interval` of every column of `samples`, shape (draws, k); lower bounds, then upper ones, shape (2, k)."""
    bounds: Floats = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return bounds


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
            raise ValueError("mcnemar: quality must be 0 or 1; use the permutation test for graded quality")
    only_first, only_second = int(np.sum(first > second)), int(np.sum(second > first))
    return McNemar(only_first, only_second, _sign_test(only_first, only_second))


def _sign_test(first: int, second: int) -> float:
    """Two-sided exact binomial p value at 1/2, summed in logarithms so that thousands of pairs do not overflow."""
    total, fewer = first + second, min(first, second)
    steps = np.arange(1, fewer + 1)
    logs = np.concatenate(([0.0], np.cumsum(np.log((total - steps + 1) / steps)))) - total * math.log(2)
    return min(1.0, 2 * math.exp(float(np.logaddexp.reduce(logs))))


PERMUTATIONS = 10_000
"""Random assignments of signs where there are too many to go through them all."""
EXACT_UP_TO = 12
"""Prompts with a difference up to which all 2^n assignments are gone through."""
SAME_DIFFERENCE = 1e-9
"""Two sums of the same differences, in another order, lie nearer than this times their size."""


def permutation_test(first: Floats, second: Floats, *, seed: int, permutations: int = PERMUTATIONS) -> float:
    """Two-sided p value of the paired permutation test for graded quality, both of shape (n,).

    Under the hypothesis of no difference either router could have given either of the two qualities of a prompt, so
    every difference could have had either sign (Fisher, 1935). Exact for up to `EXACT_UP_TO` prompts that differ, else
    from `permutations` seeded draws with the observed one counted among them (Phipson and Smyth, 2010), so never 0.
    1 where they never differ. Raises `ValueError` for unequal lengths, a NaN or nothing at all.
    """
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ValueError(f"permutation test: expected two equally long lists, got {first.shape} and {second.shape}")
    # What floats make of equal differences of grades (.3 − .2, .2 − .1) is one size.
    gaps = np.round(first - second, 12)
    if not np.isfinite(gaps).all():
        raise ValueError("permutation test: a quality is NaN or infinite")
    gaps = gaps[gaps != 0]
    if not gaps.size:
        return 1.0
    sizes, counts = np.unique(np.abs(gaps), return_counts=True)
    least = abs(float(gaps.sum())) - SAME_DIFFERENCE * float(sizes @ counts)
    if gaps.size <= EXACT_UP_TO:
        signs = 1 - 2 * ((np.arange(2**gaps.size)[:, None] >> np.arange(gaps.size)) & 1)
        return float((np.abs(signs @ np.abs(gaps)) >= least).mean())
    beyond = sum(int((np.abs(sums) >= least).sum()) for sums in _sign_sums(sizes, counts, permutations, seed))
    return (1 + beyond) / (1 + permutations)


def _sign_sums(sizes: Floats, counts: NDArray[np.int64], permutations: int, seed: int) -> Sequence[Floats]:
    """Sums of the differences under random signs, in blocks.

    Of k differences of one size, the number with a plus is binomial: graded quality has few sizes, so a draw costs as
    much as there are sizes, not as there are prompts.
    """
    rng = np.random.default_rng(seed)
    block = max(1, CHUNK_CELLS // len(sizes))
    return [
        (2 * rng.binomial(counts, 0.5, size=(min(block, permutations - start), len(counts))) - counts) @ sizes
        for start in range(0, permutations, block)
    ]


def paired_p(first: Floats, second: Floats, *, seed: int) -> tuple[float, McNemar | None]:
    """p value of the test that fits the qualities, both of shape (n,), in [0, 1].

    Exact McNemar, given beside it, where all are 0 or 1; else the paired permutation test, seeded.
    """
    if np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all():
        counted = mcnemar(first, second)
        return counted.p, counted
    return permutation_test(first, second, seed=seed), None


def bootstrap_p(samples: Floats, noise: float = 0.0) -> float:
    """Two-sided p value for "no difference" from bootstrap `samples` of a difference, shape (draws,).

    Twice the share of the draws on the other side of 0, the observed one counted among them: below 0.05 where the 95 %
    percentile interval leaves 0 out (Efron and Tibshirani, 1993, section 15.4), and never below 2 / (draws + 1).
    A sample within `noise` of 0 stands on both sides.
    """
    below, above = int((samples <= noise).sum()), int((samples >= -noise).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (1 + len(samples)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values (Holm, 1979), in the order given: each may be read as if it were the only comparison.

    The chance of even one false claim among them stays under the level, whatever their dependence. Never below the p
    value itself, never above 1. Raises `ValueError` where one is no probability.
    """
    values = np.asarray(p_values, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("holm: a p value lies outside [0, 1]")
    order = np.argsort(values, kind="stable")
    scaled = values[order] * (len(values) - np.arange(len(values)))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]
