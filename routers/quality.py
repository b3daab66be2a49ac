"""What the routers share that differ in nothing but the regressor by which they predict quality: what they are given
of a prompt, the ridge that predicts cost, and how they are kept."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from routers import artifacts
from routers.artifacts import Artifact, TrainedOn
from routers.features import COUNTS, counts, one_thread, stripped
from routers.outcomes import Outcomes
from routers.params import bind
from routers.pool import Pool, known_cells
from routers.predictive import PredictiveRouter
from routers.regression import Line
from routers.spaces import Space, Vector, fit_space, given, needed_by, read_space

Floats = NDArray[np.float64]

COST_ALPHA = 10.0
"""Penalty of the ridge that predicts cost."""
COST_FLOOR = 0.1
"""A predicted cost is at least this share of the model's mean: a line would go below zero."""
_FARTHEST = 3.0
"""Standard deviations at which the counts are cut off: a line must not run away on a prompt of 200,000 tokens."""


@dataclass(frozen=True)
class Inputs:
    """What a regressor is given of a prompt: its embedding and the seven counts, standardised; p = d + 7 numbers."""

    embedding: Space
    scaling: Floats
    """Mean and standard deviation of the counts, shape (2, 7)."""

    @classmethod
    def fit(cls, outcomes: Outcomes, *, seed: int) -> Self:
        """Inputs by what the training prompts look like."""
        embedding = fit_space(outcomes, seed=seed)
        texts = [stripped(prompt, embedding.wrappers) for prompt in outcomes.prompts]
        written = np.array([counts(text, int(n)) for text, n in zip(texts, outcomes.lengths, strict=True)])
        deviation = written.std(axis=0)
        # A count that never varies says nothing; dividing by 1 leaves it at zero.
        return cls(embedding, np.vstack([written.mean(axis=0), np.where(deviation > 1e-9, deviation, 1.0)]))

    @classmethod
    def read(cls, artifact: Artifact) -> Self:
        """The inputs that `arrays` and the embedding's documents were written from; raises `ArtifactError`."""
        return cls(read_space(artifact), artifact.array("scaling", "f", 2, len(COUNTS)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The numbers as an artifact keeps them."""
        return self.embedding.arrays() | {"scaling": self.scaling}

    @property
    def embedder(self) -> str | None:
        """See `Router.needs_embedding`."""
        return needed_by(self.embedding)

    def __len__(self) -> int:
        return self.embedding.dimensions + len(COUNTS)

    def row(self, text: str, vector: NDArray[np.float32], length: int) -> Floats:
        """Shape (p,). `text`: as `features.stripped` gives it; `vector`: its embedding; `length`: `Query.length`."""
        return np.concatenate([vector, standardised(counts(text, length), self.scaling)])

    def of(self, prompt: str, length: int, sentence: Vector | None = None) -> tuple[Floats, bool]:
        """`row` for a whole prompt, and whether anything is known of where it lies; `sentence`: `Query.embedding`."""
        text = stripped(prompt, self.embedding.wrappers)
        vector = self.embedding.embed(text, sentence)
        return self.row(text, vector, length), bool(vector.any())

    def of_many(self, outcomes: Outcomes) -> Floats:
        """One row for each prompt, shape (n, p)."""
        prompts = zip(outcomes.prompts, outcomes.lengths, given(outcomes), strict=True)
        return np.array([self.of(prompt, int(n), sentence)[0] for prompt, n, sentence in prompts])


class QualityRouter(PredictiveRouter):
    """Quality by the subclass's regressor, cost by a ridge; predictions are cut to what is possible."""

    settings: ClassVar[type[Any]]
    """Dataclass of the parameters of `fit`; it has a `seed`."""

    def __init__(
        self,
        pool: Pool,
        inputs: Inputs,
        trained_on: TrainedOn,
        params: Mapping[str, Any],
        *,
        costs: Line,
        learned: Mapping[str, NDArray[Any]],
    ) -> None:
        """`costs`: from inputs to the cost of m models, USD; `learned`: what `learn` gave."""
        super().__init__(pool, inputs.embedding, trained_on, params)
        self.inputs, self.learned = inputs, dict(learned)
        self._costs, self._floor = costs, COST_FLOOR * pool.cost

    @classmethod
    @abstractmethod
    def learn(cls, rows: Floats, quality: Floats, settings: Any) -> dict[str, NDArray[Any]]:
        """Fit the regressor, on one thread: arrays by name.

        `rows`: inputs, shape (n, p); `quality`: shape (n, m), NaN where there is no outcome, never a whole column.
        """

    @classmethod
    @abstractmethod
    def learned_in(cls, artifact: Artifact, p: int, m: int, settings: Any) -> dict[str, NDArray[Any]]:
        """What `learn` gave, read from an artifact and checked; raises `ArtifactError`."""

    @abstractmethod
    def quality_at(self, row: Floats) -> Floats:
        """Predicted quality of the m models, shape (m,), for inputs of shape (p,); may lie outside [0, 1]."""

    @classmethod
    def cost_alpha(cls, settings: Any) -> float:  # noqa: ARG003 – a subclass may
        """Penalty of the ridge that predicts cost."""
        return COST_ALPHA

    @classmethod
    def fit(cls, outcomes: Outcomes, **params: Any) -> Self:
        """Learn from the outcomes. Parameters: those of the dataclass `settings`."""
        settings = bind(cls.settings, params, owner=f"fitting router {cls.name!r}")
        pool, known = Pool.of(outcomes), known_cells(outcomes)
        inputs = Inputs.fit(outcomes, seed=settings.seed)
        rows = inputs.of_many(outcomes)
        with one_thread():
            costs = lines(rows, np.where(known, outcomes.cost, np.nan), cls.cost_alpha(settings))
            learned = cls.learn(rows, np.where(known, outcomes.quality, np.nan), settings)
        return cls(pool, inputs, TrainedOn.of(outcomes), asdict(settings), costs=costs, learned=learned)

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = artifacts.read(folder, cls)
        pool, inputs, settings = Pool.read(artifact), Inputs.read(artifact), artifact.settings(cls.settings)
        p, m = len(inputs), len(pool.models)
        costs = Line(artifact.array("cost_weights", "f", p, m), artifact.array("cost_offsets", "f", m))
        learned = cls.learned_in(artifact, p, m, settings)
        return cls(pool, inputs, artifact.trained_on, asdict(settings), costs=costs, learned=learned)

    def arrays(self) -> dict[str, NDArray[Any]]:
        costs = {"cost_weights": self._costs.weights, "cost_offsets": self._costs.offsets}
        return {"scaling": self.inputs.scaling} | costs | self.learned

    def predict(self, text: str, vector: NDArray[np.float32], length: int) -> tuple[Floats, Floats]:
        row = self.inputs.row(text, vector, length)
        return np.clip(self.quality_at(row), 0.0, 1.0), np.maximum(self._costs.at(row), self._floor)


def standardised(written: NDArray[np.float64], scaling: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standardised counts, shape (…, 7): together about as long as the unit vector, so that one penalty fits both.

    `written`: `features.counts`, shape (…, 7); `scaling`: their mean and standard deviation, shape (2, 7).
    """
    standard = np.clip((written - scaling[0]) / scaling[1], -_FARTHEST, _FARTHEST)
    scaled: NDArray[np.float64] = standard / math.sqrt(len(COUNTS))
    return scaled


def lines(inputs: NDArray[np.float64], targets: NDArray[np.float64], alpha: float) -> Line:
    """One ridge for each column of `targets`, shape (n, o), from the rows of `inputs`, shape (n, p), where it is not
    NaN; each column needs one such row. Call within `features.one_thread`."""
    weights, offsets = np.zeros((inputs.shape[1], targets.shape[1])), np.zeros(targets.shape[1])
    known = ~np.isnan(targets)
    for columns in _alike(known):
        rows = known[:, columns[0]]
        weights[:, columns], offsets[columns] = _solve(inputs[rows], targets[rows][:, columns], alpha)
    return Line(weights, offsets)


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
