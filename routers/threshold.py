"""Two models and one number: the strong one where it is likely to win."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from routers import artifacts
from routers.artifacts import TrainedOn
from routers.base import Choice, Decision, Query, TrainableRouter
from routers.features import one_thread
from routers.logistic import fit_logistic, probability
from routers.outcomes import Outcomes
from routers.params import bind
from routers.pool import Pool, known_cells
from routers.quality import Inputs
from routers.regression import Line

_LEVELS = 1001
"""Quantiles kept of the win probabilities on the training prompts."""


@dataclass(frozen=True, slots=True)
class ThresholdParams:
    """Parameters of `ThresholdRouter.fit`."""

    strong: str | None = None
    """The dear model; by default the one of the highest mean quality."""
    weak: str | None = None
    """The cheap model; by default the cheapest of the others."""
    threshold: float | None = None
    """Win probability from which the strong model is asked at a tradeoff of 0.5; by default the training median."""
    alpha: float = 10.0
    """Penalty on the weights."""
    seed: int = 0
    """Of the SVD."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"'threshold' must lie in [0, 1], not {self.threshold}")
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"'alpha' must be a positive number, not {self.alpha}")
        if self.strong is not None and self.strong == self.weak:
            raise ValueError(f"'strong' and 'weak' are both {self.strong!r}; name two models")


