"""The proxy contract, side by side: `python -m benchmarks.conform [--only …] [--json FILE]`.

Holds three gateways against it, each with the mock behind it: Hullspeed on its direct path (OpenAI's dialect),
Hullspeed through litellm (Anthropic's dialect), and litellm's own proxy (OpenAI's dialect). litellm's proxy is
installed from PyPI into an environment of its own, kept in the user's cache folder, in the version that Hullspeed
itself is locked to; no file in it is younger than a week. Prints one row a check and one column a gateway, and what
is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.conform import report
from app.conform.check import Check, Dialect
from app.conform.client import Base
from app.conform.gateways import GATEWAYS, KEY, print_config
from app.conform.run import Result, run, select, unseen
from app.conform.stand import Stand
from app.mock.server import Mock
from app.serving import bind
from benchmarks.installed import litellm_proxy

START_SECONDS = 120.0
ROOT = Path(__file__).parents[1]
MARKS = {"kept": Text("kept", "green"), "broken": Text("BROKEN", "bold red"), "not applicable": Text("–", "dim")}


@dataclass(frozen=True)
class Column:
    """One gateway."""

    title: str
    gateway: str
    dialect: Dialect


COLUMNS = (
    Column("Hullspeed", "hullspeed", "openai"),
    Column("Hullspeed → litellm", "hullspeed", "anthropic"),
    Column("litellm's proxy", "litellm", "openai"),
)


def free_ports(count: int) -> list[int]:
    """The first of `count` pairs of neighbouring ports that are free now."""
    found: list[int] = []
    socks = []
    while len(found) < count:
        sock = bind("127.0.0.1", 0)
        socks.append(sock)
        port = sock.getsockname()[1]
        try:
            socks.append(bind("127.0.0.1", port + 1))
        except Exception:
            continue
        found.append(port)
    for sock in socks:
        sock.close()
    return found


@contextmanager
def served(column: Column, folder: Path, port: int, config: Path) -> Iterator[str]:
    """The gateway as a process of its own while the block runs; gives its URL."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    if column.gateway == "hullspeed":
        command = [sys.executable, "-m", "app", "serve", "--config", str(config), "--port", str(port)]
        kept["HULLSPEED_DATA_DIR"] = str(folder / "data")
    else:
        command = [str(litellm_proxy()), "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
        kept |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LITELLM_LOG": "ERROR"}
    url = f"http://127.0.0.1:{port}"
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=ROOT if column.gateway == "hullspeed" else folder, env=kept, stdout=said, stderr=said
        )
        try:
            _wait(process, f"{url}{GATEWAYS[column.gateway].ready}", folder)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.25)
    raise SystemExit(f"{url} did not come up:\n{(folder / 'said').read_text(errors='replace')[-2000:]}")


async def conform(column: Column, checks: Sequence[Check]) -> list[Result]:
    """The verdicts on one gateway."""
    front, back = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="hullspeed-conform-") as name:
        folder = Path(name)
        config = folder / "config.yaml"
        addresses = f"127.0.0.1:{back}", f"127.0.0.1:{back + 1}"
        config.write_text(print_config(column.gateway, checks, column.dialect, *addresses))
        with served(column, folder, front, config) as url:
            stand = Stand(
                base=Base.parse(url),
                gateway=GATEWAYS[column.gateway],
                mock=Mock(),
                mock_address=addresses[0],
                dialect=column.dialect,
                key=KEY,
                ledger=Base.parse(url) if column.gateway == "hullspeed" else None,
            )
            async with stand.mock:
                await stand.listen("127.0.0.1", back, folder / "tls")
                await stand.greet(checks)
                await stand.warm()
                return [*await run(stand, checks), *unseen(checks)]


def table(found: dict[str, list[Result]]) -> Table:
    """One row a check, one column a gateway."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("point", justify="right")
    shown.add_column("check")
    for title in found:
        shown.add_column(title, no_wrap=True)
    for row in zip(*found.values(), strict=True):
        label = row[0].name or row[0].evidence
        shown.add_row(str(row[0].point), label, *(MARKS[result.verdict] for result in row))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="points or beginnings of names")
    parser.add_argument("--json", type=Path, help="also write everything there")
    arguments = parser.parse_args()
    checks = select(arguments.only)
    found: dict[str, list[Result]] = {}
    for column in COLUMNS:
        started = time.monotonic()
        found[column.title] = asyncio.run(conform(column, checks))
        print(f"{column.title}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table(found))
    whole: dict[str, Any] = {}
    for column in COLUMNS:
        results = found[column.title]
        whole[column.title] = report.as_json(results, gateway=column.gateway, dialect=column.dialect)
        console.print(f"\n[bold]{column.title}[/bold]: {report.summary(results)}")
        for result in results:
            if result.verdict == "broken":
                console.print(Text(f"  {result.point:>2} {result.name}: {result.evidence}"[:220]))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(whole, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
