"""`/v1/calls`: what the ledger knows of each call, and the scores given to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import uuid_utils.compat as uuid
from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from app.api.guard import Guard
from app.core.errors import NotFound
from app.core.types import CallOutcome, Score
from app.store.database import OPENING_SECONDS, Database
from app.store.queries.calls import CallFilter, call_exists, get_call, list_calls
from app.store.writer import Ledger

FLUSH_SECONDS = 2.0
"""How long a read waits for what this process has just recorded, so that one sees one's own calls."""


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


def calls_api(
    database: Database, ledger: Ledger, flush: Callable[[], Awaitable[object]], *, reads: Guard, scores: Guard
) -> APIRouter:
    """The endpoints over one ledger. `flush` waits a little for what all workers have just recorded; `reads` and
    `scores` say who may read calls and who may judge them."""
    api = APIRouter(prefix="/v1/calls", tags=["calls"])
    # One of our own is about to be there; whether one of somebody else's is nobody knows.
    patience = OPENING_SECONDS if database.is_embedded else FLUSH_SECONDS

    @api.get("", dependencies=[Depends(reads)])
    async def calls(
        run: str | None = None,
        model: str | None = None,
        router: str | None = None,
        outcome: CallOutcome | None = None,
        session: str | None = None,
        source: str | None = None,
        error_type: str | None = None,
        min_attempts: Annotated[int | None, Query(ge=0, le=1000)] = None,
        min_cost_usd: float | None = None,
        max_cost_usd: float | None = None,
        min_latency: float | None = None,
        max_latency: float | None = None,
        text: Annotated[str | None, Query(min_length=1, max_length=1000)] = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: str | None = None,
    ) -> Response:
        """A page of calls, newest first. Where it is not full and `searched_to` is set, there may be more calls: ask
        again with the cursor."""
        wanted = CallFilter(
            run=run,
            model=model,
            router=router,
            outcome=outcome,
            session=session,
            source=source,
            error_type=error_type,
            min_attempts=min_attempts,
            min_cost_usd=min_cost_usd,
            max_cost_usd=max_cost_usd,
            min_latency=min_latency,
            max_latency=max_latency,
            text=text,
            since=_aware(since),
            until=_aware(until),
        )
        await ledger.ready(patience)
        await flush()
        page = await list_calls(database, wanted, limit=limit, cursor=cursor)
        return _json(
            {
                "object": "list",
                "data": page.rows,
                "next_cursor": page.older,
                "previous_cursor": page.newer,
                "searched_to": page.searched_to,
            }
        )

    @api.get("/{call_id}", dependencies=[Depends(reads)])
    async def call(call_id: str) -> Response:
        """A call with its decision, attempts and scores."""
        await ledger.ready(patience)
        if ledger.pending(call_id):
            await ledger.flush(FLUSH_SECONDS)
        found = await get_call(database, call_id)
        if found is None:
            await flush()
            found = await get_call(database, call_id)
        if found is None:
            raise _unknown(call_id)
        return _json({**msgspec.structs.asdict(found.call), "scores": found.scores})

    @api.post("/{call_id}/scores", status_code=201, dependencies=[Depends(scores)])
    async def score(call_id: str, new: NewScore) -> Response:
        """Judge a call. Kept in the journal like a call, so it is not lost while Postgres is away."""
        await ledger.ready(patience)
        if not ledger.pending(call_id) and not await call_exists(database, call_id):
            await flush()
            if not await call_exists(database, call_id):
                raise _unknown(call_id)
        made = Score(
            id=str(uuid.uuid7()),
            call_id=call_id,
            name=new.name,
            value=new.value,
            source=new.source,
            comment=new.comment,
            created_at=datetime.now(UTC),
        )
        ledger.record_score(made)
        return _json(made, 201)

    return api


def _json(value: Any, status: int = 200) -> Response:
    # Decimal as a JSON number: a cost is a number to every client.
    encoder = msgspec.json.Encoder(decimal_format="number")
    return Response(encoder.encode(value), status, media_type="application/json")


def _aware(moment: datetime | None) -> datetime | None:
    """Times without a zone are UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _unknown(call_id: str) -> NotFound:
    return NotFound(f"There is no call {call_id[:100]!r}.", param="call_id")
