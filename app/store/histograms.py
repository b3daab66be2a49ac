"""Histograms of seconds that add up: five buckets to a power of ten, as an array of counts in Postgres.

A quantile read from one is off by less than a bucket, a factor of 1.58, and by a few per cent where calls spread evenly
within it. Bucket `i` holds what is above its lower bound up to `first · 10^(i/5)`; the last holds all above, too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

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

    def quantiles(self, counts: Sequence[int], shares: Sequence[float]) -> list[float | None]:
        """Seconds that each of `shares` (in [0, 1]) of the calls stay within; None without calls.

        Within a bucket calls are taken to lie evenly on a logarithmic scale.
        """
        reached = [*accumulate(counts)]
        total = reached[-1] if reached else 0
        if not total:
            return [None] * len(shares)
        found: list[float | None] = []
        for share in shares:
            # The first of the calls, where none is to be within: no empty bucket holds it.
            rank = share * total or 0.5
            place = bisect_left(reached, rank)
            within = (share * total - reached[place] + counts[place]) / counts[place]
            found.append(self.first * 10 ** ((place - 1 + within) / _A_DECADE))
        return found


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
