"""A replay as a command carries it out: a proxy of its own or a running one, a progress bar, the report."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

import typer

from app.bench.graders import asks
from app.bench.local import recorded_catalog, recorded_source, recorded_upstream
from app.bench.plan import Plan
from app.bench.report import Report
from app.bench.run import Target
from app.bench.run import replay as carry_out
from app.cli.apart import WORTH_IT, describe, served_apart
from app.cli.elsewhere import listed_models
from app.cli.progress import progress_bar, steps
from app.cli.spending import ask_to_spend
from app.cli.store import open_database
from app.core.config import Config, load_config
from app.core.errors import ConfigError
from app.core.logs import configure_logging
from app.core.settings import Settings, load_settings
from app.gateway.embedders import Cache
from app.main import Proxy, bind, serving
from app.store.database import Database
from routers import Router


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
        )


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
) -> Report:
    """Replay with a progress bar, and say afterwards how fast it went."""
    total = len(plan.routers) * len(plan.tradeoffs) * len(plan.rows)
    with progress_bar(total, quiet=quiet, cap=max_cost) as bar:
        report, progress = await carry_out(
            plan,
            target,
            database,
            built,
            concurrency=concurrency,
            max_cost=max_cost,
            fresh=fresh,
            on_start=bar.start,
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
        key = settings.api_key.get_secret_value() if settings.api_key else None
        yield await _running(wanted, wanted.url, key)
        return
    proxy = _own_proxy(wanted, settings, database, built)
    # The suite's recorded models judge nobody: judges are models of the config, then behind a proxy of their own.
    judges = proxy if wanted.upstream == "live" or not wanted.plan.asks else _live_proxy(settings, database, {})
    check_judges(wanted.plan, judges.catalog, "the config")
    if wanted.upstream == "live":
        _ask_before_spending(wanted, proxy)
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
    """The proxy of recorded models as a process of its own takes it; None where it had better stay in this one."""
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


async def _running(wanted: Wanted, url: str, key: str | None) -> Target:
    """A proxy somebody else started: it must have the routers, and what it serves decides what stands beside them."""
    listed = await listed_models(url, key)
    for spec in wanted.plan.routers:
        if f"auto/{spec.text}" not in listed:
            there = ", ".join(name.removeprefix("auto/") for name in listed if name.startswith("auto/"))
            raise ConfigError(
                f"--url {url}: the proxy there has no router `{spec.text}`; it has {there}", param="router"
            )
    check_judges(wanted.plan, listed, f"--url {url}: the proxy there")
    recorded = wanted.plan.suite.recorded
    models = {name for name, entry in listed.items() if entry.get("upstream")}
    known = recorded is not None and models == set(recorded.models)
    known = known and all(listed[name]["upstream"] in ("recorded", "simulated") for name in models)
    kinds = {str(listed[name]["upstream"]) for name in models}
    return Target(url, kinds.pop() if known and len(kinds) == 1 else "live", known, key)


def _ask_before_spending(wanted: Wanted, proxy: Proxy) -> None:
    """Show what a live run may cost, and ask; raises `ConfigError` where nobody can be asked."""
    plan = wanted.plan
    settings = len(plan.routers) * len(plan.tradeoffs)
    per_model: dict[str, float | None] = {}
    for name, candidate in proxy.catalog.candidates.items():
        costs = [candidate.expected_cost(item.as_query().prompt_tokens) for item in plan.items]
        known = [cost for cost in costs if cost is not None]
        per_model[name] = sum(known) * settings if len(known) == len(costs) else None
    priced = {name: cost for name, cost in per_model.items() if cost is not None}
    calls = settings * len(plan.rows)
    if priced:
        low, high = min(priced.values()), max(priced.values())
        cost = f"between ${low:.2f} and ${high:.2f} (256 completion tokens each assumed)"
    else:
        cost = "an unknown amount: no model has a price"
    cost += ", and judging the replies as much as the judges charge" if plan.asks else ""
    ask_to_spend(f"{calls:,} calls to live providers", cost, wanted.max_cost, yes=wanted.yes)
