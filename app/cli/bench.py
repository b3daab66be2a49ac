"""`hullspeed bench …`: suites in, runs and scores out."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.cli import imports, predictions, recording
from app.cli.options import ConfigOption, DataDirOption, JsonFlag, run_async

if TYPE_CHECKING:
    from app.bench.compare import Comparison
    from app.bench.plan import Plan
    from app.bench.report import Report
    from app.bench.suite import Suite

app = typer.Typer(help="Import suites, replay them through a running proxy, and score routers.", no_args_is_help=True)
app.add_typer(imports.app, name="import")
app.command("predictions")(predictions.predictions)
app.command("record")(recording.record)
app.command("capture")(recording.capture)
app.command("export")(recording.export)

RoutersOption = Annotated[
    list[str],
    typer.Option("--router", "-r", help="Router, e.g. knn or knn:k=50, or an artifact's folder. May be repeated."),
]
TradeoffsOption = Annotated[str, typer.Option(help="Comma-separated, each in [0, 1]: 0 = quality only, 1 = cost only.")]
SplitOption = Annotated[Literal["all", "train", "test"], typer.Option(help="Which part of the suite.")]
SplitByOption = Annotated[
    str,
    typer.Option(help="stratified, grouped (near-duplicates stay together), leave-out:CATEGORY, or routerbench."),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seeds the split, the routers and the bootstrap.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Most items; a seeded sample of the part.")]
GraderOption = Annotated[
    str | None, typer.Option(help="Grade replies with this instead of the suite's grader; `recorded`: do not grade.")
]
JsonFileOption = Annotated[Path | None, typer.Option("--json", help="Write the report as JSON; `-`: to the terminal.")]
HtmlOption = Annotated[Path | None, typer.Option("--output", "-o", help="Write the report as one HTML file.")]
FailUnderOption = Annotated[
    float | None, typer.Option("--fail-under", metavar="AIQ", help="Exit with 1 where a router's AIQ is below this.")
]
DEFAULT_TRADEOFFS = "0,0.02,0.05,0.1,0.2,0.4,0.7,1"
"""Denser near 0, where most of the way from the dearest models to the middle ones lies: c_ref is the dearest mean."""


@app.command("list")
def list_all(as_json: JsonFlag = False, data_dir: DataDirOption = None) -> None:
    """Suites and runs."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from app.cli.store import open_database
    from app.store.runs import RunRow, list_runs
    from app.store.suites import SuiteRow, list_suites

    async def work() -> tuple[list[SuiteRow], list[RunRow]]:
        async with open_database(data_dir) as database:
            return await list_suites(database), await list_runs(database)

    suites, runs = run_async(work())
    if as_json:
        typer.echo(msgspec.json.encode({"suites": suites, "runs": runs}).decode())
        return
    console = Console()
    if not suites:
        console.print("There is no suite yet: `hullspeed bench import outcomes FILE.parquet --name NAME` makes one.")
        return
    table = Table("suite", "items", "categories", "models", "quality", title="Suites", title_justify="left")
    for suite in suites:
        models = "none recorded" if suite.models is None else f"{len(suite.models)}"
        models += " simulated" if suite.simulated else ""
        quality = suite.grader or ("graded per item" if suite.graded_items else "recorded")
        table.add_row(suite.name, f"{suite.items:,}", ", ".join(suite.categories), models, quality)
    console.print(table)
    table = Table(title="Runs", title_justify="left")
    table.add_column("run", no_wrap=True)
    for heading in ("suite", "status", "started", "routers"):
        table.add_column(heading)
    for run in runs:
        routers = ", ".join(run.spec.get("routers", ()))
        table.add_row(run.id, run.suite, run.status, f"{run.created_at:%Y-%m-%d %H:%M}", routers)
    if runs:
        console.print(table)


