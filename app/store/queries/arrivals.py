"""Calls as they come into the ledger."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime, timedelta

from app.store.database import Database
from app.store.queries.calls import EVERYTHING, MAX_PAGE, CallFilter, CallRow, columns, conditions

LONGEST = timedelta(minutes=15)
"""Calls that took longer are not found: the index is on the start, and this bounds what is looked through."""
_ENDED = "calls.started_at + make_interval(secs => calls.latency)"


async def arrived_calls(
    database: Database, wanted: CallFilter = EVERYTHING, *, since: datetime, known: Container[str] = ()
) -> list[CallRow]:
    """Calls that ended after `since` and are not `known` by id, in the order in which they ended, 1,000 at most.

    A call comes into the ledger when it has ended, so the newest by start, which `list_calls` gives, may not be the
    newest there. Raises `StoreUnavailable`.
    """
    some, given = conditions(wanted)
    given |= {"ended": since, "begun": since - LONGEST}
    recent, order = "calls.started_at > %(begun)s", f"ORDER BY {_ENDED}, calls.id"
    async with database.reading() as reading:
        rows = await reading.rows(
            f"SELECT calls.id::text FROM calls WHERE {recent} AND {_ENDED} > %(ended)s AND {some} {order}",  # noqa: S608 -- only words of our own are put in
            given,
        )
        fresh = [row.id for row in rows if row.id not in known][:MAX_PAGE]
        if not fresh:
            return []
        query = f"SELECT {columns('calls')} FROM calls WHERE calls.id = ANY(%(fresh)s::uuid[]) AND {recent} {order}"  # noqa: S608 -- as above
        return [CallRow(**row._asdict()) for row in await reading.rows(query, {**given, "fresh": fresh})]
