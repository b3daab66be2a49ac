"""Learn from the scores of live calls: ask the model that may be the best, and remember what came of it.

Each model has a ridge regression from a context (a few numbers of the prompt) to the scores of its calls, of which
only sums are kept: Σ [x, r]·[x, r]ᵀ with x the context and r the score. They can be added, taken away, saved, and put
together from several workers (see `LearningRouter`). How a proxy wires it:

1. `route` puts the context into `Decision.detail`, rounded, as it was used: `{"basis": "…", "context": [1.0, …]}`;
   the decision is logged with its detail as every other.
2. A score posted to a call is kept in the ledger. For each new score of the wanted name, every worker calls
   `update(detail, model, reward)` with the call's logged detail and the model that answered. Of two scores of one
   call the later counts: take the earlier back with weight −1.
3. A worker that starts calls `restore({})` and folds in the scored calls of the ledger in any order, or restores a
   state that was saved with the place in the ledger up to which it counts, and goes on from there.

`basis` names what the numbers of a context mean. After training anew it is another one: scores of calls that were
decided before cannot be folded in, and `update` says so.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from routers import artifacts
from routers.artifacts import Artifact, ArtifactError, TrainedOn
from routers.base import (
    Candidate,
    Choice,
    Decision,
    LearningRouter,
    Query,
    TrainableRouter,
    price_of_quality,
    rank_by_utility,
    seed_for,
)
from routers.features import COUNTS, Embedding
from routers.outcomes import Outcomes
from routers.params import bind
from routers.pool import Pool, known_cells
from routers.quality import Floats, Inputs

DRAWS = 1000
"""Draws that stand for the posterior in Thompson sampling; propensities are multiples of 1/1000."""
_PRIOR_MEAN = 0.5
"""Score expected of a model that nothing is known of."""
_DIGITS = 6
"""Decimals of a context: what is logged is exactly what was used."""
_UNTRAINED = Inputs(
    Embedding((), np.zeros(0, np.float32), np.zeros((0, 0), np.float32), frozenset()),
    # Means and deviations of the counts over everyday prompts, roughly: they only need to be of the right size.
    np.array([[6.0, 4.3, 1.4, 0.04, 0.03, 0.5, 0.1], [1.6, 1.4, 1.2, 0.06, 0.04, 0.5, 0.3]]),
)

Method = Literal["thompson", "linucb"]


@dataclass(frozen=True, slots=True)
class BanditParams:
    """Parameters of `BanditRouter.fit`; without training, `method`, `exploration` and `prior` are the router's."""

    method: Method = "thompson"
    exploration: float = 0.3
    """Widths of the posterior: Thompson's scale of the draws, LinUCB's α."""
    prior: float = 1.0
    """Scores that the expectation of 0.5 counts for."""
    dimensions: int = 16
    """Numbers of the embedding in a context, beside a constant and the seven counts."""
    trust: float = 0.1
    """Scores that an outcome of the training counts for."""
    seed: int = 0
    """Of the SVD."""

    def __post_init__(self) -> None:
        for name, least in (("exploration", 0.0), ("trust", 0.0)):
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"{name!r} must be a number ≥ 0, not {getattr(self, name)}")
        if not 0 < self.prior < math.inf:
            raise ValueError(f"'prior' must be a positive number, not {self.prior}")
        if self.dimensions < 0:
            raise ValueError(f"'dimensions' must be at least 0, not {self.dimensions}")


class _Belief(NamedTuple):
    """What is believed of one model: the score expected of context x is x·mean, with variance x·spread·x."""

    mean: Floats
    """Shape (p,)."""
    spread: Floats
    """Shape (p, p)."""


