"""Connections of the driver's own: for what a serving process does all the time, shipping its rows and keeping replies,
and for what is looked at.

These statements are written out, and need nothing of SQLAlchemy, which takes a process 20 MB and the first page of it a
quarter of a second: queries that are put together and the schema have it.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row

MOST, MOST_READING = 5, 10
"""Connections at once, and those of who only looks, whom nobody else waits for; most of the time it is one."""

ASK_SECONDS = 5.0
"""After so long without use a connection is asked whether it still leads anywhere."""

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class AllInUse(Exception):
    """No connection came free in time."""


class Sessions:
    """A few connections to one database, made when they are needed."""

    def __init__(
        self, arguments: Mapping[str, Any], *, statement_timeout: float, patience: float, most: int = MOST
    ) -> None:
        """`arguments`: of `psycopg.connect`; `patience`: seconds to wait for one of the `most` connections."""
        self._arguments = arguments
        self._settings = settings(statement_timeout)
        self._patience = patience
        self._most = most
        self._free = asyncio.Semaphore(most)
        self._idle: list[tuple[Connection, float]] = []
        """Each with when it was given back."""
        self._closed = False

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """A connection on which each statement is a transaction, which takes one round trip, unless the borrower begins
        one. Raises `AllInUse`, or what psycopg does."""
        try:
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        except TimeoutError:
            raise AllInUse(f"all {self._most} connections are in use") from None
        try:
            connection = await self._take()
            try:
                yield connection
            finally:
                await self._give_back(connection)
        finally:
            self._free.release()

    async def close(self) -> None:
        """Close them all."""
        self._closed = True
        while self._idle:
            connection, _ = self._idle.pop()
            await connection.close()

    async def _take(self) -> Connection:
        while self._idle:
            connection, since = self._idle.pop()
            try:
                # Its server may have been restarted since, and most say so when they go.
                if monotonic() - since > ASK_SECONDS or _has_news(connection):
                    await connection.execute(b"SELECT 1")
            except psycopg.Error:
                await connection.close()
            except BaseException:
                await connection.close()
                raise
            else:
                return connection
        connection = await psycopg.AsyncConnection.connect(**self._arguments, autocommit=True)
        try:
            await connection.execute(*self._settings)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _give_back(self, connection: Connection) -> None:
        if self._closed or connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                await connection.close()
        else:
            self._idle.append((connection, monotonic()))


def _has_news(connection: Connection) -> bool:
    """Whether the server has said anything that nobody asked for: that it closes the connection, most likely."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class Reading:
    """Statements in one transaction, whose rows are named tuples. Parameters stand as `%(name)s`, a percent sign as
    `%%` (psycopg.org, "Passing parameters to SQL queries")."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def rows(self, statement: str, given: Mapping[str, Any] | None = None) -> list[Any]:
        """All rows."""
        async with self.connection.cursor(row_factory=namedtuple_row) as cursor:
            await cursor.execute(statement.encode(), given or {})
            return await cursor.fetchall()

    async def pieces(
        self, statement: str, given: Mapping[str, Any] | None = None, size: int = 500
    ) -> AsyncGenerator[list[Any]]:
        """All rows, so many at once; no more than these are in memory. To be closed where it is not read to its end."""
        async with self.connection.cursor("pieces", row_factory=namedtuple_row) as cursor:
            await cursor.execute(statement.encode(), given or {})
            while rows := await cursor.fetchmany(size):
                yield rows

    async def row(self, statement: str, given: Mapping[str, Any] | None = None) -> Any:
        """The first row; None where there is none."""
        async with self.connection.cursor(row_factory=namedtuple_row) as cursor:
            await cursor.execute(statement.encode(), given or {})
            return await cursor.fetchone()

    async def value(self, statement: str, given: Mapping[str, Any] | None = None) -> Any:
        """The first column of the one row that there is."""
        return (await self.row(statement, given))[0]


def settings(statement_timeout: float) -> tuple[bytes, tuple[str]]:
    """The statement that a session begins with, and its parameters; `statement_timeout` in seconds.

    A statement rather than start-up options, which poolers in front of Postgres refuse. A query has one core: with more
    for somebody who looks at ten million calls, the p99 of a proxy on the same two cores was three times what it is.
    And none is compiled: that takes a server longer than the milliseconds that ours run for.
    """
    statement = (
        b"SELECT set_config('statement_timeout', %s, false), set_config('TimeZone', 'UTC', false), "
        b"set_config('application_name', 'hullspeed', false), "
        b"set_config('max_parallel_workers_per_gather', '0', false), set_config('jit', 'off', false)"
    )
    return statement, (str(round(statement_timeout * 1000)),)
