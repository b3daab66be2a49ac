"""`hullspeed train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.options import DataDirOption, run_async


def train(
    router: Annotated[str, typer.Argument(help="A trainable router, e.g. knn or ridge.")],
    suite: Annotated[str, typer.Option("--suite", "-s", help="Name of the suite with recorded outcomes.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the artifact; must not exist.")],
    param: Annotated[list[str] | None, typer.Option("--param", help="name=value; may be repeated.")] = None,
    split: Annotated[
        Literal["train", "all"],
        typer.Option(help="train: leave the test part untouched, so that it can be scored honestly."),
    ] = "train",
    seed: Annotated[int, typer.Option(min=0, help="Seeds the split.")] = 0,
    grader: Annotated[str | None, typer.Option(help="Grade the recorded replies anew with this.")] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Fit a router to a suite's outcomes and write it as an artifact that a config can name."""
    from app.bench import library
    from app.bench.plan import Plan, RouterSpec, parse_params
    from app.cli.store import open_database
    from app.core.errors import ConfigError
    from routers import registry

    try:
        cls = registry.find(router)
    except ValueError as error:
        raise ConfigError(str(error), param="router") from None
    if not registry.is_trainable(cls) or cls.bench_only:
        raise ConfigError(f"router `{router}` cannot be trained", param="router")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output} exists already; choose another folder or remove it", param="output")
    params = parse_params(param or [])

    async def work() -> Plan:
        async with open_database(data_dir) as database:
            spec = RouterSpec(router, router, params)
            return Plan(await library.load(database, suite), (spec,), split=split, seed=seed, grader=grader)

    plan = run_async(work())
    if plan.outcomes is None:
        raise ConfigError(f"suite `{suite}` has no recorded outcomes to fit to", param="suite")
    try:
        fitted = cls.fit(plan.outcomes.take(plan.rows), **params)
        fitted.save(output)
    except ValueError as error:
        raise ConfigError(f"router `{router}`: {error}") from None
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e6
    part = "" if split == "all" else " (its train part)"
    typer.echo(f"Trained `{router}` on {len(plan.rows):,} items of `{suite}`{part}: {output} ({size:.1f} MB)")
    typer.echo(f"Serve it with:\n\nrouting:\n  default: {router}\n  routers:\n    {router}: {{artifact: {output}}}\n")
