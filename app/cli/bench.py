"""`hullspeed bench …`: suites in, runs and scores out."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.bench.tradeoffs import DEFAULT_TRADEOFFS, parse_tradeoffs
from app.cli import adopting, conform, imports, offpolicy, predictions, recording
from app.cli.embedding import EmbeddingOption
from app.cli.options import AllowCodeFlag, ConfigOption, DataDirOption, JsonFlag, run_async
from app.cli.showing import CsvOption, HtmlOption, JsonFileOption, show, show_recording, to_terminal, write

if TYPE_CHECKING:
    from app.bench.compare import Comparison
    from app.bench.plan import Plan
    from app.bench.report import Report
    from app.bench.suite import Suite
    from app.gateway.embedders import Cache

app = typer.Typer(help="Import suites, replay them through a running proxy, and score routers.", no_args_is_help=True)
app.add_typer(imports.app, name="import")
app.command("adopt")(adopting.adopt)
app.command("off-policy")(offpolicy.off_policy)
app.command("predictions")(predictions.predictions)
app.command("record")(recording.record)
app.command("capture")(recording.capture)
app.command("export")(recording.export)
app.command("conform-router")(conform.conform_router)

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
    str | None,
    typer.Option(
        help="Grade replies with this instead of the suite's grader: a name, judge:MODEL, pairwise:MODEL or "
        "FILE.py:FUNCTION; `recorded`: do not grade."
    ),
]
FailUnderOption = Annotated[
    float | None, typer.Option("--fail-under", metavar="AIQ", help="Exit with 1 where a router's AIQ is below this.")
]


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


@app.command("score")
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
    allow_code: AllowCodeFlag = False,
    embedding: EmbeddingOption = None,
    least: FailUnderOption = None,
    json_file: JsonFileOption = None,
    csv_file: CsvOption = None,
    output: HtmlOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Score routers on recorded outcomes, without calling anything."""
    from app.bench.run import score as carry_out
    from app.bench.seeds import score_seeds
    from app.cli.progress import steps

    plan = _plan(suite, router, tradeoffs, split, split_by, seed, limit, grader, allow_code, data_dir)
    plan, _ = _embedded(plan, embedding, config, data_dir)
    with steps(quiet=to_terminal(json_file) or to_terminal(csv_file)) as step:
        step(f"scoring {', '.join(spec.text for spec in plan.routers)}")
        if seeds == 1:
            report = carry_out(plan)
        else:
            left = range(seed, seed + seeds)
            report = score_seeds(plan, left, on_done=lambda done: step(f"seed {done - seed + 1} of {seeds} is scored"))
    show(report, json_file, output, csv_file)
    _gate(report, least)


