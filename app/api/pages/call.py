"""`/ui/calls/{id}`: one call, and the scores given to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Form, Request, Response
from pydantic import ValidationError

from app.api.logged import LoggedCalls, NewScore
from app.api.pages import call_filter, conversation
from app.api.pages.behind import behind
from app.api.pages.colours import colours
from app.api.pages.decision import explain
from app.api.pages.neighbours import named_items
from app.api.pages.render import HEADERS, away, page
from app.api.pages.shown import Shown
from app.api.pages.timeline import bills, time_line
from app.core.errors import NotFound, StoreUnavailable
from app.gateway.decide import RouterEntry
from app.store.queries.calls import LoggedCall, calls_beside
from app.store.writer import FLUSH_SECONDS

SOURCE = "page"
"""Who judged, of scores given here."""
_encode = msgspec.json.Encoder(decimal_format="number").encode


def call_pages(shown: Shown, logged: LoggedCalls) -> APIRouter:
    """The page, its call as JSON, the items behind its decision, and its scores."""
    api = APIRouter()

    @api.get("/calls/{call_id}")
    async def call(request: Request, call_id: str) -> Response:
        try:
            found = await logged.find(call_id)
        except NotFound as error:
            return await page(request, "call_missing.html", status=404, message=error.message, call_id=call_id)
        asked = call_filter.read(request.query_params, datetime.now(UTC))
        newer, older = await calls_beside(shown.database, found.call, asked.wanted)
        return await page(request, "call.html", **_context(shown, found), asked=asked, newer=newer, older=older)

    @api.get("/calls/{call_id}/json")
    async def as_json(call_id: str) -> Response:
        found = await logged.find(call_id)
        whole = _encode({**msgspec.structs.asdict(found.call), "scores": found.scores})
        return Response(msgspec.json.format(whole), headers=HEADERS, media_type="application/json")

    @api.get("/calls/{call_id}/neighbours")
    async def neighbours(request: Request, call_id: str) -> Response:
        found = await logged.find(call_id)
        decision = found.call.decision
        near = None if decision is None else behind(decision.detail).known.get("neighbours")
        entry = None if decision is None else shown.decider.entries.get(decision.router)
        items = (
            {}
            if near is None
            else await named_items(shown.database, entry, [one for one, _ in near.neighbours.nearest])
        )
        return await page(request, "call_neighbours.html", near=near, items=items)

    @api.post("/calls/{call_id}/scores")
    async def score(
        request: Request,
        call_id: str,
        verdict: Annotated[str, Form()] = "",
        value: Annotated[str, Form()] = "",
        name: Annotated[str, Form()] = "",
        comment: Annotated[str, Form()] = "",
    ) -> Response:
        typed = {"value": value, "name": name, "comment": comment}
        new, problems = _read_score(verdict or value, name.strip(), comment.strip())
        given = None if new is None else await logged.judge(call_id, new, known=True)
        if given is not None:
            # So that it is shown at once.
            await logged.ledger.flush(FLUSH_SECONDS)
        if given is not None and "hx-request" not in request.headers:
            return away(request, f"/ui/calls/{quote(call_id, safe='')}#scores")
        found = await _again(logged, call_id)
        decision = None if found is None else found.call.decision
        scores = () if found is None else found.scores
        if given is not None and all(score.id != given.id for score in scores):
            scores = (*scores, given)
        context: dict[str, Any] = {
            "call_id": call_id,
            "scores": scores,
            "waiting": found is None,
            "given": given,
            "problems": problems,
            "typed": typed if given is None else {},
            "learner": _learns(shown, decision.router if decision else ""),
        }
        if "hx-request" in request.headers:
            return await page(request, "call_scores.html", **context)
        return await page(request, "call_score.html", status=422, **context)

    return api


def _context(shown: Shown, found: LoggedCall) -> dict[str, Any]:
    call = found.call
    return {
        "call": call,
        "call_id": call.id,
        "decided": explain(call),
        "colours": colours(shown.decider.catalog),
        "behind": None if call.decision is None else behind(call.decision.detail),
        "line": time_line(call),
        "bills": bills(call.attempts),
        "talk": None if call.request_text is None else conversation.read(call.request_text),
        "request_text": None if call.request_text is None else conversation.cut(call.request_text, 100_000),
        "reply_text": None if call.reply_text is None else conversation.cut(call.reply_text, 100_000),
        "store_text": shown.config.ledger.store_text,
        "scores": found.scores,
        "waiting": False,
        "given": None,
        "problems": {},
        "typed": {},
        "learner": _learns(shown, call.decision.router if call.decision else ""),
        "entry": shown.decider.entries.get(call.decision.router) if call.decision else None,
    }


def _read_score(value: str, name: str, comment: str) -> tuple[NewScore | None, dict[str, str]]:
    """What was typed as a score, or what is wrong with it by field."""
    fields: dict[str, Any] = {"value": value, "comment": comment or None, "source": SOURCE}
    if name:
        fields["name"] = name
    try:
        return NewScore(**fields), {}
    except ValidationError as error:
        said = {
            "value": "A number from 0 (useless) to 1 (right).",
            "name": "At most 100 characters.",
            "comment": "At most 10,000 characters.",
        }
        return None, {str(one["loc"][0]): said[str(one["loc"][0])] for one in error.errors()}


async def _again(logged: LoggedCalls, call_id: str) -> LoggedCall | None:
    """The call with its scores; None while Postgres is away."""
    try:
        return await logged.find(call_id)
    except StoreUnavailable:
        return None


def _learns(shown: Shown, router: str) -> str:
    """The router's name, where it learns from scores."""
    entry: RouterEntry | None = shown.decider.entries.get(router)
    return router if entry is not None and entry.router().learner() is not None else ""
