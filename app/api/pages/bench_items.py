"""`/ui/bench/runs/…/items`: what a run did, item by item."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.pages.bench_common import PAGE, RECORDED, Bench, pager
from app.api.pages.render import page
from app.core.errors import NotFound
from app.store.queries.results import Only, Setting, run_items, told
from app.store.queries.suites import suite_item
from app.store.runs import RunRow, get_run


def bench_item_pages(bench: Bench) -> APIRouter:
    """The list, and what opens in it."""
    api = APIRouter(prefix="/bench/runs/{key}")
    database = bench.shown.database

    @api.get("/items")
    async def items(
        request: Request,
        key: str,
        setting: str = "",
        only: Only = "all",
        category: str = "",
        q: str = "",
        place: Annotated[int, Query(alias="page", ge=1)] = 1,
    ) -> Response:
        row, _ = await get_run(database, key)
        suite = await bench.suite_of(row)
        settings = settings_of(row)
        picked = pick(settings, setting)
        found, total = await run_items(
            database,
            Setting(row.id, *picked),
            None if suite is None else suite.id,
            only=only,
            category=category,
            search=q,
            limit=PAGE,
            offset=PAGE * (place - 1),
        )
        return await page(
            request,
            "bench_items_part.html" if request.headers.get("hx-target") == "items" else "bench_items.html",
            run=row,
            suite=suite,
            settings=settings,
            picked=picked,
            lines=found,
            pager=pager(place, total),
            given={"setting": written(picked), "only": only, "category": category, "q": q},
        )

    @api.get("/item")
    async def item(request: Request, key: str, setting: str, item: str, position: int | None = None) -> Response:
        row, _ = await get_run(database, key)
        suite = await bench.suite_of(row)
        picked = Setting(row.id, *pick(settings_of(row), setting))
        recorded = row.spec.get("upstream") in RECORDED
        (found,) = await told(database, [(picked, recorded)], None if suite is None else suite.id, item)
        if found is None:
            raise NotFound("This setting was not asked that item.")
        whole = None if suite is None or position is None else await suite_item(database, suite.id, position)
        return await page(request, "bench_told.html", told=found, item=whole, suite=suite)

    return api


def settings_of(run: RunRow) -> list[tuple[str, float]]:
    """The routers of a run at its tradeoffs."""
    tradeoffs = [float(value) for value in run.spec.get("tradeoffs", ())]
    return [(str(router), tradeoff) for router in run.spec.get("routers", ()) for tradeoff in tradeoffs]


def written(setting: tuple[str, float]) -> str:
    """A setting as an address holds it."""
    return f"{setting[1]!r}@{setting[0]}"


def pick(settings: list[tuple[str, float]], wanted: str) -> tuple[str, float]:
    """The setting that an address names, or else the first one. Raises `NotFound` where there is none at all."""
    if not settings:
        raise NotFound("This run asked nothing.")
    return next((setting for setting in settings if written(setting) == wanted), settings[0])
