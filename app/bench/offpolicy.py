"""What another router would have got, from calls that were logged under a router that drew its choices at random.

A log holds the reward of the model that was asked, never of the others. Where the probability of each choice was
logged with it, weighting each call by (probability under the new router) / (probability under the old one) makes the
log speak for the new router. The price is variance, which the effective sample size tells; and about a model the old
router never asked a log can say nothing, which no estimator repairs.

Estimators: IPS (Horvitz and Thompson, 1952), clipped IPS (Bottou et al., 2013), SNIPS (Swaminathan and Joachims, 2015),
the direct method and doubly robust (Dudík et al., 2011). All functions are pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.bench.figures import Estimate
from app.bench.statistics import bootstrap_means, interval

Floats = NDArray[np.float64]

CAP = 10.0
"""Largest weight of clipped IPS."""
LEAST_ESS = 30.0
"""Effective sample size under which an interval means nothing."""


class OffPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Estimates of a router's mean reward from another router's log, and how far to believe them."""

    n: int
    ess: float
    """Effective sample size: calls of the new router's own that would tell as much."""
    largest_weight: float
    without_overlap: float
    """Share of the logged calls whose model the new router would never ask: they tell nothing about it."""
    mean_weight: float
    """Near 1 where the log covers what the new router would ask; below by the part it asks that the log never holds."""
    ips: Estimate
    """Unbiased where the log covers the new router; may lie outside [0, 1]."""
    clipped_ips: Estimate
    """Weights held at a cap: less variance, biased towards 0."""
    snips: Estimate
    """Divided by the mean weight: stays within the rewards seen, a small bias."""
    dm: Estimate | None = None
    """Rewards predicted by a model, no weights: as good as that model. None where nothing predicts rewards."""
    dr: Estimate | None = None
    """The direct method corrected by weighted residuals: right where either the weights or the model are."""


@dataclass(frozen=True)
class Log:
    """n logged choices among m models, as a new router sees them."""

    reward: Floats
    """Shape (n,): of the model that was asked."""
    action: NDArray[np.int64]
    """Shape (n,): that model's column."""
    propensity: Floats
    """Shape (n,): probability with which the logging router asked it."""
    policy: Floats
    """Shape (n, m): probabilities of the new router, each row adding up to 1."""

    @classmethod
    def of(cls, reward: ArrayLike, action: ArrayLike, propensity: Sequence[float | None], policy: ArrayLike) -> Self:
        """The log of these columns; a missing propensity is None or NaN.

        Raises `ValueError` that says what refuses to be estimated from: no calls, a reward that is unknown, a
        propensity that is missing, not positive or above 1, a policy that is no distribution.
        """
        log = cls(
            np.asarray(reward, dtype=np.float64),
            np.asarray(action, dtype=np.int64),
            np.asarray(propensity, dtype=np.float64),
            np.asarray(policy, dtype=np.float64),
        )
        log._check_shapes()
        log._check_propensities()
        if not np.isfinite(log.reward).all():
            raise ValueError("off-policy: a reward is unknown; leave such calls out, or count them as 0")
        if not (log.policy >= 0).all() or not np.allclose(log.policy.sum(axis=1), 1, atol=1e-6):
            raise ValueError("off-policy: the new router's probabilities of a call do not add up to 1")
        return log

    def _check_shapes(self) -> None:
        n = len(self.reward)
        if n == 0:
            raise ValueError("off-policy: the log holds no calls")
        shapes = (self.reward.shape, self.action.shape, self.propensity.shape, self.policy.shape[:1])
        if any(shape != (n,) for shape in shapes) or self.policy.ndim != 2:
            raise ValueError(f"off-policy: columns of different lengths: {shapes}")
        if self.action.min() < 0 or self.action.max() >= self.policy.shape[1]:
            raise ValueError("off-policy: a logged model is none of the new router's")

    def _check_propensities(self) -> None:
        missing = int(np.isnan(self.propensity).sum())
        if missing:
            raise ValueError(f"off-policy: {missing} of {len(self.propensity)} calls were logged without a propensity")
        wrong = int(((self.propensity <= 0) | (self.propensity > 1)).sum())
        if wrong:
            raise ValueError(
                f"off-policy: {wrong} of {len(self.propensity)} calls have a propensity outside (0, 1]; what was asked "
                "cannot have had no chance"
            )

    @cached_property
    def target(self) -> Floats:
        """Probability of the logged model under the new router, shape (n,)."""
        return np.asarray(self.policy[np.arange(len(self.action)), self.action])

    @cached_property
    def weight(self) -> Floats:
        """Importance weights, shape (n,)."""
        return self.target / self.propensity

    @property
    def ess(self) -> float:
        """(Σw)²/Σw² (Kish, 1965); 0 where no weight is positive."""
        squares = float((self.weight**2).sum())
        return float(self.weight.sum()) ** 2 / squares if squares > 0 else 0.0


