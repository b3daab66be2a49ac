"""No request body is larger than the limit, whichever endpoint reads it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import TooLarge


class BodyLimit:
    """Lets nobody read more than `most` bytes of a body: whoever tries gets `TooLarge`. Plain ASGI."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        stated = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        # What is stated is too much before any of it has come.
        size = int(stated) if stated.isdigit() and int(stated) > self.most else 0

        async def limited() -> Message:
            nonlocal size
            if size <= self.most:
                message = await receive()
                size += len(message.get("body", b""))
                if size <= self.most:
                    return message
            raise TooLarge(f"The body is larger than {self.most:,} bytes; HULLSPEED_MAX_BODY_BYTES raises the limit.")

        await self.app(scope, limited, send)
