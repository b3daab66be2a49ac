"""The keys that guard the proxy."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import Protocol

from starlette.requests import Request

from app.core.errors import InvalidKey

HEADERS = (b"authorization", b"x-api-key", b"api-key")
API_KEY, ADMIN_KEY = "HULLSPEED_API_KEY", "HULLSPEED_ADMIN_KEY"
TAG = b"+run="
"""Between the key and the name of a run, for clients that can set a key but no header: `<key>+run=<run>`."""


class Checks(Protocol):
    """Whatever lets requests pass."""

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Raise a `HullspeedError` unless the request may pass; the run that it is part of."""


class Guard:
    """Checks a request's key in constant time. Applied to the matched route, never by looking at the URL."""

    def __init__(self, key: str | None, name: str = API_KEY) -> None:
        """`name`: what the key is called where it is set."""
        self._key = None if key is None else key.encode()
        self._name = name

    @property
    def has_key(self) -> bool:
        """Whether requests need a key."""
        return self._key is not None

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Raise `InvalidKey` unless the headers carry the key, or none is needed; the run that the key is tagged with.

        The tag is no secret and opens nothing: what stands before it must be the whole key.
        """
        given = [_bare(value) for name, value in headers if name in HEADERS]
        if self._key is None:
            for value in given:
                if TAG in value:
                    return _run(value.partition(TAG)[2])
            return None
        if not given:
            raise InvalidKey(f"No API key was sent; send `Authorization: Bearer <{self._name}>`.")
        tagged = self._key + TAG
        for value in given:
            if hmac.compare_digest(value, self._key):
                return None
            # Cut by length, not at the first mark: a key may hold it too.
            if hmac.compare_digest(value[: len(tagged)], tagged):
                return _run(value[len(tagged) :])
        elsewhere = " (or master_key in the config)" if self._name == API_KEY else ""
        raise InvalidKey(f"The API key is not the one set as {self._name}{elsewhere}.")

    async def __call__(self, request: Request) -> None:
        """As a FastAPI dependency."""
        self.check(request.scope["headers"])


def credential(headers: Mapping[bytes, bytes]) -> bytes:
    """The key that a client sent, with its tag; empty where it sent none."""
    return next((_bare(headers[name]) for name in HEADERS if name in headers), b"")


def _run(tag: bytes) -> str | None:
    return tag.decode("latin-1") or None


def _bare(value: bytes) -> bytes:
    scheme, _, rest = value.partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else value.strip()
