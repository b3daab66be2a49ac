"""A real Postgres for the tests: the one `DATABASE_URL` names, or else the embedded one in a temporary folder."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from app.store import migrate
from app.store.database import Database
from app.store.embedded import EmbeddedServer
from app.store.queries import calls as search
from app.store.tables import metadata
from tests import clients
from tests.databases import Databases
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import StartProxy, proxies

# A machine that is busy for a moment is no failure: nothing in the tests is judged by the clock.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
# A search that stops early is tested by those that ask for it.
search.SEARCH_SECONDS = 60.0
clients.share_certificates()


# Four thousand tests and all that they import stay: whenever the collector looked through them, it was for nothing.
gc.disable()


def pytest_collection_finish() -> None:
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A server on which databases may be created."""
    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    folder = Path(tempfile.mkdtemp(prefix="hs-"))  # short: a Unix socket's path has a limit
    server = EmbeddedServer(folder / "postgres")
    try:
        url = server.start()
        with psycopg.connect(url, autocommit=True) as connection:
            # What a crash of the machine would cost is these tests' rows.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield url
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def databases(server_url: str, worker_id: str) -> Iterator[Databases]:
    """Makes databases, which are dropped at the end."""
    databases = Databases(server_url, worker_id)
    yield databases
    databases.drop()


@pytest.fixture(scope="session")
def new_database(databases: Databases) -> Callable[[], str]:
    """Makes an empty database and gives its URL."""
    return databases.create


@pytest.fixture(scope="session")
def migrated_database(databases: Databases) -> Callable[[], str]:
    """Makes a database with all tables, empty, and gives its URL.

    Making the tables takes half a second, copying a database in which they are a tenth of that.
    """
    template = databases.create()

    async def prepare() -> None:
        database = Database(template, Path())
        await database.open()
        await migrate.upgrade(database)
        await database.close()

    asyncio.run(prepare())
    return partial(databases.create, template)


@pytest.fixture(scope="session")
def database_url(migrated_database: Callable[[], str]) -> str:
    """One migrated database for the whole session of a worker."""
    return migrated_database()


@pytest.fixture(scope="session")
def empty_tables(database_url: str) -> Iterator[Callable[[], None]]:
    """Empties all tables, by a connection of its own that is kept: a new one costs Postgres ten times the work."""
    # TRUNCATE writes a new file for every table, index and partition, 40 of them, however little stands in the old.
    statement = "; ".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))
    connection = psycopg.connect(database_url, autocommit=True)

    def empty() -> None:
        nonlocal connection
        try:
            connection.execute(statement.encode())
        except psycopg.OperationalError:  # some tests cut all connections there are
            connection = psycopg.connect(database_url, autocommit=True)
            connection.execute(statement.encode())

    yield empty
    connection.close()


@pytest.fixture
async def database(database_url: str, empty_tables: Callable[[], None], tmp_path: Path) -> AsyncIterator[Database]:
    """An open database with all tables empty."""
    empty_tables()
    database = Database(database_url, tmp_path)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def openai_server() -> Iterator[FakeOpenAI]:
    """A provider that speaks OpenAI's dialect."""
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
async def start_proxy(database: Database, tmp_path: Path) -> AsyncIterator[StartProxy]:
    """Starts proxies that share one empty ledger."""
    async with proxies(database, tmp_path) as start:
        yield start
