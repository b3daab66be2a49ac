"""`POST /v1/decisions`: what a router would do with a chat request, and why. Nothing is called."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response

from app.gateway.decide import Decider
from app.gateway.explain import explain


def decisions_api(decider: Decider) -> APIRouter:
    """The endpoint over one catalog and its routers."""
    api = APIRouter(tags=["decisions"])

    @api.post("/v1/decisions")
    async def decide(request: Request) -> Response:
        """The decision on the body of a chat completion request."""
        decision = await explain(decider, await request.body(), request.headers.get("x-hullspeed-session"))
        return Response(msgspec.json.encode(decision), media_type="application/json")

    return api
