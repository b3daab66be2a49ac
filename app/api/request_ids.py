"""Every reply carries an `x-request-id`, whoever answers it."""

from __future__ import annotations

import uuid_utils.compat as uuid
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class RequestIds:
    """Adds the header where an endpoint has not set its own. Plain ASGI: it costs no task and no copy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if "x-request-id" not in headers:
                    headers["x-request-id"] = str(uuid.uuid7())
            await send(message)

        await self.app(scope, receive, tagged)
