"""`/ui/try`: a chat with the proxy that shows which model was picked, why and for how much.

The page asks `/ui/try/chat`, which is the proxy's own endpoint, so what it shows is what any client gets.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.routing import Route

from app.api.logged import LoggedCalls
from app.api.pages.colours import colours
from app.api.pages.decision import explain
from app.api.pages.render import page
from app.api.pages.shown import Shown
from app.api.pages.snippets import address
from app.core.errors import NotFound, StoreUnavailable
from app.gateway.catalog import CHAT
from app.gateway.inventory import router_facts


def trying_pages(shown: Shown) -> APIRouter:
    """The page, and why a call went where it went."""
    api = APIRouter(prefix="/try")
    decider, config = shown.decider, shown.config
    logged = LoggedCalls(shown.database, shown.ledger, shown.flush)

    @api.get("")
    async def chat(request: Request) -> Response:
        return await page(
            request,
            "try.html",
            routers=router_facts(decider, config),
            models=[name for name, model in decider.catalog.items() if CHAT in model.endpoints],
            wildcards=decider.catalog.wildcards.names,
            default=decider.rules.default,
            setup=_setup(request, shown),
        )

    @api.get("/why/{call_id}")
    async def why(request: Request, call_id: str) -> Response:
        """The decision of a call, as a part of the page."""
        problem, found = None, None
        try:
            found = await logged.find(call_id)
        except NotFound:
            problem = "The ledger does not have this call yet; ask again in a moment."
        except StoreUnavailable as error:
            problem = f"{error.message} The call waits in the journal and can be looked at once Postgres is back."
        call = None if found is None else found.call
        return await page(
            request,
            "try_why.html",
            problem=problem,
            call=call,
            decision=None if call is None else call.decision,
            decided=None if call is None else explain(call),
            colours=colours(decider.catalog),
        )

    # No endpoint of FastAPI's: it takes the request and gives the reply as they are.
    api.routes.append(Route("/try/chat", shown.chat, methods=["POST"]))
    return api


def _setup(request: Request, shown: Shown) -> dict[str, Any]:
    """What the page's script has to know."""
    catalog = shown.decider.catalog
    prices = {name: model.price for name, model in catalog.items()}
    return {
        "base": address(request),
        "has_key": (shown.settings.api_key or shown.config.general_settings.master_key) is not None,
        "prices": {
            name: [float(price.input), float(price.output)] for name, price in prices.items() if price is not None
        },
        "colours": colours(catalog),
    }
