"""`/ui/bench`: runs and suites, and what is in a suite."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import JSONResponse

from app.api.pages.bench_common import PAGE, Bench, pager
from app.api.pages.render import HEADERS, away, page
from app.bench.bundled import SAID as BUNDLED
from app.bench.pool import hull_of, pool_figure
from app.bench.wording import money
from app.core.errors import NotFound
from app.store.queries.run_list import run_lines
from app.store.queries.suites import SuiteFacts, suite_facts, suite_item, suite_items
from app.store.suites import list_suites


def bench_pages(bench: Bench) -> APIRouter:
    """The lists, and the pages of suites."""
    api = APIRouter(prefix="/bench")
    database = bench.shown.database

    @api.get("")
    async def lists(request: Request, place: Annotated[int, Query(alias="page", ge=1)] = 1) -> Response:
        runs, total = await run_lines(database, limit=PAGE, offset=PAGE * (place - 1))
        suites = await list_suites(database)
        there = {suite.name for suite in suites}
        return await page(
            request,
            "bench.html",
            runs=[bench.line(run) for run in await bench.with_claims(runs)],
            pager=pager(place, total),
            given={},
            total=total,
            suites=suites,
            bundled={name: said for name, said in BUNDLED.items() if name not in there},
        )

    @api.post("/suites")
    async def load(request: Request, name: Annotated[str, Form()]) -> Response:
        if name not in BUNDLED:
            raise NotFound(f"No suite that comes with Hullspeed is called {name[:100]!r}.")
        await bench.aside.ask("bench", "import", "bundled", name)
        return away(request, f"/ui/bench/suites/{name}")

    @api.get("/suites/{name:path}/items/{position}")
    async def item(request: Request, name: str, position: int) -> Response:
        suite = await _suite(name)
        found = await suite_item(database, suite.id, position)
        if found is None:
            raise NotFound(f"The suite has no item at place {position}.")
        return await page(request, "bench_item.html", suite=suite, item=found)

    @api.get("/suites/{name:path}/models.json")
    async def models(name: str) -> Response:
        suite = await _suite(name)
        return JSONResponse(pool_figure(await bench.models(suite)), headers=HEADERS)

    @api.get("/suites/{name:path}")
    async def one(
        request: Request,
        name: str,
        category: str = "",
        q: str = "",
        place: Annotated[int, Query(alias="page", ge=1)] = 1,
    ) -> Response:
        suite = await _suite(name)
        items, total = await suite_items(
            database, suite.id, category=category, search=q, limit=PAGE, offset=PAGE * (place - 1)
        )
        shown: dict[str, Any] = {
            "suite": suite,
            "items": items,
            "total": total,
            "pager": pager(place, total),
            "given": {"category": category, "q": q},
        }
        if request.headers.get("hx-target") == "items":
            return await page(request, "bench_suite_items.html", **shown)
        models = [] if suite.models is None else await bench.models(suite)
        runs, _ = await run_lines(database, limit=8, digest=suite.digest)
        lines = [bench.line(run) for run in await bench.with_claims(runs)]
        return await page(
            request,
            "bench_suite.html",
            models=models,
            hull={model.model for model in hull_of(models)},
            money=money,
            runs=lines,
            **shown,
        )

    async def _suite(name: str) -> SuiteFacts:
        found = await suite_facts(database, name=name)
        if found is None:
            more = " It comes with Hullspeed: load it on the bench's page." if name in BUNDLED else ""
            raise NotFound(f"There is no suite named {name[:200]!r}.{more}")
        return found

    return api
