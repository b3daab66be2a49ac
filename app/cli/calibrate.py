"""`hullspeed calibrate`: the threshold of a two-model router for a share of strong calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.options import DataDirOption, JsonFlag, run_async


def calibrate(
    artifact: Annotated[Path, typer.Argument(help="Artifact of router `threshold`, written by `hullspeed train`.")],
    suite: Annotated[str, typer.Option("--suite", "-s", help="Suite whose prompts are like those to come.")],
    strong_share: Annotated[float, typer.Option(min=0, max=1, help="Share of calls for the strong model.")],
    split: Annotated[Literal["all", "train", "test"], typer.Option(help="Which part of the suite.")] = "all",
    seed: Annotated[int, typer.Option(min=0, help="Seeds the split.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the artifact with it.")] = None,
    as_json: JsonFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """Find the threshold at which a share of a suite's prompts goes to the strong model. No outcomes are needed."""
    import msgspec

    from app.bench import bundled, library
    from app.bench.suite import Suite
    from app.cli.store import open_database
    from app.core.errors import ConfigError
    from routers import artifacts
    from routers.threshold import ThresholdRouter

    try:
        router = artifacts.load(artifact)
    except ValueError as error:
        raise ConfigError(str(error), param="artifact") from None
    if not isinstance(router, ThresholdRouter):
        raise ConfigError(
            f"{artifact} is of router `{router.name}`; only `threshold` has a threshold", param="artifact"
        )

    async def load() -> Suite:
        async with open_database(data_dir) as database:
            return await library.load(database, suite)

    found = bundled.load(suite) if suite in bundled.NAMES else run_async(load())
    queries = [found.items[row].as_query() for row in found.rows(split, seed)]
    try:
        calibrated = router.at_threshold(router.calibrate(queries, strong_share))
        if output is not None:
            calibrated.save(output)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    threshold = calibrated.threshold
    achieved = sum(router.win_probability(query) >= threshold for query in queries) / len(queries)
    if as_json:
        figures = {"threshold": threshold, "share": achieved, "prompts": len(queries)}
        typer.echo(msgspec.json.encode({**figures, "strong": router.strong, "weak": router.weak}).decode())
        return
    typer.echo(
        f"threshold {threshold:.6g}: {achieved:.1%} of {len(queries):,} prompts go to `{router.strong}`, the others to "
        f"`{router.weak}` (asked for {strong_share:.1%}; at a tradeoff of 0.5)"
    )
    if output is not None:
        typer.echo(f"Written: {output.resolve()}")
