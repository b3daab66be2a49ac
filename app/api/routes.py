"""Routes made with Starlette alone: what is asked all the time is answered without FastAPI, which takes memory and a
part of the start. It comes in for `/v1/calls` and the pages, when somebody first asks for them (see `lazy`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.guard import Checks
from app.api.lazy import LazyApp

DESCRIPTION = "/openapi.json"
Endpoint = Callable[[Request], Awaitable[Response]]


class Guarded:
    """Lets those through to an application who may pass. Plain ASGI."""

    def __init__(self, app: ASGIApp, guard: Checks) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._guard.check(scope["headers"])
        await self._app(scope, receive, send)


def get(path: str, endpoint: Endpoint, guard: Checks | None = None) -> Route:
    """A route for GET alone; without a guard it is open to everybody."""
    return _route("GET", path, endpoint, guard)


def get_made(path: str, make: Callable[[], bytes], guard: Checks) -> Route:
    """A route for GET alone, of a JSON document that is made when somebody first asks for it, in a thread."""
    made = LazyApp(lambda: Response(make(), media_type="application/json"))
    return _only("GET", Route(path, Guarded(made, guard), methods=["GET"]))


def head(path: str, endpoint: Endpoint) -> Route:
    """A route for HEAD, open to everybody."""
    return _route("HEAD", path, endpoint, None)


def post(path: str, endpoint: Endpoint, guard: Checks) -> Route:
    """A route for POST."""
    return _route("POST", path, endpoint, guard)


def _route(method: str, path: str, endpoint: Endpoint, guard: Checks | None) -> Route:
    app = endpoint if guard is None else Guarded(request_response(endpoint), guard)
    return _only(method, Route(path, app, methods=[method]))


def _only(method: str, route: Route) -> Route:
    # Starlette would add HEAD to GET.
    route.methods = {method}
    return route
