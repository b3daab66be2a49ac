"""The schema's version: brought to the newest when a process starts, by one process however many start at once.

SQLAlchemy and alembic are imported where there is something to migrate; a process that serves has another one do it
(`upgrade_apart`), since what they take of its memory would stay taken: `python -m app.store.migrate` is that process.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import migrations
from app.core.errors import ConfigError, HullspeedError, StoreUnavailable
from app.store.database import Database
from app.store.sessions import Connection

if TYPE_CHECKING:
    import sqlalchemy as sa
    from alembic.config import Config

# "hullspee" in ASCII: the advisory lock all replicas take before they touch the schema.
_LOCK = 0x68756C6C73706565
_ASK_AGAIN_SECONDS = 0.2

_AWAY = 3
"""Exit code of a process that was to migrate and could not reach Postgres."""
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
    async with database.session() as connection:
        return await _version(connection)


async def upgrade(database: Database) -> None:
    """Bring the schema to `head`. Safe to run from many processes at once, and cheap where there is nothing to do.

    Raises `StoreUnavailable` where Postgres does not answer, `ConfigError` where its schema is newer than this code.
    """
    if _is_head(database, await current(database)):
        return
    from app.store.engine import driver

    async with database.begin() as connection:
        raw = await driver(connection)
        await raw.execute(b"SET LOCAL statement_timeout = 0")
        await _take_turn(raw)
        if not _is_head(database, await _version(raw)):
            await connection.run_sync(_upgrade)


async def _take_turn(connection: Connection) -> None:
    """Hold the lock until the transaction ends.

    It is asked for again and again rather than waited for: Postgres does not notice that somebody who waits for a lock
    has gone, and would keep its connection until the lock is free.
    """
    while True:
        taken = await (await connection.execute(b"SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,))).fetchone()
        if taken == (True,):
            return
        await asyncio.sleep(_ASK_AGAIN_SECONDS)


async def upgrade_apart(database: Database) -> None:
    """As `upgrade`, by another process where there is something to do. Raises as it does."""
    if not _is_head(database, await current(database)):
        await _run_apart(database.address.url)


async def _run_apart(url: str) -> None:
    # -P: where this one is run from there may be another package that is called `app`.
    command = [sys.executable, "-P", "-m", "app.store.migrate"]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        # Not as an argument, which everybody on the machine can read.
        said, _ = await process.communicate(url.encode())
    except asyncio.CancelledError:
        # It may be waiting for another replica's; what it has done so far is rolled back.
        process.kill()
        await process.wait()
        raise
    if process.returncode == _AWAY:
        raise StoreUnavailable(said.decode(), retry_after=5.0)
    if process.returncode:
        raise ConfigError(said.decode() or f"the tables cannot be migrated: exit code {process.returncode}")


def _is_head(database: Database, version: str | None) -> bool:
    if version is not None and not knows(version):
        raise ConfigError(
            f"The database ({database.describe()}) has schema version {version}, and this Hullspeed knows versions up "
            f"to {head()}: a newer Hullspeed has used it. Upgrade Hullspeed, or use another database."
        )
    return version == head()


async def _version(connection: Connection) -> str | None:
    there = await (await connection.execute(b"SELECT to_regclass('alembic_version')")).fetchone()
    if there == (None,):
        return None
    found = await (await connection.execute(b"SELECT version_num FROM alembic_version")).fetchone()
    return None if found is None else str(found[0])


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


async def _migrate(url: str) -> None:
    database = Database(url, Path())
    await database.open()
    try:
        await upgrade(database)
    finally:
        await database.close()


def main() -> int:
    """Migrate the database whose URL stands on standard input; gives the exit code, and says why on standard output."""
    try:
        asyncio.run(_migrate(sys.stdin.read()))
    except HullspeedError as error:
        sys.stdout.write(error.message)
        return _AWAY if isinstance(error, StoreUnavailable) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
