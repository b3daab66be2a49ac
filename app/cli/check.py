"""`hullspeed check`: what would serve, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from app.cli.options import ConfigOption, DataDirOption, JsonFlag, run_async
from app.core import formats

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from app.cli.checking import Checked, CheckedModel, CheckedRouter


def check(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to bind (HULLSPEED_HOST; default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port (HULLSPEED_PORT; default 8080).")] = None,
    as_json: JsonFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """Show what `serve` would serve: address, models, routers, ledger, warnings. Nothing is called.

    Exit code 1: something would keep it from serving.
    """
    from rich.console import Console

    from app.cli.checking import look
    from app.core.logs import configure_logging
    from app.core.settings import load_settings

    settings = load_settings(config=config, host=host, port=port, data_dir=data_dir)
    # What goes wrong is on the screen; a log beside it would say it twice.
    configure_logging("error", settings.log_format)
    found = run_async(look(settings))
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _print(Console(highlight=False), found)
    if found.problems:
        raise typer.Exit(1)


def _print(console: Console, found: Checked) -> None:
    from app.cli import looks

    states = {"free": "", "a proxy serves here": " (a proxy serves here now)"}
    address = f"{found.address}{states.get(found.address_state, f' ({found.address_state})')}"
    ledger = found.ledger
    schema = f", schema {ledger.revision}" if ledger.revision else ""
    if ledger.state == "older schema":
        schema += f" (brought to {ledger.newest} at the next start)"
    waiting = f"{ledger.journal_rows:,} rows waiting" if ledger.journal_rows else "nothing waits"
    console.print(
        looks.facts(
            [
                ("address", address),
                ("key", "clients must send it" if found.needs_key else "none is asked for (loopback only)"),
                ("config", found.config or "none: the catalog comes from the keys in the environment"),
                ("ledger", f"{ledger.where}: {ledger.state}{schema}"),
                ("journal", f"{ledger.journal}: {waiting}"),
            ]
        ),
        "",
    )
    if found.models:
        console.print(_model_table(found.models), "")
    if found.routers:
        console.print(_router_table([router for router in found.routers if router.configured or router.default]))
        others = [router.name for router in found.routers if not (router.configured or router.default)]
        if others:
            console.print(f"also served, untrained: {', '.join(f'auto/{name}' for name in others)}", style="dim")
    console.print()
    for line in found.warnings:
        console.print(f"[yellow]warning:[/] {_plain(line)}")
    for line in found.problems:
        console.print(f"[bold red]problem:[/] {_plain(line)}")
    if not found.problems:
        console.print("[green]ready to serve[/]")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _model_table(models: list[CheckedModel]) -> Table:
    from rich.text import Text

    from app.cli import looks

    table = looks.table("Models", ["model", "by", "key"], ["in $/M", "out $/M", "window"])
    table.add_column("can", overflow="fold")
    colours = {"set": "green", "missing": "red"}
    for model in models:
        prices = [
            "unknown" if price is None else f"{price:,.2f}"
            for price in (model.input_usd_per_million, model.output_usd_per_million)
        ]
        able = "unknown" if model.capabilities is None else " ".join(model.capabilities) or "text"
        table.add_row(
            Text(model.name) if model.routed else Text(f"{model.name} (by name only)"),
            f"{model.provider or model.target} ({model.upstream})",
            Text(_SHORT_KEYS.get(model.key, model.key), colours.get(model.key, "")),
            *prices,
            formats.short_count(model.context_window),
            able,
        )
    return table


_SHORT_KEYS = {"not needed": "–", "looked up by litellm": "litellm's"}


def _router_table(routers: list[CheckedRouter]) -> Table:
    from app.cli import looks

    table = looks.table("Routers", ["name", "router", "artifact", "needs"])
    for router in routers:
        needs = [
            *([f"embedding {router.embedding}"] if router.embedding else []),
            *(["scores"] if router.learns else []),
            *([f"models {', '.join(router.models)}"] if router.models else []),
        ]
        name = f"auto = auto/{router.name}" if router.default else f"auto/{router.name}"
        table.add_row(name, f"{router.router} {router.version}", router.artifact or "–", "; ".join(needs) or "–")
    return table
