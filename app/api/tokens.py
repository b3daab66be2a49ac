"""`POST /v1/messages/count_tokens`: about how long a prompt is, for clients that ask before they send."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response

from app.api.guard import Guard
from app.core.errors import HullspeedError
from app.gateway.dialects.messages import Messages, count_tokens

JSON = "application/json"


def tokens_api(guard: Guard) -> APIRouter:
    """The endpoint. It asks no model, and so is no call; it has the key checked itself, to refuse in its dialect."""
    api = APIRouter(tags=["tokens"])

    @api.post(f"{Messages.endpoint}/count_tokens")
    async def count(request: Request) -> Response:
        """An estimate, four characters a token."""
        try:
            guard.check(request.scope["headers"])
            found = count_tokens(await request.body())
        except HullspeedError as error:
            return Response(Messages().error(error), error.status, media_type=JSON)
        return Response(msgspec.json.encode({"input_tokens": found}), media_type=JSON)

    return api
