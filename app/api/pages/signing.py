"""Signing in and out."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.api.pages.access import SESSION_SECONDS, Access
from app.api.pages.render import away, page

SIGN_IN = "/ui/sign-in"
HOME = "/ui/"
MOST_FIELDS = 10
"""Of the form."""


def signing_pages(access: Access) -> list[Route]:
    """The form, and what it does. Open to all."""

    async def form(request: Request) -> Response:
        if not access.has_key:
            return away(request, HOME)
        return await page(request, "sign_in.html", to=_ours(request.query_params.get("to", HOME)), wrong=False)

    async def sign_in(request: Request) -> Response:
        access.check_origin(request.scope["headers"])
        async with request.form(max_files=0, max_fields=MOST_FIELDS) as given:
            key, to = str(given.get("key", "")), _ours(str(given.get("to", HOME)))
        session = access.session(key.strip())
        if session is None:
            return await page(request, "sign_in.html", status=401, to=to, wrong=True)
        response = away(request, to)
        _keep(request, response, session, SESSION_SECONDS)
        return response

    async def sign_out(request: Request) -> Response:
        access.check_origin(request.scope["headers"])
        response = away(request, SIGN_IN)
        _keep(request, response, "", 0)
        return response

    def _keep(request: Request, response: Response, value: str, seconds: int) -> None:
        secure = request.url.scheme == "https"
        response.set_cookie(
            access.cookie, value, max_age=seconds, path="/ui", secure=secure, httponly=True, samesite="lax"
        )

    return [
        Route("/sign-in", form),
        Route("/sign-in", sign_in, methods=["POST"]),
        Route("/sign-out", sign_out, methods=["POST"]),
    ]


def to_sign_in(request: Request) -> Response:
    """Where somebody without a session goes, to come back afterwards."""
    # What htmx asks for is a part of the page that it is asked from, which stands in a header.
    wanted = request.headers.get("hx-current-url") or str(request.url) if request.method == "GET" else HOME
    path = wanted[wanted.find("/ui") :] if "/ui" in wanted else HOME
    return away(request, f"{SIGN_IN}?{urlencode({'to': path})}")


def _ours(path: str) -> str:
    """`path` where it is one of a page of ours: a link must not sign in and then lead elsewhere."""
    return path if path == "/ui" or path.startswith("/ui/") else HOME
