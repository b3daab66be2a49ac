"""`hullspeed bench record | capture | export | import folder`: suites filled by models, made of calls, handed on."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.elsewhere import candidate_of, listed_models
from app.cli.options import AllowCodeFlag, ConfigOption, DataDirOption, run_async
from app.cli.spending import ask_to_spend

if TYPE_CHECKING:
    from app.bench.capture import Captured
    from app.bench.plan import Plan
    from app.bench.record import Recording
    from app.bench.replay import Task
    from app.bench.run import Target
    from app.bench.suite import Suite
    from app.core.settings import Settings
    from app.store.database import Database
    from routers import Candidate

ReplaceFlag = Annotated[bool, typer.Option("--replace", help="Replace a suite of that name.")]

SHOWN = 3
"""Reasons for missing cells that are told."""


def record(
    suite: Annotated[str, typer.Argument(help="Name of the suite.")],
    models: Annotated[str, typer.Option(help="Comma-separated names of the catalog.")],
    name: Annotated[str | None, typer.Option(help="Suite to save the outcomes in; by default the same one.")] = None,
    grader: Annotated[str | None, typer.Option(help="Grade replies with this instead of the suite's grader.")] = None,
    allow_code: AllowCodeFlag = False,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Calls in flight.")] = 32,
    url: Annotated[str | None, typer.Option(help="A running proxy; without it one is started from the config.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Stop once this many USD are spent.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Spend money without asking.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Ask models for every item of a suite through a proxy, and keep what they did as its outcomes."""
    from app.bench import library
    from app.bench.record import check_name, plan_recording
    from app.cli.store import open_database
    from app.core.logs import configure_logging
    from app.core.settings import load_settings

    wanted = [entry.strip() for entry in models.split(",") if entry.strip()]
    cap = None if max_cost is None else Decimal(str(max_cost))

    async def work() -> Recording:
        settings = load_settings(config=config, data_dir=data_dir, host="127.0.0.1")
        configure_logging(settings.log_level, settings.log_format)
        async with open_database(settings=settings) as database:
            found = await library.load(database, suite)
            plan = plan_recording(found, wanted, grader, allow_code=allow_code or settings.allow_code)
            await check_name(database, plan, name or suite)
            return await recording(plan, settings, database, name, url, concurrency, cap, yes=yes)

    run_async(work())


async def recording(
    plan: Plan,
    settings: Settings,
    database: Database,
    name: str | None,
    url: str | None,
    concurrency: int,
    cap: Decimal | None,
    *,
    yes: bool,
) -> Recording:
    """Carry a recording out as a command does: the estimate, a question, progress, and what came of it."""
    async with _asked_proxy(plan, settings, database, url, cap, yes=yes) as asked:
        found = await _show_recording(plan, asked, database, name, concurrency, cap)
    _say_recording(found)
    return found