@app.command()
def score(
    suite: Annotated[str, typer.Argument(help="Name of the suite.")],
    router: RoutersOption,
    tradeoffs: TradeoffsOption = DEFAULT_TRADEOFFS,
    split: SplitOption = "test",
    split_by: SplitByOption = "stratified",
    seed: SeedOption = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="Split, fit and score anew with this many seeds, and say how much that varies.")
    ] = 1,
    limit: LimitOption = None,
    grader: GraderOption = None,
    least: FailUnderOption = None,
    json_file: JsonFileOption = None,
    output: HtmlOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Score routers on recorded outcomes, without calling anything."""
    from app.bench.run import score as carry_out
    from app.bench.seeds import score_seeds

    plan = _plan(suite, router, tradeoffs, split, split_by, seed, limit, grader, data_dir)
    report = carry_out(plan) if seeds == 1 else score_seeds(plan, range(seed, seed + seeds))
    _show(report, json_file, output)
    _gate(report, least)


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="Name of the suite.")],
    router: RoutersOption,
    tradeoffs: TradeoffsOption = DEFAULT_TRADEOFFS,
    split: SplitOption = "test",
    split_by: SplitByOption = "stratified",
    seed: SeedOption = 0,
    limit: LimitOption = None,
    grader: GraderOption = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Calls in flight.")] = 32,
    url: Annotated[str | None, typer.Option(help="A running proxy; without it one is started for the run.")] = None,
    upstream: Annotated[
        Literal["recorded", "live"],
        typer.Option(help="recorded: the suite's outcomes answer, free. live: the providers of the config do."),
    ] = "recorded",
    max_cost: Annotated[float | None, typer.Option(help="Stop once this many USD are spent.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Spend money without asking.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not take up an unfinished run of the same plan.")] = False,
    least: FailUnderOption = None,
    worse_than: Annotated[
        str | None,
        typer.Option("--fail-if-worse-than", metavar="RUN", help="Exit with 1 where this run is shown to be worse."),
    ] = None,
    json_file: JsonFileOption = None,
    output: HtmlOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Replay a suite through a running proxy over HTTP and score its routers."""
    from app.cli.replay import Wanted, replay

    plan = _plan(suite, router, tradeoffs, split, split_by, seed, limit, grader, data_dir, remote=url is not None)
    wanted = Wanted(
        plan=plan,
        url=url,
        upstream=upstream,
        concurrency=concurrency,
        max_cost=None if max_cost is None else Decimal(str(max_cost)),
        yes=yes,
        fresh=fresh,
        config=config,
        data_dir=data_dir,
        quiet=json_file is not None and str(json_file) == "-",
    )
    made = run_async(replay(wanted))
    _show(made, json_file, output)
    _gate(made, least)
    if worse_than is not None:
        from app.cli.gates import fail_if_worse

        fail_if_worse(_comparison(worse_than, made.run or "", data_dir))


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="Id of a finished run, or the beginning of it.")],
    second: Annotated[str, typer.Argument(help="The run to hold against it.")],
    as_json: JsonFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """Two runs of the same items side by side: paired differences with intervals."""
    from rich.console import Console

    from app.bench.render_comparison import render_comparison

    comparison = _comparison(first, second, data_dir)
    if as_json:
        typer.echo(comparison.to_json().decode())
    else:
        render_comparison(comparison, Console())


def _comparison(first: str, second: str, data_dir: Path | None) -> Comparison:
    from app.bench.compare import compare as carry_out
    from app.cli.gates import load_finished
    from app.cli.store import open_database

    async def work() -> Comparison:
        async with open_database(data_dir) as database:
            return carry_out(await load_finished(database, first), await load_finished(database, second))

    return run_async(work())


def _gate(report: Report, least: float | None) -> None:
    if least is not None:
        from app.cli.gates import fail_under

        fail_under(report, least)


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Id of the run, or the beginning of it.")],
    json_file: JsonFileOption = None,
    output: HtmlOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Show the report of a finished run again."""
    import msgspec

    from app.bench.report import Report
    from app.cli.store import open_database
    from app.core.errors import HullspeedError
    from app.store.runs import get_run

    async def work() -> Report:
        async with open_database(data_dir) as database:
            found, stored = await get_run(database, run)
            if found.spec.get("kind") == "record":
                raise HullspeedError(f"run {found.id} recorded a suite and scored nothing; see `hullspeed bench list`")
            if stored is None:
                raise HullspeedError(f"run {found.id} is not finished ({found.status}); the same command resumes it")
            return msgspec.convert(stored, Report)

    _show(run_async(work()), json_file, output)


def _plan(
    suite: str,
    routers: list[str],
    tradeoffs: str,
    split: Literal["all", "train", "test"],
    split_by: str,
    seed: int,
    limit: int | None,
    grader: str | None,
    data_dir: Path | None,
    *,
    remote: bool = False,
) -> Plan:
    from app.bench import library
    from app.bench.plan import Plan, RouterSpec
    from app.bench.splits import SplitBy
    from app.cli.store import open_database
    from app.core.errors import ConfigError

    specs = tuple(RouterSpec.parse(text) for text in routers)
    try:
        values = tuple(float(text) for text in tradeoffs.split(","))
    except ValueError:
        raise ConfigError(f"--tradeoffs {tradeoffs!r} is not a comma-separated list of numbers") from None

    async def work() -> Suite:
        async with open_database(data_dir) as database:
            return await library.load(database, suite)

    return Plan(run_async(work()), specs, values, split, seed, limit, grader, SplitBy.parse(split_by), remote)


def _show(report: Report, json_file: Path | None, output: Path | None) -> None:
    import msgspec
    from rich.console import Console

    from app.bench.render_html import render_html
    from app.bench.render_terminal import render_leaderboard
    from app.core.errors import ConfigError

    encoded = msgspec.json.encode(report)
    to_terminal = json_file is not None and str(json_file) == "-"
    try:
        if json_file is not None and not to_terminal:
            json_file.write_bytes(encoded + b"\n")
        if output is not None:
            output.write_text(render_html(report), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}") from None
    if to_terminal:
        typer.echo(encoded.decode())
        return
    render_leaderboard(report, Console())
    if output is not None:
        typer.echo(f"Report: {output.resolve()}")
