"""Every error leaves in OpenAI's envelope, below Anthropic's endpoint in Anthropic's, also those that FastAPI and
Starlette raise by themselves."""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.core.errors import HullspeedError
from app.gateway.dialects.messages import Messages

log = logging.getLogger("hullspeed.api")


class _HttpError(HullspeedError):
    """An error of the framework's own (404, 405 …)."""

    type = "invalid_request_error"

    def __init__(self, error: HTTPException, request: Request) -> None:
        what = f"{request.method} {request.url.path}"
        messages = {404: f"There is no {what} here.", 405: f"{what} is not allowed."}
        super().__init__(messages.get(error.status_code, str(error.detail)))
        self.status = error.status_code
        self.code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)


def respond(request: Request, error: HullspeedError, headers: dict[str, str] | None = None) -> Response:
    """The envelope as a response."""
    if error.retry_after is not None:
        headers = {"retry-after": f"{error.retry_after:.0f}", **(headers or {})}
    path = request.scope["path"]
    below = path == Messages.endpoint or path.startswith(f"{Messages.endpoint}/")
    body = Messages().error(error) if below else error.envelope()
    return Response(body, error.status, headers, media_type="application/json")


def install_error_handlers(app: Starlette) -> None:
    """One handler for our errors, and translations for those of the framework."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, HullspeedError)
        return respond(request, error)

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, HullspeedError):
            # FastAPI wraps what is raised while it reads a body.
            return respond(request, error.__cause__)
        return respond(request, _HttpError(error, request), dict(error.headers or {}))

    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        failure = HullspeedError("Hullspeed failed on this request; its log says why.")
        failure.code = "internal_error"
        return respond(request, failure)

    app.add_exception_handler(HullspeedError, ours)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(Exception, unexpected)
