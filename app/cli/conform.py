"""`hullspeed bench conform-router`: is it a router?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import DataDirOption, JsonFlag, run_async

if TYPE_CHECKING:
    from app.bench.conform_router import Conformance
    from app.bench.suite import Suite


def conform_router(
    router: Annotated[
        str, typer.Argument(help="A router, e.g. knn or knn:k=50, an artifact's folder, or ./my_router.py:MyRouter.")
    ],
    suite: Annotated[str, typer.Option("--suite", "-s", help="Suite to fit it to and to ask it about.")] = "basics",
    as_json: JsonFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """Check that a router keeps to what every router promises; exit with 1 where it does not."""
    import msgspec

    from app.bench import bundled
    from app.bench.conform_router import conform
    from app.cli.progress import steps

    with steps(quiet=as_json) as step:
        step(f"asking {router}")
        found = conform(router, bundled.load() if suite == bundled.NAME else run_async(_load(suite, data_dir)))
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _show(found)
    if not found.passed:
        raise typer.Exit(1)


async def _load(suite: str, data_dir: Path | None) -> Suite:
    from app.bench import library
    from app.cli.store import open_database

    async with open_database(data_dir) as database:
        return await library.load(database, suite)


def _show(found: Conformance) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "", "", title=f"{found.router} on {found.suite}", title_justify="left")
    for check in found.checks:
        table.add_row(check.name, Text("ok", "green") if check.passed else Text("FAILED", "red"), Text(check.said))
    console = Console()
    console.print(table)
    if found.p50 is not None and found.p99 is not None and found.slowest is not None:
        console.print(
            f"decision time: p50 {1000 * found.p50:.2f} ms, p99 {1000 * found.p99:.2f} ms on everyday queries; "
            f"slowest of all {1000 * found.slowest:.1f} ms"
        )
    if found.reasons:
        console.print(f"reasons: {', '.join(found.reasons)}", markup=False)
    if found.declined:
        console.print(f"declined {found.declined} of {found.queries} queries: the proxy's default serves those")
