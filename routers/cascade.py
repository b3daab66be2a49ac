"""Ask a cheap model, look at its reply, and ask a dearer one only where the reply is not likely enough to be right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from routers import artifacts
from routers.acceptance import Acceptance, numbered
from routers.answers import answer_in
from routers.arms import Votes
from routers.artifacts import Artifact, ArtifactError, TrainedOn
from routers.base import MAX_CALLS, Candidate, Choice, Decision, Query, Reply, TrainableRouter, price_of_quality
from routers.chains import Arms, Chain, Trial, best_arms, left_out_by, reply_lengths
from routers.features import one_thread
from routers.outcomes import Outcomes
from routers.params import bind
from routers.pool import Pool, known_cells
from routers.quality import COST_FLOOR, Floats, Inputs, lines
from routers.regression import Line


@dataclass(frozen=True, slots=True)
class CascadeParams:
    """Parameters of `CascadeRouter.fit`."""

    calls: int = MAX_CALLS
    """Most models of a chain."""
    alpha: float = 100.0
    """Penalty of the ridge that foretells a model's quality from the prompt."""
    arm_alpha: float = 1500.0
    """Penalty of the ridge that foretells how a chain does on a prompt; far more, since chains differ by little."""
    seed: int = 0
    """Of the SVD, and of which replies stand beside which in training."""

    def __post_init__(self) -> None:
        if not 1 <= self.calls <= MAX_CALLS:
            raise ValueError(f"'calls' must lie between 1 and {MAX_CALLS}, not {self.calls}")
        for name in ("alpha", "arm_alpha"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name!r} must be a positive number, not {getattr(self, name)}")


@dataclass(frozen=True)
class _Course:
    """One query's way through its chain; `order`: its models, then the other candidates as fallbacks."""

    order: tuple[Choice, ...]
    length: int
    accept: tuple[float, ...]
    prior: Mapping[str, float]
    """Model of the chain → quality foretold."""
    detail: Mapping[str, Any]


