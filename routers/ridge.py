"""A line through the training outcomes, one per model: quality and cost from where a prompt lies and how it is
written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from routers.artifacts import Artifact
from routers.quality import Floats, QualityRouter, lines
from routers.regression import Line


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


class RidgeRouter(QualityRouter):
    """Ridge regression per model on the embedding and seven counts; predictions are cut to what is possible.

    Source: Hoerl and Kennard 1970, "Ridge regression"; linear predictors as routers: RouterBench (Hu et al. 2024,
    arXiv:2403.12031) with one regressor per model and predicted quality − λ · cost.
    """

    name: ClassVar[str] = "ridge"
    settings: ClassVar[type[RidgeParams]] = RidgeParams

    @classmethod
    def cost_alpha(cls, settings: RidgeParams) -> float:
        return settings.alpha / 10

    @classmethod
    def learn(cls, rows: Floats, quality: Floats, settings: RidgeParams) -> dict[str, NDArray[Any]]:
        line = lines(rows, quality, settings.alpha)
        return {"weights": line.weights, "offsets": line.offsets}

    @classmethod
    def learned_in(cls, artifact: Artifact, p: int, m: int, settings: RidgeParams) -> dict[str, NDArray[Any]]:  # noqa: ARG003
        return {"weights": artifact.array("weights", "f", p, m), "offsets": artifact.array("offsets", "f", m)}

    def quality_at(self, row: Floats) -> Floats:
        return Line(self.learned["weights"], self.learned["offsets"]).at(row)
