"""When a failed call is tried again, and how long that waits.

Backoff with jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015) and a budget that bounds retries to a share of
the traffic and a few a second beside it (as Finagle's `RetryBudget`), so that retries cannot turn an outage into a
storm, and little traffic is retried all the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from time import monotonic

WINDOW = 10.0
"""Seconds in which the memory of traffic fades to a third."""
RESERVE, PER_SECOND = 20.0, 5.0
"""Retries that little traffic may have too: at once, and how fast they come back. One client that asks one thing after
the other, each failing, needs no more."""
FIRST_PAUSE = 0.25
"""Seconds before the first retry at most; doubled with each further one."""


@dataclass(frozen=True)
class RetryRules:
    """How often and how long."""

    retries: int = 2
    """Further rounds over the models of a call that all failed for passing reasons."""
    longest_pause: float = 10.0
    """Seconds; whoever asks for a longer pause is not waited for."""
    seconds: float = 60.0
    """After this time no model is called any more for a call."""
    budget: float = 0.2
    """Retries as a share of the calls."""
    queue: float = 1.0
    """Seconds that a call waits for a place at a model that is called as often at once as it may be."""


class RetryBudget:
    """What the calls of the last seconds have earned, and a reserve."""

    def __init__(self, share: float, clock: Callable[[], float] = monotonic) -> None:
        self._share = share
        self._clock = clock
        self._at = clock()
        self._earned = 0.0
        self._reserve = RESERVE

    def called(self) -> None:
        """A call came in."""
        self._turn()
        self._earned += self._share

    def spend(self) -> bool:
        """Whether there is a retry left; takes it."""
        self._turn()
        if self._earned >= 1:
            self._earned -= 1
            return True
        if self._reserve >= 1:
            self._reserve -= 1
            return True
        return False

    def _turn(self) -> None:
        now = self._clock()
        passed = now - self._at
        self._at = now
        self._earned *= exp(-passed / WINDOW)
        self._reserve = min(self._reserve + passed * PER_SECOND, RESERVE)


def pause(number: int, asked: float | None = None) -> float:
    """Seconds to wait before retry `number` (from 0); never less than the upstream `asked` for."""
    jittered = random.uniform(0.5, 1.0) * FIRST_PAUSE * float(2**number)
    return max(jittered, asked or 0.0)
