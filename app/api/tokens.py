"""`POST /v1/messages/count_tokens`: about how long a prompt is, for clients that ask before they send."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.api import routes
from app.api.guard import Checks
from app.gateway.dialects.messages import Messages, count_tokens


def tokens_routes(guard: Checks) -> list[Route]:
    """The endpoint. It asks no model, and so is no call."""

    async def count(request: Request) -> Response:
        """An estimate, four characters a token."""
        found = count_tokens(await request.body())
        return Response(msgspec.json.encode({"input_tokens": found}), media_type="application/json")

    return [routes.post(f"{Messages.endpoint}/count_tokens", count, guard)]
