"""What Postgres has received of each writer.

A writer is one life of a process that records calls. It numbers its rows from 1, without a gap, before it does
anything else with them. The numbers are acknowledged here in the very transaction that writes the rows, so a number
that is neither here nor in a journal is a row that was lost, however that came about; and a row that is sent twice is
acknowledged once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.dialects.postgresql.ranges import MultiRange, Range
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.spans import Spans, union
from app.store.tables import receipts

Kind = Literal["call", "score", "dropped", "refused", "lost"]
"""`call`, `score`: rows that stand in their tables. `dropped`: calls that did until their day was dropped. `refused`:
put aside, Postgres would not have them. `lost`: the process could keep them nowhere, and said so."""

ACKNOWLEDGE = """
  INSERT INTO receipts (writer, kind, day, numbers)
  SELECT writer, '{kind}', ({time} AT TIME ZONE 'UTC')::date, range_agg(int8range(number, number + 1))
  FROM incoming WHERE writer IS NOT NULL AND number IS NOT NULL
  GROUP BY 1, 3 ORDER BY 1, 3
  ON CONFLICT (writer, kind, day) DO UPDATE SET numbers = receipts.numbers + excluded.numbers
"""
"""Part of the statement that writes the rows: `incoming` has their `writer` and `number`, null in lines of versions
that did not number them. In an order, so that two processes that ship for one dead writer do not lock each other."""


_DROP_DAY = sa.text("""
WITH gone AS (DELETE FROM receipts WHERE kind = 'call' AND day = :day RETURNING *)
INSERT INTO receipts (writer, kind, day, numbers) SELECT writer, 'dropped', day, numbers FROM gone
ON CONFLICT (writer, kind, day) DO UPDATE SET numbers = receipts.numbers + excluded.numbers
""")


async def acknowledge(connection: AsyncConnection, writer: str, kind: Kind, numbers: Spans) -> None:
    """Note numbers of a writer that stand in no table."""
    ranges = MultiRange(Range(start, stop) for start, stop in numbers)
    row = {"writer": writer, "kind": kind, "day": datetime.now(UTC).date(), "numbers": ranges}
    statement = insert(receipts).values(row)
    known = [receipts.c.writer, receipts.c.kind, receipts.c.day]
    merged = receipts.c.numbers + statement.excluded.numbers
    await connection.execute(statement.on_conflict_do_update(index_elements=known, set_={"numbers": merged}))


async def drop_day(connection: AsyncConnection, day: date) -> None:
    """Note that calls of a day are dropped; those that are kept of it are no longer counted against receipts."""
    await connection.execute(_DROP_DAY, {"day": day})


async def received(connection: AsyncConnection) -> dict[tuple[str, Kind], Spans]:
    """All numbers received, by writer and kind."""
    one = sa.func.unnest(receipts.c.numbers).label("one")
    query = sa.select(receipts.c.writer, receipts.c.kind, one).subquery()
    rows = await connection.execute(
        sa.select(query.c.writer, query.c.kind, sa.func.lower(query.c.one), sa.func.upper(query.c.one))
    )
    found: dict[tuple[str, Kind], list[tuple[int, int]]] = {}
    for writer, kind, start, stop in rows:
        found.setdefault((writer, kind), []).append((start, stop))
    return {key: union(spans) for key, spans in found.items()}


def to_acknowledge(numbers: Iterable[tuple[str, Kind, int]]) -> dict[tuple[str, Kind], Spans]:
    """Numbers by writer and kind."""
    found: dict[tuple[str, Kind], list[tuple[int, int]]] = {}
    for writer, kind, number in numbers:
        found.setdefault((writer, kind), []).append((number, number + 1))
    return {key: union(spans) for key, spans in found.items()}