class ThresholdRouter(TrainableRouter):
    """The strong model where its win probability reaches a threshold, else the weak one.

    It wins where its quality is higher; a tie goes to the weak model, which costs less. The threshold holds at a
    tradeoff of 0.5. With σ the share of training prompts that reach it, a tradeoff t below asks the strong model for
    a share that grows evenly from σ to all at t = 0, one above for a share that shrinks evenly to none at t = 1; the
    threshold of each share is a quantile of the training prompts' win probabilities. Where one of the two is no
    candidate, the other is asked; without both it declines. Other candidates follow as fallbacks.

    Source: RouteLLM (Ong et al. 2024, arXiv:2406.18665), its win probability, its threshold and the calibration of
    the threshold for a share of strong calls; the probability here is logistic over the same inputs as router `ridge`.
    """

    name: ClassVar[str] = "threshold"
    fast: ClassVar[bool] = True

    def __init__(
        self,
        pool: Pool,
        inputs: Inputs,
        trained_on: TrainedOn,
        params: Mapping[str, Any],
        *,
        odds: Line,
        levels: NDArray[np.float64],
    ) -> None:
        """`params`: those of `fit`, the two models named; `odds`: log-odds of a win, one output; `levels`: quantiles
        of the win probability on the training prompts, ascending."""
        self.pool, self.inputs, self.trained_on = pool, inputs, trained_on
        self.params, self._odds = dict(params), odds
        settings = ThresholdParams(**params)
        assert settings.strong is not None
        assert settings.weak is not None
        self.strong, self.weak = settings.strong, settings.weak
        self._levels = levels.tolist()
        self.threshold = self._levels[_LEVELS // 2] if settings.threshold is None else float(settings.threshold)
        self._share = 1 - bisect_left(self._levels, self.threshold) / _LEVELS
        self._unread = float(np.mean(levels))

    @classmethod
    def fit(cls, outcomes: Outcomes, **params: Any) -> Self:
        """Learn when the strong model wins. Parameters: those of `ThresholdParams`."""
        settings = bind(ThresholdParams, params, owner="fitting router 'threshold'")
        pool = Pool.of(outcomes)
        settings = _named(settings, pool)
        pair = [pool.rows[str(settings.strong)], pool.rows[str(settings.weak)]]
        both = known_cells(outcomes)[:, pair].all(axis=1)
        if not both.any():
            raise ValueError(f"no prompt has outcomes of both {settings.strong!r} and {settings.weak!r}: record first")
        inputs = Inputs.fit(outcomes, seed=settings.seed)
        rows = inputs.of_many(outcomes)
        strong, weak = outcomes.quality[:, pair].T
        with one_thread():
            odds = fit_logistic(rows[both], (strong > weak)[both].astype(np.float64), settings.alpha)
            wins = probability(odds.at_many(rows)[:, 0])
        levels = np.quantile(wins, np.linspace(0, 1, _LEVELS), method="nearest")
        return cls(pool, inputs, TrainedOn.of(outcomes), asdict(settings), odds=odds, levels=levels)

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        artifacts.write(
            folder,
            self,
            params=self.params,
            trained_on=self.trained_on,
            arrays=self.pool.arrays()
            | self.inputs.arrays()
            | {"weights": self._odds.weights, "offsets": self._odds.offsets, "levels": np.array(self._levels)},
            documents=self.inputs.embedding.documents(),
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = artifacts.read(folder, cls)
        pool, inputs, settings = Pool.read(artifact), Inputs.read(artifact), artifact.settings(ThresholdParams)
        if settings.strong not in pool.rows or settings.weak not in pool.rows:
            raise artifacts.ArtifactError(
                f"{folder}: the strong or the weak model is not named; train the router again"
            )
        odds = Line(artifact.array("weights", "f", len(inputs), 1), artifact.array("offsets", "f", 1))
        levels = np.sort(artifact.array("levels", "f", _LEVELS))
        return cls(pool, inputs, artifact.trained_on, asdict(settings), odds=odds, levels=levels)

    def named_models(self) -> tuple[str, ...]:
        return (self.strong, self.weak)

    def win_probability(self, query: Query) -> float:
        """How likely the strong model does better than the weak one; the training mean without a known word."""
        row, read = self.inputs.of(query.text, query.length, query.embedding)
        return float(probability(self._odds.at(row))[0]) if read else self._unread

    def calibrate(self, queries: Iterable[Query], strong_share: float) -> float:
        """The threshold at which `strong_share` of these queries, as nearly as they allow, go to the strong model.

        No outcome is needed: any prompts that are like those to come. Raises `ValueError` for a share outside [0, 1]
        and for no queries.
        """
        if not 0 <= strong_share <= 1:
            raise ValueError(f"the share of strong calls must lie in [0, 1], not {strong_share}")
        wins = sorted((self.win_probability(query) for query in queries), reverse=True)
        if not wins:
            raise ValueError("there are no prompts to calibrate on")
        asked = round(strong_share * len(wins))
        if asked == 0:
            return math.nextafter(wins[0], math.inf) if wins[0] < 1 else 1.0
        return wins[asked - 1]

    def at_threshold(self, threshold: float) -> Self:
        """The same router with another threshold; raises `ValueError` where it lies outside [0, 1]."""
        params = asdict(replace(ThresholdParams(**self.params), threshold=threshold))
        levels = np.array(self._levels)
        return type(self)(self.pool, self.inputs, self.trained_on, params, odds=self._odds, levels=levels)

    @property
    def needs_embedding(self) -> str | None:
        return self.inputs.embedder

    def route(self, query: Query) -> Decision:
        names = [candidate.model for candidate in query.candidates]
        pair = [model for model in (self.strong, self.weak) if model in names]
        if not pair:
            return Decision((), "neither model available")
        wins = self.win_probability(query)
        threshold = self._threshold_at(query.tradeoff)
        strong = wins >= threshold
        if len(pair) == 1:
            reason = "only model available"
        elif not strong:
            pair, reason = pair[::-1], "weak"
        else:
            reason = "strong"
        if self.needs_embedding is not None and query.embedding is None:
            reason += ", no embedding"
        order = [*pair, *(name for name in names if name not in pair)]
        choices = [self._choice(model, 1.0 if place == 0 else 0.0) for place, model in enumerate(order)]
        detail: dict[str, Any] = {"win_probability": round(wins, 6)}
        if math.isfinite(threshold):
            detail["threshold"] = round(threshold, 6)
        return Decision(tuple(choices), reason, detail=detail)

    def _choice(self, model: str, chance: float) -> Choice:
        row = self.pool.rows.get(model)
        if row is None:
            return Choice(model, probability=chance)
        return Choice(model, float(self.pool.quality[row]), float(self.pool.cost[row]), chance)

    def _threshold_at(self, tradeoff: float) -> float:
        """Win probability from which the strong model is asked: infinite at a tradeoff of 1."""
        if tradeoff == 0.5:
            return self.threshold
        if tradeoff < 0.5:
            share = self._share + (1 - self._share) * (1 - 2 * max(tradeoff, 0.0))
        else:
            share = self._share * 2 * (1 - min(tradeoff, 1.0))
        if share >= 1:
            return 0.0
        place = round((1 - share) * _LEVELS)
        return math.inf if place >= _LEVELS else self._levels[place]


def _named(settings: ThresholdParams, pool: Pool) -> ThresholdParams:
    """The settings with both models named; raises `ValueError` where they cannot be."""
    if len(pool.models) < 2:
        raise ValueError(f"router 'threshold' routes between two models, the outcomes hold {', '.join(pool.models)}")
    for name in ("strong", "weak"):
        model = getattr(settings, name)
        if model is not None and model not in pool.rows:
            raise ValueError(f"{name!r}: {model!r} has no outcomes; there are {', '.join(pool.models)}")
    strong = settings.strong or _first(pool, settings.weak, [(-q, c) for q, c in _means(pool)])
    weak = settings.weak or _first(pool, strong, [(c, -q) for q, c in _means(pool)])
    return replace(settings, strong=strong, weak=weak)


def _means(pool: Pool) -> list[tuple[float, float]]:
    return list(zip(pool.quality.tolist(), pool.cost.tolist(), strict=True))


def _first(pool: Pool, other: str | None, keys: Sequence[tuple[float, float]]) -> str:
    """The model with the least key that is not `other`, ties by name."""
    return min((key, model) for key, model in zip(keys, pool.models, strict=True) if model != other)[1]
