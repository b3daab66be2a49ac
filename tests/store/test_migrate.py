import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from app.core.errors import ConfigError, StoreUnavailable
from app.store import migrate
from app.store.database import Database
from app.store.partitions import is_partition
from app.store.tables import metadata

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
    command = [sys.executable, "-W", "error", "-c", UPGRADE, url]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
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
