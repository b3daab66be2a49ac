"""A small neural net per model: a comparison that every published table has."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.artifacts import Artifact
from routers.quality import Floats, QualityRouter


@dataclass(frozen=True, slots=True)
class MlpParams:
    """Parameters of `MlpRouter.fit`; with `alpha` 0.0001 they are the smaller of RouterBench's two nets."""

    hidden: Sequence[int] = (100,)
    """Units of each hidden layer; RouterBench also has (100, 100)."""
    learning_rate: float = 0.001
    """Of Adam."""
    epochs: int = 200
    """Most passes over the training prompts; it stops earlier where the loss no longer falls."""
    alpha: float = 10.0
    """Penalty on the squared weights. RouterBench's 0.0001, scikit-learn's default, learns the noise by heart: it
    loses to the zero router by as much as others win."""
    seed: int = 0
    """Of the SVD, the first weights and the order of the prompts."""

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"'hidden' must list at least one layer of at least one unit, not {list(self.hidden)}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"'learning_rate' must be a positive number, not {self.learning_rate}")
        if self.epochs < 1:
            raise ValueError(f"'epochs' must be at least 1, not {self.epochs}")
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"'alpha' must be a number ≥ 0, not {self.alpha}")


class MlpRouter(QualityRouter):
    """A multi-layer perceptron per model, with rectified linear units and squared loss.

    Source: the MLP router of RouterBench (Hu et al. 2024, arXiv:2403.12031): scikit-learn's `MLPRegressor` with
    layers of 100, ReLU, a learning rate of .001 and 200 epochs.
    """

    name: ClassVar[str] = "mlp"
    settings: ClassVar[type[MlpParams]] = MlpParams

    @classmethod
    def learn(cls, rows: Floats, quality: Floats, settings: MlpParams) -> dict[str, NDArray[Any]]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        nets = []
        for column in quality.T:
            known = ~np.isnan(column)
            net = MLPRegressor(
                hidden_layer_sizes=tuple(settings.hidden),
                learning_rate_init=settings.learning_rate,
                max_iter=settings.epochs,
                alpha=settings.alpha,
                random_state=settings.seed,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs were used: what was asked for
                nets.append(net.fit(rows[known], column[known]))
        learned = {}
        for layer in range(len(settings.hidden) + 1):
            learned[f"weights{layer}"] = np.array([net.coefs_[layer] for net in nets], dtype=np.float32)
            learned[f"offsets{layer}"] = np.array([net.intercepts_[layer] for net in nets], dtype=np.float32)
        return learned

    @classmethod
    def learned_in(cls, artifact: Artifact, p: int, m: int, settings: MlpParams) -> dict[str, NDArray[Any]]:
        learned = {}
        for layer, (inputs, outputs) in enumerate(pairwise((p, *settings.hidden, 1))):
            learned[f"weights{layer}"] = artifact.array(f"weights{layer}", "f", m, inputs, outputs)
            learned[f"offsets{layer}"] = artifact.array(f"offsets{layer}", "f", m, outputs)
        return learned

    def quality_at(self, row: Floats) -> Floats:
        last = len(self.learned) // 2 - 1
        values = np.broadcast_to(row.astype(np.float32), (len(self.pool.models), len(row)))
        for layer in range(last + 1):
            values = np.einsum("mi,mij->mj", values, self.learned[f"weights{layer}"]) + self.learned[f"offsets{layer}"]
            if layer < last:
                values = np.maximum(values, 0)
        return values[:, 0].astype(np.float64)
