"""SQLAlchemy's pool of connections, for queries that are put together and the schema. Its import takes a fifth of a
second and 20 MB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.store import text
from app.store.sessions import AllInUse, Connection, settings

POOL = 10


def make_engine(arguments: Mapping[str, Any], *, statement_timeout: float, patience: float) -> AsyncEngine:
    """`arguments`: of `psycopg.connect`; `patience`: seconds to wait for a connection."""
    engine = create_async_engine(
        "postgresql+psycopg://",
        connect_args=dict(arguments),
        pool_size=POOL // 2,
        max_overflow=POOL - POOL // 2,
        pool_timeout=patience,
        pool_pre_ping=True,
        hide_parameters=True,  # an error in the log must not hold what a user wrote
        json_serializer=text.encode_text,
    )

    def configure(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(*settings(statement_timeout))
        cursor.close()
        connection.commit()

    event.listen(engine.sync_engine, "connect", configure)
    return engine


@contextmanager
def waiting() -> Iterator[None]:
    """Raises `AllInUse` where no connection came free in time."""
    try:
        yield
    except PoolTimeout:
        raise AllInUse(f"all {POOL} connections are in use") from None


async def driver(connection: AsyncConnection) -> Connection:
    """The driver's connection beneath one of SQLAlchemy's, in the same transaction."""
    raw = (await connection.get_raw_connection()).driver_connection
    assert isinstance(raw, psycopg.AsyncConnection)
    return raw