def ips(log: Log, cap: float | None = None) -> Floats:
    """Each call's part of inverse propensity scoring, w·r, shape (n,); the estimate is the mean.

    With `cap` no weight counts for more than that.
    """
    weight = log.weight if cap is None else np.minimum(log.weight, cap)
    return weight * log.reward


def snips(log: Log) -> float:
    """Self-normalised IPS, Σwr/Σw. Raises `ValueError` where the log says nothing of the new router."""
    total = float(log.weight.sum())
    if total <= 0:
        raise ValueError("off-policy: the new router would never have asked what was logged")
    return float(ips(log).sum()) / total


def direct(log: Log, predicted: ArrayLike) -> Floats:
    """Each call's part of the direct method, Σ_a π(a)·q̂(a), shape (n,).

    `predicted`: reward of every model, shape (m,), or of every model on every call, shape (n, m).
    """
    return np.asarray((log.policy * _predicted(log, predicted)).sum(axis=1))


def doubly_robust(log: Log, predicted: ArrayLike) -> Floats:
    """Each call's part of the doubly robust estimate: the direct method + w·(r − q̂(asked)), shape (n,)."""
    rewards = _predicted(log, predicted)[np.arange(len(log.action)), log.action]
    return direct(log, predicted) + log.weight * (log.reward - rewards)


def _predicted(log: Log, predicted: ArrayLike) -> Floats:
    rewards = np.asarray(predicted, dtype=np.float64)
    if rewards.shape not in ((log.policy.shape[1],), log.policy.shape) or not np.isfinite(rewards).all():
        raise ValueError(
            f"off-policy: predicted rewards must be finite and of shape {log.policy.shape[1:]} or {log.policy.shape}"
        )
    return np.broadcast_to(rewards, log.policy.shape)


def estimate(
    log: Log,
    predicted: ArrayLike | None = None,
    *,
    cap: float = CAP,
    least_ess: float = LEAST_ESS,
    draws: int = 2000,
    seed: int = 0,
) -> OffPolicy:
    """All estimates with 95 % intervals: bootstrap over the calls, `draws` of them, seeded.

    `predicted` as in `direct`; without it there is neither direct method nor doubly robust. Raises `ValueError` where
    the effective sample size is below `least_ess`: a few calls would then speak for all.
    """
    if not log.ess >= least_ess or log.ess == 0:
        raise ValueError(
            f"off-policy: the {len(log.reward):,} logged calls tell as much as {log.ess:.1f} calls of the new router, "
            f"and {least_ess:g} are the least; log more, or with more exploration"
        )
    parts = [log.weight, ips(log), ips(log, cap)]
    if predicted is not None:
        parts += [direct(log, predicted), doubly_robust(log, predicted)]
    columns = np.column_stack(parts)
    means, samples = columns.mean(axis=0), bootstrap_means(columns, draws=draws, seed=seed)
    # A draw in which no call has a weight says nothing.
    known = samples[:, 0] > 0
    modelled = [_estimate(means[column], samples[:, column]) for column in range(3, len(parts))]
    return OffPolicy(
        n=len(log.reward),
        ess=log.ess,
        largest_weight=float(log.weight.max()),
        without_overlap=float((log.target == 0).mean()),
        mean_weight=float(means[0]),
        ips=_estimate(means[1], samples[:, 1]),
        clipped_ips=_estimate(means[2], samples[:, 2]),
        snips=_estimate(snips(log), samples[known, 1] / samples[known, 0]),
        dm=modelled[0] if modelled else None,
        dr=modelled[1] if modelled else None,
    )


def _estimate(value: float, samples: Floats) -> Estimate:
    low, high = interval(samples)
    return Estimate(value=float(value), low=low, high=high)
