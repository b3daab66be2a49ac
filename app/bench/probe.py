"""One query that a router is put to the test with.

Apart from what makes them of a suite, so that the processes that only ask them start without numpy.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from routers import Candidate, Query


@dataclass(frozen=True)
class Probe:
    """One query, as plain values that go through JSON (halves of surrogate pairs too), with the models' replies."""

    name: str
    messages: list[dict[str, Any]]
    candidates: list[dict[str, Any]]
    """Fields of `Candidate`; capabilities as a sorted list."""
    tradeoff: float = 0.3
    seed: int = 7
    max_calls: int = 4
    max_latency: float | None = None
    everyday: bool = False
    """An item of the suite: these are timed."""
    replies: dict[str, str] = field(default_factory=dict)
    """Model → what it answered when the suite was recorded."""

    def query(self) -> Query:
        """The query, sharing nothing with any other."""
        candidates = (
            Candidate(**{**fields, "capabilities": frozenset(fields["capabilities"])}) for fields in self.candidates
        )
        return Query(
            copy.deepcopy(self.messages),
            tuple(candidates),
            tradeoff=self.tradeoff,
            seed=self.seed,
            max_calls=self.max_calls,
            max_latency=self.max_latency,
        )
