"""Models and prompts as vectors of one small space: how well they go together is their product."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.artifacts import Artifact
from routers.quality import Floats, QualityRouter

_ROUNDS = 20
"""Alternations; on the recorded suites nothing moves after ten."""


@dataclass(frozen=True, slots=True)
class FactorsParams:
    """Parameters of `FactorsRouter.fit`."""

    rank: int = 8
    """Numbers in the vector of a model; never more than there are models."""
    alpha: float = 40.0
    """Penalty on the squared entries of either side. Of both together it is a penalty of 2 · alpha on the singular
    values of their product, so that directions the outcomes do not speak for vanish whatever the rank."""
    seed: int = 0
    """Of the SVD and of the first guess."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"'rank' must be at least 1, not {self.rank}")
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"'alpha' must be a positive number, not {self.alpha}")


class FactorsRouter(QualityRouter):
    """Quality of model m on prompt x is its mean + (x − x̄)·W·v_m: a vector v per model, a projection W of prompts.

    Source: the matrix factorisation of RouteLLM (Ong et al. 2024, arXiv:2406.18665) and of EmbedLLM (Zhuang et al.
    2024, arXiv:2410.02223), fitted here to squared loss by alternating least squares in closed form, so that the same
    outcomes give the same vectors and there is no learning rate.
    """

    name: ClassVar[str] = "factors"
    settings: ClassVar[type[FactorsParams]] = FactorsParams

    @classmethod
    def learn(cls, rows: Floats, quality: Floats, settings: FactorsParams) -> dict[str, NDArray[Any]]:
        known = ~np.isnan(quality)
        p, m = rows.shape[1], quality.shape[1]
        rank = min(settings.rank, m, p)
        level = np.where(known, quality, 0).sum(axis=0) / known.sum(axis=0)
        centre = rows.mean(axis=0)
        centred, missed = rows - centre, np.where(known, quality - level, 0)
        # One Gram matrix and one moment per model are all of the table that the rounds need.
        grams = np.array([centred[mask].T @ centred[mask] for mask in known.T])
        moments = centred.T @ missed
        models = np.random.default_rng(settings.seed).normal(size=(m, rank)) / math.sqrt(rank)
        projection = np.zeros((p, rank))
        for _ in range(_ROUNDS):
            projection = _projection(grams, moments, models, settings.alpha)
            inner = np.einsum("pr,mpq,qs->mrs", projection, grams, projection, optimize=True)
            right = (moments.T @ projection)[:, :, None]
            models = np.linalg.solve(inner + settings.alpha * np.eye(rank), right)[:, :, 0]
        return {"projection": projection, "models": models, "level": level, "centre": centre}

    @classmethod
    def learned_in(cls, artifact: Artifact, p: int, m: int, settings: FactorsParams) -> dict[str, NDArray[Any]]:
        rank = min(settings.rank, m, p)
        return {
            "projection": artifact.array("projection", "f", p, rank),
            "models": artifact.array("models", "f", m, rank),
            "level": artifact.array("level", "f", m),
            "centre": artifact.array("centre", "f", p),
        }

    def quality_at(self, row: Floats) -> Floats:
        place = np.einsum("i,ij->j", row - self.learned["centre"], self.learned["projection"])
        quality: Floats = self.learned["level"] + np.einsum("ij,j->i", self.learned["models"], place)
        return quality


def _projection(grams: Floats, moments: Floats, models: Floats, alpha: float) -> Floats:
    """The W of least loss for given vectors of the models: one linear system in all of its p · r entries."""
    p, rank = len(moments), models.shape[1]
    outer = models[:, :, None] * models[:, None, :]
    system = np.einsum("mpq,mrs->prqs", grams, outer, optimize=True).reshape(p * rank, p * rank)
    system[np.diag_indices(p * rank)] += alpha
    solution: Floats = np.linalg.solve(system, (moments @ models).reshape(-1)).reshape(p, rank)
    return solution
