"""How far a router's predictions can be believed: calibration of quality, discrimination, error of cost.

A prediction is checked against what the picked model did, so what is measured is calibration on the router's own
picks; about models it did not pick nothing is said. All functions are pure.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BINS = 10
Z95 = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""


def brier(predicted: ArrayLike, quality: ArrayLike) -> float:
    """Mean squared error of predicted quality (Brier, 1950), shape (n,) both; for graded quality as for 0/1.

    0 is perfect; a constant 0.5 on 0/1 quality gives 0.25. Raises `ValueError` for nothing, a NaN or unequal lengths.
    """
    forecast, truth = _pair(predicted, quality)
    return float(((forecast - truth) ** 2).mean())


def ece(predicted: ArrayLike, quality: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error (Naeini et al., 2015): mean |predicted − observed| over bins of equal width.

    `predicted`, `quality`: shape (n,); a bin counts by the prompts in it. What is predicted outside [0, 1] stands in
    the nearest bin. Raises `ValueError` as `brier` does, or for no bins.
    """
    parts = reliability(predicted, quality, bins)
    return sum(part.n * abs(part.predicted - part.observed) for part in parts) / sum(part.n for part in parts)


class Part(NamedTuple):
    """What was predicted of the prompts of one bin, and what came."""

    n: int
    predicted: float
    """Mean."""
    observed: float
    """Mean quality."""
    low: float
    """Wilson's 95 % interval of `observed`."""
    high: float


def reliability(predicted: ArrayLike, quality: ArrayLike, bins: int = BINS) -> list[Part]:
    """The bins of `ece` that hold any prompt, ascending: a reliability diagram (DeGroot and Fienberg, 1983).

    Arguments and errors as of `ece`. The interval is Wilson's (1927) for a share; quality between 0 and 1 spreads less
    than a share of the same mean, so for graded quality it is too wide, never too narrow.
    """
    forecast, truth = _pair(predicted, quality)
    if bins < 1:
        raise ValueError(f"calibration: needs at least one bin, not {bins}")
    place = np.clip((forecast * bins).astype(np.int64), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = np.flatnonzero(counts)
    foretold = np.bincount(place, weights=forecast, minlength=bins)[filled] / counts[filled]
    came = np.bincount(place, weights=truth, minlength=bins)[filled] / counts[filled]
    return [
        Part(n, p, q, *wilson(q, n))
        for n, p, q in zip(counts[filled].tolist(), foretold.tolist(), came.tolist(), strict=True)
    ]


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share seen in n trials, inside [0, 1]."""
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    reach = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    # At a share of 0 or 1 the edge is the share itself, but for rounding.
    return min(max(centre - reach, 0.0), share), max(min(centre + reach, 1.0), share)


def auc(predicted: ArrayLike, quality: ArrayLike) -> float | None:
    """Probability that of two prompts of different quality the better one was predicted better; ties count half.

    For 0/1 quality the area under the ROC curve, for graded quality Harrell's concordance; shape (n,) both. None where
    all prompts have the same quality. Raises `ValueError` as `brier` does.

    Pairs are counted by the bits of the rank of their quality: two prompts differ first at one bit, and among those
    that agree above it the test is one of ones against zeros. So n·log n per bit, and one bit for 0/1 quality.
    """
    forecast, truth = _pair(predicted, quality)
    rank = np.unique(truth, return_inverse=True)[1]
    wins = pairs = 0.0
    for bit in range(int(rank.max()).bit_length()):
        won, met = _ones_over_zeros(forecast, rank >> (bit + 1), (rank >> bit) & 1)
        wins, pairs = wins + won, pairs + met
    return wins / pairs if pairs else None


def _ones_over_zeros(forecast: Floats, group: NDArray[np.int64], one: NDArray[np.int64]) -> tuple[float, float]:
    """Pairs of a one and a zero of the same group that the forecast orders rightly (ties half), and all such pairs."""
    order = np.lexsort((forecast, group))
    forecast, group, one = forecast[order], group[order], one[order]
    zeros = np.concatenate(([0], np.cumsum(1 - one)))
    new_group = np.append(True, group[1:] != group[:-1])
    new_tie = new_group | np.append(True, forecast[1:] != forecast[:-1])
    begin, end = np.flatnonzero(new_tie), np.append(np.flatnonzero(new_tie)[1:], len(one))
    tie = np.cumsum(new_tie) - 1
    first = np.flatnonzero(new_group)
    last = np.append(first[1:], len(one))
    inside = np.cumsum(new_group) - 1
    below = (zeros[begin[tie]] + zeros[end[tie]]) / 2 - zeros[first[inside]]
    met = zeros[last[inside]] - zeros[first[inside]]
    return float((below * one).sum()), float((met * one).sum())


def mape(predicted: ArrayLike, cost: ArrayLike) -> float | None:
    """Mean |predicted − cost| / cost, shape (n,) both, USD; what was free is left out, since it has no relative error.

    None where everything was free. Raises `ValueError` as `brier` does.
    """
    forecast, truth = _pair(predicted, cost)
    paid = truth > 0
    return float((np.abs(forecast - truth)[paid] / truth[paid]).mean()) if paid.any() else None


def _pair(predicted: ArrayLike, observed: ArrayLike) -> tuple[Floats, Floats]:
    forecast, truth = np.asarray(predicted, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    if forecast.ndim != 1 or forecast.shape != truth.shape or not forecast.size:
        raise ValueError(f"calibration: expected a prediction for each outcome, got {forecast.shape} and {truth.shape}")
    if not (np.isfinite(forecast).all() and np.isfinite(truth).all()):
        raise ValueError("calibration: a prediction or outcome is NaN or infinite")
    return forecast, truth
