"""`/ui/calls`: the list of calls, narrowed, paged, followed and taken away as a file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from app.api.logged import LoggedCalls
from app.api.pages import call_filter, conversation
from app.api.pages.call import call_pages
from app.api.pages.exported import AT_ONCE, MOST_ROWS, exported
from app.api.pages.render import HEADERS, page
from app.api.pages.shown import Shown
from app.store.queries.calls import CallPage
from app.store.queries.choices import Choices, choices

_KEPT_SECONDS = 60.0
"""How long what a filter may be set to is remembered: it changes by the day, and takes longer to find than a page."""
_LETTERS = 4_000
"""Of each request, to find the beginning of the prompt in."""
_FORMATS = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


def calls_pages(shown: Shown) -> APIRouter:
    """The list and what is asked from it, and the page of each call."""
    api = APIRouter()
    logged = LoggedCalls(shown.database, shown.ledger, shown.flush)
    offered = _Offered(shown)

    @api.get("/calls")
    async def calls(request: Request) -> Response:
        asked = call_filter.read(request.query_params, datetime.now(UTC))
        store_text = shown.config.ledger.store_text
        found: CallPage | None = None
        if not asked.problems:
            letters = _LETTERS if store_text else 0
            found = await logged.page(asked.wanted, limit=asked.limit, cursor=asked.cursor, letters=letters)
        context: dict[str, Any] = {
            "asked": asked,
            "found": found,
            "prompts": {} if found is None else _prompts(found.beginnings),
            "store_text": store_text,
        }
        # The script that follows new calls asks for the rows alone, the form for all that depends on it.
        part = request.headers.get("hx-target") if "hx-request" in request.headers else None
        if part == "rows":
            return await page(request, "calls_rows.html", **context)
        context |= {
            "curl": asked.curl(str(request.base_url).rstrip("/"), key=shown.access.has_key),
            "most_rows": MOST_ROWS,
            "labels": call_filter.LABELS,
            "base": str(request.base_url).rstrip("/"),
            "needs_key": shown.access.has_key,
        }
        if part == "found":
            return await page(request, "calls_found.html", part=True, **context)
        context |= {
            "offered": await offered.now(),
            "periods": {"": "all", **{name: period[0] for name, period in call_filter.PERIODS.items()}},
            "outcomes": call_filter.OUTCOMES,
            "page_sizes": sorted({*call_filter.PAGE_SIZES, asked.limit}),
        }
        return await page(request, "calls.html", part=False, status=422 if asked.problems else 200, **context)

    @api.get("/calls/export/{name}")
    async def export(request: Request, name: str) -> Response:
        kind = name.rpartition(".")[2]
        asked = call_filter.read(request.query_params, datetime.now(UTC))
        if kind not in _FORMATS or asked.problems:
            message = "; ".join(f"{field}: {problem}" for field, problem in asked.problems.items())
            message = message or "There are exports as .jsonl and as .csv."
            return await page(request, "error.html", status=422, message=message, code=422)
        # The first page before the head of the reply: an error is a page then, not a file that breaks off.
        first = await logged.page(asked.wanted, limit=AT_ONCE)
        headers = {**HEADERS, "content-disposition": 'attachment; filename="hullspeed-calls.' + kind + '"'}
        pieces = exported(shown.database, asked.wanted, kind, first)
        return StreamingResponse(pieces, headers=headers, media_type=_FORMATS[kind])

    api.include_router(call_pages(shown, logged))
    return api


class _Offered:
    """What the filters offer, asked for seldom."""

    def __init__(self, shown: Shown) -> None:
        self._database = shown.database
        self._known: tuple[float, Choices] | None = None

    async def now(self) -> Choices:
        if self._known is None or time.monotonic() - self._known[0] > _KEPT_SECONDS:
            self._known = time.monotonic(), await choices(self._database)
        return self._known[1]


def _prompts(beginnings: Mapping[str, str]) -> dict[str, str]:
    found = {call_id: conversation.beginning(text) for call_id, text in beginnings.items()}
    return {call_id: text for call_id, text in found.items() if text}
