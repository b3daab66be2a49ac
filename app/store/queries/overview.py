"""What many calls add up to, read from `call_stats` in milliseconds whatever their number.

A period is widened to whole minutes, hours or days (UTC), by its length. Sums outlive the calls they count: retention
does not take them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from app.core.types import CallOutcome, Price
from app.store.database import Database
from app.store.histograms import LATENCY, OVERHEAD, Histogram, summed
from app.store.queries.periods import EVERYTHING, StatsFilter, among, ceil, cover, first_day, floor, width_of
from app.store.rollup import DAY, HOUR, MINUTE

FAILED: tuple[CallOutcome, ...] = ("error", "truncated")
"""Outcomes of a call that say that it failed."""


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
    total: Sums
    outcomes: dict[str, int]
    """Outcome → calls, the most frequent first."""
    models: dict[str, Sums]
    """By the model that answered, the most called first."""
    routers: dict[str, Sums]
    """By the router that decided; `none` where the client named a model."""
    compared: Compared


_Group = Mapping[str, Any]
_COUNTED = ("calls", "attempts", "prompt_tokens", "completion_tokens", "cached_tokens", "unpriced")
_COMPARED = tuple(Compared.__struct_fields__)


async def overview(
    database: Database,
    since: datetime | None = None,
    until: datetime | None = None,
    wanted: StatsFilter = EVERYTHING,
    *,
    now: datetime | None = None,
) -> Overview:
    """What the calls started within a period add up to.

    `since`, `until`: None is the first call, and `now`; `now`: the present by default. Raises `StoreUnavailable`.
    """
    now = now or datetime.now(UTC)
    until = now if until is None else until
    async with database.reading() as reading:
        if since is None:
            since = await first_day(reading) or until
        seconds = width_of(since, until, now)
        begin, end = floor(since, seconds), ceil(until, seconds)
        some, given = among(cover(begin, end, seconds), wanted)
        rows = await reading.rows(_GROUPS.format(some=some), given)
    groups: list[_Group] = [row._asdict() for row in rows]
    (total,) = (group for group in groups if group["level"] == _LEVELS["total"])
    return Overview(
        since=begin,
        until=end,
        total=_sum(total),
        outcomes={name: group["calls"] for name, group in _by(groups, "outcome").items()},
        models={name: _sum(group) for name, group in _by(groups, "model").items()},
        routers={name: _sum(group) for name, group in _by(groups, "router").items()},
        compared=Compared(**{name: total[f"compared_{name}"] for name in _COMPARED}),
    )


async def is_empty(database: Database, source: str | None = None) -> bool:
    """Whether no call, of that source, has ever been counted. Raises `StoreUnavailable`."""
    query = (
        "SELECT EXISTS (SELECT FROM call_stats"
        " WHERE seconds = %(day)s AND (CAST(%(source)s AS text) IS NULL OR source = %(source)s))"
    )
    async with database.reading() as reading:
        return not await reading.value(query, {"day": DAY, "source": source})


async def last_called(database: Database, wanted: StatsFilter = EVERYTHING) -> datetime | None:
    """A time soon after the newest of these calls began: within a minute, or an hour for calls of more than two days
    ago; None where there is none. Raises `StoreUnavailable`."""
    ever = datetime.fromtimestamp(0, UTC), datetime.now(UTC) + timedelta(days=1)
    some, given = among([(MINUTE, *ever), (HOUR, *ever)], wanted)
    query = f"SELECT began_at, seconds FROM call_stats WHERE {some} ORDER BY began_at DESC, seconds LIMIT 1"  # noqa: S608 -- only words of our own are put in
    async with database.reading() as reading:
        found = await reading.row(query, given)
    return None if found is None else found.began_at + timedelta(seconds=found.seconds)


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


def _sum(group: _Group) -> Sums:
    return Sums(
        **{name: group[name] for name in (*_COUNTED, "failed", "cost_usd")},
        latency=_quantiles(group, LATENCY, "latency"),
        overhead=_quantiles(group, OVERHEAD, "overhead"),
    )


def _quantiles(group: _Group, histogram: Histogram, seconds: str) -> Quantiles | None:
    counts = group[histogram.column] if group["calls"] else []
    p50, p90, p99 = histogram.quantiles(counts, (0.5, 0.9, 0.99))
    if p50 is None or p90 is None or p99 is None:
        return None
    return Quantiles(mean=group[seconds] / sum(counts), p50=p50, p90=p90, p99=p99)


def _by(groups: Sequence[_Group], name: str) -> dict[str, _Group]:
    """Those that have one, the most called first."""
    found = [group for group in groups if group["level"] == _LEVELS[name] and group[name]]
    return {group[name]: group for group in sorted(found, key=lambda group: (-group["calls"], group[name]))}


def _written() -> str:
    """The statement. Postgres adds up by router, model and outcome first, and what that gives to the few groups that
    are asked for: each row's counts are taken apart once, and some twenty rows come back."""
    whole = (*_COUNTED, *(f"compared_{name}" for name in _COMPARED if name != "cost_usd"))
    others = ("cost_usd", "compared_cost_usd", "latency", "overhead")
    histograms = (LATENCY.column, OVERHEAD.column)
    first = [f"sum({name}) AS {name}" for name in (*whole, *others)]
    first += [f"{summed(name, 'bigint')} AS {name}" for name in histograms]
    second = [f"coalesce(sum({name}), 0)::bigint AS {name}" for name in whole]
    second += [f"coalesce(sum({name}), 0) AS {name}" for name in others]
    second += [f"{summed(name, 'bigint')} AS {name}" for name in histograms]
    failed = f"coalesce(sum(calls) FILTER (WHERE outcome IN {FAILED}), 0)::bigint AS failed"
    return f"""
WITH each AS (
  SELECT router, model, outcome, {", ".join(first)}
  FROM call_stats WHERE {{some}} GROUP BY router, model, outcome
)
SELECT grouping(router, model, outcome) AS level, router, model, outcome, {failed}, {", ".join(second)}
FROM each GROUP BY GROUPING SETS ((), (router), (model), (outcome))
"""  # noqa: S608 -- only constants of this module are put in


_GROUPS = _written()
_LEVELS = {"total": 0b111, "router": 0b011, "model": 0b101, "outcome": 0b110}
"""What GROUPING says of each set's rows."""
