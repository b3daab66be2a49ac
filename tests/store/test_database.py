import asyncio
import socket
import time
from contextlib import AsyncExitStack, aclosing, nullcontext
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.core.errors import ConfigError, StoreUnavailable
from app.store import sessions
from app.store.address import Address
from app.store.database import Database
from app.store.queries.overview import is_empty
from app.store.sessions import MOST, MOST_READING
from tests.fakes.relay import Relay


async def opened(url: str, tmp_path: Path, **options) -> Database:
    database = Database(url, tmp_path, **options)
    await database.open()
    return database


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://u:s3cret@h/d", "begins with mysql://.*keeps its data in Postgres"),
        ("postgresql+asyncpg://u:s3cret@h/d", r"begins with postgresql\+asyncpg://"),
        ("s3cret", "is not a URL"),
        ("postgresql://u:s3cret@h:port/d", "is not a URL"),
    ],
)
def test_a_url_that_is_none_of_postgres(url: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem) as raised:
        Database(url, tmp_path)
    assert "s3cret" not in str(raised.value)
    assert raised.value.param == "DATABASE_URL"


@pytest.mark.parametrize(
    ("url", "arguments", "told"),
    [
        (
            "postgresql://me:p%40ss@host:5433/data?sslmode=require",
            {"user": "me", "password": "p@ss", "host": "host", "port": 5433, "dbname": "data", "sslmode": "require"},
            "data at host:5433",
        ),
        ("postgres://me:a/b#c@[::1]/data", {"user": "me", "password": "a/b#c", "host": "::1", "dbname": "data"},
         "data at ::1:5432"),
        ("postgresql://postgres:@/postgres?host=/tmp/x", {"user": "postgres", "dbname": "postgres", "host": "/tmp/x"},
         "postgres at /tmp/x:5432"),
        ("postgresql:///data?host=one:5433&host=two:5434", {"dbname": "data", "host": "one,two", "port": "5433,5434"},
         "data at one:5433,two:5434"),
        ("postgresql://", {}, "postgres at localhost:5432"),
    ],
)  # fmt: skip
def test_what_the_driver_and_people_are_told(url: str, arguments: dict[str, object], told: str) -> None:
    address = Address.parse(url)
    assert (address.arguments(), str(address), repr(address)) == (arguments, told, told)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
async def test_every_scheme_of_postgres_is_taken(scheme: str, database_url: str, tmp_path: Path) -> None:
    database = await opened(database_url.replace("postgresql://", f"{scheme}://", 1), tmp_path)
    await database.ping()
    await database.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret@127.0.0.1:1/data",
        "postgresql://user@127.0.0.1:1/data?password=s3cret",
        "postgresql:///data?host=127.0.0.1&port=1&user=user&password=s3cret",
        "postgresql://user:s3cret@no-such-host.invalid:1/data",
    ],
)
async def test_a_server_that_does_not_answer(url: str, tmp_path: Path) -> None:
    database = await opened(url, tmp_path)
    host = "no-such-host.invalid" if "invalid" in url else "127.0.0.1"
    assert database.describe() == f"data at {host}:1"
    with pytest.raises(StoreUnavailable, match=rf"^Postgres at {host}:1 does not answer \(.+\)\. Start it,") as raised:
        await database.ping()
    assert "s3cret" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.retry_after is not None
    await database.close()


async def test_a_database_that_does_not_exist(server_url: str, tmp_path: Path) -> None:
    url = sa.make_url(server_url).set(drivername="postgresql", database="not_there")
    database = await opened(url.render_as_string(hide_password=False), tmp_path)
    with pytest.raises(StoreUnavailable, match='database "not_there" does not exist'):
        await database.ping()
    await database.close()


async def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        database = await opened(f"postgresql://u@127.0.0.1:{port}/d", tmp_path, connect_timeout=2.0)
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}"):
            await database.ping()
        await database.close()


async def test_a_statement_that_takes_too_long(database_url: str, tmp_path: Path) -> None:
    database = await opened(database_url, tmp_path, statement_timeout=0.2)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="statement timeout"):
        async with database.begin() as connection:
            await connection.execute(sa.text("SELECT pg_sleep(100)"))
    assert time.monotonic() - begun < 50
    await database.ping()
    await database.close()


async def test_a_wrong_statement_is_no_outage(database: Database) -> None:
    with pytest.raises(sa.exc.DataError) as raised:
        async with database.begin() as connection:
            await connection.execute(sa.text("SELECT CAST(:value AS jsonb)"), {"value": "{what a user wrote"})
    assert "parameters hidden" in str(raised.value)


async def test_a_failed_block_leaves_nothing(database: Database) -> None:
    async def break_off() -> None:
        async with database.begin() as connection:
            await connection.execute(
                sa.text(
                    "INSERT INTO scores VALUES (gen_random_uuid(), gen_random_uuid(), 'n', 1, 'client', NULL, now())"
                )
            )
            raise LookupError

    with pytest.raises(LookupError):
        await break_off()
    async with database.begin() as connection:
        assert (await connection.execute(sa.text("SELECT count(*) FROM scores"))).scalar_one() == 0


