"""`POST /v1/messages/count_tokens`: about how long a prompt is, for clients that ask before they send."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response

from app.gateway.dialects.messages import Messages, count_tokens


def tokens_api() -> APIRouter:
    """The endpoint. It asks no model, and so is no call."""
    api = APIRouter(tags=["tokens"])

    @api.post(f"{Messages.endpoint}/count_tokens")
    async def count(request: Request) -> Response:
        """An estimate, four characters a token."""
        found = count_tokens(await request.body())
        return Response(msgspec.json.encode({"input_tokens": found}), media_type="application/json")

    return api
