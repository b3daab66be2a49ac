"""What training teaches about a pool of models before any prompt is looked at: their mean quality and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.artifacts import Artifact, ArtifactError
from routers.base import Candidate
from routers.outcomes import Outcomes


@dataclass(frozen=True)
class Pool:
    """Mean quality and cost of the m models trained on."""

    models: tuple[str, ...]
    quality: NDArray[np.float64]
    """Shape (m,), in [0, 1]."""
    cost: NDArray[np.float64]
    """Shape (m,), USD per call."""

    @classmethod
    def of(cls, outcomes: Outcomes) -> Pool:
        """The means over the cells where quality and cost are both known.

        Raises `ValueError` when there are no models, or naming the models without such a cell.
        """
        if not outcomes.models:
            raise ValueError("outcomes hold no models: there is nothing to learn from")
        known = known_cells(outcomes)
        empty = [model for model, column in zip(outcomes.models, known.T, strict=True) if not column.any()]
        if empty:
            raise ValueError(f"no outcome with quality and cost for {', '.join(empty)}: leave out or record first")
        counts = known.sum(axis=0)
        quality = np.where(known, outcomes.quality, 0.0).sum(axis=0) / counts
        cost = np.where(known, outcomes.cost, 0.0).sum(axis=0) / counts
        return cls(outcomes.models, quality, cost)

    @classmethod
    def read(cls, artifact: Artifact) -> Pool:
        """The pool that `arrays` was written from; raises `ArtifactError`."""
        models = artifact.trained_on.models
        quality = artifact.array("pool_quality", "f", len(models))
        return cls(models, quality, artifact.array("pool_cost", "f", len(models)))

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """The means as an artifact keeps them."""
        return {"pool_quality": self.quality, "pool_cost": self.cost}

    @cached_property
    def rows(self) -> dict[str, int]:
        """Model → its position in the arrays."""
        return {model: row for row, model in enumerate(self.models)}

    def dearest(self, candidates: Sequence[Candidate]) -> float | None:
        """c_ref, USD: the largest mean cost among the candidates trained on; None where none was."""
        costs = self._costs
        return max([costs[c.model] for c in candidates if c.model in costs], default=None)

    @cached_property
    def _costs(self) -> dict[str, float]:
        return dict(zip(self.models, self.cost.tolist(), strict=True))

    def hull(self, models: Sequence[str]) -> tuple[str, ...]:
        """Those of `models` (all trained on) that stand on the zero router's hull, ascending in cost.

        The hull is the non-decreasing concave one: each next model is dearer and better, at a falling rate. Source:
        the zero router of RouterBench (Hu et al. 2024, arXiv:2403.12031).
        """
        means = {m: (float(self.cost[self.rows[m]]), float(self.quality[self.rows[m]])) for m in models}
        hull: list[str] = []
        for model in sorted(models, key=lambda m: (means[m][0], -means[m][1], m)):
            if hull and means[model][1] <= means[hull[-1]][1]:
                continue
            while len(hull) > 1 and _not_above(means[hull[-2]], means[hull[-1]], means[model]):
                hull.pop()
            hull.append(model)
        return tuple(hull)


def known_cells(outcomes: Outcomes) -> NDArray[np.bool_]:
    """Where both quality and cost are known, shape (n, m): a reply graded anew may have the one alone."""
    return ~(np.isnan(outcomes.quality) | np.isnan(outcomes.cost))


def read_cells(artifact: Artifact, rows: int, models: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The arrays `quality` and `cost`, shape (rows, models) each, NaN in the same cells; raises `ArtifactError`."""
    quality, cost = (artifact.array(name, "f", rows, models, missing=True) for name in ("quality", "cost"))
    if not np.array_equal(np.isnan(quality), np.isnan(cost)):
        raise ArtifactError(
            f"{artifact.folder}: quality and cost are missing in different cells; train the router again"
        )
    return quality, cost


def _not_above(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether `middle` lies on or below the line from `left` to `right`."""
    rise = (middle[1] - left[1]) * (right[0] - left[0])
    return rise <= (right[1] - left[1]) * (middle[0] - left[0])
