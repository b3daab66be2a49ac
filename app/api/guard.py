"""The one key that guards the proxy."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from fastapi import Request

from app.core.errors import InvalidKey

HEADERS = (b"authorization", b"x-api-key", b"api-key")


class Guard:
    """Checks a request's key in constant time. Applied to the matched route, never by looking at the URL."""

    def __init__(self, key: str | None) -> None:
        self._key = None if key is None else key.encode()

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise `InvalidKey` unless the headers carry the key, or none is needed."""
        if self._key is None:
            return
        given = [value for name, value in headers if name in HEADERS]
        if not given:
            raise InvalidKey("No API key was sent; send `Authorization: Bearer <HULLSPEED_API_KEY>`.")
        for value in given:
            if hmac.compare_digest(_bare(value), self._key):
                return
        raise InvalidKey("The API key is not the one set as HULLSPEED_API_KEY (or master_key in the config).")

    async def __call__(self, request: Request) -> None:
        """As a FastAPI dependency."""
        self.check(request.scope["headers"])


def _bare(value: bytes) -> bytes:
    scheme, _, rest = value.partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else value.strip()
