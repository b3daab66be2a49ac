"""What a platform asks: is the process alive, can it serve, what do the numbers say. None of it needs a key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Response

from app.core.metrics import Metrics


def ops_api(metrics: Callable[[], Awaitable[bytes]], readiness: Callable[[], tuple[bool, dict[str, Any]]]) -> APIRouter:
    """`metrics` gives the page of all workers; `readiness` whether requests can be served, and what was found: it must
    not wait for anything."""
    api = APIRouter(tags=["operations"])

    @api.head("/")
    async def there() -> Response:
        """Somebody is there: some agents ask this before anything else."""
        return Response()

    @api.get("/", include_in_schema=False)
    @api.get("/ui", include_in_schema=False)
    async def home() -> Response:
        """Whoever comes with a browser wants the pages."""
        return Response(status_code=307, headers={"location": "/ui/"})

    @api.head("/healthz")
    @api.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process is alive. Touches nothing."""
        return {"status": "ok"}

    @api.head("/readyz")
    @api.get("/readyz")
    async def readyz(response: Response) -> dict[str, Any]:
        """Requests can be served. Fails while draining or without a usable model; not for Postgres, since calls are
        journalled without it."""
        ready, found = readiness()
        if not ready:
            response.status_code = 503
        return {"status": "ready" if ready else "not ready", **found}

    @api.get("/metrics")
    async def prometheus() -> Response:
        """Prometheus text format."""
        return Response(await metrics(), media_type=Metrics.content_type)

    return api
