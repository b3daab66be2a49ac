"""How attempts at each model went lately. What is added up knows calls by the model that answered, so it cannot tell
who failed before that: this is counted attempt by attempt, for the newest calls only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from app.store.database import Database
from app.store.queries.periods import EVERYTHING, StatsFilter
from app.store.text import clean

NEWEST = 5_000
"""Calls looked at."""
_LATELY = timedelta(days=7)


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the attempts at one model among the newest calls."""

    attempts: int
    """Without those that were given up, by the client or because another model's reply was taken."""
    failed: int
    """Those that ended in an error, a timeout, a rate limit, or were cut off."""
    last_failed_at: datetime | None
    """When the call of the last of them began."""
    last_error: str | None
    """What was said then."""


# Each call's attempts are looked up: left to the planner (without OFFSET 0), it read the attempts of all seven days,
# 1.2 s of ten million calls for a month where this takes .05.
_ATTEMPTED = """
WITH newest AS (
  SELECT started_at, id FROM calls WHERE started_at >= %(since)s{some}
  ORDER BY started_at DESC, id DESC LIMIT %(newest)s
), tried AS (
  SELECT a.model, a.call_started_at, a.number, a.outcome <> 'ok' AS failed,
    coalesce(a.error, a.outcome || coalesce(' ' || a.status, '')) AS error
  FROM newest AS n CROSS JOIN LATERAL (
    SELECT * FROM attempts WHERE call_started_at = n.started_at AND call_id = n.id OFFSET 0
  ) AS a
  WHERE a.outcome NOT IN ('client_cancelled', 'abandoned')
)
SELECT model, count(*) AS attempts, count(*) FILTER (WHERE failed) AS failed,
  max(call_started_at) FILTER (WHERE failed) AS last_failed_at,
  (array_agg(error ORDER BY call_started_at DESC, number DESC) FILTER (WHERE failed))[1] AS last_error
FROM tried GROUP BY model ORDER BY model
"""


async def recent_attempts(
    database: Database, wanted: StatsFilter = EVERYTHING, *, newest: int = NEWEST, now: datetime | None = None
) -> dict[str, Attempted]:
    """By model, of the `newest` calls of the last seven days; of `wanted`, source and router count. Raises
    `StoreUnavailable`."""
    asked = {"source": wanted.source, "router": wanted.router}
    given = {name: clean(value) for name, value in asked.items() if value is not None}
    some = "".join(f" AND {name} = %({name})s" for name in given)
    since = (now or datetime.now(UTC)) - _LATELY
    async with database.reading() as reading:
        rows = await reading.rows(_ATTEMPTED.format(some=some), {**given, "since": since, "newest": newest})
    return {row.model: Attempted(**{name: getattr(row, name) for name in Attempted.__struct_fields__}) for row in rows}
