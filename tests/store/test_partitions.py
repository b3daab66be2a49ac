import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from psycopg.errors import NotNullViolation

from app.store import migrate, partitions
from app.store.database import Database
from app.store.queries.calls import get_call
from app.store.shipping import ship
from app.store.text import encode
from tests.store.samples import NOW, full_call

# Ships calls of the same new days as other processes do at the same time.
SHIP = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
from app.store.database import Database
from app.store.shipping import ship
from app.store.text import encode
from tests.store.samples import NOW, full_call

async def main():
    database = Database(sys.argv[1], Path())
    await database.open()
    sys.stdin.readline()
    for first in range(0, 6, 2):
        rows = [encode(full_call(started_at=NOW + timedelta(days=first + place % 2))) for place in range(50)]
        async with database.statements() as connection:
            await ship(connection, "call", rows)
    await database.close()

asyncio.run(main())
"""


async def days(database: Database) -> list[date]:
    async with database.session() as connection:
        return await partitions.days(connection)


async def test_a_row_of_any_day_finds_its_partition(database: Database) -> None:
    # A time is of the day it has in UTC, whatever zone it is written in.
    late = datetime(2031, 5, 6, 23, 59, 59, 999999, tzinfo=UTC)
    calls = [
        full_call(started_at=late),
        full_call(started_at=late + timedelta(microseconds=1)),
        full_call(started_at=datetime(2031, 5, 9, 1, tzinfo=UTC)),
    ]
    rows = [encode(call) for call in calls]
    rows[2] = rows[2].replace(b"2031-05-09T01:00:00Z", b"2031-05-09T01:00:00+02:00")
    async with database.statements() as connection:
        await ship(connection, "call", rows)
    assert {date(2031, 5, 6), date(2031, 5, 7), date(2031, 5, 8)} <= set(await days(database))
    assert date(2031, 5, 9) not in await days(database)
    for call in calls[:2]:
        found = await get_call(database, call.id)
        assert found is not None
        assert found.call == call


async def test_processes_that_meet_a_new_day_at_once(new_database: Callable[[], str], tmp_path: Path) -> None:
    url = new_database()
    database = Database(url, tmp_path)
    await database.open()
    await migrate.upgrade(database)
    try:
        command = [sys.executable, "-W", "error", "-c", SHIP, url]
        pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
        for process in processes:
            _, errors = await asyncio.to_thread(process.communicate, "\n", timeout=60)
            assert (process.returncode, errors) == (0, "")
        assert await days(database) == [(NOW + timedelta(days=place)).date() for place in reversed(range(6))]
        async with database.begin() as connection:
            counted = sa.text(
                "SELECT (SELECT count(*) FROM calls), (SELECT sum(calls) FROM call_stats WHERE seconds = 60)"
            )
            assert tuple((await connection.execute(counted)).one()) == (450, 450)
    finally:
        await database.close()


async def test_a_day_made_by_a_batch_that_fails_is_made_by_the_next(database: Database) -> None:
    call = full_call(started_at=datetime(2032, 1, 2, tzinfo=UTC))
    async with database.statements() as connection:
        with pytest.raises(NotNullViolation):
            await ship(connection, "call", [encode(call), encode(call).replace(b'"endpoint":', b'"nowhere":')])
        assert date(2032, 1, 2) not in await days(database)
        await ship(connection, "call", [encode(call)])
    assert date(2032, 1, 2) in await days(database)
    assert await get_call(database, call.id) is not None


async def test_a_batch_of_rows_that_are_there_others_and_a_new_day(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    database = Database(new_database(), tmp_path)
    await database.open()
    await migrate.upgrade(database)
    try:
        calls = [full_call(started_at=NOW + timedelta(days=place // 3)) for place in range(6)]
        for batch in (calls[:2], calls, [calls[0], calls[0], *calls]):
            async with database.statements() as connection:
                await ship(connection, "call", [encode(call) for call in batch])
        for call in calls:
            found = await get_call(database, call.id)
            assert found is not None
            assert found.call == call
        counted = sa.text("""
SELECT (SELECT count(*) FROM calls), (SELECT count(*) FROM attempts),
  (SELECT sum(calls) FROM call_stats WHERE seconds = 60), (SELECT sum(attempts) FROM call_stats WHERE seconds = 60)
""")
        tried = sum(len(call.attempts) for call in calls)
        async with database.begin() as connection:
            assert tuple((await connection.execute(counted)).one()) == (6, tried, 6, tried)
    finally:
        await database.close()


def test_names_of_partitions() -> None:
    assert partitions.partition("calls", date(2026, 3, 4)) == "calls_20260304"
    assert partitions.is_partition("attempts_20260304")
    assert not any(map(partitions.is_partition, ("calls", "call_stats", "kept_replies", "calls_2026", "runs_20260304")))
