"""What many calls add up to, read from `call_stats` in milliseconds whatever their number.

A period is widened to whole minutes, hours or days (UTC), by its length. Sums outlive the calls they count: retention
does not take them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import array

from app.core.types import Price
from app.store.database import Database
from app.store.histograms import BUCKETS, LATENCY, OVERHEAD, Histogram
from app.store.rollup import DAY, HOUR, MINUTE
from app.store.tables import call_stats
from app.store.text import clean

MINUTES_KEPT = timedelta(days=2)
"""Rows of single minutes are dropped when they are so old; see `app.store.retention`."""
_LONGEST = ((timedelta(hours=3), MINUTE), (timedelta(days=8), HOUR))
"""Periods up to so long are read by the minute, by the hour; longer ones by the day."""


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, read from a histogram: off by some per cent."""

    mean: float
    p50: float
    p90: float
    p99: float


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What a number of calls add up to."""

    calls: int
    failed: int
    """Calls whose outcome is `error` or `truncated`."""
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_usd: Decimal
    unpriced: int
    """Calls with tokens and no known cost, which `cost_usd` leaves out."""
    latency: Quantiles | None
    """Of all calls, failed ones too; None without calls."""
    overhead: Quantiles | None
    """Of the calls that know theirs."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What one model answered within one step of time."""

    began_at: datetime
    model: str | None
    """None: no model answered."""
    calls: int
    failed: int
    cost_usd: Decimal
    mean_latency: float
    """Seconds."""
    mean_overhead: float
    """Seconds; a call that does not know its overhead counts as one without."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The calls that a model answered at a known cost, with the tokens of those answers alone: what failed before, or
    was asked and not given to the client, is in the cost and not in the tokens."""

    calls: int
    cost_usd: Decimal
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate: what the calls would have cost had one model answered them all with as many tokens, at the rates
    given. Models differ in how they count tokens and in how long they talk; that is not in it."""

    model: str
    calls: int
    """Calls it is about: those with a known cost."""
    cost_usd: Decimal
    saved_usd: Decimal
    """That less what the same calls did cost, retries and fallbacks included; negative where routing cost more."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """A period's calls."""

    since: datetime
    until: datetime
    step: timedelta
    """Width of the points of `series`."""
    total: Sums
    outcomes: dict[str, int]
    """Outcome → calls, the most frequent first."""
    models: dict[str, Sums]
    """By the model that answered, the most called first."""
    routers: dict[str, Sums]
    """By the router that decided; `none` where the client named a model."""
    series: list[Point]
    """By time and model; steps without calls are left out."""
    compared: Compared


class StatsFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls; None leaves a field open."""

    source: str | None = None
    """`live` or `replay`."""
    router: str | None = None
    model: str | None = None
    tagged: bool | None = None
    """True: only those that are part of a run; False: only the others."""


_ALL = StatsFilter()
_Group = sa.RowMapping
_FAILED = ("error", "truncated")
_s = call_stats.c
_COUNTED = ("calls", "attempts", "prompt_tokens", "completion_tokens", "cached_tokens", "unpriced")
_COMPARED = tuple(Compared.__struct_fields__)


async def overview(
    database: Database,
    since: datetime | None = None,
    until: datetime | None = None,
    wanted: StatsFilter = _ALL,
    *,
    now: datetime | None = None,
) -> Overview:
    """What the calls started within a period add up to.

    `since`, `until`: None is the first call, and `now`; `now`: the present by default. Raises `StoreUnavailable`.
    """
    now = now or datetime.now(UTC)
    until = now if until is None else until
    async with database.begin() as connection:
        if since is None:
            first = sa.select(sa.func.min(_s.began_at)).where(_s.seconds == DAY)
            since = (await connection.execute(first)).scalar_one() or until
        seconds = _width(since, until, now)
        begin, end = _floor(since, seconds), _ceil(until, seconds)
        some = _conditions(wanted)
        covering = sa.or_(*(_within(*span) for span in _cover(begin, end, seconds)))
        groups = (await connection.execute(_GROUPS.where(covering, *some))).mappings().all()
        steps = (await connection.execute(_SERIES.where(_within(seconds, begin, end), *some))).all()
    return Overview(
        since=begin,
        until=end,
        step=timedelta(seconds=seconds),
        total=_sum(groups),
        outcomes=_outcomes(groups),
        models=_by(groups, "model"),
        routers=_by(groups, "router"),
        series=[
            Point(
                began_at=row.began_at,
                model=row.model or None,
                calls=int(row.calls),
                failed=int(row.failed),
                cost_usd=row.cost_usd,
                mean_latency=row.latency / int(row.calls),
                mean_overhead=row.overhead / int(row.calls),
            )
            for row in steps
        ],
        compared=Compared(
            **{name: _total(groups, f"compared_{name}", Decimal if name == "cost_usd" else int) for name in _COMPARED}
        ),
    )


def baselines(compared: Compared, prices: Mapping[str, Price]) -> list[Baseline]:
    """What each of `prices`' models would have cost in place of the routers, dearest first. See `Baseline`."""
    found = []
    for model, price in prices.items():
        cached = price.input if price.cached_input is None else price.cached_input
        cost = (
            (compared.prompt_tokens - compared.cached_tokens) * price.input
            + compared.cached_tokens * cached
            + compared.completion_tokens * price.output
        )
        found.append(Baseline(model=model, calls=compared.calls, cost_usd=cost, saved_usd=cost - compared.cost_usd))
    return sorted(found, key=lambda one: one.cost_usd, reverse=True)


