"""`hullspeed mock`."""

from __future__ import annotations

import asyncio
import signal
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import run_async

if TYPE_CHECKING:
    from app.mock.server import Mock

KEPT = 10_000
"""Requests that are remembered."""


def mock(
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8090,
    tls: Annotated[
        bool,
        typer.Option("--tls", help="Also https on the next port, and with an expired certificate on the one after."),
    ] = False,
    key: Annotated[str | None, typer.Option(help="The key requests must bear; without one any will do.")] = None,
    chaos: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the requests to other models that go wrong by chance.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Makes chance repeatable.")] = 0,
) -> None:
    """Run a provider that fails on demand, to see what a gateway makes of it."""
    from app.mock.plan import Chaos, Dice
    from app.mock.server import Mock

    server = Mock(key=key, keep=KEPT)
    if chaos:
        server.dice = Dice(Chaos(seed, chaos))
    run_async(_run(server, host, port, tls))


async def _run(server: Mock, host: str, port: int, tls: bool) -> None:
    from app.core.errors import ConfigError
    from app.mock.models import MODELS
    from app.mock.tls import make_certificates

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="hullspeed-mock-") as folder:
        async with server:
            try:
                port = await server.listen(host, port)
                url = f"http://{host}:{port}"
                lines = [
                    f"The mock provider serves on {url} (Ctrl-C ends it)",
                    f"  OpenAI     {url}/v1           model: openai/NAME      api_base: {url}/v1",
                    f"  Anthropic  {url}/v1/messages  model: anthropic/NAME   api_base: {url}",
                    f"  Gemini     {url}/v1beta       model: gemini/NAME      api_base: {url}/v1beta",
                ]
                if tls:
                    made = make_certificates(Path(folder))
                    lines += await _listen_tls(server, host, port, (made.good, made.expired))
                    lines.append(f"  authority  {made.authority}   (SSL_CERT_FILE for the gateway)")
            except OSError as error:
                raise ConfigError(f"{host}:{port} cannot be bound: {error.strerror}; choose another --port") from None
            lines += [
                "",
                "NAME says what happens; any other name is answered well:",
                *(f"  {name:26}{what}" for name, (what, _) in MODELS.items()),
                "",
                "For one request: header x-mock-reply or body field mock_reply: a NAME, or",
                '  {"fault": {"kind": "cut_mid_event", "after": 2}}, {"error": {"status": 418}}, {"answer": {}}',
                f"For the next ones: POST {url}/mock/plan  "
                '{"model": "m", "replies": ["mock-500", {"answer": {}}], "chaos": {"seed": 1, "rate": 0.1}}',
                f"What was asked: GET {url}/mock/requests; DELETE forgets",
            ]
            typer.echo("\n".join(lines))
            await stop.wait()


async def _listen_tls(server: Mock, host: str, port: int, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> list[str]:
    good = await server.listen(host, port + 1, contexts[0])
    expired = await server.listen(host, port + 2, contexts[1])
    return [f"  https      https://{host}:{good}", f"  expired    https://{host}:{expired}"]
