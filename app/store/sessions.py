"""Connections of the driver's own for what a serving process does all the time: shipping its rows, keeping replies.

These statements are written out, and need nothing of SQLAlchemy, which takes a process 25 MB: queries and the schema
have it, and it is imported when the first of them comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

MOST = 5
"""Connections at once; most of the time it is one."""

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class AllInUse(Exception):
    """No connection came free in time."""


class Sessions:
    """A few connections to one database, made when they are needed."""

    def __init__(self, arguments: Mapping[str, Any], *, statement_timeout: float, patience: float) -> None:
        """`arguments`: of `psycopg.connect`; `patience`: seconds to wait for one of the connections."""
        self._arguments = arguments
        self._settings = settings(statement_timeout)
        self._patience = patience
        self._free = asyncio.Semaphore(MOST)
        self._idle: list[Connection] = []
        self._closed = False

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Connection]:
        """A connection in a transaction, committed at the end of the block. Raises `AllInUse`, or what psycopg does."""
        try:
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        except TimeoutError:
            raise AllInUse(f"all {MOST} connections are in use") from None
        try:
            connection = await self._take()
            try:
                async with connection.transaction():
                    yield connection
            finally:
                await self._give_back(connection)
        finally:
            self._free.release()

    async def close(self) -> None:
        """Close them all."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            try:
                # Its server may have been restarted since.
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
            self._idle.append(connection)


def settings(statement_timeout: float) -> tuple[bytes, tuple[str]]:
    """The statement that a session begins with, and its parameters; `statement_timeout` in seconds.

    A statement rather than start-up options, which poolers in front of Postgres refuse. A query has one core: with more
    for somebody who looks at ten million calls, the p99 of a proxy on the same two cores was three times what it is.
    """
    statement = (
        b"SELECT set_config('statement_timeout', %s, false), set_config('TimeZone', 'UTC', false), "
        b"set_config('application_name', 'hullspeed', false), "
        b"set_config('max_parallel_workers_per_gather', '0', false)"
    )
    return statement, (str(round(statement_timeout * 1000)),)
