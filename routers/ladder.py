"""Ask two cheap models at once; where they agree that is the answer, else climb. The arm is picked per query."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from routers import artifacts
from routers.answers import answer_in
from routers.artifacts import TrainedOn
from routers.base import MAX_CALLS, Candidate, Choice, Decision, Query, Reply, TrainableRouter, price_of_quality
from routers.chooser import Chooser, Foretold
from routers.outcomes import Outcomes
from routers.params import bind
from routers.pool import Pool
from routers.quality import Inputs


@dataclass(frozen=True, slots=True)
class LadderParams:
    """Parameters of `LadderRouter.fit`."""

    calls: int = MAX_CALLS
    """Most models of an arm. 1 makes the same picker over single models; a ladder has 3 or 4."""
    seed: int = 0
    """Of the SVD, the clusters, the folds and the bootstrap."""

    def __post_init__(self) -> None:
        if not 1 <= self.calls <= MAX_CALLS:
            raise ValueError(f"'calls' must lie between 1 and {MAX_CALLS}, not {self.calls}")


class LadderRouter(TrainableRouter):
    """An agreement ladder, picked per query among the arms on the hull of cost and quality.

    An arm is a single model or a ladder (`routers.arms`). The pick is argmax q̂ − λĉ, with λ of the tradeoff, over the
    arms whose models are all candidates and that fit `max_calls`, `max_cost` and `max_latency` even where all of their
    models are called. q̂ and ĉ are foretold from the prompt where that surely gained over mixing the arms blindly in
    training, and are the arms' means everywhere else: on a prompt unlike all training prompts too. Without recorded
    replies, or where replies hold no answer that can be compared, only single models are offered.

    Sources: agreement as the sign of a right answer: self-consistency (Wang et al. 2022, arXiv:2203.11171) and its use
    between models (Yue et al. 2023, arXiv:2310.03094); calling dearer models after cheaper ones: FrugalGPT (Chen et al.
    2023, arXiv:2305.05176), AutoMix (Aggarwal et al. 2023, arXiv:2310.12963); picking the chain per query: cascade
    routing (Dekoninck et al. 2024, arXiv:2410.10347).
    """

    name: ClassVar[str] = "ladder"
    fast: ClassVar[bool] = True

    def __init__(
        self, pool: Pool, inputs: Inputs, trained_on: TrainedOn, params: Mapping[str, Any], *, chooser: Chooser
    ) -> None:
        """`params`: those of `fit`, kept with the artifact."""
        self.pool, self.inputs, self.chooser = pool, inputs, chooser
        self.trained_on, self.params = trained_on, dict(params)
        self._prior = float(np.mean(pool.quality))
        self._arms = [tuple(pool.models[place] for place in arm) for arm in chooser.arms]
        self._quality = dict(zip(pool.models, pool.quality.tolist(), strict=True))

    @classmethod
    def fit(cls, outcomes: Outcomes, **params: Any) -> Self:
        """Learn from outcomes, with their replies where there are any. Parameters: those of `LadderParams`."""
        settings = bind(LadderParams, params, owner="fitting router 'ladder'")
        pool = Pool.of(outcomes)
        inputs = Inputs.fit(outcomes, seed=settings.seed)
        chooser = Chooser.fit(outcomes, pool, inputs, calls=settings.calls, seed=settings.seed)
        return cls(pool, inputs, TrainedOn.of(outcomes), asdict(settings), chooser=chooser)

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        artifacts.write(
            folder,
            self,
            params=self.params,
            trained_on=self.trained_on,
            arrays=self.pool.arrays() | self.inputs.arrays() | self.chooser.arrays(),
            documents=self.inputs.embedding.documents(),
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = artifacts.read(folder, cls)
        pool, inputs = Pool.read(artifact), Inputs.read(artifact)
        params = asdict(artifact.settings(LadderParams))
        return cls(pool, inputs, artifact.trained_on, params, chooser=Chooser.read(artifact, inputs))

    @property
    def needs_embedding(self) -> str | None:
        return self.inputs.embedder

    def route(self, query: Query) -> Decision:
        if not query.candidates:
            return Decision((), "no candidates")
        foretold = self.chooser.foretell(self.inputs, query.text, query.length, query.embedding)
        choices = {candidate.model: self._choice(candidate, foretold, query) for candidate in query.candidates}
        dearest = self.pool.dearest(query.candidates)
        if dearest is None:
            dearest = max(_cost(choice) for choice in choices.values())
        weight = price_of_quality(query.tradeoff, dearest)
        ranked = sorted(
            (_Offer((c.model,), c.quality or 0.0, _cost(c)) for c in choices.values()), key=_by_worth(weight)
        )
        offers = [offer for offer in self._offers(choices, foretold) if _fits(offer.arm, query, choices)]
        best = min(offers, key=_by_worth(weight)) if offers else min(ranked, key=_by_worth(math.inf))
        order = [*best.arm, *(offer.arm[0] for offer in ranked if offer.arm[0] not in best.arm)]
        ranking = tuple(replace(choices[model], probability=float(place == 0)) for place, model in enumerate(order))
        detail = {"dearest_usd": dearest, **_detail(best, foretold, offers if query.explain else ())}
        reason = self._reason("single" if len(best.arm) == 1 else "ladder", foretold, query)
        if len(best.arm) == 1:
            return Decision(ranking, reason, detail=detail)
        climb = Climb(ranking, best.arm, self._quality, detail)
        return Decision(ranking, reason, ask=2, review=climb.review, detail=detail)

    def _choice(self, candidate: Candidate, foretold: Foretold, query: Query) -> Choice:
        """A model alone: single models are the first arms, in the pool's order."""
        row = self.pool.rows.get(candidate.model)
        if row is None:
            cost = candidate.expected_cost(query.prompt_tokens)
            return Choice(candidate.model, self._prior, float(np.max(self.pool.cost)) if cost is None else cost)
        quality = min(max(float(foretold.quality[row]), 0.0), 1.0)
        return Choice(candidate.model, quality, float(foretold.cost[row]))

    def _offers(self, choices: Mapping[str, Choice], foretold: Foretold) -> Iterator[_Offer]:
        """The arms whose models are all candidates; a model not trained on stands alone, by its prior."""
        for arm, quality, cost in zip(self._arms, foretold.quality.tolist(), foretold.cost.tolist(), strict=True):
            if (len(arm) == 1 or foretold.comparable) and all(model in choices for model in arm):
                yield _Offer(arm, quality, cost)
        for model, choice in choices.items():
            if model not in self.pool.rows:
                yield _Offer((model,), self._prior, _cost(choice))

    def _reason(self, what: str, foretold: Foretold, query: Query) -> str:
        if foretold.how in ("novel", "no known word", "no embedding"):
            what += f", {foretold.how}"
        unseen = any(candidate.model not in self.pool.rows for candidate in query.candidates)
        return f"{what}, unseen model by prior" if unseen else what


