"""The one way to Postgres: connections to `DATABASE_URL` or to the embedded server.

What a serving process does all the time and what its pages show have the driver's own (`session`, `reading`), whose
statements are written out. Queries that are put together and the schema have SQLAlchemy's (`begin`), which is imported
when it is first asked for.

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
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.errors import UndefinedColumn, UndefinedTable

from app.core.errors import ConfigError, StoreUnavailable
from app.store.address import Address
from app.store.embedded import EmbeddedServer
from app.store.sessions import MOST_READING, AllInUse, Connection, Reading, Sessions

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

log = logging.getLogger(__name__)

OPENING_SECONDS = 30.0
"""How long somebody who needs the embedded server waits for it; a new one's files take seconds to write."""


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
        self._address = None if url is None else Address.parse(url)
        self._embedded = EmbeddedServer(data_dir / "postgres") if url is None else None
        self._connect_timeout = connect_timeout
        self._statement_timeout = statement_timeout
        self._sessions: Sessions | None = None
        self._readers: Sessions | None = None
        self._engine: AsyncEngine | None = None
        self._opening: asyncio.Task[None] | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether this is a server of our own."""
        return self._embedded is not None

    @property
    def address(self) -> Address:
        """Where it is. Raises `StoreUnavailable` before `open` where that is not known yet."""
        if self._address is None:
            raise StoreUnavailable("The database is not open.")
        return self._address

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's pool. Raises `StoreUnavailable` before `open` and after `close`."""
        if self._sessions is None:
            raise StoreUnavailable("The database is not open.")
        if self._engine is None:
            from app.store.engine import make_engine

            self._engine = make_engine(
                self._arguments(), statement_timeout=self._statement_timeout, patience=self._connect_timeout
            )
        return self._engine

    async def open(self) -> None:
        """Be ready to connect, and start the embedded server where that is used; an external one is not asked yet.

        Raises `ConfigError` where the embedded server cannot start.
        """
        if self._sessions is not None:
            return
        if self._embedded is not None:
            self._address = Address.parse(await asyncio.to_thread(self._embedded.start))
        arguments, seconds, patience = self._arguments(), self._statement_timeout, self._connect_timeout
        self._readers = Sessions(arguments, statement_timeout=seconds, patience=patience, most=MOST_READING)
        self._sessions = Sessions(arguments, statement_timeout=seconds, patience=patience)

    def _arguments(self) -> dict[str, Any]:
        return {"connect_timeout": max(2, round(self._connect_timeout)), **self.address.arguments()}

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
        if self._sessions is None and self._opening is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(OPENING_SECONDS):
                    await asyncio.shield(self._opening)

    async def revive(self) -> None:
        """Start the embedded server again if it has died; an external one is left to its owner. Never raises."""
        if self._embedded is not None:
            try:
                if self._sessions is None:
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
        if self._sessions is not None:
            await self._sessions.close()
            self._sessions = None
        if self._readers is not None:
            await self._readers.close()
            self._readers = None
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.stop)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """A connection of the driver's in a transaction, committed at the end of the block. Raises as `begin`."""
        async with self.statements() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def statements(self) -> AsyncIterator[Connection]:
        """A connection of the driver's on which each statement is a transaction. Raises as `begin`."""
        with self.explained():
            await self._opened()
            if self._sessions is None:
                raise StoreUnavailable("The database is not open.")
            async with self._sessions.lend() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reading]:
        """For statements that only look, in a transaction; those that write wait for none of them. Raises as
        `begin`."""
        with self.explained():
            await self._opened()
            if self._readers is None:
                raise StoreUnavailable("The database is not open.")
            async with self._readers.lend() as connection, connection.transaction():
                yield Reading(connection)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A connection of SQLAlchemy's in a transaction, committed at the end of the block.

        Raises `StoreUnavailable` where Postgres does not answer, cuts the work off or has no schema yet; errors in
        the statements themselves pass as they are.
        """
        with self.explained():
            await self._opened()
            engine = self.engine
            from app.store.engine import waiting

            with waiting():
                async with engine.begin() as connection:
                    yield connection

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[AsyncConnection]:
        """A connection taken out of the pool, without a transaction, closed at the end of the block: what the session
        holds, such as an advisory lock, ends with it. Raises `StoreUnavailable` as `begin` does."""
        with self.explained():
            await self._opened()
            engine = self.engine
            from app.store.engine import waiting

            with waiting():
                connection = await engine.connect()
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
        except Exception as error:
            if isinstance(_driver_error(error), UndefinedTable | UndefinedColumn):
                raise StoreUnavailable(
                    f"The database ({self.describe()}) lacks Hullspeed's newest schema. Run `hullspeed migrate`."
                ) from error
            if not is_outage(error):
                raise
            raise StoreUnavailable(self._explain(error), retry_after=5.0) from error

    async def ping(self) -> None:
        """One round trip. Raises `StoreUnavailable`."""
        async with self.session() as connection:
            await connection.execute(b"SELECT 1")

    def describe(self) -> str:
        """Where the data is, for people: never the password."""
        if self._embedded is not None:
            return f"embedded Postgres in {self._embedded.folder}"
        return str(self.address)

    def _explain(self, error: BaseException) -> str:
        driver_error = _driver_error(error)
        lines = str(driver_error).strip().splitlines()
        reason = lines[0].rsplit("failed: ", 1)[-1].rstrip(".") if lines else type(driver_error).__name__
        if self._embedded is not None:
            return f"The {self.describe()} does not answer ({reason}). Restart Hullspeed to start it again."
        for secret in self.address.secrets:
            reason = reason.replace(secret, "***")
        return (
            f"Postgres at {self.address.place} does not answer ({reason}). Start it, or correct DATABASE_URL; "
            "without DATABASE_URL an embedded server is used."
        )


def _driver_error(error: BaseException) -> BaseException:
    """What the driver raised, which SQLAlchemy wraps."""
    found = getattr(error, "orig", None)
    return found if isinstance(found, BaseException) else error


def is_outage(error: BaseException) -> bool:
    """True where Postgres could not be reached or could not do the work now; False where it refused the statement."""
    if isinstance(error, AllInUse | OSError):
        return True
    driver_error = _driver_error(error)
    if not isinstance(driver_error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    # Class 54 is a limit the data itself runs into, such as an index entry too wide.
    return not (driver_error.sqlstate or "").startswith("54")
