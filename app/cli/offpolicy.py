"""`hullspeed bench off-policy`: what other routers would have got on the traffic that was logged."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import ConfigOption, DataDirOption, JsonFlag, run_async

if TYPE_CHECKING:
    from app.core.config import Config
    from routers import Router


def off_policy(
    router: Annotated[
        list[str],
        typer.Option(
            "--router", "-r", help="Router, e.g. cheapest, an artifact's folder, or one of the config. May be repeated."
        ),
    ],
    since: Annotated[str, typer.Option(help="Calls from then on: 90m, 12h, 7d, 2w ago, or an ISO date or time (UTC).")],
    until: Annotated[str | None, typer.Option(help="Calls before then; written like --since.")] = None,
    logged_by: Annotated[str | None, typer.Option(help="Only calls that this router decided.")] = None,
    score: Annotated[str, typer.Option(help="Name of the scores that count.")] = "quality",
    tradeoff: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Asked of every router; by default what each call was asked with."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seeds the bootstrap.")] = 0,
    as_json: JsonFlag = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Estimate from logged calls and their scores what other routers would have got (IPS, SNIPS, doubly robust).

    Needs calls decided with some chance (router uniform or explore) and scores posted to them; routers that look at
    prompts need `ledger: {store_text: true}` too. The model a client named itself tells nothing of others.
    """
    import msgspec
    from rich.console import Console

    from app.bench.logged import Estimates, estimate_routers
    from app.bench.render_offpolicy import render_estimates
    from app.cli.progress import steps
    from app.cli.recording import parse_time
    from app.cli.store import open_database
    from app.core.config import load_config
    from app.core.errors import ConfigError
    from app.core.settings import load_settings
    from app.gateway.configured import catalog_from_config
    from app.store.queries.calls import CallFilter

    now = datetime.now(UTC)
    first, last = parse_time(since, now, "--since"), None if until is None else parse_time(until, now, "--until")
    if last is not None and last <= first:
        raise ConfigError(f"--until {until} is not after --since {since}", param="until")
    settings = load_settings(config=config, data_dir=data_dir)
    file = None if settings.config is None else load_config(settings.config)
    candidates = None if file is None or not file.model_list else catalog_from_config(file).candidates
    built = build(router, file)

    async def work() -> Estimates:
        async with open_database(settings=settings) as database:
            return await estimate_routers(
                database,
                built,
                CallFilter(since=first, until=last, router=logged_by),
                score=score,
                tradeoff=tradeoff,
                candidates=candidates,
                seed=seed,
            )

    with steps(quiet=as_json) as step:
        step(f"estimating {', '.join(built)}")
        found = run_async(work())
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        render_estimates(found, Console())


def build(names: list[str], config: Config | None) -> dict[str, Router]:
    """The routers by the name they are asked for, those of the configuration first. Raises `ConfigError`."""
    from app.bench.plan import RouterSpec
    from app.core.errors import ConfigError
    from app.gateway.entries import build_entries
    from routers import registry
    from routers.artifacts import load

    served = {} if config is None else build_entries(config)
    built: dict[str, Router] = {}
    for name in names:
        spec = RouterSpec.parse(name)
        if spec.text in built:
            raise ConfigError(f"router `{name}` is named twice", param="router")
        try:
            if spec.artifact is not None:
                built[spec.text] = load(spec.artifact)
            elif name in served:
                built[name] = served[name].router()
            else:
                cls = spec.find()
                assert cls is not None
                built[spec.text] = registry.make(cls, spec.params)
        except ValueError as error:
            raise ConfigError(f"router `{name}`: {error}", param="router") from None
        if built[spec.text].bench_only:
            raise ConfigError(f"router `{name}` works on recorded outcomes only, not on logged calls", param="router")
    return built
