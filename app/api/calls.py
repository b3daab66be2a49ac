"""`/v1/calls`: what the ledger knows of each call, and the scores given to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from app.api.guard import Guard
from app.api.logged import LoggedCalls, NewScore
from app.core.types import CallOutcome
from app.store.queries.calls import CallFilter


def calls_api(logged: LoggedCalls, *, reads: Guard, scores: Guard) -> APIRouter:
    """The endpoints over one ledger. `reads` and `scores` say who may read calls and who may judge them."""
    api = APIRouter(prefix="/v1/calls", tags=["calls"])

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
        page = await logged.page(wanted, limit=limit, cursor=cursor)
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
        found = await logged.find(call_id)
        return _json({**msgspec.structs.asdict(found.call), "scores": found.scores})

    @api.post("/{call_id}/scores", status_code=201, dependencies=[Depends(scores)])
    async def score(call_id: str, new: NewScore) -> Response:
        """Judge a call. Kept in the journal like a call, so it is not lost while Postgres is away."""
        return _json(await logged.judge(call_id, new), 201)

    return api


def _json(value: Any, status: int = 200) -> Response:
    # Decimal as a JSON number: a cost is a number to every client.
    encoder = msgspec.json.Encoder(decimal_format="number")
    return Response(encoder.encode(value), status, media_type="application/json")


def _aware(moment: datetime | None) -> datetime | None:
    """Times without a zone are UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
