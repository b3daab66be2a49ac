"""A replay as a command carries it out: a proxy of its own or a running one, a progress bar, the report."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import typer

from app.bench.estimate import Cost, Estimate, cost_of
from app.bench.graders import asks
from app.bench.local import recorded_catalog, recorded_source, recorded_upstream
from app.bench.plan import Plan
from app.bench.report import Report
from app.bench.run import Target, billed
from app.bench.run import replay as carry_out
from app.cli.apart import WORTH_IT, describe, served_apart
from app.cli.elsewhere import candidate_of, listed_models
from app.cli.progress import progress_bar, steps
from app.cli.spending import ask_to_spend
from app.cli.store import open_database
from app.core.config import Config, load_config
from app.core.errors import ConfigError
from app.core.logs import configure_logging
from app.core.settings import Settings, load_settings
from app.gateway.embedders import Cache
from app.main import Proxy
from app.serving import bind, serving
from app.store import runs
from app.store.database import Database
from app.store.runs import RunRow
from routers import Candidate, Router


@dataclass(frozen=True)
class Wanted:
    """What `bench run` was asked for."""

    plan: Plan
    url: str | None
    upstream: Literal["recorded", "live"]
    concurrency: int
    max_cost: Decimal | None
    yes: bool
    fresh: bool
    config: Path | None
    data_dir: Path | None
    quiet: bool
    embedder: Cache | None = None
    """Has the embeddings of all prompts, where routers need them."""
    run_file: Path | None = None
    """Where the run's id is written as soon as there is one."""

    def tell(self, run: RunRow, _done: int = 0, _total: int = 0) -> None:
        """Write the run's id where it is waited for."""
        if self.run_file is not None:
            self.run_file.write_text(run.id)


async def replay(wanted: Wanted) -> Report:
    """Replay as asked, showing progress on standard error."""
    settings = load_settings(config=wanted.config, data_dir=wanted.data_dir, host="127.0.0.1")
    configure_logging(settings.log_level, settings.log_format)
    with steps(quiet=wanted.quiet) as step:
        step("fitting the routers")
        built = {} if wanted.url else wanted.plan.build()
    async with (
        open_database(settings=settings) as database,
        _target(wanted, settings, database, built) as target,
    ):
        return await show_replay(
            wanted.plan,
            target,
            database,
            built,
            concurrency=wanted.concurrency,
            max_cost=wanted.max_cost,
            fresh=wanted.fresh,
            quiet=wanted.quiet,
            on_run=wanted.tell,
        )


async def rehearse(wanted: Wanted) -> Estimate:
    """What `replay` would ask and what that may cost. Nothing is fitted, sent or stored; what is wrong with the plan
    is raised as it would be there."""
    settings, plan = load_settings(config=wanted.config, data_dir=wanted.data_dir, host="127.0.0.1"), wanted.plan
    async with open_database(settings=settings) as database:
        target, cost = await _looked_at(wanted, settings, database)
        plan.check_grading(recorded_models=target.known_pool)
        same: dict[str, Any] = {"suite_digest": plan.suite.digest, "spec": plan.spec(target.upstream)}
        found = None if wanted.fresh else await runs.find_unfinished(database, **same)
        rows = [] if found is None else await runs.load_results(database, found.id)
    return Estimate(
        suite=plan.suite.name,
        items=len(plan.rows),
        calls=len(plan.routers) * len(plan.tradeoffs) * len(plan.rows),
        upstream=target.upstream,
        cost=cost,
        judged=plan.asks,
        resumes=None if found is None else found.id,
        done=sum(not row.ungraded for row in rows),
        spent=float(billed(rows, "cost_usd") + billed(rows, "judge_cost_usd")),
    )


async def _looked_at(wanted: Wanted, settings: Settings, database: Database) -> tuple[Target, Cost | None]:
    """The proxy a run would go to, without starting one, and what its answers may cost."""
    if wanted.url is not None:
        target, candidates = await _running(wanted, wanted.url, _key(settings))
    else:
        proxy = _own_proxy(wanted, settings, database, {})
        candidates = dict(proxy.catalog.candidates)
        target = Target("", wanted.upstream, wanted.upstream == "recorded", proxy.api_key)
    return target, cost_of(wanted.plan, candidates) if target.upstream == "live" else None


