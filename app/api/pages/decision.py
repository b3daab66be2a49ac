"""A logged decision in words and figures, for whoever asks why that model.

Everything is reckoned from what is stored with the call: the router may have been trained anew since.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.core import formats
from app.core.types import Call, DecisionRecord, RankedModel
from app.gateway.decide import EXPLICIT
from routers.base import price_of_quality

REPLACED = "default:"
"""How the reason begins where a router was replaced by the configured order."""
DRAWN = 0.9995
"""A probability below this means that chance had a part in it."""


@dataclass(frozen=True)
class Candidate:
    """A ranked model with what decided."""

    model: str
    quality: float | None
    cost_usd: float | None
    """Predicted."""
    probability: float
    utility: float | None
    """q̂ − λ·ĉ; None where it cannot be told."""
    answered: bool
    asked: bool
    """It was called for this call."""


@dataclass(frozen=True)
class Explained:
    """A decision, explained."""

    sentences: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    lambda_: float | None
    """Quality given up per USD; None where c_ref is not stored, infinite at a tradeoff of 1."""
    dearest: float | None
    """c_ref, USD."""


def explain(call: Call) -> Explained | None:
    """None where nothing was decided: the request was refused before."""
    decision = call.decision
    if decision is None:
        return None
    dearest = decision.detail.get("dearest_usd")
    dearest = float(dearest) if isinstance(dearest, int | float) and not isinstance(dearest, bool) else None
    weight = None if dearest is None else price_of_quality(decision.tradeoff, dearest)
    asked = {attempt.model for attempt in call.attempts}
    candidates = tuple(
        Candidate(
            ranked.model,
            ranked.quality,
            ranked.cost,
            ranked.probability,
            _utility(ranked, weight),
            ranked.model == call.model,
            ranked.model in asked,
        )
        for ranked in decision.ranking
    )
    return Explained(
        tuple(_sentences(call, decision, candidates)),
        candidates,
        weight,
        dearest,
    )


def _utility(ranked: RankedModel, weight: float | None) -> float | None:
    if weight is None or math.isinf(weight) or ranked.quality is None or ranked.cost is None:
        return None
    return ranked.quality - weight * ranked.cost


def _sentences(call: Call, decision: DecisionRecord, candidates: Sequence[Candidate]) -> Iterator[str]:
    if not candidates:
        yield f"The router {decision.router} ranked no model: {decision.reason}."
        return
    first = candidates[0]
    if decision.router == "none" or decision.reason == EXPLICIT:
        yield f"The client asked for {call.requested_model} by name, so no router was asked."
    elif decision.reason.startswith(REPLACED):
        yield _replaced(decision, first)
    elif decision.detail.get("explored"):
        instead = decision.detail.get("instead_of")
        yield (
            f"{decision.router} explored: {first.model} was drawn at random, in place of what the router within would "
            f"have picked{f' ({instead})' if isinstance(instead, str) else ''}. Without such draws nobody would learn "
            "how the others do."
        )
    elif several := _several(call, decision):
        yield several
    else:
        yield f"{decision.router} picked {_predicted(first)}."
        yield from _compared(decision, first, candidates[1:])
        yield from (said for sign, said in _BLIND.items() if sign in decision.reason)
        if 0 < first.probability < DRAWN:
            yield f"Chance had a part in it: {first.model} comes first with a probability of {first.probability:.1%}."
    if decision.max_cost_usd is not None:
        yield f"The request allowed {formats.usd(decision.max_cost_usd)} at most; dearer models were no candidates."
    yield from _answered(call, decision, first)


_ENDS = {
    "agree": "Two of their answers were the same, so that is the answer",
    "no agreement": "No two answers were the same, so the last model's reply is the answer",
    "no answer to compare": "None of the replies holds an answer that can be compared, so the last one is the answer",
    "accepted": "Its last reply was likely enough to be right",
    "end of chain": "At the end of the chain the reply most likely to be right is the answer",
    "no reply": "None of them answered in words",
}
"""How a ladder or a cascade came to its answer, by the reason."""
_BLIND = {
    "no known word": "No word of the prompt occurs in training, so the figures are the means over all prompts there.",
    "no embedding": "There was no embedding of the prompt, so the figures are the means over all prompts of training.",
    "unseen model by prior": "A model that was not there in training counts as an average one.",
}
"""What a router predicted without, by what its reason says."""


def _several(call: Call, decision: DecisionRecord) -> str:
    """What a router that looks at replies did; empty for all others, and where it asked one model only."""
    models = decision.detail.get("arm", decision.detail.get("chain"))
    if not isinstance(models, list) or len(models) < 2 or not all(isinstance(model, str) for model in models):
        return ""
    asked = list(dict.fromkeys(attempt.model for attempt in call.attempts))
    end = _ENDS.get(decision.reason, decision.reason)
    return (
        f"{decision.router} compares replies: of {', '.join(models)} it asked {', '.join(asked) or 'none'}. "
        f"{end}{f': that of {call.model}' if call.model else ''}."
    )


def _replaced(decision: DecisionRecord, first: Candidate) -> str:
    what = {
        "default:late": "took too long",
        "default:declined": "declined",
        "default:limit": "was stopped at a limit of the request",
    }.get(decision.reason, "failed")
    said = f" ({decision.problem})" if decision.problem else ""
    return (
        f"The router {decision.router} {what}{said}, so the configured order of models served the call, beginning with "
        f"{first.model}."
    )


def _predicted(candidate: Candidate) -> str:
    if candidate.quality is not None:
        at = "" if candidate.cost_usd is None else f" at {formats.usd(candidate.cost_usd)}"
        return f"{candidate.model}: predicted quality {candidate.quality:.2f}{at}"
    costs = "" if candidate.cost_usd is None else f", expected to cost {formats.usd(candidate.cost_usd)}"
    return f"{candidate.model}{costs}"


def _compared(decision: DecisionRecord, first: Candidate, others: Sequence[Candidate]) -> Iterator[str]:
    """The pick beside the best and the cheapest of the others, where both figures of all of them are known."""
    known = [other for other in others if other.quality is not None and other.cost_usd is not None]
    if not others:
        yield "It was the only candidate."
    if not known or first.quality is None or first.cost_usd is None:
        return
    best = max(known, key=lambda other: (other.quality or 0.0, -(other.cost_usd or 0.0)))
    cheapest = min(known, key=lambda other: (other.cost_usd or 0.0, -(other.quality or 0.0)))
    better, cheaper = (best.quality or 0.0) > first.quality, (cheapest.cost_usd or 0.0) < first.cost_usd
    # What one would be is always told; that it would not be worth it, only where that is how it was decided.
    aim = f"at a tradeoff of {decision.tradeoff:g} (0 = quality only, 1 = cost only)"
    if better:
        more = (best.quality or 0.0) - first.quality
        verdict = f"; {aim} {more:.2f} more quality is not worth that" if _beats(first, best) else ""
        yield f"{_would_be(best, first)}{verdict}."
    if cheaper and (not better or cheapest.model != best.model):
        less = first.quality - (cheapest.quality or 0.0)
        where = "" if better else f"{aim} "
        verdict = f"; {where}{less:.2f} less quality would cost more than it saves" if _beats(first, cheapest) else ""
        yield f"{_would_be(cheapest, first)}{verdict}."
    if not better and not cheaper and others:
        yield "No other candidate is predicted to be better or cheaper."


def _beats(first: Candidate, other: Candidate) -> bool:
    """By utility, and by nothing else: no draw, and neither worse nor dearer without a gain."""
    if first.utility is None or other.utility is None or first.probability < DRAWN:
        return False
    assert first.quality is not None
    assert other.quality is not None
    gains = (other.quality > first.quality) != ((other.cost_usd or 0.0) < (first.cost_usd or 0.0))
    return gains and first.utility >= other.utility


def _would_be(other: Candidate, first: Candidate) -> str:
    assert other.cost_usd is not None
    times = _times(other.cost_usd, first.cost_usd)
    return f"{other.model} would be {other.quality:.2f} at {formats.usd(other.cost_usd)}, {times}"


def _times(cost: float, of: float | None) -> str:
    """How dear something is beside something else."""
    if not of or not cost:
        return "dearer" if cost > (of or 0.0) else "cheaper" if cost < (of or 0.0) else "the same price"
    ratio = cost / of
    if ratio >= 1.05:
        return f"{ratio:.2g} times the price" if ratio < 100 else f"{ratio:,.0f} times the price"
    return "about the same price" if ratio > 0.95 else f"{ratio:.0%} of the price" if ratio >= 0.01 else "far cheaper"


def _answered(call: Call, decision: DecisionRecord, first: Candidate) -> Iterator[str]:
    """Where another model answered than the one picked."""
    if call.model is None:
        tried = list(dict.fromkeys(attempt.model for attempt in call.attempts))
        if tried:
            yield f"No model answered; tried: {', '.join(tried)}."
    elif call.model != first.model:
        failed = [attempt for attempt in call.attempts if attempt.model == first.model and attempt.outcome != "ok"]
        if failed:
            why = failed[0].outcome.replace("_", " ")
            yield f"{call.model} answered in its place, since {first.model} failed ({why})."
        elif not _several(call, decision):
            yield f"In the end {call.model} answered."
