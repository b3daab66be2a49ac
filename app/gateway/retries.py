"""When a failed call is tried again, and how long that waits.

Backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015) and a budget that bounds retries to a
share of the traffic (as Finagle's `RetryBudget`), so that retries cannot turn an outage into a storm.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

WINDOW = 10.0
"""Seconds of traffic that the budget looks back on."""
RESERVE = 10
"""Retries in a window that little traffic may have too."""
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


class RetryBudget:
    """Counts calls and retries of the last seconds."""

    def __init__(self, share: float, clock: Callable[[], float] = monotonic) -> None:
        self._share = share
        self._clock = clock
        self._window = self._calls = self._retries = 0.0

    def called(self) -> None:
        """A call came in."""
        self._turn()
        self._calls += 1

    def spend(self) -> bool:
        """Whether there is a retry left; takes it."""
        self._turn()
        if self._retries + 1 > self._share * self._calls + RESERVE:
            return False
        self._retries += 1
        return True

    def _turn(self) -> None:
        """Begin a window anew when one is over; half of the old one stays, so that no border opens the gates."""
        now = self._clock()
        passed = now - self._window
        if passed >= WINDOW:
            keep = 0.5 if passed < 2 * WINDOW else 0.0
            self._calls, self._retries = self._calls * keep, self._retries * keep
            self._window = now


def pause(number: int, asked: float | None = None) -> float:
    """Seconds to wait before retry `number` (from 0); never less than the upstream `asked` for."""
    jittered = random.uniform(0.5, 1.0) * FIRST_PAUSE * float(2**number)
    return max(jittered, asked or 0.0)
