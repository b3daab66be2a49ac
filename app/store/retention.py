"""How long calls are kept: days that are over are dropped whole, which costs the same for ten rows as for ten million.

What a run's report is made of stays: before its day is dropped, the calls that results point to, or that are tagged
with a run that is in the ledger, are moved into a new, small partition of that day. Sums in `call_stats` stay for ever,
but for those of single minutes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

from psycopg.errors import LockNotAvailable

from app.core.config import LedgerConfig
from app.core.errors import StoreUnavailable
from app.store import partitions, receipts
from app.store.database import Database
from app.store.partitions import PARTITIONED, partition
from app.store.rollup import MINUTE, MINUTES_KEPT
from app.store.sessions import Connection

log = logging.getLogger(__name__)

DAYS_AHEAD = 2
"""Days whose partitions are made before their first row comes."""
LOCK_SECONDS = 0.5
"""The longest that a drop makes others wait: what still reads or writes then is let go on, and the day stays for the
next time."""
_SCORES_AT_ONCE = 10_000
_KEPT = """
CREATE TEMP TABLE kept_calls ON COMMIT DROP AS
SELECT c.started_at, c.id FROM {partition} AS c
WHERE c.id IN (SELECT call_id FROM results) OR c.run IN (SELECT id::text FROM runs)
"""
_COPY = """
INSERT INTO kept_{partition} SELECT p.* FROM {partition} AS p
JOIN kept_calls AS k ON k.started_at = p.{column} AND k.id = p.{key}
"""
_OLD_SCORES = b"""
DELETE FROM scores WHERE id IN (
  SELECT s.id FROM scores AS s
  WHERE s.created_at < %s AND NOT EXISTS (SELECT FROM calls AS c WHERE c.id = s.call_id)
  ORDER BY s.created_at LIMIT %s
)
"""


async def retain(
    database: Database, keep_days: int | None, *, now: datetime | None = None, keep_runs: bool = True
) -> list[date]:
    """Make the partitions of the next days, and drop what is older than `keep_days` days; returns the days dropped.

    To be called now and then by every process that serves; those that come second find nothing to do. `keep_days`: None
    keeps all. Today is the first of the days kept. `keep_runs`: False drops the calls of runs too. A day that is being
    read or written is left for the next time. Raises `StoreUnavailable`.
    """
    now = now or datetime.now(UTC)
    today = now.astimezone(UTC).date()
    async with database.session() as connection:
        await partitions.ensure(connection, [today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)])
        old = b"DELETE FROM call_stats WHERE seconds = %s AND began_at < %s"
        await connection.execute(old, (MINUTE, now - MINUTES_KEPT))
        existing = await partitions.days(connection)
    if keep_days is None:
        return []
    first = today - timedelta(days=keep_days - 1)
    dropped = []
    for day in sorted(day for day in existing if day < first):
        if await _drop(database, day, keep_runs=keep_runs):
            dropped.append(day)
    await _drop_scores(database, datetime.combine(first, time(), UTC))
    return dropped


async def retain_hourly(database: Database, rules: Callable[[], LedgerConfig]) -> None:
    """`retain` by what `rules` then says, every hour until cancelled. Never raises: what fails is tried again."""
    while True:
        pause = 3600.0
        try:
            now = rules()
            for day in await retain(database, now.retention_days, keep_runs=now.retain_runs):
                log.info("The calls of %s are dropped: ledger.retention_days is %s", day, now.retention_days)
        except StoreUnavailable:
            # Away, or without its tables yet: the ledger's writer says so, and waits for it.
            pause = 60.0
        except Exception:
            log.exception("Old calls could not be dropped")
        await asyncio.sleep(pause)


async def _drop(database: Database, day: date, *, keep_runs: bool) -> bool:
    """Drop a day, but for what runs need; False where nothing was to drop, or somebody was in the way."""
    try:
        async with database.session() as connection:
            await connection.execute(
                b"SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', '0', true)",
                (f"{round(LOCK_SECONDS * 1000)}ms",),
            )
            return await _drop_locked(connection, day, keep_runs=keep_runs)
    except StoreUnavailable as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        log.info("The calls of %s are in use; they are dropped later", day)
        return False


async def _drop_locked(connection: Connection, day: date, *, keep_runs: bool) -> bool:
    await partitions.lock(connection)
    if day not in await partitions.days(connection):
        return False
    old = {table: partition(table, day) for table in PARTITIONED}
    # No row may come between the copy and the drop.
    await connection.execute(f"LOCK TABLE {', '.join(old.values())} IN SHARE ROW EXCLUSIVE MODE".encode())
    kept = 0
    if keep_runs:
        await connection.execute(_KEPT.format(partition=old["calls"]).encode())
        kept, whole = [await _count(connection, table) for table in ("kept_calls", old["calls"])]
        if whole and kept == whole:
            return False
    for table, column in PARTITIONED.items():
        if kept:
            await connection.execute(f"CREATE TABLE kept_{old[table]} (LIKE {table} INCLUDING ALL)".encode())
            key = "id" if table == "calls" else "call_id"
            await connection.execute(_COPY.format(partition=old[table], column=column, key=key).encode())
    await receipts.drop_day(connection, day)
    # All that locks out others comes last, and takes no longer for many rows.
    for table in PARTITIONED:
        await connection.execute(f"ALTER TABLE {table} DETACH PARTITION {old[table]}".encode())
        await connection.execute(f"DROP TABLE {old[table]}".encode())
        if kept:
            await connection.execute(f"ALTER TABLE kept_{old[table]} RENAME TO {old[table]}".encode())
            await partitions.attach(connection, table, day)
    return True


async def _count(connection: Connection, table: str) -> int:
    found = await connection.execute(f"SELECT count(*) FROM {table}".encode())  # noqa: S608 -- a name of ours
    ((count,),) = await found.fetchall()
    return int(count)


async def _drop_scores(database: Database, before: datetime) -> None:
    """Scores given before a time, whose calls are gone; some at a time, so that no lock is held for long."""
    while True:
        async with database.session() as connection:
            done = await connection.execute(_OLD_SCORES, (before, _SCORES_AT_ONCE))
        if done.rowcount < _SCORES_AT_ONCE:
            return
