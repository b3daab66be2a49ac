"""Figures over many calls: counts, spend, shares and quantiles, in one pass over the ledger."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, get_args

import msgspec
import sqlalchemy as sa

from app.store.database import Database
from app.store.tables import calls

Grouping = Literal["model", "router", "outcome", "session"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a number of calls came to. Quantiles are exact, in seconds; None where no call has the figure."""

    key: str | None
    """What the calls have in common: a model, a router …; None for all calls, and for those that have none."""
    calls: int
    failed: int
    """Ended as `error` or `truncated`."""
    rejected: int
    cancelled: int
    cost_usd: Decimal
    unpriced: int
    """Calls that used tokens at an unknown price; their cost is in no sum."""
    prompt_tokens: int
    completion_tokens: int
    latency: tuple[float, float, float] | None
    """Half, 95 % and 99 % of the calls were no slower."""
    time_to_first_token: tuple[float, float, float] | None
    overhead: tuple[float, float, float] | None


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a stretch of time."""

    since: datetime
    until: datetime
    total: Figures
    by: dict[Grouping, list[Figures]]
    """Most calls first."""


_QUANTILES = (0.5, 0.95, 0.99)
_SECONDS = ("latency", "time_to_first_token", "overhead")


async def call_stats(
    database: Database, since: datetime, until: datetime, by: tuple[Grouping, ...] = (), *, replays: bool = False
) -> Stats:
    """Figures of the calls that started in [`since`, `until`), all together and by each of `by`.

    `replays`: calls of runs too, which may have been answered by a recording. Raises `StoreUnavailable`.
    """
    columns = [calls.c[name] for name in by]
    sets = sa.func.grouping_sets(sa.tuple_(), *(sa.tuple_(column) for column in columns))
    which = [sa.func.grouping(column).label(f"not_by_{column.name}") for column in columns]
    query = (
        sa.select(*columns, *which, *_figures())
        .where(calls.c.started_at >= since, calls.c.started_at < until)
        .group_by(sets)
    )
    if not replays:
        query = query.where(calls.c.source == "live")
    async with database.begin() as connection:
        found = [row._mapping for row in await connection.execute(query)]
    total, groups = None, {name: list[Figures]() for name in by}
    for row in found:
        of = next((name for name in by if not row[f"not_by_{name}"]), None)
        if of is None:
            total = _read(row, None)
        else:
            groups[of].append(_read(row, row[of]))
    assert total is not None
    for figures in groups.values():
        figures.sort(key=lambda one: (-one.calls, one.key or ""))
    return Stats(since=since, until=until, total=total, by=groups)


def _figures() -> list[sa.ColumnElement[Any]]:
    def count(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.count().filter(*conditions)

    def total(column: sa.Column[int]) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.coalesce(sa.func.sum(column), 0), sa.BigInteger)

    quantiles = sa.literal(list(_QUANTILES), sa.ARRAY(sa.Double))
    return [
        sa.func.count().label("calls"),
        count(calls.c.outcome.in_(("error", "truncated"))).label("failed"),
        count(calls.c.outcome == "rejected").label("rejected"),
        count(calls.c.outcome == "client_cancelled").label("cancelled"),
        sa.func.coalesce(sa.func.sum(calls.c.cost_usd), 0).label("cost_usd"),
        count(calls.c.cost_usd.is_(None), calls.c.usage_estimated.is_not(None)).label("unpriced"),
        total(calls.c.prompt_tokens).label("prompt_tokens"),
        total(calls.c.completion_tokens).label("completion_tokens"),
        *(sa.func.percentile_cont(quantiles).within_group(calls.c[name]).label(name) for name in _SECONDS),
    ]


def _read(row: Any, key: str | None) -> Figures:
    fields = {name: row[name] for name in Figures.__struct_fields__ if name != "key"}
    for name in _SECONDS:
        fields[name] = None if row[name] is None or row[name][0] is None else tuple(row[name])
    return msgspec.convert({"key": key, **fields}, Figures, strict=False)