class CascadeRouter(TrainableRouter):
    """A chain of models from cheap to dear; the first reply that is likely enough to be right is the answer.

    How likely is learned from prompt, reply and the agreement of all replies so far (`routers.acceptance`), so a reply
    that was not good enough alone may be the answer once a second one agrees. Where the chain ends, the most likely
    reply is the answer. Chains and the chance from which they accept are tried out on the training outcomes; those on
    the hull of cost and quality stay, singles among them, and each query gets the one of highest q̂ − λ·ĉ, foretold by
    ridges. Chains longer than `max_calls`, or that are expected to take longer than `max_latency`, are not offered.

    Source: FrugalGPT (Chen et al. 2023, arXiv:2305.05176), learned acceptance along a chain; cascade routing
    (Dekoninck et al. 2024, arXiv:2410.10347), the choice of the chain per query; agreement as in Yue et al. 2023,
    arXiv:2310.03094.
    """

    name: ClassVar[str] = "cascade"
    fast: ClassVar[bool] = True

    def __init__(
        self,
        pool: Pool,
        inputs: Inputs,
        trained_on: TrainedOn,
        params: Mapping[str, Any],
        *,
        prior: Line,
        lengths: Floats,
        acceptance: Acceptance,
        arms: Arms,
    ) -> None:
        """`prior`: quality of the m models by the prompt; `lengths`: mean and deviation of the log length of their
        replies, shape (2, m)."""
        self.pool, self.inputs, self.trained_on, self.params = pool, inputs, trained_on, dict(params)
        self._prior, self._lengths, self._acceptance, self._arms = prior, lengths, acceptance, arms

    @classmethod
    def fit(cls, outcomes: Outcomes, **params: Any) -> Self:
        """Learn from recorded replies. Parameters: those of `CascadeParams`.

        Raises `ValueError` where the outcomes hold no replies.
        """
        settings = bind(CascadeParams, params, owner="fitting router 'cascade'")
        if outcomes.replies is None or not any(reply is not None for reply in outcomes.replies.flat):
            raise ValueError("router 'cascade' learns from replies, and the outcomes hold none: record them first")
        pool, known = Pool.of(outcomes), known_cells(outcomes)
        words = outcomes.words_only()
        inputs = Inputs.fit(words, seed=settings.seed)
        rows = inputs.of_many(words)
        votes = Votes.of(outcomes)
        quality, cost = np.where(known, outcomes.quality, np.nan), np.where(known, outcomes.cost, np.nan)
        lengths, apart = reply_lengths(outcomes.replies)
        with one_thread():
            prior = lines(rows, quality, settings.alpha)
            left_out = np.clip(left_out_by(rows, quality, prior, settings.alpha), 0, 1)
            told = np.where(votes.told, quality, np.nan)
            acceptance = Acceptance.fit(
                left_out, pool.quality, apart, votes.answers, told, most=settings.calls, seed=settings.seed
            )
            trial = Trial(left_out, pool, apart, votes, quality, cost, acceptance)
            arms = best_arms(trial, rows, settings.calls, settings.arm_alpha)
        return cls(
            pool,
            inputs,
            TrainedOn.of(outcomes),
            asdict(settings),
            prior=prior,
            lengths=lengths,
            acceptance=acceptance,
            arms=arms,
        )

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        arms = self._arms
        longest = max(map(len, arms.chains))
        chains = np.array([(*chain, *[-1] * (longest - len(chain))) for chain in arms.chains], dtype=np.int32)
        accept = np.array([(*chances, *[0.0] * (longest - 1 - len(chances))) for chances in arms.accept])
        learned = {
            "prior_weights": self._prior.weights,
            "prior_offsets": self._prior.offsets,
            "reply_lengths": self._lengths,
            "chains": chains,
            "accept": accept.reshape(len(chains), longest - 1),
            "arm_quality_weights": arms.quality.weights,
            "arm_quality_offsets": arms.quality.offsets,
            "arm_cost_weights": arms.cost.weights,
            "arm_cost_offsets": arms.cost.offsets,
        }
        artifacts.write(
            folder,
            self,
            params=self.params,
            trained_on=self.trained_on,
            arrays=self.pool.arrays() | self.inputs.arrays() | self._acceptance.arrays() | learned,
            documents=self.inputs.embedding.documents(),
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = artifacts.read(folder, cls)
        pool, inputs = Pool.read(artifact), Inputs.read(artifact)
        p, m = len(inputs), len(pool.models)
        acceptance = Acceptance.read(artifact)
        chains = _chains_in(artifact, m)
        if not acceptance.lines and any(len(chain) > 1 for chain in chains):
            raise ArtifactError(f"{folder}: array 'acceptance' is empty; train the router again")
        longest = max(map(len, chains))
        table = artifact.array("accept", "f", len(chains), longest - 1).tolist()
        accept = tuple(tuple(row[: len(chain) - 1]) for row, chain in zip(table, chains, strict=True))
        quality, cost = (_line_in(artifact, name, p, len(chains)) for name in ("arm_quality", "arm_cost"))
        return cls(
            pool,
            inputs,
            artifact.trained_on,
            asdict(artifact.settings(CascadeParams)),
            prior=_line_in(artifact, "prior", p, m),
            lengths=artifact.array("reply_lengths", "f", 2, m),
            acceptance=acceptance,
            arms=Arms(chains, accept, quality, cost),
        )

    def route(self, query: Query) -> Decision:
        if not query.candidates:
            return Decision((), "no candidates")
        row, _ = self.inputs.of(query.text, query.length)
        prior = np.clip(self._prior.at(row), 0, 1).tolist()
        choices = {c.model: self._choice(c, prior, query) for c in query.candidates}
        arm = self._pick(query, row)
        if arm is None:
            return Decision(_ranked(sorted(choices.values(), key=_cheapest_first)), "no model trained on")
        chain = [self.pool.models[place] for place in self._arms.chains[arm]]
        # Behind the chain first what is dearer than its last model, then the rest: fallbacks climb.
        last = choices[chain[-1]].cost or 0.0
        rest = [choice for model, choice in choices.items() if model not in chain]
        rest.sort(key=lambda choice: ((choice.cost or 0.0) < last, choice.cost or 0.0, choice.model))
        order = _ranked([*(choices[model] for model in chain), *rest])
        if len(chain) == 1:
            return Decision(order, "single", detail={"chain": chain})
        accept = self._arms.accept[arm]
        detail = {"chain": chain, "accept": [round(chance, 4) for chance in accept]}
        course = _Course(
            order,
            len(chain),
            accept,
            {model: prior[self.pool.rows[model]] for model in chain},
            detail,
        )
        return Decision(order, "cascade", review=partial(self._review, course), detail=detail)

    def _choice(self, candidate: Candidate, prior: Sequence[float], query: Query) -> Choice:
        row = self.pool.rows.get(candidate.model)
        if row is None:
            cost = candidate.expected_cost(query.prompt_tokens)
            return Choice(candidate.model, float(np.mean(self.pool.quality)), cost)
        return Choice(candidate.model, prior[row], float(self.pool.cost[row]))

    def _pick(self, query: Query, row: Floats) -> int | None:
        """The arm of highest utility whose models are all candidates; None where there is none."""
        usable = {candidate.model: candidate for candidate in query.candidates}
        quality = np.clip(self._arms.quality.at(row), 0, 1)
        floor = COST_FLOOR * np.array([float(self.pool.cost[list(chain[:1])].sum()) for chain in self._arms.chains])
        cost = np.maximum(self._arms.cost.at(row), floor)
        weight = price_of_quality(query.tradeoff, self.pool.dearest(query.candidates) or 0.0)
        best: tuple[tuple[float, float, float], int] | None = None
        for arm, chain in enumerate(self._arms.chains):
            called = [usable.get(self.pool.models[place]) for place in chain]
            if len(chain) > query.max_calls or not _in_time(called, query.max_latency):
                continue
            utility = 0.0 if math.isinf(weight) else float(quality[arm] - weight * cost[arm])
            key = (-utility, float(cost[arm]), -float(quality[arm]))
            best = (key, arm) if best is None or key < best[0] else best
        return None if best is None else best[1]

    def _review(self, course: _Course, replies: Sequence[Reply]) -> Decision:
        called = {reply.model for reply in replies}
        waiting = tuple(choice for choice in course.order if choice.model not in called)
        told = [reply for reply in replies if reply.text is not None]
        chances = self._chances(course, told) if told else np.zeros(0)
        done = len(called) >= course.length
        if told and (done or chances.max() >= course.accept[len(called) - 1]):
            best = int(chances.argmax())
            detail = {**course.detail, "chances": [round(float(chance), 4) for chance in chances]}
            return Decision(waiting, "accepted" if not done else "end of chain", reply=told[best].model, detail=detail)
        if done:
            return Decision(waiting, "no reply", detail=course.detail)
        return Decision(waiting, "not accepted", review=partial(self._review, course), detail=course.detail)

    def _chances(self, course: _Course, told: Sequence[Reply]) -> Floats:
        """How likely each of the replies is right, shape (k,)."""
        places = [self.pool.rows[reply.model] for reply in told]
        size = np.log1p(np.array([[len(reply.text or "") for reply in told]], dtype=np.float64))
        found: Floats = self._acceptance.chances(
            np.array([[course.prior[reply.model] for reply in told]]),
            self.pool.quality[places][None, :],
            (size - self._lengths[0, places]) / self._lengths[1, places],
            numbered([answer_in(reply.text) for reply in told]),
        )[0]
        return found


def _ranked(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    return tuple(
        Choice(choice.model, choice.quality, choice.cost, 1.0 if place == 0 else 0.0)
        for place, choice in enumerate(choices)
    )


def _cheapest_first(choice: Choice) -> tuple[float, str]:
    return (math.inf if choice.cost is None else choice.cost, choice.model)


def _in_time(called: Sequence[Candidate | None], most: float | None) -> bool:
    """Whether all models are candidates that, one after the other, are expected to reply in time."""
    if any(candidate is None for candidate in called):
        return False
    if most is None or len(called) == 1:
        return True
    return sum(candidate.latency or 0.0 for candidate in called if candidate is not None) <= most


def _line_in(artifact: Artifact, name: str, p: int, outputs: int) -> Line:
    return Line(artifact.array(f"{name}_weights", "f", p, outputs), artifact.array(f"{name}_offsets", "f", outputs))


def _chains_in(artifact: Artifact, m: int) -> tuple[Chain, ...]:
    table = artifact.array("chains", "i", None, None)
    chains = tuple(tuple(place for place in row if place >= 0) for row in table.tolist())
    if not chains or not all(chain and max(chain) < m and len(set(chain)) == len(chain) for chain in chains):
        raise ArtifactError(f"{artifact.folder}: array 'chains' names no models; train the router again")
    return chains
