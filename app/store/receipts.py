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

from app.store.sessions import Connection
from app.store.spans import Spans, union

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


_NOTE = b"""
INSERT INTO receipts (writer, kind, day, numbers) VALUES (%s, %s, %s, %s::int8multirange)
ON CONFLICT (writer, kind, day) DO UPDATE SET numbers = receipts.numbers + excluded.numbers
"""
_DROP_DAY = b"""
WITH gone AS (DELETE FROM receipts WHERE kind = 'call' AND day = %s RETURNING *)
INSERT INTO receipts (writer, kind, day, numbers) SELECT writer, 'dropped', day, numbers FROM gone
ON CONFLICT (writer, kind, day) DO UPDATE SET numbers = receipts.numbers + excluded.numbers
"""


async def acknowledge(connection: Connection, writer: str, kind: Kind, numbers: Spans) -> None:
    """Note numbers of a writer that stand in no table."""
    ranges = ",".join(f"[{start},{stop})" for start, stop in numbers)
    await connection.execute(_NOTE, (writer, kind, datetime.now(UTC).date(), f"{{{ranges}}}"))


async def drop_day(connection: Connection, day: date) -> None:
    """Note that calls of a day are dropped; those that are kept of it are no longer counted against receipts."""
    await connection.execute(_DROP_DAY, (day,))


def to_acknowledge(numbers: Iterable[tuple[str, Kind, int]]) -> dict[tuple[str, Kind], Spans]:
    """Numbers by writer and kind."""
    found: dict[tuple[str, Kind], list[tuple[int, int]]] = {}
    for writer, kind, number in numbers:
        found.setdefault((writer, kind), []).append((number, number + 1))
    return {key: union(spans) for key, spans in found.items()}
