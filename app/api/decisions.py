"""`POST /v1/decisions`: what a router would do with a chat request, and why. Nothing is called."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.api import routes
from app.api.guard import Checks
from app.gateway.decide import Decider
from app.gateway.explain import explain


def decisions_routes(decider: Decider, guard: Checks) -> list[Route]:
    """The endpoint over one catalog and its routers."""

    async def decide(request: Request) -> Response:
        """The decision on the body of a chat completion request."""
        decision = await explain(decider, await request.body(), request.headers.get("x-hullspeed-session"))
        return Response(msgspec.json.encode(decision), media_type="application/json")

    return [routes.post("/v1/decisions", decide, guard)]
