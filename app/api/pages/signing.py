"""Signing in and out."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response

from app.api.pages.access import SESSION_SECONDS, Access
from app.api.pages.render import away, page

SIGN_IN = "/ui/sign-in"
HOME = "/ui/"


def signing_pages(access: Access) -> APIRouter:
    """The form, and what it does. Open to all."""
    api = APIRouter()

    @api.get("/sign-in")
    async def form(request: Request, to: str = HOME) -> Response:
        if not access.has_key:
            return away(request, HOME)
        return await page(request, "sign_in.html", to=_ours(to), wrong=False)

    @api.post("/sign-in")
    async def sign_in(
        request: Request, key: Annotated[str, Form()] = "", to: Annotated[str, Form()] = HOME
    ) -> Response:
        access.check_origin(request.scope["headers"])
        session = access.session(key.strip())
        if session is None:
            return await page(request, "sign_in.html", status=401, to=_ours(to), wrong=True)
        response = away(request, _ours(to))
        _keep(request, response, session, SESSION_SECONDS)
        return response

    @api.post("/sign-out")
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

    return api


def to_sign_in(request: Request) -> Response:
    """Where somebody without a session goes, to come back afterwards."""
    # What htmx asks for is a part of the page that it is asked from, which stands in a header.
    wanted = request.headers.get("hx-current-url") or str(request.url) if request.method == "GET" else HOME
    path = wanted[wanted.find("/ui") :] if "/ui" in wanted else HOME
    return away(request, f"{SIGN_IN}?{urlencode({'to': path})}")


def _ours(path: str) -> str:
    """`path` where it is one of a page of ours: a link must not sign in and then lead elsewhere."""
    return path if path == "/ui" or path.startswith("/ui/") else HOME
