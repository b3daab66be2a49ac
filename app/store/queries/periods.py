"""Periods of `call_stats`: which rows cover one, and which of them are wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from app.store.rollup import DAY, HOUR, MINUTE, MINUTES_KEPT
from app.store.sessions import Reading
from app.store.text import clean

_LONGEST = ((timedelta(hours=3), MINUTE), (timedelta(days=8), HOUR))
"""Periods up to so long are read by the minute, by the hour; longer ones by the day."""

Span = tuple[int, datetime, datetime]
"""The rows of one width, in seconds, from one time to another."""


class StatsFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls; None leaves a field open."""

    source: str | None = None
    """`live` or `replay`."""
    router: str | None = None
    model: str | None = None
    tagged: bool | None = None
    """True: only those that are part of a run; False: only the others."""


EVERYTHING = StatsFilter()


async def first_day(reading: Reading) -> datetime | None:
    """The day (UTC) of the first call; None without calls."""
    found: datetime | None = await reading.value(
        "SELECT min(began_at) FROM call_stats WHERE seconds = %(day)s", {"day": DAY}
    )
    return found


def width_of(since: datetime, until: datetime, now: datetime) -> int:
    """The width, in seconds, of the rows that a period is read from."""
    for longest, seconds in _LONGEST:
        if until - since <= longest and (seconds > MINUTE or since > now - MINUTES_KEPT):
            return seconds
    return DAY


def floor(moment: datetime, seconds: int) -> datetime:
    """The last beginning of a row of that width."""
    return datetime.fromtimestamp(math.floor(moment.timestamp() / seconds) * seconds, UTC)


def ceil(moment: datetime, seconds: int) -> datetime:
    """The next end of a row of that width."""
    return datetime.fromtimestamp(math.ceil(moment.timestamp() / seconds) * seconds, UTC)


def among(spans: Sequence[Span], wanted: StatsFilter) -> tuple[str, dict[str, Any]]:
    """SQL: the condition that a row of `call_stats` is one of `spans` and as wanted, and its parameters."""
    given: dict[str, Any] = {}
    some = []
    for place, (seconds, begin, end) in enumerate(spans):
        given |= {f"seconds{place}": seconds, f"begin{place}": begin, f"end{place}": end}
        some.append(f"seconds = %(seconds{place})s AND began_at >= %(begin{place})s AND began_at < %(end{place})s")
    condition = f"({' OR '.join(f'({one})' for one in some)})"
    for name in wanted.__struct_fields__:
        if (value := getattr(wanted, name)) is not None:
            given[name] = clean(value)
            condition += f" AND {name} = %({name})s"
    return condition, given


def cover(begin: datetime, end: datetime, seconds: int) -> list[Span]:
    """The period in as few rows as there can be: days, hours at its ends, minutes at theirs."""
    if seconds == DAY:
        return [(seconds, begin, end)]
    wider = HOUR if seconds == MINUTE else DAY
    first, last = ceil(begin, wider), floor(end, wider)
    if first >= last:
        return [(seconds, begin, end)]
    return [(seconds, begin, first), *cover(first, last, wider), (seconds, last, end)]
