"""Who may see the pages and change things on them.

With a key, whoever has signed in with it: the session is a cookie that says until when it is good, signed with a secret
made of the key, so every worker and replica knows it and a new key ends all sessions. Without a key, whoever is on this
machine: the proxy binds loopback only then, and the Host header must say so too, since a page elsewhere can point a
name of its own at 127.0.0.1 (DNS rebinding).

What changes something must come from a page of ours (Fetch Metadata, w3.org/TR/fetch-metadata; the Origin header where
a browser sends none of it), which is why no form holds a token.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.requests import Request

from app.core.errors import HullspeedError, InvalidKey

SESSION_SECONDS = 7 * 86_400
HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_READS = frozenset({"GET", "HEAD"})


class NotFromHere(HullspeedError):
    """The request came from a page that is not ours, or by a name that is not ours."""

    status, type, code = 403, "permission_error", "not_from_here"


class Access:
    """Checks sessions, and where requests come from."""

    def __init__(self, key: str | None) -> None:
        """`key`: what one signs in with; None where pages are open to this machine."""
        self._secret = None if key is None else hmac.digest(key.encode(), b"hullspeed pages", hashlib.sha256)
        # Cookies are not told apart by port: two proxies of one host must not sign each other out.
        self.cookie = "hullspeed" if self._secret is None else f"hullspeed-{self._seal('name')[:8]}"

    @property
    def has_key(self) -> bool:
        """Whether pages need a session."""
        return self._secret is not None

    def session(self, key: str) -> str | None:
        """The value of the cookie of a session that begins now; None for a wrong key."""
        if self._secret is None or not hmac.compare_digest(Access(key)._secret or b"", self._secret):
            return None
        until = f"{time.time() + SESSION_SECONDS:.0f}"
        return f"{until}.{self._seal(until)}"

    def check(self, headers: Iterable[tuple[bytes, bytes]], *, changes: bool = True) -> str | None:
        """Raise `InvalidKey` without a session, `NotFromHere` where a request that `changes` something comes from
        elsewhere. As `Guard.check`; these calls are of no run."""
        given = _texts(headers)
        self._check_host(given)
        if self._secret is not None and not self._is_signed(given.get("cookie", "")):
            raise InvalidKey("Sign in first.")
        if changes:
            _check_origin(given)
        return None

    def check_origin(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise `NotFromHere` where a request that changes something comes from elsewhere; a session is not asked
        for."""
        given = _texts(headers)
        self._check_host(given)
        _check_origin(given)

    async def __call__(self, request: Request) -> None:
        """Before a page is shown; as a FastAPI dependency too. The page is told whether somebody can sign out."""
        self.check(request.scope["headers"], changes=request.method not in _READS)
        request.state.signed_in = self.has_key

    def _seal(self, text: str) -> str:
        assert self._secret is not None
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def _is_signed(self, cookies: str) -> bool:
        try:
            found = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return False
        until, _, seal = ("" if found is None else found.value).partition(".")
        good = until.isascii() and until.isdigit() and hmac.compare_digest(seal.encode(), self._seal(until).encode())
        return good and int(until) > time.time()

    def _check_host(self, headers: Mapping[str, str]) -> None:
        if self._secret is not None:
            return
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname
        if name not in HERE and not (name or "").endswith(".localhost"):
            raise NotFromHere(
                f"This proxy has no key, so its pages answer to localhost and 127.0.0.1 only, not to {host[:100]!r}. "
                "Set HULLSPEED_API_KEY (or HULLSPEED_ADMIN_KEY) to see them under other names."
            )


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def _check_origin(headers: Mapping[str, str]) -> None:
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        # Neither is sent by programs, which nobody can have sent by a link.
        ours = origin is None or urlsplit(origin).netloc == headers.get("host")
    if not ours:
        raise NotFromHere("This request came from another site's page; nothing was done.")
