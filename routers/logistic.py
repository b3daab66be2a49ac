"""Logistic regression with a penalty, in closed steps: the same rows always give the same probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routers.regression import Line

Floats = NDArray[np.float64]

_ROUNDS = 50
_SETTLED = 1e-8
"""Largest change of a weight at which the rounds end."""
_STEEPEST = 30.0
"""Log-odds are cut off there: beyond it a probability is 0 or 1 in any arithmetic that matters."""


def probability(log_odds: Floats) -> Floats:
    """1 / (1 + exp(−x)), any shape."""
    odds: Floats = 1 / (1 + np.exp(-np.clip(log_odds, -_STEEPEST, _STEEPEST)))
    return odds


def fit_logistic(inputs: Floats, targets: Floats, alpha: float, weights: Floats | None = None) -> Line:
    """Log-odds as a line through `inputs`, shape (n, p), fitted to `targets`, shape (n,), in [0, 1]: one output.

    `alpha` > 0: penalty on the squared weights, the offset goes free; `weights`: what each row counts for, shape (n,).
    Where all targets are alike the odds stay finite: half a row of the other kind is taken to be there. Newton's
    method with halved steps. Source: le Cessie and van Houwelingen 1992, "Ridge estimators in logistic regression".
    Call within `features.one_thread`.
    """
    n, p = inputs.shape
    counts = np.ones(n) if weights is None else weights
    centre = counts @ inputs / counts.sum()
    design = np.hstack([inputs - centre, np.ones((n, 1))])
    penalty = np.append(np.full(p, alpha), 0.0)
    share = (counts @ targets + 0.5) / (counts.sum() + 1)
    beta = np.append(np.zeros(p), np.log(share / (1 - share)))
    alike = bool(np.ptp(targets) == 0)

    def loss(candidate: Floats) -> float:
        odds = np.clip(design @ candidate, -_STEEPEST, _STEEPEST)
        return float(counts @ (np.logaddexp(0, odds) - targets * odds) + penalty @ candidate**2 / 2)

    for _ in range(0 if alike else _ROUNDS):
        chance = probability(design @ beta)
        slope = design.T @ (counts * (chance - targets)) + penalty * beta
        bend = (design * (counts * chance * (1 - chance))[:, None]).T @ design
        bend[np.diag_indices(p + 1)] += penalty + 1e-9
        step = np.linalg.solve(bend, slope)
        size, here = 1.0, loss(beta)
        while size > 1e-4 and loss(beta - size * step) > here:
            size /= 2
        beta = beta - size * step
        if np.abs(size * step).max() < _SETTLED:
            break
    return Line(beta[:p, None], np.array([beta[p] - centre @ beta[:p]]))
