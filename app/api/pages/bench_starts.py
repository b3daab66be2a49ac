"""`/ui/bench/starts/…`: between the start of a run and its first call."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from app.api.pages.bench_common import Bench
from app.api.pages.render import away, page
from app.bench.aside import last_words, shell
from app.core.errors import NotFound


def bench_start_pages(bench: Bench) -> APIRouter:
    """The page, and the button that stops what it shows."""
    api = APIRouter(prefix="/bench")

    @api.get("/starts/{key}")
    async def started(request: Request, key: str) -> Response:
        """Where somebody waits until there is a run, or until it has failed before there was one."""
        start = await asyncio.to_thread(bench.starts.get, key)
        if start is None:
            raise NotFound("This host knows no such start; the runs themselves are in the list.")
        alive, run = await asyncio.to_thread(lambda: (bench.starts.is_alive(start), bench.starts.run_of(key)))
        # Read again once it has ended: it may have written the id in between.
        if run is None and not alive:
            run = await asyncio.to_thread(bench.starts.run_of, key)
        if run is not None:
            return away(request, f"/ui/bench/runs/{run}")
        said = await asyncio.to_thread(bench.starts.said, start)
        part = request.headers.get("hx-target") == "start"
        return await page(
            request,
            "bench_start_part.html" if part else "bench_start.html",
            start=start,
            alive=alive,
            said=said,
            problem=None if alive or alive is None else last_words(said),
            command=shell(start.arguments),
        )

    @api.post("/starts/{key}/stop")
    async def stop(request: Request, key: str) -> Response:
        start = await asyncio.to_thread(bench.starts.get, key)
        if start is not None:
            await asyncio.to_thread(bench.starts.stop, start)
        return away(request, f"/ui/bench/starts/{key}")

    return api
