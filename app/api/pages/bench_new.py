"""`/ui/bench/new`: a run is asked for, estimated and started."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from app.api.pages.bench_common import Bench, own_url
from app.api.pages.render import away, page
from app.bench.aside import AsideFailed, shell
from app.bench.bundled import SAID as BUNDLED
from app.bench.estimate import Estimate
from app.bench.form import Grounds, RunForm
from app.bench.graders import names as grader_names
from app.core.errors import ConfigError, InvalidRequest
from app.store.queries.suites import SuiteFacts, suite_facts
from app.store.runs import RunRow, get_run
from app.store.suites import list_suites
from routers import registry

PLAIN = tuple(name for name in grader_names() if "<" not in name and ".py" not in name)
"""Graders that are named by a word."""


def bench_new_pages(bench: Bench) -> APIRouter:
    """The form, its estimate, and the start."""
    api = APIRouter(prefix="/bench")
    database = bench.shown.database

    @api.get("/new")
    async def form(request: Request, suite: str = "", run: str = "") -> Response:
        """`suite`: to begin with; `run`: what asked for that run, to go on with it or to change something."""
        if not run:
            return await _show(bench, request, await _first(bench, suite))
        row, _ = await get_run(database, run)
        return await _show(bench, request, await _of_run(bench, row), earlier=row)

    @api.post("/form")
    async def for_suite(request: Request) -> Response:
        """What of the form depends on the suite, for another one."""
        asked, grounds, _ = await _asked(bench, request)
        if grounds.models is None:
            asked = msgspec.structs.replace(asked, upstream="live")
        facts = await suite_facts(bench.shown.database, name=asked.suite)
        return await page(
            request,
            "bench_form_suite.html",
            asked=asked,
            problems={},
            facts=facts,
            bundled=asked.suite in BUNDLED and facts is None,
            part=True,
        )

    @api.post("/check")
    async def check(request: Request) -> Response:
        asked, grounds, _ = await _asked(bench, request)
        # What a start would ask beside it is not asked for yet.
        found = await asyncio.to_thread(
            msgspec.structs.replace(asked, max_cost=asked.max_cost or "1").problems, grounds
        )
        if found:
            return await page(request, "bench_estimate.html", estimate=None, problem=None, problems=found, spends=False)
        arguments = asked.arguments(own_url(request))
        shown: dict[str, Any] = {"problems": {}, "spends": asked.spends(grounds), "command": shell(arguments)}
        try:
            estimate = msgspec.json.decode(await bench.aside.ask(*arguments, "--dry-run", "--json=-"), type=Estimate)
        except (ConfigError, AsideFailed) as error:
            return await page(request, "bench_estimate.html", estimate=None, problem=error.message, **shown)
        return await page(request, "bench_estimate.html", estimate=estimate, problem=None, **shown)

    @api.post("/new")
    async def start(request: Request) -> Response:
        asked, grounds, earlier = await _asked(bench, request)
        found = await asyncio.to_thread(asked.problems, grounds)
        if asked.spends(grounds) and not asked.confirm:
            found.setdefault("confirm", "Say that it may be spent.")
        if found:
            return await _show(bench, request, asked, found, earlier)
        began = await asyncio.to_thread(
            bench.starts.begin,
            bench.aside,
            asked.arguments(own_url(request)),
            suite=asked.suite,
            form=msgspec.to_builtins(asked),
            max_cost=float(asked.max_cost) if asked.max_cost.strip() else None,
        )
        return away(request, f"/ui/bench/starts/{began.id}")

    return api


async def _show(
    bench: Bench,
    request: Request,
    asked: RunForm,
    problems: Mapping[str, str] | None = None,
    earlier: RunRow | None = None,
) -> Response:
    suites = await list_suites(bench.shown.database)
    facts = await suite_facts(bench.shown.database, name=asked.suite) if asked.suite else None
    there = {suite.name for suite in suites}
    return await page(
        request,
        "bench_new.html",
        status=422 if problems else 200,
        asked=asked,
        problems=problems or {},
        earlier=earlier,
        suites=[*(suite.name for suite in suites), *(name for name in BUNDLED if name not in there)],
        facts=facts,
        bundled=asked.suite in BUNDLED and facts is None,
        installed=registry.names(),
        served=list(bench.shown.decider.entries),
        graders=PLAIN,
        part=False,
    )


async def _first(bench: Bench, name: str) -> RunForm:
    suites = [suite.name for suite in await list_suites(bench.shown.database)]
    name = name or next(iter(suites), "basics")
    facts = await suite_facts(bench.shown.database, name=name)
    recorded = name == "basics" if facts is None else facts.models is not None
    return RunForm(
        suite=name,
        upstream="recorded" if recorded else "live",
        routers=("cheapest", "knn") if recorded else tuple(bench.shown.decider.entries)[:1],
    )


async def _of_run(bench: Bench, row: RunRow) -> RunForm:
    start = await asyncio.to_thread(bench.starts.of_run, row.id)
    if start is not None:
        return RunForm.of({**start.form, "confirm": False, "fresh": False})
    facts = await suite_facts(bench.shown.database, name=row.suite)
    return RunForm.of_spec(row.suite, row.spec, None if facts is None else facts.grader, registry.names())


async def _asked(bench: Bench, request: Request) -> tuple[RunForm, Grounds, RunRow | None]:
    """The form that was sent, what it is checked against, and the run that it was made from."""
    sent = await request.form()
    given: dict[str, Any] = {name: value for name, value in sent.items() if isinstance(value, str)}
    # Each way of answering has routers of its own to tick; those of the other one are hidden.
    ticked = sent.getlist("routers_live" if sent.get("upstream") == "live" else "routers_recorded")
    given["routers"] = tuple(value for value in ticked if isinstance(value, str))
    if sent.get("upstream") == "live":
        given["more"] = ""
    given["confirm"], given["fresh"] = "confirm" in given, "fresh" in given
    # A select and a field beside it give one value.
    if given.pop("category", "") and given.get("split_by") == "leave-out":
        given["split_by"] = f"leave-out:{sent['category']}"
    if given.pop("judge", ""):
        given["grader"] = str(sent["judge"])
    earlier = given.pop("earlier", "")
    try:
        asked = RunForm.of(given)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The form cannot be read: {error}.") from None
    facts = await suite_facts(bench.shown.database, name=asked.suite)
    row = (await get_run(bench.shown.database, earlier))[0] if earlier else None
    return asked, _grounds(bench, asked.suite, facts), row


def _grounds(bench: Bench, name: str, facts: SuiteFacts | None) -> Grounds:
    bundled = facts is None and name in BUNDLED
    return Grounds(
        models=(("simulated",) if name == "basics" else None) if facts is None else facts.models,
        categories=() if facts is None else list(facts.categories),
        graders=("answer",) if bundled else () if facts is None else facts.graders,
        known=facts is not None or bundled,
        served=list(bench.shown.decider.entries),
        allow_code=bench.shown.settings.allow_code,
    )