async def test_open_and_close_twice(database_url: str, tmp_path: Path) -> None:
    database = Database(database_url, tmp_path)
    with pytest.raises(StoreUnavailable, match="not open"):
        await database.ping()
    await database.open()
    await database.open()
    await database.ping()
    await database.close()
    await database.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await database.ping()


async def test_a_session_that_fails_leaves_nothing(database: Database) -> None:
    async def break_off() -> None:
        async with database.session() as connection:
            await connection.execute(
                b"INSERT INTO scores VALUES (gen_random_uuid(), gen_random_uuid(), 'n', 1, 'client', NULL, now())"
            )
            raise LookupError

    with pytest.raises(LookupError):
        await break_off()
    async with database.session() as connection:
        assert await (await connection.execute(b"SELECT count(*) FROM scores")).fetchone() == (0,)


async def backend(database: Database) -> object:
    async with database.session() as connection:
        return await (await connection.execute(b"SELECT pg_backend_pid()")).fetchone()


async def test_a_session_is_used_again_unless_its_connection_is_gone(database_url: str, tmp_path: Path) -> None:
    database = await opened(database_url, tmp_path)
    first = await backend(database)
    assert await backend(database) == first
    async with database.begin() as other:
        assert isinstance(first, tuple)
        # With a time, it waits until the process is gone.
        await other.execute(sa.text("SELECT pg_terminate_backend(:pid, 60000)"), {"pid": first[0]})
    assert await backend(database) != first
    with pytest.raises(StoreUnavailable):
        async with database.session() as connection:
            await connection.execute(b"SELECT pg_terminate_backend(pg_backend_pid())")
    await database.ping()
    await database.close()


@pytest.mark.parametrize("unused", [True, False])
async def test_after_a_while_a_session_is_asked_whether_it_leads_anywhere(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused: bool
) -> None:
    # A firewall, or a server that was switched off, forgets a connection and tells nobody.
    monkeypatch.setattr(sessions, "ASK_SECONDS", 0.0 if unused else 3600.0)
    async with Relay(database_url) as relay:
        database = await opened(relay.url, tmp_path)
        await database.ping()
        relay.forget()
        with nullcontext() if unused else pytest.raises(StoreUnavailable):
            await database.ping()
        await database.ping()
        await database.close()


async def test_no_more_sessions_at_once_than_there_may_be(database_url: str, tmp_path: Path) -> None:
    database = await opened(database_url, tmp_path, connect_timeout=0.2)
    async with AsyncExitStack() as stack:
        for _ in range(MOST):
            await stack.enter_async_context(database.session())
        with pytest.raises(StoreUnavailable, match="all 5 connections are in use"):
            await database.ping()
    await database.ping()
    await database.close()


async def test_whoever_writes_waits_for_nobody_who_looks(database_url: str, tmp_path: Path) -> None:
    database = await opened(database_url, tmp_path, connect_timeout=0.2)
    async with AsyncExitStack() as stack:
        for _ in range(MOST_READING):
            await stack.enter_async_context(database.reading())
        with pytest.raises(StoreUnavailable, match="all 10 connections are in use"):
            await is_empty(database)
        await database.ping()
    await is_empty(database)
    await database.close()


async def test_rows_come_piece_by_piece(database: Database) -> None:
    async with database.reading() as reading:
        series = "SELECT place FROM generate_series(1, %(most)s) AS of(place)"
        sizes = [len(rows) async for rows in reading.pieces(series, {"most": 25}, 10)]
        assert sizes == [10, 10, 5]
        async with aclosing(reading.pieces(series, {"most": 25}, 10)) as pieces:
            assert [row.place for row in await anext(pieces)] == list(range(1, 11))
        # Left in the middle, it is closed: another may follow in the same transaction.
        assert [len(rows) async for rows in reading.pieces(series, {"most": 3})] == [3]
        assert await reading.value("SELECT count(*) FROM pg_cursors") == 0
        assert await reading.row(series, {"most": 0}) is None


async def test_a_session_that_is_given_up_can_be_had_again(database_url: str, tmp_path: Path) -> None:
    database = await opened(database_url, tmp_path)
    for _ in range(2 * MOST):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), database.session() as connection:
                await connection.execute(b"SELECT pg_sleep(100)")
    await database.ping()
    await database.close()


async def test_a_query_leaves_the_other_cores_to_the_proxy(database: Database) -> None:
    async with database.begin() as connection:
        assert (await connection.execute(sa.text("SHOW max_parallel_workers_per_gather"))).scalar() == "0"
    async with database.reading() as reading:
        assert await reading.value("SHOW max_parallel_workers_per_gather") == "0"
