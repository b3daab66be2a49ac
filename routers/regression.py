"""Ridge regression with several outputs in closed form, and its leave-one-out predictions at no further cost.

Source: Hoerl and Kennard 1970, "Ridge regression"; leave-one-out as Allen's PRESS (1974): of a linear smoother with
hat values h the prediction without the row itself is (ŷ − h·y) / (1 − h), which needs no second fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """A fitted ridge from p inputs to o outputs."""

    weights: Floats
    """Shape (p, o)."""
    offsets: Floats
    """Shape (o,)."""

    def at(self, inputs: Floats) -> Floats:
        """Predictions for one row of inputs, shape (p,) → (o,)."""
        found: Floats = np.einsum("i,ij->j", inputs, self.weights) + self.offsets
        return found

    def at_many(self, inputs: Floats) -> Floats:
        """Predictions for n rows of inputs, shape (n, p) → (n, o)."""
        return inputs @ self.weights + self.offsets


@dataclass(frozen=True)
class Ridge:
    """Inputs that any number of ridges are fitted to: they are decomposed once. Call within `features.one_thread`."""

    inputs: Floats
    """Shape (n, p); n at least 1."""

    @cached_property
    def _centre(self) -> Floats:
        return np.asarray(self.inputs.mean(axis=0))

    @cached_property
    def _parts(self) -> tuple[Floats, Floats, Floats]:
        left, sizes, right = np.linalg.svd(self.inputs - self._centre, full_matrices=False)
        return left, sizes, right

    def fit(self, targets: Floats, alpha: float) -> Line:
        """The ridge with penalty `alpha` > 0 to `targets`, shape (n, o), without NaN; offsets go unpenalised."""
        left, sizes, right = self._parts
        level = targets.mean(axis=0)
        weights = right.T @ ((sizes / (sizes**2 + alpha))[:, None] * (left.T @ (targets - level)))
        return Line(weights, level - self._centre @ weights)

    def left_out(self, targets: Floats, alpha: float) -> Floats:
        """What the ridge fitted to all other rows predicts for each row, shape (n, o)."""
        left, sizes, _ = self._parts
        n = len(self.inputs)
        if n < 2:
            return targets.copy()
        shrink = sizes**2 / (sizes**2 + alpha)
        level = targets.mean(axis=0)
        fitted = level + (left * shrink) @ (left.T @ (targets - level))
        hat = (1 / n + (left**2 @ shrink))[:, None]
        # A row that alone determines its prediction (hat 1) says nothing about it without itself.
        apart: Floats = np.where(hat < 1 - 1e-9, (fitted - hat * targets) / np.maximum(1 - hat, 1e-9), level)
        return apart
