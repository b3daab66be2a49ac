"""Opening the ledger for a command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app.core.settings import Settings, load_settings
from app.store.database import Database
from app.store.migrate import upgrade


@asynccontextmanager
async def open_database(data_dir: Path | None = None, settings: Settings | None = None) -> AsyncIterator[Database]:
    """The ledger's database, there and up to date. Raises `StoreUnavailable` or `ConfigError` in one line."""
    settings = settings or load_settings(data_dir=data_dir)
    url = settings.database_url.get_secret_value() if settings.database_url else None
    database = Database(url, settings.data_dir)
    await database.open()
    try:
        await upgrade(database)
        yield database
    finally:
        await database.close()