def capture(
    name: Annotated[str, typer.Option(help="Name of the new suite.")],
    since: Annotated[str, typer.Option(help="Calls from then on: 90m, 12h, 7d, 2w ago, or an ISO date or time (UTC).")],
    until: Annotated[str | None, typer.Option(help="Calls before then; written like --since.")] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Most items; a seeded sample of the different chats.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seeds the sample.")] = 0,
    router: Annotated[str | None, typer.Option(help="Only calls this router decided (none: the client did).")] = None,
    model: Annotated[str | None, typer.Option(help="Only calls this model answered.")] = None,
    redact: Annotated[
        str | None,
        typer.Option(
            help="module:function that takes a chat's messages and gives them back redacted; `none`: keep all. "
            "By default e-mail addresses, phone numbers and keys are masked.",
            show_default=False,
        ),
    ] = None,
    replace: ReplaceFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """Make a suite of logged calls whose text was stored."""
    from app.bench import library
    from app.bench.capture import capture as carry_out
    from app.bench.capture import load_redaction
    from app.cli.progress import Step, steps
    from app.cli.store import open_database
    from app.core.errors import ConfigError
    from app.store.queries.calls import CallFilter
    from app.store.suites import list_suites

    now = datetime.now(UTC)
    first, last = parse_time(since, now, "--since"), None if until is None else parse_time(until, now, "--until")
    if last is not None and last <= first:
        raise ConfigError(f"--until {until} is not after --since {since}", param="until")
    hook = None if redact is None else load_redaction(redact)
    wanted = CallFilter(since=first, until=last, router=router, model=model)

    async def work(step: Step) -> Captured:
        async with open_database(data_dir) as database:
            if not replace and name in {row.name for row in await list_suites(database)}:
                raise ConfigError(f"There is a suite named {name!r} already; --replace it, or choose another --name.")
            step("reading the logged calls")
            found = await carry_out(database, name, wanted, sample=sample, seed=seed, redact=hook)
            step(f"storing {len(found.suite.items):,} items")
            await library.save(database, found.suite, replace=replace)
            return found

    with steps() as step:
        captured = run_async(work(step))
    _say_captured(captured)


def export(
    suite: Annotated[str, typer.Argument(help="Name of the suite.")],
    folder: Annotated[Path, typer.Argument(help="Where to write it; made if it is not there.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace the suite that the folder holds.")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Write a suite with its outcomes as a folder, to hand on or to keep under version control."""
    from app.bench import library
    from app.bench.folder import export as write
    from app.cli.store import open_database

    async def work() -> Suite:
        async with open_database(data_dir) as database:
            return await library.load(database, suite)

    found = run_async(work())
    write(found, folder, overwrite=replace)
    _say_suite(found)
    typer.echo(f"  written to {folder.resolve()}")


def import_folder(
    folder: Annotated[Path, typer.Argument(help="Folder that `bench export` wrote.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the suite; by default the one it was exported with.")
    ] = None,
    replace: ReplaceFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """Import a suite from a folder that `bench export` wrote."""
    from app.bench import library
    from app.bench.folder import load
    from app.cli.store import open_database

    found = load(folder)
    suite = found if name is None else dataclasses.replace(found, name=name)

    async def work() -> None:
        async with open_database(data_dir) as database:
            await library.save(database, suite, replace=replace)

    run_async(work())
    _say_suite(suite)


def estimate(tasks: Sequence[Task], candidates: dict[str, Candidate]) -> str:
    """What the calls will cost, in words: each model's own, since it is known which is asked how often."""
    costs: dict[str, float | None] = {}
    for task in tasks:
        model = task.model or ""
        cost = candidates[model].expected_cost(task.item.as_query().prompt_tokens)
        so_far = costs.get(model, 0.0)
        costs[model] = None if cost is None or so_far is None else so_far + cost
    priced = {model: cost for model, cost in costs.items() if cost is not None}
    unpriced = [f"`{model}`" for model, cost in costs.items() if cost is None]
    if not priced:
        return "an unknown amount: no model has a price"
    each = ", ".join(f"{model} ${cost:.2f}" for model, cost in priced.items())
    more = f", and an unknown amount for {', '.join(unpriced)}" if unpriced else ""
    return f"about ${sum(priced.values()):.2f} (256 completion tokens each assumed: {each}){more}"


def parse_time(text: str, now: datetime, option: str) -> datetime:
    """`7d` before `now`, or an ISO date or time, UTC where it names no zone. Raises `ConfigError`."""
    from app.core.errors import ConfigError

    ago = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    try:
        if ago:
            return now - timedelta(**{units[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ConfigError(f"{option} {text!r} is neither a span (90m, 12h, 7d, 2w) nor an ISO date or time") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


@dataclass(frozen=True)
class _Asked:
    """The proxy that is asked."""

    target: Target
    simulated: bool


@asynccontextmanager
async def _asked_proxy(
    plan: Plan, settings: Settings, database: Database, url: str | None, cap: Decimal | None, *, yes: bool
) -> AsyncIterator[_Asked]:
    """A proxy that has the models, its own or a running one; money is asked for before it is used."""
    from app.bench.record import models_of, remaining
    from app.bench.run import Target
    from app.cli.replay import check_judges
    from app.core.config import Config, load_config
    from app.core.errors import ConfigError
    from app.main import Proxy
    from app.serving import bind, serving

    models = models_of(plan)
    if url is not None:
        key = settings.api_key.get_secret_value() if settings.api_key else None
        listed = await listed_models(url, key)
        _check_models(models, listed, f"--url {url}: the proxy there")
        check_judges(plan, listed, f"--url {url}: the proxy there")
        kinds = {str(listed[model].get("upstream")) for model in models}
        if "None" in kinds:
            raise ConfigError(
                f"--url {url}: what answers there is no Hullspeed proxy; name it as api_base of a model in the config, "
                "and record without --url",
                param="url",
            )
        if kinds - {"recorded", "simulated"}:
            tasks = await remaining(database, plan, url)
            _ask(plan, tasks, {model: candidate_of(listed[model]) for model in models}, cap, yes=yes)
        yield _Asked(Target(url, url, known_pool=False, api_key=key), "simulated" in kinds)
        return
    proxy = Proxy(settings, load_config(settings.config) if settings.config else Config(), database=database)
    _check_models(models, proxy.catalog, "the config")
    check_judges(plan, proxy.catalog, "the config")
    _ask(plan, await remaining(database, plan, "live"), proxy.catalog.candidates, cap, yes=yes)
    sock = bind("127.0.0.1", 0)
    try:
        async with serving(proxy, sock) as own:
            yield _Asked(Target(own, "live", known_pool=False, api_key=proxy.api_key), simulated=False)
    finally:
        sock.close()


def _ask(
    plan: Plan, tasks: Sequence[Task], candidates: dict[str, Candidate], cap: Decimal | None, *, yes: bool
) -> None:
    if tasks:
        cost = estimate(tasks, candidates)
        cost += ", and judging the replies as much as the judges charge" if plan.asks else ""
        ask_to_spend(f"{len(tasks):,} calls to live providers", cost, cap, yes=yes)


def _check_models(models: Sequence[str], known: Any, where: str) -> None:
    from app.core.errors import ConfigError

    # Names of routers stand in the list of a running proxy too: they are asked by `bench run`.
    there = [name for name in known if name != "auto" and not name.startswith("auto/")]
    for model in models:
        if model not in there:
            raise ConfigError(f"{where} has no model `{model}`; it has {', '.join(there)}", param="models")


async def _show_recording(
    plan: Plan, asked: _Asked, database: Database, name: str | None, concurrency: int, cap: Decimal | None
) -> Recording:
    from app.bench.record import record as carry_out
    from app.cli.progress import progress_bar

    with progress_bar(len(plan.routers) * len(plan.rows), quiet=False, cap=cap) as bar:
        bar.describe("recording")
        found = await carry_out(
            plan,
            asked.target,
            database,
            name=name,
            simulated=asked.simulated,
            concurrency=concurrency,
            max_cost=cap,
            on_start=bar.start,
            on_progress=bar.advance,
        )
    typer.echo(bar.summary(found.run, "live", found.progress), err=True)
    return found


def _say_recording(found: Recording) -> None:
    _say_suite(found.suite)
    if not found.missing:
        return
    by_model = ", ".join(f"{model} {count:,}" for model, count in sorted(found.missing.items()))
    typer.echo(f"{sum(found.missing.values()):,} cells are missing: {by_model}; the same command asks for them again.")
    for error, count in list(found.errors.items())[:SHOWN]:
        typer.echo(f"  {count:,} × {error}")


def _say_captured(found: Captured) -> None:
    _say_suite(found.suite)
    items = len(found.suite.items)
    drawn = f", {items:,} of them drawn" if items < found.distinct else ""
    typer.echo(
        f"  from {found.calls:,} calls: {found.distinct:,} different chats{drawn}; {found.judged:,} judged replies"
    )
    if found.without_text:
        typer.echo(f"  {found.without_text:,} calls have no text (ledger.store_text was off) and are left out")
    if found.left_out:
        typer.echo(f"  {found.left_out:,} calls had tools, formats or several replies, which no item holds: left out")


def _say_suite(suite: Suite) -> None:
    """What a suite holds, gaps included."""
    import numpy as np

    categories = len({item.category for item in suite.items})
    typer.echo(f"Suite `{suite.name}`: {len(suite.items):,} items in {categories:,} categories")
    if suite.recorded is None:
        return
    gone = int((np.isnan(suite.recorded.quality) | np.isnan(suite.recorded.cost)).sum())
    size = suite.recorded.quality.size
    gaps = f"{gone:,} of them without quality or cost" if gone else "none missing"
    typer.echo(f"  {len(suite.recorded.models)} recorded models, {size:,} outcomes, {gaps}")
