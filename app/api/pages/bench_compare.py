"""`/ui/bench/compare`: two runs of the same items, as a whole and item by item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.pages.bench_common import PAGE, RECORDED, Bench, pager, spread
from app.api.pages.bench_items import pick, settings_of, written
from app.api.pages.render import page
from app.bench import wording
from app.bench.aside import AsideFailed
from app.bench.compare import refused
from app.core.errors import ConfigError
from app.store.queries.results import Setting, Show, paired_items, told
from app.store.queries.run_list import run_lines
from app.store.queries.suites import suite_item
from app.store.runs import RunRow, get_run

TONES = {"better": "good", "worse": "bad", "cheaper": "good", "dearer": "bad"}


def bench_compare_pages(bench: Bench) -> APIRouter:
    """The page, its headline, and one pair of replies."""
    api = APIRouter(prefix="/bench/compare")
    database = bench.shown.database

    @api.get("")
    async def compared(
        request: Request,
        a: str = "",
        b: str = "",
        sa: str = "",
        sb: str = "",
        show: Show = "all",
        category: str = "",
        q: str = "",
        place: Annotated[int, Query(alias="page", ge=1)] = 1,
    ) -> Response:
        if not a or not b:
            runs, _ = await run_lines(database, limit=100)
            done = [line.run for line in runs if line.run.status == "done" and line.run.spec.get("kind") != "record"]
            older, newer = _pair(done)
            return await page(request, "bench_compare_pick.html", runs=done, given={"a": a or older, "b": b or newer})
        (first, _), (second, _) = await get_run(database, a), await get_run(database, b)
        sides: dict[str, Any] = {"a": first, "b": second}
        trouble = refused(first, second)
        if trouble is not None:
            return await page(request, "bench_compare.html", **sides, refused=trouble, given={"a": a, "b": b})
        suite = await bench.suite_of(first)
        settings = settings_of(first), settings_of(second)
        one = pick(settings[0], sa)
        # The other side begins with the same setting, where it has it.
        other = pick(settings[1], sb or written(one))
        lines, counts = await paired_items(
            database,
            Setting(first.id, *one),
            Setting(second.id, *other),
            None if suite is None else suite.id,
            show=show,
            category=category,
            search=q,
            limit=PAGE,
            offset=PAGE * (place - 1),
        )
        part = request.headers.get("hx-target") == "items"
        return await page(
            request,
            "bench_compare_items.html" if part else "bench_compare.html",
            **sides,
            refused=None,
            suite=suite,
            settings=settings,
            picked=(one, other),
            written=written,
            lines=lines,
            counts=counts,
            pager=pager(place, getattr(counts, show)),
            given={
                "a": first.id,
                "b": second.id,
                "sa": written(one),
                "sb": written(other),
                "show": show,
                "category": category,
                "q": q,
            },
        )

    @api.get("/headline")
    async def headline(request: Request, a: str, b: str) -> Response:
        first, second = [(await get_run(database, key))[0] for key in (a, b)]
        try:
            found = await bench.drawn.comparison(first.id, second.id)
        except (ConfigError, AsideFailed) as error:
            return await page(request, "bench_headline.html", comparison=None, refused=error.message)
        return await page(
            request,
            "bench_headline.html",
            comparison=found,
            refused=None,
            spread=spread,
            money=wording.money,
            p_value=wording.p_value,
            tones=TONES,
        )

    @api.get("/item")
    async def item(
        request: Request, a: str, b: str, sa: str, sb: str, item: str, position: int | None = None
    ) -> Response:
        rows: list[RunRow] = [(await get_run(database, key))[0] for key in (a, b)]
        suite = await bench.suite_of(rows[0])
        picked = [
            (Setting(row.id, *pick(settings_of(row), wanted)), row.spec.get("upstream") in RECORDED)
            for row, wanted in zip(rows, (sa, sb), strict=True)
        ]
        sides = await told(database, picked, None if suite is None else suite.id, item)
        whole = None if suite is None or position is None else await suite_item(database, suite.id, position)
        return await page(request, "bench_pair.html", sides=sides, item=whole, suite=suite)

    return api


def _pair(runs: Sequence[RunRow]) -> tuple[str, str]:
    """The newest two runs of the same items, the older one first; `runs`: the newest first."""
    newest: dict[str, str] = {}
    for run in runs:
        if run.suite_digest in newest:
            return run.id, newest[run.suite_digest]
        newest[run.suite_digest] = run.id
    return "", ""