async def stoppable(work: Coroutine[Any, Any, Report]) -> Report:
    """`work`, cancelled by SIGTERM: what is done is kept then, and the run can be taken up again."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await work
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def show_replay(
    plan: Plan,
    target: Target,
    database: Database,
    built: dict[str, Router],
    *,
    concurrency: int,
    max_cost: Decimal | None = None,
    fresh: bool = False,
    quiet: bool = False,
    on_run: Callable[[RunRow, int, int], None] = lambda _run, _done, _total: None,
) -> Report:
    """Replay with a progress bar, and say afterwards how fast it went. `on_run` is told what the bar is told at the
    start."""
    total = len(plan.routers) * len(plan.tradeoffs) * len(plan.rows)
    with progress_bar(total, quiet=quiet, cap=max_cost) as bar:

        def start(run: RunRow, done: int, total: int) -> None:
            on_run(run, done, total)
            bar.start(run, done, total)

        report, progress = await carry_out(
            plan,
            target,
            database,
            built,
            concurrency=concurrency,
            max_cost=max_cost,
            fresh=fresh,
            on_start=start,
            on_progress=bar.advance,
        )
    if not quiet:
        typer.echo(bar.summary(report.run or "", target.upstream, progress), err=True)
    return report


@asynccontextmanager
async def _target(
    wanted: Wanted, settings: Settings, database: Database, built: dict[str, Router]
) -> AsyncIterator[Target]:
    if wanted.url is not None:
        target, candidates = await _running(wanted, wanted.url, _key(settings))
        if target.upstream == "live":
            _ask_before_spending(wanted, candidates)
        yield target
        return
    proxy = _own_proxy(wanted, settings, database, built)
    # The suite's recorded models judge nobody: judges are models of the config, then behind a proxy of their own.
    judges = proxy if wanted.upstream == "live" or not wanted.plan.asks else _live_proxy(settings, database, {})
    check_judges(wanted.plan, judges.catalog, "the config")
    if wanted.upstream == "live":
        _ask_before_spending(wanted, proxy.catalog.candidates)
    elif wanted.plan.asks:
        calls = len(wanted.plan.routers) * len(wanted.plan.tradeoffs) * len(wanted.plan.rows)
        ask_to_spend(f"Judging up to {calls:,} replies", "what the judges' calls cost", wanted.max_cost, yes=wanted.yes)
    async with AsyncExitStack() as stack:
        described = _described(wanted, settings, built)
        url = await stack.enter_async_context(_served(proxy) if described is None else served_apart(described))
        asked = url if judges is proxy else await stack.enter_async_context(_served(judges))
        yield Target(url, wanted.upstream, wanted.upstream == "recorded", proxy.api_key, asked)


@asynccontextmanager
async def _served(proxy: Proxy) -> AsyncIterator[str]:
    sock = bind("127.0.0.1", 0)
    try:
        async with serving(proxy, sock) as url:
            yield url
    finally:
        sock.close()


def _described(wanted: Wanted, settings: Settings, built: dict[str, Router]) -> bytes | None:
    """The proxy of recorded models as other processes take it; None where it had better stay in this one."""
    plan = wanted.plan
    calls = len(plan.routers) * len(plan.tradeoffs) * len(plan.rows)
    if wanted.upstream == "live" or wanted.embedder is not None or calls < WORTH_IT:
        return None
    return describe(settings, recorded_upstream(plan.suite), recorded_source(plan.suite), built)


def check_judges(plan: Plan, known: Collection[str], where: str) -> None:
    """Raise `ConfigError` where a model that is to judge is not among the `known` ones, before anything is sent."""
    for grader in plan.grader_names:
        model = grader.partition(":")[2]
        if asks(grader) and model.partition("/")[0] != "auto" and model not in known:
            there = ", ".join(name for name in known if name.partition("/")[0] != "auto")
            raise ConfigError(f"grader `{grader}`: {where} has no model `{model}`; it has {there or 'none'}")


def _live_proxy(
    settings: Settings, database: Database, built: dict[str, Router], embedder: Cache | None = None
) -> Proxy:
    config = load_config(settings.config) if settings.config else Config()
    return Proxy(settings, config, routers=built, database=database, embedder=embedder)


def _own_proxy(wanted: Wanted, settings: Settings, database: Database, built: dict[str, Router]) -> Proxy:
    if wanted.upstream == "live":
        return _live_proxy(settings, database, built, wanted.embedder)
    upstream = recorded_upstream(wanted.plan.suite)
    catalog = recorded_catalog(wanted.plan.suite, upstream)
    return Proxy(
        settings,
        Config(),
        catalog=catalog,
        upstreams={"recorded": upstream},
        routers=built,
        database=database,
        embedder=wanted.embedder,
    )


def _key(settings: Settings) -> str | None:
    return settings.api_key.get_secret_value() if settings.api_key else None


async def _running(wanted: Wanted, url: str, key: str | None) -> tuple[Target, dict[str, Candidate]]:
    """A proxy somebody else started, and its models: it must have the routers, and what it serves decides what stands
    beside them."""
    listed = await listed_models(url, key)
    for spec in wanted.plan.routers:
        if f"auto/{spec.text}" not in listed:
            there = ", ".join(name.removeprefix("auto/") for name in listed if name.startswith("auto/"))
            raise ConfigError(
                f"--url {url}: the proxy there has no router `{spec.text}`; it has {there}", param="router"
            )
    check_judges(wanted.plan, listed, f"--url {url}: the proxy there")
    recorded = wanted.plan.suite.recorded
    models: dict[str, Any] = {name: entry for name, entry in listed.items() if entry.get("upstream")}
    known = recorded is not None and models.keys() == set(recorded.models)
    known = known and all(entry["upstream"] in ("recorded", "simulated") for entry in models.values())
    kinds = {str(entry["upstream"]) for entry in models.values()}
    target = Target(url, kinds.pop() if known and len(kinds) == 1 else "live", known, key)
    return target, {name: candidate_of(entry) for name, entry in models.items()}


def _ask_before_spending(wanted: Wanted, candidates: Mapping[str, Candidate]) -> None:
    """Show what a live run may cost, and ask; raises `ConfigError` where nobody can be asked."""
    plan = wanted.plan
    cost = cost_of(plan, candidates).in_words()
    cost += ", and judging the replies as much as the judges charge" if plan.asks else ""
    calls = len(plan.routers) * len(plan.tradeoffs) * len(plan.rows)
    ask_to_spend(f"{calls:,} calls to live providers", cost, wanted.max_cost, yes=wanted.yes)
