"""Logged calls as API and pages find and judge them: one's own call is there at once, a score is never lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import uuid_utils
from pydantic import BaseModel, ConfigDict, Field

from app.core.errors import NotFound, StoreUnavailable
from app.core.types import Score
from app.store.database import OPENING_SECONDS, Database
from app.store.queries.calls import CallFilter, CallPage, LoggedCall, call_exists, get_call, list_calls
from app.store.writer import FLUSH_SECONDS, Ledger


class NewScore(BaseModel):
    """A judgement of a call's reply."""

    model_config = ConfigDict(extra="forbid")

    value: Annotated[float, Field(ge=0, le=1)]
    """0 = useless, 1 = right."""
    name: Annotated[str, Field(min_length=1, max_length=100)] = "quality"
    """What was judged."""
    comment: Annotated[str | None, Field(max_length=10_000)] = None
    source: Annotated[str, Field(min_length=1, max_length=100)] = "client"
    """Who judged."""


@dataclass(frozen=True)
class LoggedCalls:
    """The calls of one ledger."""

    database: Database
    ledger: Ledger
    flush: Callable[[], Awaitable[object]]
    """Waits a little for what all workers have just recorded."""

    async def page(self, wanted: CallFilter, *, limit: int, cursor: str | None = None, letters: int = 0) -> CallPage:
        """As `list_calls`."""
        await self._ready()
        await self.flush()
        return await list_calls(self.database, wanted, limit=limit, cursor=cursor, letters=letters)

    async def find(self, call_id: str) -> LoggedCall:
        """Raises `NotFound`, `StoreUnavailable`."""
        await self._ready()
        if self.ledger.pending(call_id):
            await self.ledger.flush(FLUSH_SECONDS)
        found = await get_call(self.database, call_id)
        if found is None:
            await self.flush()
            found = await get_call(self.database, call_id)
        if found is None:
            raise _unknown(call_id)
        return found

    async def judge(self, call_id: str, new: NewScore, *, known: bool = False) -> Score:
        """Record a score; `known`: whoever judges has seen the call, so nobody need look for it while Postgres is away.

        Raises `NotFound`, and `StoreUnavailable` where nobody can tell whether there is such a call.
        """
        await self._ready()
        try:
            if not self.ledger.pending(call_id) and not await call_exists(self.database, call_id):
                await self.flush()
                if not await call_exists(self.database, call_id):
                    raise _unknown(call_id)
        except StoreUnavailable:
            if not known:
                raise
        made = Score(
            id=str(uuid_utils.uuid7()),
            call_id=call_id,
            name=new.name,
            value=new.value,
            source=new.source,
            comment=new.comment,
            created_at=datetime.now(UTC),
        )
        self.ledger.record_score(made)
        return made

    async def _ready(self) -> None:
        # One of our own is about to be there; whether one of somebody else's is nobody knows.
        await self.ledger.ready(OPENING_SECONDS if self.database.is_embedded else FLUSH_SECONDS)


def _unknown(call_id: str) -> NotFound:
    return NotFound(f"There is no call {call_id[:100]!r}.", param="call_id")
