"""`hullspeed bench predictions`: a run in the files that other benchmarks read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.options import DataDirOption, run_async


def predictions(
    run: Annotated[str, typer.Argument(help="Id of a finished run, or the beginning of it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    form: Annotated[
        Literal["routerarena", "routerbench"],
        typer.Option("--format", help="routerarena: one router at one tradeoff; routerbench: a CSV of all of them."),
    ] = "routerbench",
    router: Annotated[str | None, typer.Option("--router", "-r", help="For routerarena: which router.")] = None,
    tradeoff: Annotated[float | None, typer.Option(help="For routerarena: at which of the run's tradeoffs.")] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Write a run as RouterArena's prediction file or a RouterBench-style CSV."""
    from app.bench import exports, library
    from app.cli.store import open_database
    from app.core.errors import ConfigError
    from app.store.runs import get_run, load_results

    if form == "routerarena" and (router is None or tradeoff is None):
        raise ConfigError("a RouterArena file holds one router at one tradeoff: give --router and --tradeoff")

    async def work() -> bytes:
        async with open_database(data_dir) as database:
            found, _ = await get_run(database, run)
            rows = await load_results(database, found.id)
            suite = await library.load(database, found.suite)
            if suite.digest != found.suite_digest:
                raise ConfigError(f"suite `{suite.name}` is no longer the one that run {found.id} was made on")
            if form == "routerbench":
                return exports.routerbench(rows, suite)
            assert router is not None
            assert tradeoff is not None
            return exports.routerarena(rows, suite, router=router, tradeoff=tradeoff)

    exports.write(output, run_async(work()))
    typer.echo(f"Written: {output.resolve()}")
