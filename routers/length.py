"""Longer prompts to dearer models: the baseline that knows nothing but how much was written.

On MMLU prompt length alone scores an APGR of .584, where the best router published with RouteLLM scores .603, so a
learned router has to be shown beside it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from routers import artifacts
from routers.artifacts import TrainedOn
from routers.base import Candidate, Choice, Decision, Query, TrainableRouter
from routers.params import bind

if TYPE_CHECKING:
    from routers.outcomes import Outcomes
    from routers.pool import Pool

_LEVELS = 1001
"""Quantiles kept of the training lengths: a resolution of a thousandth, whatever the number of prompts."""


@dataclass(frozen=True, slots=True)
class _FitParams:
    seed: int = 0
    """Accepted like everywhere; nothing here is random."""


@dataclass(frozen=True, slots=True)
class _Fitted:
    pool: Pool
    lengths: list[int]
    """Quantiles of the training lengths, ascending."""
    trained_on: TrainedOn
    params: dict[str, Any]


_Rungs = tuple[list[str], list[str], dict[str, float | None], dict[str, float | None]]


class LengthRouter(TrainableRouter):
    """The zero router's mix, with the prompt's length in the place of the coin.

    Trained, the models on the hull of mean cost and quality form a ladder; the tradeoff names a point between two
    rungs, and of all prompts the longest share goes to the upper one. Untrained, all models of known expected cost
    form the ladder, dearer being taken for better, and prompts spread over the whole of it. Either way a tradeoff of
    0 gives the best model, 1 the cheapest, and the share of dear models falls in between. Source: prompt length as a
    baseline score over the two-model setting of RouteLLM (Ong et al. 2024, arXiv:2406.18665), on the zero router of
    RouterBench (Hu et al. 2024, arXiv:2403.12031).
    """

    name: ClassVar[str] = "length"
    fast: ClassVar[bool] = True
    needs_training: ClassVar[bool] = False

    def __init__(self, *, median: float = 500.0) -> None:
        """`median`: characters of the middle prompt, from which the untrained router judges what is long.

        Raises `ValueError` when it is not positive.
        """
        if not median > 0:
            raise ValueError(f"'median' must be a positive number of characters, not {median!r}")
        self.median = float(median)
        self._fitted: _Fitted | None = None
        self._known: tuple[tuple[Candidate, ...], _Rungs] | None = None

    @property
    def trained_on(self) -> TrainedOn | None:
        """What it was fitted to, if it was."""
        return self._fitted.trained_on if self._fitted else None

    @classmethod
    def fit(cls, outcomes: Outcomes, **params: Any) -> Self:
        """Learn the distribution of lengths and the hull of the models. Parameters: `seed`, without effect."""
        import numpy as np

        from routers.pool import Pool

        settings = bind(_FitParams, params, owner="fitting router 'length'")
        pool = Pool.of(outcomes)
        quantiles = np.quantile(outcomes.lengths, np.linspace(0, 1, _LEVELS), method="nearest")
        router = cls()
        router._fitted = _Fitted(pool, quantiles.tolist(), TrainedOn.of(outcomes), asdict(settings))
        return router

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        import numpy as np

        if self._fitted is None:
            raise artifacts.ArtifactError(f"{folder}: router 'length' has learned nothing to write; fit it first")
        artifacts.write(
            folder,
            self,
            params=self._fitted.params,
            trained_on=self._fitted.trained_on,
            arrays=self._fitted.pool.arrays() | {"lengths": np.array(self._fitted.lengths, dtype=np.int64)},
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        from routers.pool import Pool

        artifact = artifacts.read(folder, cls)
        lengths = sorted(artifact.array("lengths", "i", _LEVELS).tolist())
        router = cls()
        router._fitted = _Fitted(Pool.read(artifact), lengths, artifact.trained_on, dict(artifact.params))
        return router

    def route(self, query: Query) -> Decision:
        if not query.candidates:
            return Decision((), "no candidates")
        ladder, rest, costs, qualities = self._ladder(query)
        if not ladder:
            return _decided(rest, costs, qualities, "no cost known")
        choose = _spread if self._fitted is None else _rung
        difficulty = self._difficulty(query.length)
        place = choose(difficulty, query.tradeoff, len(ladder))
        # Fallbacks climb before they descend: the neighbour above answers at least as well.
        order = sorted(range(len(ladder)), key=lambda rung: (abs(rung - place), -rung))
        detail = {"length": query.length, "longer_than": round(difficulty, 4), "rung": place + 1, "rungs": len(ladder)}
        return _decided([ladder[rung] for rung in order] + rest, costs, qualities, "length", detail)

    def _ladder(self, query: Query) -> _Rungs:
        """The ladder, ascending; the models beside it; predicted cost and quality of all of them."""
        pool_alone = self._known
        if pool_alone is not None and pool_alone[0] is query.candidates:
            return pool_alone[1]
        tokens = query.prompt_tokens
        costs = {candidate.model: candidate.expected_cost(tokens) for candidate in query.candidates}
        qualities: dict[str, float | None] = dict.fromkeys(costs)
        pool = self._fitted.pool if self._fitted else None
        trained = [model for model in costs if model in pool.rows] if pool else []
        if pool and trained:
            for model in trained:
                costs[model] = float(pool.cost[pool.rows[model]])
                qualities[model] = float(pool.quality[pool.rows[model]])
            ladder = list(pool.hull(trained))
        else:
            priced = [(cost, model) for model, cost in costs.items() if cost is not None]
            ladder = [model for _, model in sorted(priced)]
        beside = [] if len(ladder) == len(costs) else _by_quality(costs.keys() - ladder, qualities)
        found = ladder, beside, costs, qualities
        if pool and len(trained) == len(costs):
            # Nothing of the query is in it: a bench asks a thousand times with the same candidates.
            self._known = query.candidates, found
        return found

    def _difficulty(self, length: int) -> float:
        """The share of prompts that are shorter, in [0, 1]; of prompts just as long, half count as shorter."""
        if self._fitted is None:
            return length / (length + self.median)
        lengths = self._fitted.lengths
        return (bisect_left(lengths, length) + bisect_right(lengths, length)) / (2 * len(lengths))


def _by_quality(models: Iterable[str], qualities: Mapping[str, float | None]) -> list[str]:
    return sorted(models, key=lambda model: (-(qualities[model] or 0.0), model))


def _spread(difficulty: float, tradeoff: float, rungs: int) -> int:
    """The rung where nothing is known of the models but their prices: prompts spread over the whole ladder by length,
    the tradeoff shifting them up or down. Which mix of rungs is worth its cost only outcomes can say."""
    return min(int(max(difficulty + 1 - 2 * tradeoff, 0.0) * rungs), rungs - 1)


def _rung(difficulty: float, tradeoff: float, rungs: int) -> int:
    """The rung for a prompt of this difficulty; at tradeoff 0 the top, at 1 the bottom."""
    point = (1 - min(max(tradeoff, 0.0), 1.0)) * (rungs - 1)
    lower = int(point)
    return min(lower + (difficulty > 1 - (point - lower)), rungs - 1)


def _decided(
    order: Sequence[str],
    costs: dict[str, float | None],
    qualities: dict[str, float | None],
    reason: str,
    detail: Mapping[str, Any] | None = None,
) -> Decision:
    return Decision(
        tuple(
            [
                Choice(model, qualities[model], costs[model], 1.0 if place == 0 else 0.0)
                for place, model in enumerate(order)
            ]
        ),
        reason,
        detail=detail or {},
    )
