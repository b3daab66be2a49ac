"""Calls as they come into the ledger."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime, timedelta

import sqlalchemy as sa

from app.store.database import Database
from app.store.queries.calls import EVERYTHING, MAX_PAGE, CallFilter, CallRow, conditions
from app.store.tables import calls

LONGEST = timedelta(minutes=15)
"""Calls that took longer are not found: the index is on the start, and this bounds what is looked through."""


async def arrived_calls(
    database: Database, wanted: CallFilter = EVERYTHING, *, since: datetime, known: Container[str] = ()
) -> list[CallRow]:
    """Calls that ended after `since` and are not `known` by id, in the order in which they ended, 1,000 at most.

    A call comes into the ledger when it has ended, so the newest by start, which `list_calls` gives, may not be the
    newest there. Raises `StoreUnavailable`.
    """
    ended = calls.c.started_at + sa.func.make_interval(0, 0, 0, 0, 0, 0, calls.c.latency)
    recent = calls.c.started_at > since - LONGEST
    ids = sa.select(calls.c.id).where(recent, ended > since, *conditions(wanted)).order_by(ended, calls.c.id)
    async with database.begin() as connection:
        fresh = [key for key in (await connection.execute(ids)).scalars() if key not in known][:MAX_PAGE]
        if not fresh:
            return []
        columns = [calls.c[name] for name in CallRow.__struct_fields__]
        rows = sa.select(*columns).where(calls.c.id.in_(fresh), recent).order_by(ended, calls.c.id)
        return [CallRow(**row._mapping) for row in await connection.execute(rows)]
