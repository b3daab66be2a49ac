"""`/v1/calls`: what the ledger knows of each call, and the scores given to it.

An application of its own, since FastAPI reads its many parameters: made when somebody first asks (see `routes`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError

from app.api.errors import install_error_handlers, respond
from app.api.guard import Guard
from app.api.logged import LoggedCalls, NewScore
from app.core.errors import InvalidRequest
from app.core.types import CallOutcome
from app.store.queries.calls import CallFilter

PATH = "/v1/calls"


def calls_app(logged: LoggedCalls, *, reads: Guard, scores: Guard) -> FastAPI:
    """The endpoints over one ledger. `reads` and `scores` say who may read calls and who may judge them."""
    app = FastAPI(title="Hullspeed", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    install_error_handlers(app)
    app.add_exception_handler(RequestValidationError, _invalid)

    @app.get(PATH, tags=["calls"], dependencies=[Depends(reads)])
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

    @app.get(PATH + "/{call_id}", tags=["calls"], dependencies=[Depends(reads)])
    async def call(call_id: str) -> Response:
        """A call with its decision, attempts and scores."""
        found = await logged.find(call_id)
        return _json({**msgspec.structs.asdict(found.call), "scores": found.scores})

    @app.post(PATH + "/{call_id}/scores", tags=["calls"], status_code=201, dependencies=[Depends(scores)])
    async def score(call_id: str, new: NewScore) -> Response:
        """Judge a call. Kept in the journal like a call, so it is not lost while Postgres is away."""
        return _json(await logged.judge(call_id, new), 201)

    return app


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    param = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return respond(request, InvalidRequest(f"`{param}`: {first['msg']}.", param=param))


def _json(value: Any, status: int = 200) -> Response:
    # Decimal as a JSON number: a cost is a number to every client.
    encoder = msgspec.json.Encoder(decimal_format="number")
    return Response(encoder.encode(value), status, media_type="application/json")


def _aware(moment: datetime | None) -> datetime | None:
    """Times without a zone are UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