@app.command("run")
def run(
    suite: Annotated[str, typer.Argument(help="Name of the suite.")],
    router: RoutersOption,
    tradeoffs: TradeoffsOption = DEFAULT_TRADEOFFS,
    split: SplitOption = "test",
    split_by: SplitByOption = "stratified",
    seed: SeedOption = 0,
    limit: LimitOption = None,
    grader: GraderOption = None,
    allow_code: AllowCodeFlag = False,
    embedding: EmbeddingOption = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Calls in flight.")] = 32,
    url: Annotated[str | None, typer.Option(help="A running proxy; without it one is started for the run.")] = None,
    upstream: Annotated[
        Literal["recorded", "live"],
        typer.Option(help="recorded: the suite's outcomes answer, free. live: the providers of the config do."),
    ] = "recorded",
    max_cost: Annotated[float | None, typer.Option(help="Stop once this many USD are spent.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Spend money without asking.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not take up an unfinished run of the same plan.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would ask and what that may cost; do nothing.")
    ] = False,
    run_file: Annotated[Path | None, typer.Option(help="Write the run's id here as soon as there is one.")] = None,
    least: FailUnderOption = None,
    worse_than: Annotated[
        str | None,
        typer.Option("--fail-if-worse-than", metavar="RUN", help="Exit with 1 where this run is shown to be worse."),
    ] = None,
    json_file: JsonFileOption = None,
    csv_file: CsvOption = None,
    output: HtmlOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Replay a suite through a running proxy over HTTP and score its routers."""
    import asyncio

    import msgspec

    from app.cli.replay import Wanted, rehearse, replay, stoppable

    plan = _plan(
        suite, router, tradeoffs, split, split_by, seed, limit, grader, allow_code, data_dir, remote=url is not None
    )
    plan, embedder = _embedded(plan, embedding, config, data_dir)
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
        quiet=to_terminal(json_file) or to_terminal(csv_file),
        embedder=embedder,
        run_file=run_file,
    )
    if dry_run:
        estimate = run_async(rehearse(wanted))
        if json_file is None:
            typer.echo(estimate.in_words())
        else:
            write(json_file, msgspec.json.encode(estimate).decode() + "\n")
        return
    try:
        made = run_async(stoppable(replay(wanted)))
    except (asyncio.CancelledError, KeyboardInterrupt):
        typer.echo("hullspeed: interrupted; what is done is kept, and the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    show(made, json_file, output, csv_file)
    _gate(made, least)
    if worse_than is not None:
        from app.cli.gates import fail_if_worse

        fail_if_worse(_comparison(worse_than, made.run or "", data_dir))


@app.command("compare")
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


@app.command("report")
def report(
    run: Annotated[str, typer.Argument(help="Id of the run, or the beginning of it.")],
    json_file: JsonFileOption = None,
    csv_file: CsvOption = None,
    output: HtmlOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Show the report of a finished run again; of a recording, what it holds of each model."""
    import msgspec

    from app.bench.recording_report import RecordingReport, recording_report
    from app.bench.report import Report
    from app.cli.store import open_database
    from app.core.errors import HullspeedError
    from app.store.runs import get_run

    async def work() -> Report | RecordingReport:
        async with open_database(data_dir) as database:
            found, stored = await get_run(database, run)
            if found.spec.get("kind") == "record":
                return await recording_report(database, found)
            if stored is None:
                raise HullspeedError(f"run {found.id} is not finished ({found.status}); the same command resumes it")
            return msgspec.convert(stored, Report)

    found = run_async(work())
    if isinstance(found, RecordingReport):
        show_recording(found, json_file, output, csv_file)
    else:
        show(found, json_file, output, csv_file)


def _embedded(
    plan: Plan, embedding: str | None, config: Path | None, data_dir: Path | None
) -> tuple[Plan, Cache | None]:
    """The plan with embeddings, where they are asked for, and the embedder for a proxy of its own."""
    if embedding is None:
        return plan, None
    from dataclasses import replace

    from app.cli.embedding import embedded
    from app.core.errors import ConfigError
    from app.core.settings import load_settings

    if plan.remote:
        raise ConfigError("--embedding: the proxy at --url embeds by its own `routing.embedding`; leave it out")
    suite, embedder = embedded(plan.suite, embedding, load_settings(config=config, data_dir=data_dir))
    return replace(plan, suite=suite), embedder


def _plan(
    suite: str,
    routers: list[str],
    tradeoffs: str,
    split: Literal["all", "train", "test"],
    split_by: str,
    seed: int,
    limit: int | None,
    grader: str | None,
    allow_code: bool,
    data_dir: Path | None,
    *,
    remote: bool = False,
) -> Plan:
    from app.bench import library
    from app.bench.plan import Plan, RouterSpec
    from app.bench.splits import SplitBy
    from app.cli.store import open_database
    from app.core.errors import ConfigError
    from app.core.settings import load_settings

    specs = tuple(RouterSpec.parse(text) for text in routers)
    try:
        values = parse_tradeoffs(tradeoffs)
    except ConfigError as error:
        raise ConfigError(f"--tradeoffs: {error.message}") from None

    async def work() -> Suite:
        async with open_database(settings=settings) as database:
            return await library.load(database, suite)

    settings = load_settings(data_dir=data_dir)
    allowed = allow_code or settings.allow_code
    return Plan(run_async(work()), specs, values, split, seed, limit, grader, SplitBy.parse(split_by), remote, allowed)
