"""The schema's version: brought to the newest when a process starts, by one process however many start at once."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection

import migrations
from app.core.errors import ConfigError
from app.store.database import Database

# "hullspee" in ASCII: the advisory lock all replicas take before they touch the schema.
_LOCK = 0x68756C6C73706565


def head() -> str:
    """The newest schema version this code knows."""
    version = ScriptDirectory.from_config(_config()).get_current_head()
    assert version is not None
    return version


def knows(version: str) -> bool:
    """Whether this code can bring a schema of that version up to date."""
    return version in {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


async def current(database: Database) -> str | None:
    """The version the database has; None where it is empty. Raises `StoreUnavailable`."""
    async with database.begin() as connection:
        return await _version(connection)


async def upgrade(database: Database) -> None:
    """Bring the schema to `head`. Safe to run from many processes at once, and cheap where there is nothing to do.

    Raises `StoreUnavailable` where Postgres does not answer, `ConfigError` where its schema is newer than this code.
    """
    async with database.begin() as connection:
        if await _is_current(database, connection):
            return
        # Held until the transaction ends; a replica may wait here for longer than a statement normally may take.
        await connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if not await _is_current(database, connection):
            await connection.run_sync(_upgrade)


async def _is_current(database: Database, connection: AsyncConnection) -> bool:
    version = await _version(connection)
    if version is not None and not knows(version):
        raise ConfigError(
            f"The database ({database.describe()}) has schema version {version}, and this Hullspeed knows versions up "
            f"to {head()}: a newer Hullspeed has used it. Upgrade Hullspeed, or use another database."
        )
    return version == head()


async def _version(connection: AsyncConnection) -> str | None:
    return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def _upgrade(connection: sa.Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    # Found through the package, so that a wheel and a source tree are alike.
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
