"""A line through the training outcomes, one per model: quality and cost from where a prompt lies and how it is
written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from routers import artifacts
from routers.artifacts import TrainedOn
from routers.features import COUNTS, Embedding, counts, one_thread, stripped
from routers.outcomes import Outcomes
from routers.params import bind
from routers.pool import Pool, known_cells
from routers.predictive import PredictiveRouter

_FLOOR = 0.1
"""A predicted cost is at least this share of the model's mean: a line would go below zero."""
_FARTHEST = 3.0
"""Standard deviations at which the counts are cut off: a line must not run away on a prompt of 200,000 tokens."""


@dataclass(frozen=True, slots=True)
class RidgeParams:
    """Parameters of `RidgeRouter.fit`."""

    alpha: float = 100.0
    """Penalty on the weights for quality; a tenth of it for cost, which is predicted far more surely. The least
    squared error in leave-one-out asks for 3 to 10, but that is not what routing pays for: noise between models that
    are nearly equal costs utility. Leave-one-out AIQ asks for 30 to 1000 on the recorded suites, and choosing by it
    showed no difference from 100 throughout."""
    seed: int = 0
    """Of the SVD."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"'alpha' must be a positive number, not {self.alpha}")


class RidgeRouter(PredictiveRouter):
    """Ridge regression per model on the embedding and seven counts; predictions are cut to what is possible.

    Source: Hoerl and Kennard 1970, "Ridge regression"; linear predictors as routers: RouterBench (Hu et al. 2024,
    arXiv:2403.12031) with one regressor per model and predicted quality − λ · cost.
    """

    name: ClassVar[str] = "ridge"

    def __init__(
        self,
        pool: Pool,
        embedding: Embedding,
        trained_on: TrainedOn,
        params: Mapping[str, Any],
        *,
        scaling: NDArray[np.float64],
        weights: NDArray[np.float64],
        offsets: NDArray[np.float64],
    ) -> None:
        """`scaling`: mean and standard deviation of the counts, shape (2, 7); `weights`: shape (d + 7, 2m) and
        `offsets`: shape (2m,), for the quality of all models, then for their cost."""
        super().__init__(pool, embedding, trained_on, params)
        self._scaling, self._weights, self._offsets = scaling, weights, offsets
        self._floor = _FLOOR * pool.cost

    @classmethod
    def fit(cls, outcomes: Outcomes, **params: Any) -> Self:
        """Solve the normal equations. Parameters: those of `RidgeParams`."""
        settings = bind(RidgeParams, params, owner="fitting router 'ridge'")
        pool, known = Pool.of(outcomes), known_cells(outcomes)
        embedding = Embedding.fit(outcomes.prompts, seed=settings.seed)
        texts = [stripped(prompt, embedding.wrappers) for prompt in outcomes.prompts]
        written = np.array([counts(t, int(n)) for t, n in zip(texts, outcomes.lengths, strict=True)])
        deviation = written.std(axis=0)
        # A count that never varies says nothing; dividing by 1 leaves it at zero.
        scaling = np.vstack([written.mean(axis=0), np.where(deviation > 1e-9, deviation, 1.0)])
        m = len(pool.models)
        with one_thread():
            vectors = np.array([embedding.embed(text) for text in texts])
            inputs = np.hstack([vectors, standardised(written, scaling)])
            weights, offsets = np.zeros((inputs.shape[1], 2 * m)), np.zeros(2 * m)
            for columns in _alike(known):
                rows = known[:, columns[0]]
                for targets, place, alpha in (
                    (outcomes.quality, columns, settings.alpha),
                    (outcomes.cost, columns + m, settings.alpha / 10),
                ):
                    solution = _solve(inputs[rows], targets[rows][:, columns], alpha)
                    weights[:, place], offsets[place] = solution
        return cls(
            pool,
            embedding,
            TrainedOn.of(outcomes),
            asdict(settings),
            scaling=scaling,
            weights=weights,
            offsets=offsets,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = artifacts.read(folder, cls)
        pool, embedding = Pool.read(artifact), Embedding.read(artifact)
        outputs = 2 * len(pool.models)
        return cls(
            pool,
            embedding,
            artifact.trained_on,
            asdict(artifact.settings(RidgeParams)),
            scaling=artifact.array("scaling", "f", 2, len(COUNTS)),
            weights=artifact.array("weights", "f", embedding.dimensions + len(COUNTS), outputs),
            offsets=artifact.array("offsets", "f", outputs),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"scaling": self._scaling, "weights": self._weights, "offsets": self._offsets}

    def predict(
        self, text: str, vector: NDArray[np.float32], length: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        inputs = np.concatenate([vector, standardised(counts(text, length), self._scaling)])
        quality, cost = (np.einsum("i,ij->j", inputs, self._weights) + self._offsets).reshape(2, -1)
        return np.clip(quality, 0.0, 1.0), np.maximum(cost, self._floor)


def standardised(written: NDArray[np.float64], scaling: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standardised counts, shape (…, 7): together about as long as the unit vector, so that one penalty fits both.

    `written`: `features.counts`, shape (…, 7); `scaling`: their mean and standard deviation, shape (2, 7).
    """
    standard = np.clip((written - scaling[0]) / scaling[1], -_FARTHEST, _FARTHEST)
    scaled: NDArray[np.float64] = standard / math.sqrt(len(COUNTS))
    return scaled


def _alike(known: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Columns grouped by the rows they have: one factorisation serves all models of a group."""
    groups: dict[bytes, list[int]] = {}
    for column, mask in enumerate(known.T):
        groups.setdefault(mask.tobytes(), []).append(column)
    return [np.array(columns, dtype=np.intp) for columns in groups.values()]


def _solve(
    inputs: NDArray[np.float64], targets: NDArray[np.float64], alpha: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (p, o) and offsets (o,) of the ridge from inputs (n, p) to targets (n, o); offsets go unpenalised."""
    centre, level = inputs.mean(axis=0), targets.mean(axis=0)
    centred = inputs - centre
    gram = centred.T @ centred + alpha * np.eye(inputs.shape[1])
    weights: NDArray[np.float64] = np.linalg.solve(gram, centred.T @ (targets - level))
    return weights, level - centre @ weights
