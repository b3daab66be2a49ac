"""What a platform asks: is the process alive, can it serve, what do the numbers say. None of it needs a key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.api import routes
from app.core.metrics import Metrics


def ops_routes(
    metrics: Callable[[], Awaitable[bytes]], readiness: Callable[[], tuple[bool, dict[str, Any]]]
) -> list[Route]:
    """`metrics` gives the page of all workers; `readiness` whether requests can be served, and what was found: it must
    not wait for anything."""

    async def there(_: Request) -> Response:
        """Somebody is there: some agents ask this before anything else."""
        return Response()

    async def home(_: Request) -> Response:
        """Whoever comes with a browser wants the pages."""
        return Response(status_code=307, headers={"location": "/ui/"})

    async def healthz(_: Request) -> Response:
        """The process is alive. Touches nothing."""
        return _json({"status": "ok"})

    async def readyz(_: Request) -> Response:
        """Requests can be served. Fails while draining or without a usable model; not for Postgres, since calls are
        journalled without it."""
        ready, found = readiness()
        return _json({"status": "ready" if ready else "not ready", **found}, 200 if ready else 503)

    async def prometheus(_: Request) -> Response:
        """Prometheus text format."""
        return Response(await metrics(), media_type=Metrics.content_type)

    return [
        routes.head("/", there),
        routes.get("/", home),
        routes.get("/ui", home),
        routes.head("/healthz", healthz),
        routes.get("/healthz", healthz),
        routes.head("/readyz", readyz),
        routes.get("/readyz", readyz),
        routes.get("/metrics", prometheus),
    ]


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
