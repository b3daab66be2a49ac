"""`/ui/`: is it healthy, how much is called, what does it cost, what was saved, where does it go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from app.api.pages.overview_figures import (
    OUTCOMES,
    TIMES,
    Figure,
    Nothing,
    errors_figure,
    models_figure,
    models_legend,
    times_figure,
)
from app.api.pages.overview_rows import failing, model_rows, troubles
from app.api.pages.overview_tiles import chosen_baseline, tiles
from app.api.pages.overview_view import PERIODS, SHOWS, Asked, Seen, Watching
from app.api.pages.render import HEADERS, compiled, page
from app.api.pages.shown import Shown
from app.core.errors import StoreUnavailable
from app.gateway.catalog import CHAT
from app.store.queries.timeline import Timeline


def overview_pages(shown: Shown) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
    """The page, and the parts of it that are asked for again while it is looked at, by path."""
    watching = Watching(shown)

    async def overview(request: Request) -> Response:
        asked = Asked.read(request.query_params)
        # Postgres looks meanwhile.
        seen, _ = await asyncio.gather(watching.look(asked), compiled("overview.html"))
        replays_instead = seen.only_replays and "source" not in request.query_params
        if replays_instead:
            # Whoever has just run the demo or a bench is to see something.
            seen = await watching.look(replace(asked, source="all"))
        watching.begin_timeline(seen)
        given = seen.given
        # The address without what goes without saying, where a form has put everything into it.
        headers = {"hx-push-url": f"/ui/?{urlencode(given)}" if given else "/ui/"}
        return await page(
            request,
            "overview.html",
            headers=headers if "hx-request" in request.headers else {},
            periods=PERIODS,
            shows=SHOWS,
            replays_instead=replays_instead,
            routers=sorted({*shown.decider.entries, *_routers(seen), asked.router} - {"", "none"}),
            priced=sorted({*seen.prices, asked.against} - {""}),
            warnings=shown.config.warnings,
            start=_start(request, shown) if seen.found is not None and seen.found.is_empty else None,
            **_live(seen),
        )

    async def live(request: Request) -> Response:
        asked = Asked.read(request.query_params)
        seen = await watching.look(asked)
        # The page came before the ledger could be asked: it is to say how to make the first call.
        headers = {"hx-refresh": "true"} if seen.found is not None and seen.found.is_empty else {}
        return await page(
            request, "overview_live.html", headers=headers, shows=SHOWS, warnings=shown.config.warnings, **_live(seen)
        )

    async def first(_: Request) -> Response:
        """Has the page loaded again once there is a call."""
        try:
            empty = await watching.is_empty()
        except StoreUnavailable:
            empty = True
        return Response(status_code=204, headers=HEADERS if empty else {**HEADERS, "hx-refresh": "true"})

    def models(line: Timeline, asked: Asked) -> Figure | Nothing:
        return models_figure(line, shown.decider.catalog, asked.show)

    async def chart(draw: Callable[[Timeline, Asked], Figure | Nothing], request: Request) -> Response:
        asked = Asked.read(request.query_params)
        try:
            figure = draw(await watching.timeline(asked), asked)
        except StoreUnavailable:
            figure = Nothing("The ledger does not answer")
        return Response(msgspec.json.encode(figure), headers=HEADERS, media_type="application/json")

    def _live(seen: Seen) -> dict[str, Any]:
        rows, left_out = model_rows(seen)
        asked, found = seen.asked, seen.found
        links: dict[str, Any] = {"source": None if asked.source == "all" else asked.source, "router": asked.router}
        recent = dict(links)
        if found is not None and asked.period != "all":
            links["since"] = found.sums.since.isoformat().replace("+00:00", "Z")
        return {
            "asked": asked,
            "given": seen.given,
            "seen": seen,
            "found": found,
            "tiles": tiles(seen),
            "against": chosen_baseline(seen),
            "models": rows,
            "models_left_out": left_out,
            "legend": models_legend(rows, 0 if found is None else found.sums.total.calls),
            "times_legend": [(f"{name}", colour) for name, colour in TIMES.items()],
            "outcomes_legend": list(OUTCOMES.values()),
            "failing": failing,
            "troubles": troubles(seen),
            "links": links,
            "recent_links": recent,
            "every": PERIODS[asked.period][2],
            "ledger": shown.ledger,
            "where": shown.database.describe(),
        }

    return {
        "/": overview,
        "/overview/live": live,
        "/overview/first": first,
        "/overview/charts/models": partial(chart, models),
        "/overview/charts/times": partial(chart, lambda line, _: times_figure(line)),
        "/overview/charts/errors": partial(chart, lambda line, _: errors_figure(line)),
    }


def _routers(seen: Seen) -> set[str]:
    return set() if seen.found is None else set(seen.found.sums.routers)


def _start(request: Request, shown: Shown) -> dict[str, Any]:
    """How to make the first call: the address that the browser found this proxy at, and a model of its own."""
    decider = shown.decider
    chat = [name for name, model in decider.catalog.items() if CHAT in model.endpoints]
    routed = [name for name in chat if name in decider.rules.models]
    return {
        "url": f"{request.url.scheme}://{request.url.netloc}/v1",
        "model": "auto" if routed else chat[0] if chat else None,
        "models": chat,
        "has_key": (shown.settings.api_key or shown.config.general_settings.master_key) is not None,
    }
