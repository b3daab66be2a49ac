"""The days of the ledger: `calls` and `attempts` are kept in one partition a day (UTC), made when its first row comes.

There is no default partition: rows that hid in it would never be dropped with their day, and would keep that day's
partition from being made. A partition is made as a table of its own and then attached, because `CREATE TABLE …
PARTITION OF` would lock out everybody who reads or writes the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from app.store.sessions import Connection

PARTITIONED = {"calls": "started_at", "attempts": "call_started_at"}
"""Table → the column whose day it is."""
_NAME = re.compile(rf"({'|'.join(PARTITIONED)})_\d{{8}}")
# "hullpart" in ASCII: the advisory lock of whoever makes or drops partitions, whatever process that is.
_LOCK = 0x68756C6C70617274
_EXISTING = b"""
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = CAST(%s AS regclass)
"""


def partition(table: str, day: date) -> str:
    """Name of the partition of `table` for a day."""
    return f"{table}_{day.isoformat().replace('-', '')}"


def is_partition(name: str) -> bool:
    """True where a table of that name is a day's partition: the schema says nothing of it."""
    return _NAME.fullmatch(name) is not None


def bounds(day: date) -> tuple[datetime, datetime]:
    """The times a day runs from and to."""
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return begin, begin + timedelta(days=1)


async def days(connection: Connection, table: str = "calls") -> list[date]:
    """The days that `table` has a partition for, latest first."""
    found = await connection.execute(_EXISTING, (table,))
    names = [name for (name,) in await found.fetchall()]
    return sorted((date.fromisoformat(name[-8:]) for name in names if is_partition(name)), reverse=True)


async def lock(connection: Connection) -> None:
    """Wait until no other process makes or drops partitions; held until the transaction ends."""
    await connection.execute(b"SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


async def ensure(connection: Connection, wanted: Iterable[date]) -> None:
    """Make the partitions of these days, where they are missing. Safe to run from many processes at once."""
    missing = set(wanted) - set(await days(connection))
    if not missing:
        return
    await lock(connection)
    # Asked again: another process may have made them while this one waited.
    for day in sorted(missing - set(await days(connection))):
        for table in PARTITIONED:
            name = partition(table, day)
            await connection.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)".encode())
            await attach(connection, table, day)


async def attach(connection: Connection, table: str, day: date) -> None:
    """Make the table that has the name of a day's partition that partition."""
    begin, end = bounds(day)
    statement = (
        f"ALTER TABLE {table} ATTACH PARTITION {partition(table, day)} "
        f"FOR VALUES FROM ('{begin.isoformat()}') TO ('{end.isoformat()}')"
    )
    await connection.execute(statement.encode())
