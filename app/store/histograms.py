"""Histograms of seconds that add up: five buckets to a power of ten, as an array of counts in Postgres.

A quantile read from one is off by less than a bucket, a factor of 1.58, and by a few per cent where calls spread evenly
within it. Bucket `i` holds what is above its lower bound up to `first · 10^(i/5)`; the last holds all above, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BUCKETS = 27
_A_DECADE = 5


@dataclass(frozen=True)
class Histogram:
    """A column of `call_stats` that holds counts."""

    column: str
    first: float
    """Upper bound of the first bucket, in seconds."""

    def bounds(self) -> tuple[float, ...]:
        """Upper bounds of all buckets, in seconds."""
        return tuple(self.first * 10 ** (place / _A_DECADE) for place in range(BUCKETS))

    def bucket(self, seconds: str) -> str:
        """SQL: the bucket, from 0, that the expression `seconds` falls into; null for null."""
        ratio = f"greatest({seconds} / {self.first!r}, 1e-9)"
        return f"least(greatest(ceil({_A_DECADE} * log({ratio})), 0), {BUCKETS - 1})::integer"

    def quantile(self, counts: Sequence[int], share: float) -> float | None:
        """Seconds that `share` (in [0, 1]) of the calls stay within; None without calls.

        Within a bucket calls are taken to lie evenly on a logarithmic scale.
        """
        total = sum(counts)
        if total == 0:
            return None
        rank = share * total
        place = next(place for place, count in enumerate(accumulate(counts)) if count >= rank and counts[place])
        below = sum(counts[:place])
        within = (rank - below) / counts[place]
        return self.first * 10 ** ((place - 1 + within) / _A_DECADE)

    def quantiles(self, counts: NDArray[np.int64], share: float) -> NDArray[np.float64]:
        """As `quantile`, of many histograms at once: `counts` (histograms, buckets) → seconds (histograms,), NaN
        without calls."""
        import numpy as np

        reached = np.cumsum(counts, axis=1)
        total = reached[:, -1]
        rank = share * total
        place = np.argmax((reached >= rank[:, None]) & (counts > 0), axis=1)
        rows = np.arange(len(counts))
        inside = counts[rows, place]
        within = (rank - reached[rows, place] + inside) / np.maximum(inside, 1)
        found = self.first * 10 ** ((place - 1 + within) / _A_DECADE)
        return np.where(total > 0, found, np.nan)


LATENCY = Histogram("latency_counts", 0.005)
"""5 ms to 790 s."""
OVERHEAD = Histogram("overhead_counts", 0.00005)
"""50 µs to 7.9 s."""


def counted(bucket: str) -> str:
    """SQL: the counts of the rows whose bucket is the column `bucket`."""
    return _array(f"count(*) FILTER (WHERE {bucket} = {place})" for place in range(BUCKETS))


def summed(column: str, kind: str = "integer") -> str:
    """SQL: the sum of many rows' counts."""
    return _array((f"sum({column}[{place + 1}])" for place in range(BUCKETS)), kind)


def added(left: str, right: str) -> str:
    """SQL: the sum of two rows' counts."""
    return _array(f"{left}[{place + 1}] + {right}[{place + 1}]" for place in range(BUCKETS))


def _array(places: Iterable[str], kind: str = "integer") -> str:
    return f"ARRAY[{', '.join(places)}]::{kind}[]"
