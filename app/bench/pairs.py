"""Routers between two models: how much of the gap from the weak to the strong one is recovered, for how many calls.

RouteLLM's metrics (arXiv 2406.18665). Their cost is the share of calls that go to the strong model, so they
need no prices; for more than two models there is no such share, and the hull's metrics stand instead.

Qualities and shares lie in [0, 1]; RouteLLM prints both in percent. All functions are pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.bench.curves import SAME_QUALITY

Floats = NDArray[np.float64]

DECILES = 10
"""Bins of RouteLLM's thresholds."""


def thresholds(score: ArrayLike) -> Floats:
    """RouteLLM's thresholds for a score of shape (n,): the edges of its deciles, ascending, doubled ones once.

    At most 11. Raises `ValueError` for an empty score or one with a NaN.
    """
    scores = _checked(score, "score")
    return np.unique(np.quantile(scores, np.arange(DECILES + 1) / DECILES))


def chosen(score: ArrayLike, edges: Floats) -> NDArray[np.bool_]:
    """Which of n prompts go to the strong model at each of k thresholds, shape (k, n).

    Where the score reaches the threshold; at the last one where it exceeds it, so that nothing goes there.
    """
    scores = _checked(score, "score")
    strong = scores >= edges[:, None]
    strong[-1] = scores > edges[-1]
    return strong


@dataclass(frozen=True)
class PairCurve:
    """Quality over the share of calls to the strong model, with what the two models themselves reach at both ends."""

    share: Floats
    """Shape (k,), strictly ascending from 0 to 1."""
    quality: Floats
    """Shape (k,)."""
    weak: float
    strong: float

    @classmethod
    def of(cls, share: ArrayLike, quality: ArrayLike, weak: float, strong: float) -> Self:
        """The curve through points of shape (k,), in any order, closed by (0, `weak`) and (1, `strong`).

        Both ends are there without a router, and a curve that covers less has no area to compare. Of points with equal
        shares the better counts. Raises `ValueError` for a NaN or a share outside [0, 1].
        """
        shares = np.append(_checked(share, "share"), (0.0, 1.0))
        qualities = np.append(_checked(quality, "quality"), _checked((weak, strong), "quality"))
        if shares.shape != qualities.shape:
            raise ValueError(f"pair: expected as many shares as qualities, got {shares.size - 2}, {qualities.size - 2}")
        if shares.min() < 0 or shares.max() > 1:
            raise ValueError("pair: a share lies outside [0, 1]")
        places, group = np.unique(shares, return_inverse=True)
        best = np.full(len(places), -np.inf)
        np.maximum.at(best, group, qualities)
        return cls(places, best, float(weak), float(strong))

    @classmethod
    def of_score(cls, score: ArrayLike, weak: ArrayLike, strong: ArrayLike) -> Self:
        """The curve of a score that says how much a prompt needs the strong model, at RouteLLM's thresholds.

        `score`, and the qualities `weak` and `strong` of the two models on each prompt: shape (n,).
        """
        weaks, strongs = _checked(weak, "quality"), _checked(strong, "quality")
        picked = chosen(score, thresholds(score))
        quality = np.where(picked, strongs, weaks).mean(axis=1)
        return cls.of(picked.mean(axis=1), quality, float(weaks.mean()), float(strongs.mean()))

    @property
    def gap(self) -> float | None:
        """How much better the strong model is; None where it is not."""
        gap = self.strong - self.weak
        return gap if gap > SAME_QUALITY else None

    @property
    def auc(self) -> float:
        """Area under the curve by trapezoids: mean quality over all shares."""
        return float(np.trapezoid(self.quality, self.share))

    @property
    def apgr(self) -> float | None:
        """Average performance gap recovered: AUC from the weak model's (0) to the strong one's (1).

        Choosing at random gives 0.5. None where the strong model is no better.
        """
        return None if self.gap is None else (self.auc - self.weak) / self.gap

    def cpt(self, part: float) -> float | None:
        """Call-performance threshold: least share of strong calls that recovers `part` of the gap.

        Read off the running maximum of the curve, between points by a straight line. None where the curve never
        recovers so much, or where there is no gap.
        """
        if self.gap is None:
            return None
        wanted = self.weak + part * self.gap
        reached = np.maximum.accumulate(self.quality)
        place = int(np.searchsorted(reached, wanted - SAME_QUALITY))
        if place == len(reached):
            return None
        if place == 0:
            return float(self.share[0])
        rise = reached[place] - reached[place - 1]
        part_of_step = min((wanted - reached[place - 1]) / rise, 1.0)
        return float(self.share[place - 1] + part_of_step * (self.share[place] - self.share[place - 1]))


def pgr(quality: float, weak: float, strong: float) -> float | None:
    """Performance gap recovered: (q − weak)/(strong − weak); None where the strong model is no better.

    Below 0 for a router worse than the weak model, above 1 for one better than the strong model.
    """
    return (quality - weak) / (strong - weak) if strong - weak > SAME_QUALITY else None


def _checked(values: ArrayLike, what: str) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not numbers.size or not np.isfinite(numbers).all():
        raise ValueError(f"pair: {what} must be a list of finite numbers, and not an empty one")
    return numbers