def _width(since: datetime, until: datetime, now: datetime) -> int:
    for longest, seconds in _LONGEST:
        if until - since <= longest and (seconds > MINUTE or since > now - MINUTES_KEPT):
            return seconds
    return DAY


def _floor(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(math.floor(moment.timestamp() / seconds) * seconds, UTC)


def _ceil(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(math.ceil(moment.timestamp() / seconds) * seconds, UTC)


def _cover(begin: datetime, end: datetime, seconds: int) -> list[tuple[int, datetime, datetime]]:
    """The period in as few rows as there can be: days, hours at its ends, minutes at theirs."""
    if seconds == DAY:
        return [(seconds, begin, end)]
    wider = HOUR if seconds == MINUTE else DAY
    first, last = _ceil(begin, wider), _floor(end, wider)
    if first >= last:
        return [(seconds, begin, end)]
    return [(seconds, begin, first), *_cover(first, last, wider), (seconds, last, end)]


def _within(seconds: int, begin: datetime, end: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(_s.seconds == seconds, _s.began_at >= begin, _s.began_at < end)


def _conditions(wanted: StatsFilter) -> list[sa.ColumnElement[bool]]:
    given = {name: getattr(wanted, name) for name in wanted.__struct_fields__}
    return [_s[name] == clean(value) for name, value in given.items() if value is not None]


def _sum(groups: Sequence[_Group]) -> Sums:
    return Sums(
        **{name: _total(groups, name) for name in _COUNTED},
        failed=sum(int(group["calls"]) for group in groups if group["outcome"] in _FAILED),
        cost_usd=_total(groups, "cost_usd", Decimal),
        latency=_quantiles(groups, LATENCY, "latency"),
        overhead=_quantiles(groups, OVERHEAD, "overhead"),
    )


def _total(groups: Sequence[_Group], name: str, kind: Callable[[Any], Any] = int) -> Any:
    return sum((kind(group[name]) for group in groups), kind(0))


def _quantiles(groups: Sequence[_Group], histogram: Histogram, seconds: str) -> Quantiles | None:
    counts = [sum(places) for places in zip(*(group[histogram.column] for group in groups), strict=True)]
    p50, p90, p99 = (histogram.quantile(counts, share) for share in (0.5, 0.9, 0.99))
    if p50 is None or p90 is None or p99 is None:
        return None
    return Quantiles(mean=_total(groups, seconds, float) / sum(counts), p50=p50, p90=p90, p99=p99)


def _by(groups: Sequence[_Group], name: str) -> dict[str, Sums]:
    """Without the calls that have none."""
    found: dict[str, list[_Group]] = {}
    for group in groups:
        if group[name]:
            found.setdefault(group[name], []).append(group)
    sums = {value: _sum(some) for value, some in found.items()}
    return dict(sorted(sums.items(), key=lambda item: (-item[1].calls, item[0])))


def _outcomes(groups: Sequence[_Group]) -> dict[str, int]:
    found: dict[str, int] = {}
    for group in groups:
        found[group["outcome"]] = found.get(group["outcome"], 0) + int(group["calls"])
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _counts(histogram: Histogram) -> sa.ColumnElement[Any]:
    column = _s[histogram.column]
    return array([sa.func.sum(column[place + 1]) for place in range(BUCKETS)]).label(histogram.column)


_GROUPS = sa.select(
    _s.router,
    _s.model,
    _s.outcome,
    *(sa.func.sum(_s[name]).label(name) for name in (*_COUNTED, "cost_usd", "latency", "overhead")),
    *(sa.func.sum(_s[f"compared_{name}"]).label(f"compared_{name}") for name in _COMPARED),
    _counts(LATENCY),
    _counts(OVERHEAD),
).group_by(_s.router, _s.model, _s.outcome)
_SERIES = (
    sa.select(
        _s.began_at,
        _s.model,
        sa.func.sum(_s.calls).label("calls"),
        sa.func.coalesce(sa.func.sum(_s.calls).filter(_s.outcome.in_(_FAILED)), 0).label("failed"),
        *(sa.func.sum(_s[name]).label(name) for name in ("cost_usd", "latency", "overhead")),
    )
    .group_by(_s.began_at, _s.model)
    .order_by(_s.began_at, _s.model)
)
