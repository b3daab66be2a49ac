"""`hullspeed serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import ConfigOption, DataDirOption, run_async

if TYPE_CHECKING:
    from app.core.config import Config
    from app.core.settings import Settings
    from app.main import Proxy


def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to bind (HULLSPEED_HOST; default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port (HULLSPEED_PORT; default 8080); 0 takes a free one.")] = None,
    recorded: Annotated[
        str | None, typer.Option(metavar="SUITE", help="Serve this suite's recorded models instead of providers: free.")
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Serve the OpenAI-compatible proxy until it is told to stop."""
    from app.core.config import Config, load_config
    from app.core.logs import configure_logging
    from app.core.settings import load_settings
    from app.main import Proxy, bind
    from app.main import serve as run

    settings = load_settings(config=config, host=host, port=port, data_dir=data_dir)
    configure_logging(settings.log_level, settings.log_format)
    file = load_config(settings.config) if settings.config else Config()
    for warning in file.warnings:
        typer.echo(f"warning: {warning}", err=True)
    proxy = Proxy(settings, file) if recorded is None else run_async(_recorded(settings, file, recorded))
    sock = bind(settings.host, settings.port)
    try:
        run_async(run(proxy, sock, on_ready=lambda url: _greet(proxy, url)))
    finally:
        sock.close()


async def _recorded(settings: Settings, file: Config, name: str) -> Proxy:
    from app.bench import library
    from app.bench.local import recorded_catalog, recorded_upstream
    from app.cli.store import open_database
    from app.main import Proxy

    async with open_database(settings=settings) as database:
        suite = await library.load(database, name)
    upstream = recorded_upstream(suite)
    return Proxy(settings, file, catalog=recorded_catalog(suite, upstream), upstreams={"recorded": upstream})


def _greet(proxy: Proxy, url: str) -> None:
    """What somebody who has just started it wants to know."""
    from app.cli.checking import KEYLESS

    default = proxy.decider.rules.default
    untrained = "" if default in proxy.config.routing.routers else " (untrained; see `hullspeed train`)"
    key = "HULLSPEED_API_KEY is needed" if proxy.api_key else "no key is needed"
    routers = [f"auto/{name}" for name in proxy.decider.entries]
    names = [*proxy.catalog, *proxy.catalog.wildcards.names]
    lines = [
        f"Hullspeed serves on {url}/v1 ({key})",
        f"  models   {len(names)} from {proxy.catalog.source}: {_some(names)}",
        f"  auto     router `{default}`{untrained}; others: {_some(routers)}",
        f"  ledger   {proxy.database.describe()}",
        f"  metrics  {url}/metrics",
    ]
    typer.echo("\n".join(lines), err=True)
    for model in proxy.catalog.values():
        if model.price is None and model.upstream in ("direct", "litellm"):
            typer.echo(f"warning: the price of `{model.name}` is not known; its cost is logged as NULL", err=True)
        if model.upstream == "direct" and model.api_key is None and model.provider not in KEYLESS:
            typer.echo(f"warning: `{model.name}` has no key; set {model.key_name}", err=True)


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
