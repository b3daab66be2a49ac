"""Support vector regression, one line per model: a comparison that every published table has."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from routers.artifacts import Artifact
from routers.quality import Floats, QualityRouter
from routers.regression import Line


@dataclass(frozen=True, slots=True)
class SvmParams:
    """Parameters of `SvmRouter.fit`; RouterBench's, scikit-learn's defaults, are `c` 1 and `loss`
    epsilon_insensitive."""

    c: float = 0.01
    """Weight of the errors against the length of the weights."""
    epsilon: float = 0.0
    """Errors up to this size count for nothing."""
    loss: Literal["epsilon_insensitive", "squared_epsilon_insensitive"] = "squared_epsilon_insensitive"
    """The squared one aims at the mean. The other aims at the median, which of qualities of 0 and 1 is 0 or 1: with
    it this router loses to the zero router by more than others win."""
    seed: int = 0
    """Of the SVD and of the solver."""

    def __post_init__(self) -> None:
        if not 0 < self.c < math.inf:
            raise ValueError(f"'c' must be a positive number, not {self.c}")
        if not 0 <= self.epsilon < math.inf:
            raise ValueError(f"'epsilon' must be a number ≥ 0, not {self.epsilon}")


class SvmRouter(QualityRouter):
    """A linear support vector regressor per model.

    Source: the SVM router of RouterBench (Hu et al. 2024, arXiv:2403.12031), scikit-learn's `LinearSVR`.
    """

    name: ClassVar[str] = "svm"
    settings: ClassVar[type[SvmParams]] = SvmParams

    @classmethod
    def learn(cls, rows: Floats, quality: Floats, settings: SvmParams) -> dict[str, NDArray[Any]]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVR

        weights, offsets = np.zeros((rows.shape[1], quality.shape[1])), np.zeros(quality.shape[1])
        for model, column in enumerate(quality.T):
            known = ~np.isnan(column)
            line = LinearSVR(C=settings.c, epsilon=settings.epsilon, loss=settings.loss, random_state=settings.seed)
            with warnings.catch_warnings():
                # RouterBench's number of rounds; that the solver could go on is no news to who trains a router.
                warnings.simplefilter("ignore", ConvergenceWarning)
                line.fit(rows[known], column[known])
            weights[:, model], offsets[model] = line.coef_, np.ravel(line.intercept_)[0]
        return {"weights": weights, "offsets": offsets}

    @classmethod
    def learned_in(cls, artifact: Artifact, p: int, m: int, settings: SvmParams) -> dict[str, NDArray[Any]]:  # noqa: ARG003
        return {"weights": artifact.array("weights", "f", p, m), "offsets": artifact.array("offsets", "f", m)}

    def quality_at(self, row: Floats) -> Floats:
        return Line(self.learned["weights"], self.learned["offsets"]).at(row)
