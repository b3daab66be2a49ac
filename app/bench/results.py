"""The one table every figure of a report is derived from: a row per (item, router, setting)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Setting:
    """What one router did at one tradeoff, over the n items of a run, in the order of the run's items."""

    tradeoff: float
    model: tuple[str | None, ...]
    """Model that answered each item, length n; None where the call failed."""
    quality: NDArray[np.float64]
    """Shape (n,), in [0, 1]; 0 where the call failed."""
    cost: NDArray[np.float64]
    """Shape (n,), USD billed; a failed call costs what was billed for it."""
    answered: NDArray[np.bool_]
    """Shape (n,); False where the call failed or is missing. Its mean is the coverage."""
    latency: NDArray[np.float64] | None = None
    """Shape (n,), seconds a call took from end to end, NaN where missing; None when nothing was called."""
    overhead: NDArray[np.float64] | None = None
    """Shape (n,), seconds of it that were Hullspeed's own; None when nothing was called."""
    predicted_quality: NDArray[np.float64] | None = None
    """Shape (n,), quality the router foretold of the model it picked, NaN where it foretold none; None when none is
    known."""
    predicted_cost: NDArray[np.float64] | None = None
    """Shape (n,), USD, likewise."""
    calls: NDArray[np.int64] | None = None
    """Shape (n,), models that were called for each item, failed ones included; `cost` is what all of them billed. None
    where it is not known."""

    def share(self) -> dict[str, float]:
        """Model → part of all items it answered, largest first."""
        # Counting everything and leaving None out is far quicker than leaving it out while counting.
        counts = {model: count for model, count in Counter(self.model).items() if model is not None}
        largest_first = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return {model: count / len(self.model) for model, count in largest_first}

    @cached_property
    def _models(self) -> NDArray[np.object_]:
        return np.array(self.model, dtype=np.object_)

    def at(self, places: NDArray[np.int64]) -> Setting:
        """The same on the items at `places` alone, without times and predictions."""
        return Setting(
            tradeoff=self.tradeoff,
            model=tuple(self._models[places].tolist()),
            quality=self.quality[places],
            cost=self.cost[places],
            answered=self.answered[places],
        )


@dataclass(frozen=True)
class RouterResult:
    """One router at all its settings, on the same items as every other router of the run."""

    router: str
    settings: tuple[Setting, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
