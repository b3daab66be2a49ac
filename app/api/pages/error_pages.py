"""Errors of the pages, which are pages too."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.api.pages.render import page
from app.api.pages.signing import to_sign_in
from app.core.errors import HullspeedError, InvalidKey

log = logging.getLogger("hullspeed.pages")


async def ours(request: Request, error: Exception) -> Response:
    """Our own errors; whoever may see the page with a key is led to where it is asked for."""
    assert isinstance(error, HullspeedError)
    if isinstance(error, InvalidKey):
        return to_sign_in(request)
    return await error_page(request, error.status, error.message)


async def framework(request: Request, error: Exception) -> Response:
    """The framework's: no such page, no such method."""
    assert isinstance(error, HTTPException)
    said = {404: "There is no such page.", 405: "This page takes no such request."}
    return await error_page(request, error.status_code, said.get(error.status_code, str(error.detail)))


async def unexpected(request: Request, error: Exception) -> Response:
    """A fault of ours."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return await error_page(request, 500, "This page failed; the log of the proxy says why.")


HANDLERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    HullspeedError: ours,
    HTTPException: framework,
    Exception: unexpected,
}


async def error_page(request: Request, status: int, message: str) -> Response:
    """As a page, or as a part of one: htmx is told to show it as a notice in place of what it asked for."""
    if "hx-request" in request.headers:
        headers = {"hx-retarget": "#notice", "hx-reswap": "innerHTML"}
        return await page(request, "notice.html", status=status, headers=headers, message=message, tone="bad")
    return await page(request, "error.html", status=status, message=message, code=status)
