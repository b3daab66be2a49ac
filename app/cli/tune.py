"""`hullspeed tune`: from provider keys to a tuned router."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import ConfigOption, DataDirOption, run_async

if TYPE_CHECKING:
    from app.bench.suite import Suite
    from app.bench.tuning import Tuned
    from app.core.settings import Settings
    from app.store.database import Database

NAME = "tuned"
"""Of the entry in the config."""


def tune(
    models: Annotated[
        str | None, typer.Option(help="Comma-separated names of the catalog; default: all that routers may choose.")
    ] = None,
    suite: Annotated[
        str, typer.Option("--suite", "-s", help="Suite whose items are asked; `tuning` comes with Hullspeed.")
    ] = "tuning",
    router: Annotated[list[str] | None, typer.Option("--router", "-r", help="Router to try; may be repeated.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the artifact; replaced if it is one.")
    ] = Path("artifacts/tuned"),
    report: Annotated[Path | None, typer.Option(help="Write the report as one HTML file.")] = None,
    config_output: Annotated[
        Path | None, typer.Option(help="Config file to write the entry to; default: the one in use, or hullspeed.yaml.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seeds the split and the fits.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Calls in flight.")] = 16,
    max_cost: Annotated[float | None, typer.Option(help="Stop once this many USD are spent.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Spend money without asking.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask the models again although they were recorded.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Ask your models a suite, fit routers to what they did, and make the best one `auto`."""
    from app.bench.tuning import ROUTERS, complete
    from app.bench.tuning import tune as carry_out
    from app.cli.config_file import add_router
    from app.cli.progress import steps
    from app.cli.showing import show
    from app.cli.store import open_database
    from app.core.config import Config, load_config
    from app.core.logs import configure_logging
    from app.core.settings import load_settings
    from app.main import Proxy

    settings = load_settings(config=config, data_dir=data_dir, host="127.0.0.1")
    configure_logging(settings.log_level, settings.log_format)
    file = load_config(settings.config) if settings.config else Config()
    rules = Proxy(settings, file).decider.rules
    chosen = [name.strip() for name in models.split(",") if name.strip()] if models else sorted(rules.models)

    async def record() -> Suite:
        async with open_database(settings=settings) as database:
            return await _recorded(settings, database, suite, chosen, concurrency, max_cost, yes=yes, fresh=fresh)

    outcomes = complete(run_async(record()), chosen)
    with steps() as step:
        tuned = carry_out(outcomes, router or ROUTERS, seed=seed, on_step=step)
    tuned.router.save(output, overwrite=True)
    show(tuned.report, None, report)
    path = config_output or settings.config or Path("hullspeed.yaml")
    add_router(path, NAME, output, tuned.tradeoff)
    _say(tuned, output, path)


async def _recorded(
    settings: Settings,
    database: Database,
    name: str,
    models: list[str],
    concurrency: int,
    max_cost: float | None,
    *,
    yes: bool,
    fresh: bool,
) -> Suite:
    """The suite `<name>-tuned` with outcomes of `models`: as it stands, or recorded now."""
    from dataclasses import replace

    from app.bench import library
    from app.bench.record import check_name, plan_recording
    from app.cli.recording import recording

    target = f"{name}-tuned"
    # The questions, without what other models made of them.
    asked = replace(await library.load(database, name), recorded=None, simulated=False)
    there = await check_name(database, plan_recording(asked, models), target)
    known = () if there.recorded is None else there.recorded.models
    wanted = models if fresh else [model for model in models if model not in known]
    if wanted:
        plan = plan_recording(asked, wanted)
        cap = None if max_cost is None else Decimal(str(max_cost))
        await recording(plan, settings, database, target, None, concurrency, cap, yes=yes)
    else:
        typer.echo(
            f"All {len(models)} models are recorded in suite `{target}` already (--fresh asks them again).", err=True
        )
    return await library.load(database, target)


def _say(tuned: Tuned, output: Path, path: Path) -> None:
    best = tuned.router.name
    if tuned.helps:
        typer.echo(f"`{best}` did best and beats the blind mix of your models.")
    else:
        typer.echo(
            f"`{best}` did best, but no router is shown to beat the blind mix of your models on these items: more "
            "items of your own kind (`hullspeed bench capture`) tell more."
        )
    typer.echo(f"Artifact: {output}; `auto` is now `{NAME}` at tradeoff {tuned.tradeoff:g} in {path}. Serve it with:\n")
    typer.echo(f"  hullspeed serve --config {path}")
