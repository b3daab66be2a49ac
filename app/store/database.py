"""The one way to Postgres: a pool of connections, to `DATABASE_URL` or to the embedded server.

Opening needs no answer from an external server: the proxy starts, serves and journals without one. Whatever keeps
Postgres from answering becomes `StoreUnavailable`, one line that names the host, the port and the way out, and never
the password.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.errors import UndefinedColumn, UndefinedTable
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.core.errors import ConfigError, StoreUnavailable
from app.store import text
from app.store.embedded import EmbeddedServer

log = logging.getLogger(__name__)

POOL = 10
OPENING_SECONDS = 30.0
"""How long somebody who needs the embedded server waits for it; a new one's files take seconds to write."""
_DRIVERS = ("postgres", "postgresql", "postgresql+psycopg")


class Database:
    """Connections to the database at `url`; with None, to the embedded server in `data_dir`."""

    def __init__(
        self,
        url: str | None,
        data_dir: Path,
        *,
        connect_timeout: float = 5.0,
        statement_timeout: float = 60.0,
    ) -> None:
        """Timeouts in seconds. Raises `ConfigError` where `url` is not a Postgres URL."""
        self._url = None if url is None else _parse(url)
        self._embedded = EmbeddedServer(data_dir / "postgres") if url is None else None
        self._connect_timeout = connect_timeout
        self._statement_timeout = statement_timeout
        self._engine: AsyncEngine | None = None
        self._opening: asyncio.Task[None] | None = None

    @property
    def engine(self) -> AsyncEngine:
        """The pool. Raises `StoreUnavailable` before `open` and after `close`."""
        if self._engine is None:
            raise StoreUnavailable("The database is not open.")
        return self._engine

    async def open(self) -> None:
        """Make the pool, and start the embedded server where that is used; an external one is not asked yet.

        Raises `ConfigError` where the embedded server cannot start.
        """
        if self._engine is not None:
            return
        if self._embedded is not None:
            self._url = _parse(await asyncio.to_thread(self._embedded.start))
        assert self._url is not None
        self._engine = create_async_engine(
            self._url,
            pool_size=POOL // 2,
            max_overflow=POOL - POOL // 2,
            pool_timeout=self._connect_timeout,
            pool_pre_ping=True,
            hide_parameters=True,  # an error in the log must not hold what a user wrote
            json_serializer=text.encode_text,
            connect_args={}
            if "connect_timeout" in self._url.query
            else {"connect_timeout": max(2, round(self._connect_timeout))},
        )
        event.listen(self._engine.sync_engine, "connect", self._configure)

    def open_soon(self) -> None:
        """As `open`, but an embedded server starts in the background: who needs it meanwhile waits a little, and one
        that does not start is tried again by `revive`.

        Raises `ConfigError` where its folder cannot hold a server.
        """
        if self._embedded is not None:
            self._embedded.check()
        self._opening = asyncio.create_task(self._open_or_tell())

    async def _open_or_tell(self) -> None:
        try:
            await self.open()
        except ConfigError as error:
            log.error("%s", error.message)

    async def _opened(self) -> None:
        if self._engine is None and self._opening is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(OPENING_SECONDS):
                    await asyncio.shield(self._opening)

    def _configure(self, connection: Any, _record: object) -> None:
        # Statements rather than start-up options, which poolers in front of Postgres refuse.
        cursor = connection.cursor()
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, false), set_config('TimeZone', 'UTC', false), "
            "set_config('application_name', 'hullspeed', false)",
            (str(round(self._statement_timeout * 1000)),),
        )
        cursor.close()
        connection.commit()

    async def revive(self) -> None:
        """Start the embedded server again if it has died; an external one is left to its owner. Never raises."""
        if self._embedded is not None:
            try:
                if self._engine is None:
                    await self._opened()
                    await self.open()
                else:
                    await asyncio.to_thread(self._embedded.start)
            except Exception as error:
                log.error("The %s cannot be started again: %s", self.describe(), error)

    async def close(self) -> None:
        """Close all connections and leave the embedded server. May be called twice."""
        if self._opening is not None:
            await self._opening
            self._opening = None
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.stop)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction, committed at the end of the block.

        Raises `StoreUnavailable` where Postgres does not answer, cuts the work off or has no schema yet; errors in
        the statements themselves pass as they are.
        """
        with self.explained():
            await self._opened()
            async with self.engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[AsyncConnection]:
        """A connection taken out of the pool, without a transaction, closed at the end of the block: what the session
        holds, such as an advisory lock, ends with it. Raises `StoreUnavailable` as `begin` does."""
        with self.explained():
            await self._opened()
            connection = await self.engine.connect()
        try:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            yield connection
        finally:
            # Not given back: a pooled connection would keep the session and its locks.
            await connection.invalidate()
            await connection.close()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns what the driver raises in the block into `StoreUnavailable`, as `begin` does."""
        try:
            yield
        except (DBAPIError, PoolTimeout, psycopg.Error, OSError) as error:
            if isinstance(getattr(error, "orig", None), UndefinedTable | UndefinedColumn):
                raise StoreUnavailable(
                    f"The database ({self.describe()}) lacks Hullspeed's newest schema. Run `hullspeed migrate`."
                ) from error
            if not is_outage(error):
                raise
            raise StoreUnavailable(self._explain(error), retry_after=5.0) from error

    async def ping(self) -> None:
        """One round trip. Raises `StoreUnavailable`."""
        async with self.begin() as connection:
            await connection.execute(sa.text("SELECT 1"))

    def describe(self) -> str:
        """Where the data is, for people: never the password."""
        if self._embedded is not None:
            return f"embedded Postgres in {self._embedded.folder}"
        assert self._url is not None
        return f"{self._url.database or self._url.username or 'postgres'} at {_place(self._url)}"

    def _explain(self, error: BaseException) -> str:
        driver_error = getattr(error, "orig", None) or error
        if isinstance(driver_error, PoolTimeout):
            reason = f"all {POOL} connections are in use"
        else:
            lines = str(driver_error).strip().splitlines()
            reason = lines[0].rsplit("failed: ", 1)[-1].rstrip(".") if lines else type(driver_error).__name__
        if self._embedded is not None:
            return f"The {self.describe()} does not answer ({reason}). Restart Hullspeed to start it again."
        assert self._url is not None
        secrets = [self._url.password, self._url.query.get("password")]
        for secret in secrets:
            if isinstance(secret, str) and secret:
                reason = reason.replace(secret, "***")
        return (
            f"Postgres at {_place(self._url)} does not answer ({reason}). Start it, or correct DATABASE_URL; "
            "without DATABASE_URL an embedded server is used."
        )


def is_outage(error: BaseException) -> bool:
    """True where Postgres could not be reached or could not do the work now; False where it refused the statement."""
    if isinstance(error, PoolTimeout | OSError):
        return True
    driver_error = getattr(error, "orig", None) or error
    if not isinstance(driver_error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    # Class 54 is a limit the data itself runs into, such as an index entry too wide.
    return not (driver_error.sqlstate or "").startswith("54")


def _parse(url: str) -> URL:
    shape = "postgresql://user:password@host:5432/database"
    try:
        parsed = make_url(url.strip())
    except (ArgumentError, ValueError):
        raise ConfigError(f"DATABASE_URL is not a URL; it looks like {shape}.", param="DATABASE_URL") from None
    if parsed.drivername not in _DRIVERS:
        raise ConfigError(
            f"DATABASE_URL begins with {parsed.drivername}://; Hullspeed keeps its data in Postgres: {shape}.",
            param="DATABASE_URL",
        )
    return parsed.set(drivername="postgresql+psycopg")


def _place(url: URL) -> str:
    host = url.host or url.query.get("host") or "localhost"
    shown = host if isinstance(host, str) else ",".join(host)
    return f"{shown}:{url.port or url.query.get('port') or 5432}"
