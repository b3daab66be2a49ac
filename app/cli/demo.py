"""`hullspeed demo`: the main job without keys, on simulated models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import DataDirOption, run_async

if TYPE_CHECKING:
    import socket

    from rich.console import Console

ROUTERS = ("cheapest", "uniform", "length", "ladder", "knn", "ridge", "oracle")
TRADEOFFS = (0.0, 0.2, 0.4, 0.6, 0.8)
PACE = 0.02
"""Real seconds per simulated second: the models seem to answer in tens of milliseconds."""


def demo(
    stay: Annotated[bool, typer.Option("--stay", help="Keep serving afterwards, to be tried by hand.")] = False,
    port: Annotated[int, typer.Option(help="Port; another free one where it is taken.")] = 8080,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where the HTML report goes.")] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Serve simulated models, replay a bundled suite through six routers, and show who wins. No keys needed."""
    run_async(_demo(stay=stay, port=port, output=output, data_dir=data_dir))


async def _demo(*, stay: bool, port: int, output: Path | None, data_dir: Path | None) -> None:
    from rich.console import Console

    from app.bench import bundled, library
    from app.bench.plan import Plan, RouterSpec
    from app.bench.render_html import render_html
    from app.bench.render_terminal import render_leaderboard
    from app.bench.run import Target
    from app.cli.replay import show_replay
    from app.cli.store import open_database
    from app.core.config import Config
    from app.core.logs import configure_logging
    from app.core.settings import load_settings
    from app.gateway.simulated import SimulatedUpstream, simulated_catalog
    from app.main import Proxy
    from app.serving import serving

    settings = load_settings(data_dir=data_dir, host="127.0.0.1", port=port)
    configure_logging("warning", settings.log_format)
    console = Console()
    suite = bundled.load()
    plan = Plan(suite, tuple(RouterSpec.parse(name) for name in ROUTERS), TRADEOFFS, split="test")
    console.print(
        f"Training routers on the train part of `{suite.name}` ({len(suite.items)} items, simulated models) …"
    )
    built = plan.build()
    sock = _bind_near(settings.port, console)
    async with open_database(settings=settings) as database:
        await library.save(database, suite, replace=True)
        proxy = Proxy(
            settings,
            Config(),
            catalog=simulated_catalog(),
            upstreams={"simulated": SimulatedUpstream(bundled.answer_key(), pace=PACE)},
            routers=built,
            database=database,
        )
        async with serving(proxy, sock) as url:
            console.print(f"The proxy serves {len(proxy.catalog)} simulated models on {url}/v1")
            console.print(f"Ledger: {database.describe()}")
            target = Target(url, "simulated", known_pool=True, api_key=proxy.api_key)
            report = await show_replay(plan, target, database, built, concurrency=32, fresh=True)
            render_leaderboard(report, console)
            path = output or settings.data_dir / "reports" / "demo.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render_html(report), encoding="utf-8")
            console.print(f"Report: {path.resolve()}", soft_wrap=True)
            if stay:
                await _stay(url, suite.items[0].as_query().text, proxy.api_key)
            else:
                console.print("To try the proxy by hand: hullspeed demo --stay")


def _bind_near(port: int, console: Console) -> socket.socket:
    """The port asked for, or any free one where it is taken, saying so."""
    from app.core.errors import ConfigError
    from app.serving import bind, url_of

    try:
        return bind("127.0.0.1", port)
    except ConfigError:
        sock = bind("127.0.0.1", 0)
        console.print(f"Port {port} is taken; using {url_of(sock)} instead.")
        return sock


async def _stay(url: str, prompt: str, key: str | None) -> None:
    """Serve until interrupted; shows requests that work when pasted."""
    import asyncio
    import json
    import shlex
    import signal

    body = json.dumps({"model": "auto/knn", "messages": [{"role": "user", "content": prompt}]})
    auth = f" \\\n  -H 'authorization: Bearer {key}'" if key else ""
    typer.echo(
        f"""
Serving on until Ctrl-C. The models are simulated: they know the bundled suite's questions, nothing else.

curl -i {url}/v1/chat/completions -H 'content-type: application/json'{auth} \\
  -d {shlex.quote(body)}

from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key={key or "none"!r})
reply = client.chat.completions.create(
    model="auto/knn",
    messages=[{{"role": "user", "content": {prompt!r}}}],
    extra_body={{"routing": {{"tradeoff": 0.3}}}},
)
print(reply.model, "says:", reply.choices[0].message.content)

Look at it: {url}/ui/    Every call: {url}/v1/calls    Metrics: {url}/metrics
"""
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