class _Offer(NamedTuple):
    """An arm that could be taken."""

    arm: tuple[str, ...]
    quality: float
    cost: float


def _by_worth(weight: float) -> Callable[[_Offer], tuple[Any, ...]]:
    """Best utility first, then the cheaper, the better, the name."""

    def key(offer: _Offer) -> tuple[Any, ...]:
        worth = 0.0 if math.isinf(weight) else offer.quality - weight * offer.cost
        return (-worth, offer.cost, -offer.quality, offer.arm)

    return key


def _cost(choice: Choice) -> float:
    return 0.0 if choice.cost is None else choice.cost


def _fits(arm: tuple[str, ...], query: Query, choices: Mapping[str, Choice]) -> bool:
    """Whether the arm keeps within the query's bounds even where all of its models are called."""
    if len(arm) > query.max_calls:
        return False
    if query.max_cost is None and query.max_latency is None:
        return True
    candidates = {candidate.model: candidate for candidate in query.candidates}
    if query.max_cost is not None:
        expected = [candidates[model].expected_cost(query.prompt_tokens) for model in arm]
        costs = [_cost(choices[model]) if cost is None else cost for model, cost in zip(arm, expected, strict=True)]
        if sum(costs) > query.max_cost:
            return False
    if query.max_latency is None:
        return True
    seconds = [candidates[model].latency for model in arm]
    known = [second for second in seconds if second is not None]
    if len(known) < len(seconds):
        return len(arm) == 1  # of one call nothing speaks against it, of several in a row nobody can tell
    return max(known[:2]) + sum(known[2:]) <= query.max_latency


def _detail(best: _Offer, foretold: Foretold, offers: Sequence[_Offer]) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "arm": list(best.arm),
        "quality": round(best.quality, 4),
        "cost_usd": best.cost,
        "foretold_by": foretold.how,
    }
    if foretold.likeness is not None:
        detail["nearest_likeness"] = round(foretold.likeness, 4)
    if offers:
        detail["arms"] = [
            {"arm": list(offer.arm), "quality": round(offer.quality, 4), "cost_usd": offer.cost} for offer in offers
        ]
    return detail


@dataclass(frozen=True)
class Climb:
    """One query's way up its ladder."""

    ranking: tuple[Choice, ...]
    """The models of the arm, then all other candidates."""
    arm: tuple[str, ...]
    quality: Mapping[str, float]
    """Model → mean quality: of two that agree the better one's reply is returned."""
    detail: Mapping[str, Any]

    def review(self, replies: Sequence[Reply]) -> Decision:
        """Two equal answers win; else the next model of the arm is asked, and behind the last one its reply wins."""
        called = [reply.model for reply in replies]
        answers = {reply.model: answer_in(reply.text) for reply in replies}
        waiting = tuple(choice for choice in self.ranking if choice.model not in answers)
        detail = {**self.detail, "answers": answers, "agreed": []}
        agreed = _agreed(called, answers)
        if agreed:
            best = min(agreed, key=lambda model: (-self.quality[model], self.arm.index(model)))
            detail["agreed"] = list(agreed)
            return Decision(waiting, "agree", reply=best, detail=detail)
        if len(called) < len(self.arm):
            return Decision(waiting, "climbed", review=self.review, detail=detail)
        told = [reply.model for reply in replies if reply.text is not None]
        if not told:
            return Decision(waiting, "no reply", detail=detail)
        compared = any(answer is not None for answer in answers.values())
        reason = "no agreement" if compared else "no answer to compare"
        return Decision(waiting, reason, reply=told[-1], detail=detail)


def _agreed(called: Sequence[str], answers: Mapping[str, str | None]) -> tuple[str, ...]:
    """The first two models, in the order called, with the same answer; nobody where there are none."""
    for place, model in enumerate(called):
        answer = answers[model]
        for earlier in called[:place]:
            if answer is not None and answers[earlier] == answer:
                return earlier, model
    return ()