class BanditRouter(TrainableRouter, LearningRouter):
    """A contextual bandit: expected score − λ · cost, with room for what is not known.

    `linucb` ranks by the upper end of what a score may be: x·θ + α·√(x·A⁻¹·x). `thompson` gives each model the share
    of draws from its posterior in which it is the best. The draws are the same standard normal numbers for every
    query, per model, and the query's seed decides among the models by these shares: so the propensities are those of
    the policy exactly, not estimates of them. A model never scored is believed to be worth 0.5, with a wide margin.

    Source: LinUCB, Li et al. 2010, "A contextual-bandit approach to personalized news article recommendation",
    arXiv:1003.0146 (disjoint models); Thompson sampling with linear payoffs, Agrawal and Goyal 2013, arXiv:1209.3352.
    """

    name: ClassVar[str] = "bandit"
    fast: ClassVar[bool] = True
    needs_training: ClassVar[bool] = False

    def __init__(self, method: Method = "thompson", exploration: float = 0.3, prior: float = 1.0) -> None:
        """A bandit that starts without any outcomes, with contexts of a constant and the seven counts.

        Raises `ValueError` naming the parameter.
        """
        self._begin(
            BanditParams(method, exploration, prior, dimensions=0),
            _UNTRAINED,
            Pool((), np.zeros(0), np.zeros(0)),
            TrainedOn("", "", (), ()),
            {},
        )

    def _begin(
        self,
        settings: BanditParams,
        inputs: Inputs,
        pool: Pool,
        trained_on: TrainedOn,
        base: Mapping[str, Floats],
    ) -> None:
        self.settings, self.inputs, self.pool, self.trained_on = settings, inputs, pool, trained_on
        self._width = 1 + len(COUNTS) + min(settings.dimensions, inputs.embedding.dimensions)
        self._basis = _basis(inputs, self._width)
        self._base = dict(base)
        self._learned: dict[str, Floats] = {}
        self._beliefs: dict[str, tuple[Floats | None, _Belief]] = {}

    @classmethod
    def fit(cls, outcomes: Outcomes, **params: Any) -> Self:
        """Start from what every model did on every prompt. Parameters: those of `BanditParams`."""
        settings = bind(BanditParams, params, owner="fitting router 'bandit'")
        pool, known = Pool.of(outcomes), known_cells(outcomes)
        router = cls()
        router._begin(
            settings,
            Inputs.fit(outcomes.words_only(), seed=settings.seed),
            pool,
            TrainedOn.of(outcomes),
            {},
        )
        contexts = np.array(
            [router._context(p, int(n)) for p, n in zip(outcomes.prompts, outcomes.lengths, strict=True)]
        )
        base = {}
        for column, model in enumerate(pool.models):
            rows = np.hstack([contexts, outcomes.quality[:, [column]]])[known[:, column]]
            base[model] = settings.trust * np.einsum("ij,ik->jk", rows, rows)
        router._begin(settings, router.inputs, pool, router.trained_on, base)
        return router

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        shape = (-1, self._width + 1, self._width + 1)
        learned = sorted(self._learned)
        artifacts.write(
            folder,
            self,
            params=asdict(self.settings),
            trained_on=self.trained_on,
            arrays=self.pool.arrays()
            | self.inputs.arrays()
            | {
                "base": np.array([self._base[model] for model in self.pool.models], dtype=np.float64).reshape(shape),
                "learned": np.array([self._learned[model] for model in learned], dtype=np.float64).reshape(shape),
            },
            documents=self.inputs.embedding.documents() | {"learned_models": learned},
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = artifacts.read(folder, cls)
        pool, inputs, settings = Pool.read(artifact), Inputs.read(artifact), artifact.settings(BanditParams)
        router = cls()
        router._begin(settings, inputs, pool, artifact.trained_on, {})
        base = router._sums_in(artifact, "base", pool.models)
        router._begin(settings, inputs, pool, artifact.trained_on, base)
        try:
            router.restore(router._sums_in(artifact, "learned", artifact.texts("learned_models")))
        except ValueError as error:
            raise ArtifactError(f"{folder}: {error}; train the router again") from error
        return router

    def _sums_in(self, artifact: Artifact, name: str, models: Sequence[str]) -> dict[str, Floats]:
        sums = artifact.array(name, "f", len(models), self._width + 1, self._width + 1)
        return dict(zip(models, sums, strict=True))

    # ------------------------------------------------------------------------------------------------ learning

    def update(self, detail: Mapping[str, Any], model: str, reward: float, *, weight: float = 1.0) -> None:
        if not 0 <= reward <= 1:
            raise ValueError(f"a reward must lie in [0, 1], not {reward}")
        row = np.append(self._context_in(detail), reward)
        before = self._learned.get(model)
        self._learned[model] = weight * np.outer(row, row) + (0.0 if before is None else before)

    def state(self) -> Mapping[str, NDArray[np.float64]]:
        return {model: sums.copy() for model, sums in self._learned.items()}

    def restore(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        shape = (self._width + 1, self._width + 1)
        for model, sums in state.items():
            if sums.shape != shape or not np.isfinite(sums).all():
                raise ValueError(f"the state of {model!r} has shape {sums.shape}, expected finite numbers of {shape}")
        self._learned = {model: np.array(sums, dtype=np.float64) for model, sums in state.items()}

    def _context_in(self, detail: Mapping[str, Any]) -> Floats:
        if detail.get("basis") != self._basis:
            raise ValueError(
                f"the detail has the basis {detail.get('basis')!r}, this router has {self._basis!r}: it was decided by "
                "another router, or by one fitted otherwise"
            )
        try:
            context = np.array(detail["context"], dtype=np.float64)
        except (KeyError, TypeError, ValueError):
            context = np.zeros(0)
        if context.shape != (self._width,) or not np.isfinite(context).all():
            raise ValueError(f"the detail has no context of {self._width} numbers")
        return context

    def _belief(self, model: str) -> _Belief:
        """What the sums say, worked out when it is first asked for: scores come in heaps, and updates stay cheap."""
        learned = self._learned.get(model)
        known = self._beliefs.get(model)
        if known is not None and known[0] is learned:
            return known[1]
        p = self._width
        sums = self._base.get(model, np.zeros((p + 1, p + 1))) + (0.0 if learned is None else learned)
        start = np.zeros(p)
        start[0] = _PRIOR_MEAN * self.settings.prior
        spread = np.asarray(np.linalg.inv(sums[:p, :p] + self.settings.prior * np.eye(p)), dtype=np.float64)
        mean: Floats = spread @ (sums[:p, p] + start)
        self._beliefs[model] = (learned, _Belief(mean, spread))
        return self._beliefs[model][1]

    # ------------------------------------------------------------------------------------------------- routing

    def _context(self, prompt: str, length: int) -> list[float]:
        """The constant, the seven counts and the first numbers of the embedding, shape (p,)."""
        row, _ = self.inputs.of(prompt, length)
        d = self.inputs.embedding.dimensions
        numbers = [1.0, *row[d:].tolist(), *row[: self._width - 1 - len(COUNTS)].tolist()]
        return [round(number, _DIGITS) for number in numbers]

    def route(self, query: Query) -> Decision:
        if not query.candidates:
            return Decision((), "no candidates")
        context = self._context(query.text, query.length)
        x = np.array(context)
        models = [candidate.model for candidate in query.candidates]
        held = [self._belief(model) for model in models]
        mean = np.array([float(np.vecdot(belief.mean, x)) for belief in held])
        width = np.array([math.sqrt(max(float(x @ belief.spread @ x), 0.0)) for belief in held])
        costs, dearest = self._costs(query)
        margin = self.settings.exploration * width
        ranked = rank_by_utility(
            models,
            (mean + margin if self.settings.method == "linucb" else mean).tolist(),
            costs,
            tradeoff=query.tradeoff,
            dearest=dearest,
            reason=self.settings.method,
        )
        order = [choice.model for choice in ranked.ranking]
        chances = dict.fromkeys(order, 0.0) | {order[0]: 1.0}
        if self.settings.method == "thompson" and query.tradeoff < 1:
            utility = mean - price_of_quality(query.tradeoff, dearest) * np.array(costs)
            chances = _chances(order, dict(zip(models, zip(utility, margin, strict=True), strict=True)))
            order = _drawn(order, chances, query.seed)
        quality = dict(zip(models, np.clip(mean, 0, 1).tolist(), strict=True))
        cost = dict(zip(models, costs, strict=True))
        ranking = tuple(Choice(model, quality[model], cost[model], chances[model]) for model in order)
        detail = {**ranked.detail, "basis": self._basis, "context": context}
        return Decision(ranking, self.settings.method, detail=detail)

    def _costs(self, query: Query) -> tuple[list[float], float]:
        """Expected USD of each candidate, and c_ref; a model of unknown cost is taken for the dearest."""
        found = [self._cost(candidate, query) for candidate in query.candidates]
        dearest = max((cost for cost in found if cost is not None), default=0.0)
        return [dearest if cost is None else cost for cost in found], dearest

    def _cost(self, candidate: Candidate, query: Query) -> float | None:
        row = self.pool.rows.get(candidate.model)
        return candidate.expected_cost(query.prompt_tokens) if row is None else float(self.pool.cost[row])


def _basis(inputs: Inputs, width: int) -> str:
    """A name for what the numbers of a context mean."""
    hasher = hashlib.blake2b(f"{width}".encode(), digest_size=6)
    for array in inputs.arrays().values():
        hasher.update(np.ascontiguousarray(array).tobytes())
    for texts in inputs.embedding.documents().values():
        for text in texts:
            hasher.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return hasher.hexdigest()


@lru_cache(maxsize=1024)
def _normal(model: str) -> Floats:
    """The draws of one model, shape (DRAWS,): always the same."""
    return np.random.default_rng(seed_for("thompson", model)).standard_normal(DRAWS)


def _chances(order: Sequence[str], beliefs: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """In which share of the draws each model has the highest utility; `beliefs`: its mean and deviation."""
    draws = np.array([beliefs[model][0] + beliefs[model][1] * _normal(model) for model in order])
    counts = np.bincount(draws.argmax(axis=0), minlength=len(order))
    return {model: count / DRAWS for model, count in zip(order, counts.tolist(), strict=True)}


def _drawn(order: Sequence[str], chances: Mapping[str, float], seed: int) -> list[str]:
    """The order with one drawn by its chance in front, the others by falling chance behind it."""
    coin = random.Random(seed_for("bandit", seed))
    first = coin.choices(order, [chances[model] for model in order])[0]
    rest = sorted((model for model in order if model != first), key=lambda model: -chances[model])
    return [first, *rest]
