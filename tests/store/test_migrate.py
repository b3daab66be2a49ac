import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from app.core.errors import ConfigError, StoreUnavailable
from app.store import migrate
from app.store.database import Database
from app.store.partitions import is_partition
from app.store.queries.calls import LoggedCall, get_call
from app.store.shipping import ship
from app.store.tables import metadata
from app.store.text import encode
from tests.store.samples import COST, full_call, small_call

UPGRADE = """
import asyncio, sys
from pathlib import Path
from app.store import migrate
from app.store.database import Database

async def main():
    database = Database(sys.argv[1], Path())
    await database.open()
    await migrate.upgrade(database)
    await database.close()

asyncio.run(main())
"""


SCHEMA = """
SELECT table_name || '.' || column_name, data_type || is_nullable FROM information_schema.columns
WHERE table_schema = 'public'
UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
ORDER BY 1, 2
"""


async def to_version(database: Database, version: str, *, down: bool = False) -> None:
    def run(connection: sa.Connection) -> None:
        config = migrate._config()
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, version)

    async with database.begin() as connection:
        await connection.run_sync(run)


async def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    async with database.begin() as connection:
        return [tuple(row) for row in await connection.execute(sa.text(query))]


async def test_calls_are_split_by_the_day_and_put_together_again(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    database, before = Database(new_database(), tmp_path), Database(new_database(), tmp_path)
    await database.open()
    await before.open()
    try:
        await migrate.upgrade(database)
        now = datetime.now(UTC)
        calls = [
            full_call(started_at=now - timedelta(hours=3 * place), run=None if place % 3 else "r")
            for place in range(40)
        ]
        calls += [small_call(), full_call(usage=None, attempts=(), decision=None, cost_usd=None)]
        async with database.statements() as connection:
            await ship(connection, "call", [encode(call) for call in calls])
        kept = (
            "SELECT * FROM call_stats WHERE seconds > 60 OR began_at > now() - INTERVAL '47 hours' "
            "ORDER BY 1, 2, 3, 4, 5, 6, 7"
        )
        stats = await rows(database, kept)

        await to_version(database, "0006", down=True)
        await to_version(before, "0006")
        assert await rows(database, SCHEMA) == await rows(before, SCHEMA)
        one = "SELECT decision->>'reason', pg_typeof(decision)::text, latency, cost_usd FROM calls WHERE id = '{}'"
        assert await rows(database, one.format(calls[0].id)) == [("best utility", "jsonb", 1.1 + 2.2, COST)]
        assert await rows(database, "SELECT count(*) FROM attempts") == [(80,)]

        await migrate.upgrade(database)
        for call in calls:
            assert await get_call(database, call.id) == LoggedCall(call, ())
        assert await rows(database, kept) == stats
        assert await rows(database, "SELECT DISTINCT attempt_count FROM calls ORDER BY 1") == [(0,), (2,)]
        assert await rows(database, "SELECT relname FROM pg_class WHERE relname LIKE '%old%' AND relkind = 'r'") == []
        async with database.statements() as connection:
            await ship(connection, "call", [encode(call) for call in calls])
        assert await rows(database, kept) == stats
    finally:
        await database.close()
        await before.close()


async def test_an_empty_database_is_brought_to_head(new_database: Callable[[], str], tmp_path: Path) -> None:
    database = Database(new_database(), tmp_path)
    await database.open()
    try:
        assert await migrate.current(database) is None
        with pytest.raises(StoreUnavailable, match="hullspeed migrate"):
            async with database.begin() as connection:
                await connection.execute(sa.text("SELECT * FROM calls"))
        await migrate.upgrade(database)
        await migrate.upgrade(database)
        assert await migrate.current(database) == migrate.head()
    finally:
        await database.close()


async def test_another_process_migrates(new_database: Callable[[], str], tmp_path: Path) -> None:
    database = Database(new_database(), tmp_path)
    await database.open()
    try:
        await asyncio.gather(*(migrate.upgrade_apart(database) for _ in range(2)))
        assert await migrate.current(database) == migrate.head()
        async with database.session() as connection:
            await connection.execute(b"UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(ConfigError, match=r"schema version 9999.*Upgrade Hullspeed"):
            await migrate.upgrade_apart(database)
    finally:
        await database.close()


async def test_another_process_that_cannot_migrate_says_why() -> None:
    with pytest.raises(StoreUnavailable, match=r"^Postgres at 127\.0\.0\.1:1 does not answer"):
        await migrate._run_apart("postgresql://user@127.0.0.1:1/data")
    with pytest.raises(ConfigError, match=r"^DATABASE_URL begins with mysql"):
        await migrate._run_apart("mysql://user@127.0.0.1:1/data")


async def test_another_package_of_the_same_name_is_not_taken_for_this_one(
    new_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where somebody serves from the folder of a project of their own."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit('this is not Hullspeed')")
    monkeypatch.chdir(tmp_path)
    database = Database(new_database(), tmp_path)
    await database.open()
    try:
        await migrate.upgrade_apart(database)
        assert await migrate.current(database) == migrate.head()
    finally:
        await database.close()


async def test_another_process_that_is_given_up_ends(new_database: Callable[[], str], tmp_path: Path) -> None:
    """It would wait for whoever migrates for as long as that takes, and this process for it."""
    database = Database(new_database(), tmp_path)
    await database.open()
    try:
        async with database.session() as connection:
            await connection.execute(b"SELECT pg_advisory_xact_lock(%s)", (migrate._LOCK,))
            giving_up = asyncio.create_task(migrate.upgrade_apart(database))
            waiting = (
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
                "AND query LIKE 'SELECT pg_try_advisory_xact_lock%'"
            )
            while not await rows(database, waiting):
                await asyncio.sleep(0.05)
            giving_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await giving_up
            while await rows(database, waiting):
                await asyncio.sleep(0.05)
        assert await migrate.current(database) is None
    finally:
        await database.close()


async def test_the_migrated_schema_is_the_one_in_tables(database: Database) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or not is_partition(name),
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.begin() as connection:
        assert await connection.run_sync(differences) == []


async def test_processes_that_start_at_once_migrate_once(new_database: Callable[[], str]) -> None:
    url = new_database()
    started = [sys.executable, "-W", "error", "-c", UPGRADE, url]
    processes = [subprocess.Popen(started, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        _, errors = await asyncio.to_thread(process.communicate, timeout=60)
        assert (process.returncode, errors) == (0, "")


async def test_a_database_of_a_newer_version_is_refused(new_database: Callable[[], str], tmp_path: Path) -> None:
    database = Database(new_database(), tmp_path)
    await database.open()
    try:
        await migrate.upgrade(database)
        async with database.begin() as connection:
            await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(ConfigError, match=r"schema version 9999.*Upgrade Hullspeed"):
            await migrate.upgrade(database)
    finally:
        await database.close()
