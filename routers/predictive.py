"""What the learned routers share: predict quality and cost of every model trained on, then rank by utility."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers import artifacts
from routers.artifacts import TrainedOn
from routers.base import Candidate, Decision, Query, TrainableRouter, rank_by_utility
from routers.features import stripped
from routers.pool import Pool
from routers.spaces import Space, needed_by


class PredictiveRouter(TrainableRouter):
    """A router by predicted quality and cost.

    Models trained on that are no candidates are ignored. A candidate not trained on gets the pool's mean quality
    and its own expected cost (the pool's dearest mean where that is unknown), and the reason says so. A prompt
    without a single known word, or without the sentence embedding that the router was trained with, gets the means
    of training. c_ref is the largest mean cost of training among the candidates, or the largest expected cost where
    none was trained on.
    """

    fast: ClassVar[bool] = True

    def __init__(self, pool: Pool, embedding: Space, trained_on: TrainedOn, params: Mapping[str, Any]) -> None:
        """`params`: those of `fit`, kept with the artifact."""
        self.pool, self.embedding = pool, embedding
        self.trained_on, self.params = trained_on, dict(params)
        self._prior = float(np.mean(pool.quality))

    @property
    def needs_embedding(self) -> str | None:
        return needed_by(self.embedding)

    @abstractmethod
    def predict(
        self, text: str, vector: NDArray[np.float32], length: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Quality in [0, 1] and cost in USD, shape (m,) each, of the models trained on.

        `text`: the prompt as `features.stripped` gives it; `vector`: its embedding, shape (d,), never zero;
        `length`: `Query.length`.
        """

    def tell(
        self, text: str, vector: NDArray[np.float32], length: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Mapping[str, Any]]:
        """`predict`, and what it rests on, for `Decision.detail`: for whoever asks why."""
        return *self.predict(text, vector, length), {}

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What was learned beyond pool and embedding, as an artifact keeps it."""

    def documents(self) -> dict[str, Any]:
        """What an artifact keeps beside the arrays, as JSON values by name."""
        return self.embedding.documents()

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        artifacts.write(
            folder,
            self,
            params=self.params,
            trained_on=self.trained_on,
            arrays=self.pool.arrays() | self.embedding.arrays() | self.arrays(),
            documents=self.documents(),
            overwrite=overwrite,
        )

    def route(self, query: Query) -> Decision:
        if not query.candidates:
            return Decision((), "no candidates")
        text = stripped(query.text, self.embedding.wrappers)
        vector = self.embedding.embed(text, query.embedding)
        behind: Mapping[str, Any] = {}
        if vector.any():
            *learned, behind = self.tell(text, vector, query.length)
            reason = "predicted"
        else:
            learned, reason = [self.pool.quality, self.pool.cost], self.embedding.missing
        known_quality, known_cost = learned[0].tolist(), learned[1].tolist()
        models = [candidate.model for candidate in query.candidates]
        rows = [*map(self.pool.rows.get, models)]
        if None in rows:
            reason += ", unseen model by prior"
        quality = [self._prior if row is None else known_quality[row] for row in rows]
        cost = [
            self._cost_of_unseen(candidate, query) if row is None else known_cost[row]
            for row, candidate in zip(rows, query.candidates, strict=True)
        ]
        dearest = self.pool.dearest(query.candidates)
        return rank_by_utility(
            models,
            quality,
            cost,
            tradeoff=query.tradeoff,
            dearest=max(cost) if dearest is None else dearest,
            reason=reason,
            behind=behind,
        )

    def _cost_of_unseen(self, candidate: Candidate, query: Query) -> float:
        cost = candidate.expected_cost(query.prompt_tokens)
        return float(np.max(self.pool.cost)) if cost is None else cost
