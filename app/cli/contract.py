"""`hullspeed conform`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import JsonFlag, run_async

if TYPE_CHECKING:
    from app.conform.check import Check, Dialect
    from app.conform.client import Base
    from app.conform.run import Result
    from app.conform.stand import Stand


def conform(
    base_url: Annotated[str, typer.Option(help="The gateway, with or without /v1.")] = "http://127.0.0.1:8080",
    gateway: Annotated[str, typer.Option(help="What it is: hullspeed, litellm or other.")] = "hullspeed",
    api_key: Annotated[
        str | None, typer.Option(help="The key it asks of clients; default: the printed configuration's. '' for none.")
    ] = None,
    dialect: Annotated[
        str, typer.Option(help="What the mock speaks behind the gateway: openai, anthropic or gemini.")
    ] = "openai",
    mock_address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the mock serves; it takes the next port as well.")
    ] = "127.0.0.1:8090",
    ledger_url: Annotated[
        str | None, typer.Option(help="Hullspeed's address, for the checks that read its ledger.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="A point's number or the beginning of a check's name.")] = None,
    print_config: Annotated[
        str | None, typer.Option(metavar="GATEWAY", help="Print the configuration for hullspeed or litellm, and end.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Hold a gateway against the proxy contract, with the mock behind it. Exit code 1: some point is broken.

    First give the gateway its configuration: hullspeed conform --print-config hullspeed > conform.yaml
    """
    from app.conform import gateways, report
    from app.conform.check import DIALECTS
    from app.conform.run import select
    from app.core.errors import ConfigError

    spoken: Dialect | None = next((known for known in DIALECTS if known == dialect), None)
    if spoken is None:
        raise ConfigError(f"--dialect {dialect}: there are {', '.join(DIALECTS)}", param="dialect")
    try:
        checks = select(only or ())
    except ValueError as error:
        raise ConfigError(f"--only: {error}", param="only") from None
    host, port = _address(mock_address)
    if print_config is not None:
        if print_config not in ("hullspeed", "litellm"):
            raise ConfigError("--print-config takes hullspeed or litellm", param="print_config")
        text = gateways.print_config(print_config, checks, spoken, f"{host}:{port}", f"{host}:{port + 1}")
        typer.echo(text, nl=False)
        return
    stand = _stand(base_url, gateway, gateways.KEY if api_key is None else api_key or None, spoken, (host, port))
    if ledger_url is not None:
        stand.ledger = _base("--ledger-url", ledger_url)
    results = run_async(_run(stand, checks, (host, port), quiet=as_json))
    about = {"base_url": base_url, "gateway": gateway, "dialect": dialect}
    if as_json:
        typer.echo(json.dumps(report.as_json(results, **about), indent=2, ensure_ascii=False))
    else:
        from rich.console import Console

        Console().print(report.as_table(results))
        typer.echo(f"\n{base_url} ({gateway}, {dialect} behind it): {report.summary(results)}")
    raise typer.Exit(1 if report.count(results, "broken") else 0)


def _address(text: str) -> tuple[str, int]:
    from app.core.errors import ConfigError

    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65535:
        raise ConfigError(f"--mock-address {text}: must be HOST:PORT, e.g. 127.0.0.1:8090", param="mock_address")
    return host, int(port)


def _stand(base_url: str, gateway: str, key: str | None, dialect: Dialect, address: tuple[str, int]) -> Stand:
    from app.conform.gateways import GATEWAYS
    from app.conform.stand import Stand
    from app.core.errors import ConfigError
    from app.mock.server import Mock

    if gateway not in GATEWAYS:
        raise ConfigError(f"--gateway {gateway}: there are {', '.join(GATEWAYS)}", param="gateway")
    return Stand(
        base=_base("--base-url", base_url),
        gateway=GATEWAYS[gateway],
        mock=Mock(),
        mock_address=f"{address[0]}:{address[1]}",
        dialect=dialect,
        key=key,
    )


def _base(option: str, url: str) -> Base:
    from app.conform.client import Base
    from app.core.errors import ConfigError

    try:
        return Base.parse(url)
    except ValueError as error:
        raise ConfigError(f"{option} {url}: {error}", param=option) from None


async def _run(stand: Stand, checks: list[Check], address: tuple[str, int], *, quiet: bool) -> list[Result]:
    from rich.console import Console
    from rich.progress import Progress

    from app.conform.run import run, unseen
    from app.core.errors import ConfigError

    host, port = address
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="hullspeed-conform-") as folder:
        async with stand.mock:
            try:
                await stand.listen(host, port, Path(folder))
            except OSError as error:
                raise ConfigError(f"--mock-address {host}:{port} cannot be bound: {error.strerror}") from None
            await stand.greet(checks)
            await stand.warm()
            with Progress(console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
                task = progress.add_task("checks", total=len(checks))
                results = await run(stand, checks, on_result=lambda _: progress.advance(task))
    return [*results, *unseen(checks)]
