"""Figures of calls by what the rollup does not keep apart: counted one by one, for stretches of a day or so."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from app.store.database import Database
from app.store.queries.overview import Quantiles, Sums
from app.store.tables import calls

Grouping = Literal["outcome", "session"]


async def grouped_calls(
    database: Database, since: datetime, until: datetime, by: Grouping, *, source: str | None = None
) -> dict[str, Sums]:
    """Sums of the calls that started in [`since`, `until`) by outcome or session, the most calls first; `none`: of
    those without a session. Quantiles are exact. Raises `StoreUnavailable`."""
    column = calls.c[by]
    query = sa.select(column.label("key"), *_sums()).where(calls.c.started_at >= since, calls.c.started_at < until)
    if source is not None:
        query = query.where(calls.c.source == source)
    query = query.group_by(column).order_by(sa.func.count().desc(), column)
    async with database.begin() as connection:
        return {row.key or "none": _read(row) for row in await connection.execute(query)}


def _sums() -> list[sa.ColumnElement[Any]]:
    def total(name: str) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.coalesce(sa.func.sum(calls.c[name]), 0), sa.BigInteger)

    quantiles = sa.literal([0.5, 0.9, 0.99], sa.ARRAY(sa.Double))
    return [
        sa.func.count().label("calls"),
        sa.func.count().filter(calls.c.outcome.in_(("error", "truncated"))).label("failed"),
        total("attempt_count").label("attempts"),
        *(total(name).label(name) for name in ("prompt_tokens", "completion_tokens", "cached_tokens")),
        sa.func.coalesce(sa.func.sum(calls.c.cost_usd), 0).label("cost_usd"),
        sa.func.count().filter(calls.c.cost_usd.is_(None), calls.c.usage_estimated.is_not(None)).label("unpriced"),
        *(sa.func.avg(calls.c[name]).label(f"mean_{name}") for name in ("latency", "overhead")),
        *(sa.func.percentile_cont(quantiles).within_group(calls.c[name]).label(name)
          for name in ("latency", "overhead")),
    ]  # fmt: skip


def _read(row: Any) -> Sums:
    names = ("calls", "failed", "attempts", "prompt_tokens", "completion_tokens", "cached_tokens", "cost_usd",
             "unpriced")  # fmt: skip
    return Sums(
        **{name: getattr(row, name) for name in names},
        latency=_quantiles(row.mean_latency, row.latency),
        overhead=_quantiles(row.mean_overhead, row.overhead),
    )


def _quantiles(mean: float | None, found: list[float] | None) -> Quantiles | None:
    if mean is None or found is None:
        return None
    return Quantiles(mean=mean, p50=found[0], p90=found[1], p99=found[2])
