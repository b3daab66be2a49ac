"""`hullspeed serve`."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import ConfigOption, DataDirOption, run_async
from app.core.errors import ConfigError, HullspeedError

if TYPE_CHECKING:
    from app.core.config import Config
    from app.core.settings import Settings
    from app.core.shared import Shared
    from app.core.workers import Line
    from app.main import Proxy

    Make = Callable[["Shared | None", "Line | None"], Proxy]
    """Makes the proxy of one process: of the only one, or of one of several."""


def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to bind (HULLSPEED_HOST; default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port (HULLSPEED_PORT; default 8080); 0 takes a free one.")] = None,
    recorded: Annotated[
        str | None, typer.Option(metavar="SUITE", help="Serve this suite's recorded models instead of providers: free.")
    ] = None,
    data_dir: DataDirOption = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the port (HULLSPEED_WORKERS; default 1).", min=1)
    ] = None,
) -> None:
    """Serve the OpenAI-compatible proxy until it is told to stop."""
    _start_swiftly()
    from app.core.logs import configure_logging
    from app.core.settings import load_settings, unknown_variables
    from app.serving import bind
    from app.serving import serve as run

    settings = load_settings(config=config, host=host, port=port, data_dir=data_dir, workers=workers)
    configure_logging(settings.log_level, settings.log_format)
    make = partial(_proxy, settings, recorded)
    proxy = make(None, None)
    for warning in (*unknown_variables(), *proxy.config.warnings):
        typer.echo(f"warning: {warning}", err=True)
    if settings.workers > 1:
        raise typer.Exit(_supervise(settings, proxy, make))
    sock = bind(settings.host, settings.port)
    try:
        run_async(run(proxy, sock, on_ready=lambda url: _ready(lambda: _greet(proxy, url))))
    finally:
        sock.close()


def _start_swiftly() -> None:
    """Before the heavy imports: they make no garbage, and looking for some takes a fifth of the time of a start."""
    gc.disable()
    # One query's vectors are small; each thread of the library keeps megabytes of its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _ready(tell: Callable[[], None]) -> None:
    gc.freeze()
    gc.enable()
    tell()


def _supervise(settings: Settings, proxy: Proxy, make: Make) -> int:
    """Have several processes serve; gives the exit code. `proxy` is what each of them will be like."""
    from app.core.shared import Shared
    from app.core.workers import Supervisor
    from app.serving import bind_all, url_of
    from app.serving import serve as run

    shared = Shared(settings.workers)
    sockets = bind_all(settings.host, settings.port, settings.workers)

    def work(sock: socket.socket, line: Line) -> int:
        try:
            run_async(run(make(shared, line), sock, on_ready=lambda _: _ready(line.ready)))
        except HullspeedError as error:
            typer.echo(f"hullspeed: {error.message}", err=True)
            return 2 if isinstance(error, ConfigError) else 1
        return 0

    url = url_of(sockets[0])
    # What the workers do not touch stays one copy in memory for all of them.
    gc.freeze()
    supervisor = Supervisor(
        sockets, work, shared, on_ready=lambda: _greet(proxy, url), drain_seconds=settings.drain_seconds
    )
    return supervisor.run()


def _proxy(settings: Settings, recorded: str | None, shared: Shared | None, line: Line | None) -> Proxy:
    from app.core.config import Config, load_config
    from app.main import Proxy

    file = load_config(settings.config) if settings.config else Config()
    if recorded is None:
        return Proxy(settings, file, shared=shared, line=line)
    return run_async(_recorded(settings, file, recorded, shared, line))


async def _recorded(settings: Settings, file: Config, name: str, shared: Shared | None, line: Line | None) -> Proxy:
    from app.bench import library
    from app.bench.local import recorded_catalog, recorded_upstream
    from app.cli.store import open_database
    from app.main import Proxy

    async with open_database(settings=settings) as database:
        suite = await library.load(database, name)
    upstream = recorded_upstream(suite)
    catalog = recorded_catalog(suite, upstream)
    return Proxy(settings, file, catalog=catalog, upstreams={"recorded": upstream}, shared=shared, line=line)


def _greet(proxy: Proxy, url: str) -> None:
    """What somebody who has just started it wants to know."""
    from app.gateway.keys import KEYLESS

    default = proxy.decider.rules.default
    untrained = "" if default in proxy.config.routing.routers else " (untrained; see `hullspeed train`)"
    key = "HULLSPEED_API_KEY is needed" if proxy.api_key else "no key is needed"
    routers = [f"auto/{name}" for name in proxy.decider.entries]
    names = [*proxy.catalog, *proxy.catalog.wildcards.names]
    lines = [
        f"Hullspeed serves on {url}/v1 ({key})",
        f"  models   {len(names)} from {proxy.catalog.source}: {_some(names)}",
        f"  auto     router `{default}`{untrained}; others: {_some(routers)}",
        f"  pages    {url}/ui/",
        f"  ledger   {proxy.database.describe()}",
        f"  metrics  {url}/metrics",
        *([f"  workers  {proxy.settings.workers}"] if proxy.settings.workers > 1 else []),
    ]
    typer.echo("\n".join(lines), err=True)
    for model in proxy.catalog.values():
        if model.price is None and model.upstream in ("direct", "litellm"):
            typer.echo(f"warning: the price of `{model.name}` is not known; its cost is logged as NULL", err=True)
        if model.upstream == "direct" and model.api_key is None and model.provider not in KEYLESS:
            typer.echo(f"warning: `{model.name}` has no key; set {model.key_name}", err=True)


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
