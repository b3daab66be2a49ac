"""The schema's version: brought to the newest when a process starts, by one process however many start at once.

alembic is imported where there is something to migrate: it takes a tenth of a second and ten megabytes.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

import migrations
from app.core.errors import ConfigError
from app.store.database import Database

if TYPE_CHECKING:
    from alembic.config import Config

# "hullspee" in ASCII: the advisory lock all replicas take before they touch the schema.
_LOCK = 0x68756C6C73706565


_REVISION = re.compile(r"^(down_)?revision(?:: [^=]+)? = (?:['\"](\w+)['\"]|None)", re.MULTILINE)


def head() -> str:
    """The newest schema version this code knows."""
    (newest,) = set(_revisions()) - set(_revisions().values())
    return newest


@cache
def _revisions() -> dict[str, str | None]:
    """Each version and the one before it, read from the files without running them."""
    found: dict[str, str | None] = {}
    for path in (Path(migrations.__file__).parent / "versions").glob("*.py"):
        stated = {bool(before): version or None for before, version in _REVISION.findall(path.read_text())}
        found[str(stated[False])] = stated[True]
    return found


def knows(version: str) -> bool:
    """Whether this code can bring a schema of that version up to date."""
    return version in _revisions()


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
    there = await connection.execute(sa.text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    if not there.scalar_one():
        return None
    found = await connection.execute(sa.text("SELECT version_num FROM alembic_version"))
    return found.scalar_one_or_none()


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    from alembic.config import Config

    # Found through the package, so that a wheel and a source tree are alike.
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
