"""`hullspeed route`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import ConfigOption, JsonFlag, run_async

if TYPE_CHECKING:
    from rich.console import Console


def route(
    prompt: Annotated[str, typer.Argument(help="What a user would ask; `-` reads it from standard input.")],
    router: Annotated[
        str, typer.Option("--router", "-r", help="Entry of the config or an installed router; default: what `auto` is.")
    ] = "",
    tradeoff: Annotated[
        float | None, typer.Option(min=0, max=1, help="0 = quality only, 1 = cost only; default: the router's.")
    ] = None,
    target_cost: Annotated[
        float | None, typer.Option(help="In its place: a share of the best single model's cost.")
    ] = None,
    target_quality: Annotated[
        float | None, typer.Option(help="In its place: a share of the best single model's quality.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show every candidate, and what the router says.")] = False,
    url: Annotated[str | None, typer.Option(help="Ask this running proxy instead of the config.")] = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say which model a prompt would go to, and why. Nothing is called."""
    import sys

    import msgspec
    from rich.console import Console

    aims = {"tradeoff": tradeoff, "target_cost": target_cost, "target_quality": target_quality}
    text = sys.stdin.read() if prompt == "-" else prompt
    body: dict[str, Any] = {
        "model": f"auto/{router}" if router else "auto",
        "messages": [{"role": "user", "content": text}],
        "routing": {name: value for name, value in aims.items() if value is not None},
    }
    decision = run_async(_ask(url, body, config))
    if as_json:
        typer.echo(msgspec.json.encode(decision).decode())
        return
    console = Console()
    asked = " and ".join(decision["asked"])
    console.print(
        f"[bold]{asked}[/bold] by router `{decision['router']}` ({decision['reason']}), "
        f"tradeoff {decision['tradeoff']:g}, decided in {decision['duration_ms']:.2f} ms"
    )
    if decision["reviewed"]:
        console.print("It looks at the replies before it answers, and may ask further models.")
    if decision["problem"]:
        console.print(f"The router was replaced by the fallback order: {decision['problem']}")
    if explain:
        _table(console, decision)


def _table(console: Console, decision: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("model", "predicted quality", "predicted cost, USD", "probability")
    for candidate in decision["candidates"]:
        quality, cost = candidate["quality"], candidate["cost_usd"]
        table.add_row(
            candidate["model"],
            "–" if quality is None else f"{quality:.3f}",
            "–" if cost is None else f"{cost:.6f}",
            f"{candidate['probability']:.2f}",
        )
    console.print(table)
    for model, problem in decision["excluded"].items():
        console.print(f"not a candidate: {model} ({problem})")
    for name, value in decision["detail"].items():
        console.print(f"{name}: {value}", markup=False)


async def _ask(url: str | None, body: dict[str, Any], config: Any) -> dict[str, Any]:
    import msgspec

    from app.core.config import Config, load_config
    from app.core.settings import load_settings
    from app.gateway.explain import explain
    from app.main import Proxy

    settings = load_settings(config=config)
    if url is not None:
        key = settings.api_key.get_secret_value() if settings.api_key else None
        return await _ask_proxy(url, body, key)
    file = load_config(settings.config) if settings.config else Config()
    proxy = Proxy(settings, file)
    try:
        return await explain(proxy.decider, msgspec.json.encode(body))
    finally:
        proxy.decider.close()
        for upstream in proxy.upstreams.values():
            await upstream.close()


async def _ask_proxy(url: str, body: dict[str, Any], key: str | None) -> dict[str, Any]:
    import httpx

    from app.core.errors import ConfigError

    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(timeout=10, headers=headers) as client:
            reply = await client.post(f"{url.rstrip('/')}/v1/decisions", json=body)
        found: dict[str, Any] = reply.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ConfigError(f"--url {url}: no proxy answers there ({type(error).__name__})", param="url") from None
    if reply.status_code != 200:
        raise ConfigError(f"--url {url}: {found.get('error', {}).get('message', reply.status_code)}", param="url")
    return found
