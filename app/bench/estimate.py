"""What a run would ask, and what that may cost, before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from app.bench.plan import Plan
from routers import Candidate

ASSUMED = "256 completion tokens each assumed"
"""As `Candidate.expected_cost` does."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """USD of all calls of a run: which model answers is for its routers to say, so between these two."""

    cheapest: float | None
    """If the cheapest model answered everything; None where no model has a price."""
    dearest: float | None
    unpriced: tuple[str, ...] = ()
    """Models whose price is not known; they are in neither figure."""

    def in_words(self) -> str:
        if self.cheapest is None or self.dearest is None:
            return "an unknown amount: no model has a price"
        return f"between ${self.cheapest:.2f} and ${self.dearest:.2f} ({ASSUMED})"


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A run before its first call."""

    suite: str
    items: int
    calls: int
    """Of the whole run: items × routers × tradeoffs."""
    upstream: str
    """`recorded`, `simulated` or `live`."""
    cost: Cost | None
    """None where answers cost nothing."""
    judged: bool
    """Whether models judge the replies, which costs what they charge; no estimate is made of that."""
    resumes: str | None = None
    """The unfinished run that would go on."""
    done: int = 0
    """Calls of it that are kept."""
    spent: float = 0.0
    """USD they cost, judging included, as far as it is known."""

    def in_words(self) -> str:
        """Two sentences or three."""
        told = f"{self.items:,} items of `{self.suite}`, {self.calls:,} calls, answered by {self.upstream} models."
        told += " That is free." if self.cost is None else f" All of them will cost {self.cost.in_words()}."
        if self.judged:
            told += " Judging the replies costs what the judges charge."
        if self.resumes is not None:
            told += f" Run {self.resumes} goes on: {self.done:,} calls are done, ${self.spent:.4f} is spent."
        return told


def cost_of(plan: Plan, candidates: Mapping[str, Candidate]) -> Cost:
    """What the plan's calls may cost with these models to answer."""
    settings = len(plan.routers) * len(plan.tradeoffs)
    prompts = [item.as_query().prompt_tokens for item in plan.items]
    priced: list[float] = []
    unpriced: list[str] = []
    for name, candidate in candidates.items():
        costs = [candidate.expected_cost(tokens) for tokens in prompts]
        known = [cost for cost in costs if cost is not None]
        if len(known) == len(costs):
            priced.append(sum(known) * settings)
        else:
            unpriced.append(name)
    return Cost(cheapest=min(priced, default=None), dearest=max(priced, default=None), unpriced=tuple(sorted(unpriced)))
