"""Every reply carries `x-request-id` and `x-hullspeed-call-id`, whoever answers it."""

from __future__ import annotations

import uuid_utils
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAMES = ("x-request-id", "x-hullspeed-call-id")


def new_ids() -> dict[str, str]:
    """The headers of a reply that belongs to no call: one id of its own, a UUIDv7."""
    return dict.fromkeys(NAMES, str(uuid_utils.uuid7()))


class RequestIds:
    """Adds the headers where an endpoint has not set its own. Plain ASGI: it costs no task and no copy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if NAMES[0] not in headers:
                    headers.update(new_ids())
            await send(message)

        await self.app(scope, receive, tagged)
