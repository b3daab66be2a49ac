"""`/ui/bench/runs/…`: a run while it goes on, and what it came to."""

from __future__ import annotations

import asyncio
import gzip
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.api.pages.bench_common import KINDS, RECORDED, TONES, Bench, spread, state_of
from app.api.pages.bench_items import settings_of
from app.api.pages.render import HEADERS, away, page
from app.bench import wording
from app.bench.aside import last_words, shell
from app.bench.drawn import Form, policy
from app.bench.figures import Report, RouterReport
from app.bench.starts import Start
from app.core.errors import InvalidRequest, NotFound
from app.store.queries.results import run_pace, run_progress
from app.store.queries.run_list import run_lines
from app.store.runs import RunRow, claimed, get_run

WINDOW = timedelta(seconds=10)
"""Over which it is told how fast a run is."""
TYPES = {"html": "text/html; charset=utf-8", "json": "application/json", "csv": "text/csv; charset=utf-8"}


def bench_run_pages(bench: Bench) -> APIRouter:
    """The pages of one run."""
    api = APIRouter(prefix="/bench/runs/{key}")
    database = bench.shown.database

    @api.get("")
    async def run(request: Request, key: str) -> Response:
        row, stored = await get_run(database, key)
        if row.id != key:
            return RedirectResponse(f"/ui/bench/runs/{row.id}", 307)
        part = request.headers.get("hx-target") == "progress"
        shown = await _about(bench, row)
        if row.status != "done":
            shown |= await _progress(bench, row, shown)
            return await page(request, "bench_progress.html" if part else "bench_running.html", **shown)
        if part:
            return Response(status_code=200, headers={**HEADERS, "hx-refresh": "true"})
        return await page(request, "bench_run.html", **shown, **await _came_to(bench, row, stored))

    @api.post("/stop")
    async def stop(request: Request, key: str) -> Response:
        row, _ = await get_run(database, key)
        start = await asyncio.to_thread(bench.starts.of_run, row.id)
        if start is None or not await asyncio.to_thread(bench.starts.stop, start):
            raise InvalidRequest("Its process is none that was started on this host's pages: stop it where it runs.")
        return away(request, f"/ui/bench/runs/{row.id}")

    @api.get("/report")
    async def report(request: Request, key: str) -> Response:
        row = await _finished(bench, key)
        return await page(request, "bench_report.html", **await _about(bench, row))

    @api.get("/report.{form}")
    async def drawn(request: Request, key: str, form: Form, download: bool = False) -> Response:
        row = await _finished(bench, key)
        body = await bench.drawn.report(row.id, form)
        headers = {**HEADERS, "cache-control": "private, no-cache", "vary": "accept-encoding"}
        if form == "html":
            # What it says of itself; and served from here it is nobody: no session, no page of ours is its own.
            said = await asyncio.to_thread(policy, body)
            headers["content-security-policy"] = f"{said}; sandbox allow-scripts; frame-ancestors 'self'"
        if download:
            headers["content-disposition"] = f'attachment; filename="hullspeed-{row.id[:13]}.{form}"'
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
        else:
            body = await asyncio.to_thread(gzip.decompress, body)
        return Response(body, headers=headers, media_type=TYPES[form])

    return api


async def _finished(bench: Bench, key: str) -> RunRow:
    row, stored = await get_run(bench.shown.database, key)
    if row.spec.get("kind") == "record":
        raise NotFound(f"Run {row.id} recorded a suite and scored no router, so it has no report.")
    if stored is None:
        raise NotFound(f"Run {row.id} is not finished ({row.status}), so there is no report yet.")
    return row


async def _about(bench: Bench, row: RunRow) -> dict[str, Any]:
    held = row.status == "running" and row.id in await claimed(bench.shown.database, [row.id])
    state = state_of(row, held)
    start: Start | None = await asyncio.to_thread(bench.starts.of_run, row.id)
    kind = str(row.spec.get("kind", ""))
    return {
        "run": row,
        "state": state,
        "tone": TONES[state],
        "kind": KINDS.get(kind, ""),
        "start": start,
        "here": start is not None and bool(await asyncio.to_thread(bench.starts.is_alive, start)),
        "command": None if start is None else shell(start.arguments),
        "free": row.spec.get("upstream") in RECORDED,
    }


async def _progress(bench: Bench, row: RunRow, shown: dict[str, Any]) -> dict[str, Any]:
    found = await run_progress(bench.shown.database, row.id)
    running = shown["state"] == "running"
    rate = await run_pace(bench.shown.database, row.id, datetime.now(UTC), WINDOW) if running else None
    items = row.spec.get("items")
    settings = settings_of(row)
    total = None if not isinstance(items, int) else items * len(settings)
    done = sum(one.done for one in found.values())
    start = shown["start"]
    judged = sum(one.done - one.ungraded for one in found.values())
    quality = sum((one.quality or 0) * (one.done - one.ungraded) for one in found.values())
    said = "" if start is None else await asyncio.to_thread(bench.starts.said, start)
    return {
        "settings": [(router, tradeoff, found.get((router, tradeoff))) for router, tradeoff in settings],
        "items": items,
        "total": total,
        "done": done,
        "rate": rate,
        "left": (total - done) / rate if rate and total is not None else None,
        "spent": sum(one.cost_usd + one.judge_cost_usd for one in found.values()),
        "failed": sum(one.failed for one in found.values()),
        "ungraded": sum(one.ungraded for one in found.values()),
        "quality": quality / judged if judged else None,
        # A large run takes Postgres a while to add up.
        "every": 1 if done < 50_000 else 3 if done < 300_000 else 10,
        "said": said,
        "problem": last_words(said) if said and not running and not shown["here"] else None,
    }


async def _came_to(bench: Bench, row: RunRow, stored: dict[str, Any] | None) -> dict[str, Any]:
    """A finished run in short, and what it can be compared with."""
    report = None if stored is None else await asyncio.to_thread(msgspec.convert, stored, Report)
    same, _ = await run_lines(bench.shown.database, limit=12, digest=row.suite_digest)
    return {
        "report": report,
        "routers": [] if report is None else [_board_line(router) for router in wording.by_aiq(report.routers)],
        "facts": [] if report is None else wording.facts(report),
        "money": wording.money,
        "cost": None if report is None else _cost(report),
        "others": [line.run for line in same if line.run.id != row.id and line.run.status == "done"],
    }


def _board_line(router: RouterReport) -> dict[str, Any]:
    verdict = None if router.delta_aiq is None else wording.verdict(router.delta_aiq)
    tone = {wording.BETTER: "good", wording.WORSE: "bad"}.get(verdict or "", "muted")
    if router.delta_aiq is not None and wording.taken_back(router.delta_aiq, router.delta_p_holm):
        verdict, tone = f"{wording.UNDECIDED} after Holm's correction", "muted"
    return {
        "router": router,
        "point": router.points[router.best_point],
        "delta": None if router.delta_aiq is None else spread(router.delta_aiq),
        "verdict": verdict,
        "tone": tone,
    }


def _cost(report: Report) -> float:
    return sum(point.cost_per_1k for router in report.routers for point in router.points) * report.n / 1000
