"""The bound that no router can pass: it has seen the answers. For the bench only."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from routers import artifacts
from routers.artifacts import TrainedOn
from routers.base import Choice, Decision, Query, TrainableRouter, rank_by_utility
from routers.outcomes import Outcomes
from routers.params import bind
from routers.pool import Pool, known_cells, read_cells


@dataclass(frozen=True, slots=True)
class _FitParams:
    seed: int = 0
    """Accepted like everywhere; nothing here is random."""


class OracleRouter(TrainableRouter):
    """True quality − λ · true cost of the very prompt, ties to the model cheapest on it.

    A prompt is known by a hash of its text; of a prompt that occurs several times the mean of its rows counts. On a
    prompt it does not know, or where no candidate has an outcome, it declines. Candidates without an outcome for
    the prompt come last, without predictions. Source: the oracle of RouterBench (Hu et al. 2024,
    arXiv:2403.12031), with the model cheapest on the prompt charged where none is right.
    """

    name: ClassVar[str] = "oracle"
    fast: ClassVar[bool] = True
    bench_only: ClassVar[bool] = True

    def __init__(
        self,
        pool: Pool,
        prompts: tuple[str, ...],
        quality: NDArray[np.float64],
        cost: NDArray[np.float64],
        trained_on: TrainedOn,
        params: dict[str, Any],
    ) -> None:
        """`prompts`: hashes, length p; `quality`, `cost`: shape (p, m), NaN where there is no outcome."""
        self.pool, self.trained_on, self.params = pool, trained_on, params
        self._prompts, self._quality, self._cost = prompts, quality, cost
        self._rows = {prompt: row for row, prompt in enumerate(prompts)}

    @classmethod
    def fit(cls, outcomes: Outcomes, **params: Any) -> Self:
        """Remember the outcomes of the items that will be scored. Parameters: `seed`, without effect."""
        settings = bind(_FitParams, params, owner="fitting router 'oracle'")
        pool, known = Pool.of(outcomes), known_cells(outcomes)
        hashes = [_prompt_hash(prompt) for prompt in outcomes.prompts]
        prompts = tuple(sorted(set(hashes)))
        place = {prompt: row for row, prompt in enumerate(prompts)}
        rows = np.array([place[prompt] for prompt in hashes])
        counts, quality, cost = (np.zeros((len(prompts), len(pool.models))) for _ in range(3))
        np.add.at(counts, rows, known)
        np.add.at(quality, rows, np.where(known, outcomes.quality, 0.0))
        np.add.at(cost, rows, np.where(known, outcomes.cost, 0.0))
        seen = np.where(counts > 0, counts, np.nan)
        return cls(pool, prompts, quality / seen, cost / seen, TrainedOn.of(outcomes), asdict(settings))

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        artifacts.write(
            folder,
            self,
            params=self.params,
            trained_on=self.trained_on,
            arrays=self.pool.arrays() | {"quality": self._quality, "cost": self._cost},
            documents={"prompts": self._prompts},
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = artifacts.read(folder, cls)
        pool, prompts = Pool.read(artifact), artifact.texts("prompts")
        quality, cost = read_cells(artifact, len(prompts), len(pool.models))
        return cls(pool, prompts, quality, cost, artifact.trained_on, dict(artifact.params))

    def route(self, query: Query) -> Decision:
        row = self._rows.get(_prompt_hash(query.text))
        if row is None:
            return Decision((), "unknown prompt")
        outcomes = {
            candidate.model: (float(self._quality[row, column]), float(self._cost[row, column]))
            for candidate in query.candidates
            if (column := self.pool.rows.get(candidate.model)) is not None and not np.isnan(self._quality[row, column])
        }
        if not outcomes:
            return Decision((), "no outcome")
        decision = rank_by_utility(
            list(outcomes),
            [quality for quality, _ in outcomes.values()],
            [cost for _, cost in outcomes.values()],
            tradeoff=query.tradeoff,
            dearest=self.pool.dearest(query.candidates) or 0.0,
            reason="oracle",
        )
        others = (Choice(candidate.model) for candidate in query.candidates if candidate.model not in outcomes)
        return Decision((*decision.ranking, *others), decision.reason)


def _prompt_hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
