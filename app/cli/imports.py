"""`hullspeed bench import …`: files of others become suites."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import DataDirOption, run_async
from app.cli.recording import import_folder

if TYPE_CHECKING:
    from app.bench.importers import Imported
    from app.bench.suite import Suite

app = typer.Typer(help="Bring data in.", no_args_is_help=True)

app.command("folder")(import_folder)

NameOption = Annotated[str, typer.Option(help="Name of the suite.")]
ReplaceFlag = Annotated[bool, typer.Option("--replace", help="Replace a suite of that name.")]
MissingFlag = Annotated[
    bool, typer.Option("--allow-missing", help="Take a matrix with holes; they count as failed calls and as coverage.")
]
PriceOption = Annotated[
    list[str] | None, typer.Option("--price", help="model=IN/OUT, USD per million tokens; may be repeated.")
]

SHOWN = 100
"""Categories that are named."""

ContaminatedOption = Annotated[
    list[Path] | None, typer.Option(help="contaminated_prompts.jsonl: prompts to leave out; may be repeated.")
]


@app.command("outcomes")
def outcomes(
    file: Annotated[Path, typer.Argument(help="Parquet or CSV with one row per (item, model).")],
    name: NameOption,
    items: Annotated[Path | None, typer.Option(help="Parquet or CSV of items with targets.")] = None,
    grader: Annotated[str | None, typer.Option(help="How replies are graded; without one, recorded quality.")] = None,
    allow_missing: MissingFlag = False,
    replace: ReplaceFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """Recorded outcomes in a long table."""
    from app.bench import importers

    _keep(
        lambda: importers.read_outcomes(file, items, name, grader=grader, allow_missing=allow_missing),
        data_dir,
        replace=replace,
    )


@app.command("bundled")
def bundled(
    name: Annotated[str, typer.Argument(help="basics or tuning.")] = "basics",
    replace: ReplaceFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """A suite that comes with Hullspeed; commands that name it put it there by themselves."""
    from app.bench import bundled as ours
    from app.bench.importers import Imported
    from app.core.errors import ConfigError

    if name not in ours.NAMES:
        raise ConfigError(f"no suite that comes with Hullspeed is called `{name}`: use {' or '.join(ours.NAMES)}")
    _keep(lambda: Imported(ours.load(name)), data_dir, replace=replace)


@app.command("items")
def items(
    file: Annotated[Path, typer.Argument(help="JSON lines or CSV: id, category, input, target, grader.")],
    name: NameOption,
    grader: Annotated[str | None, typer.Option(help="Grader of items that name none.")] = None,
    replace: ReplaceFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """Items without outcomes, to be asked live."""
    from app.bench import importers

    _keep(lambda: importers.read_items(file, name, grader), data_dir, replace=replace)


@app.command("routerbench")
def routerbench(
    file: Annotated[Path, typer.Argument(help="routerbench_0shot.pkl, or a CSV or Parquet copy.")],
    name: NameOption,
    allow_missing: MissingFlag = False,
    replace: ReplaceFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """RouterBench's wide files; a pickle is read without running anything in it."""
    from app.bench import importers

    _keep(lambda: importers.read_routerbench(file, name, allow_missing=allow_missing), data_dir, replace=replace)


@app.command("routellm")
def routellm(
    files: Annotated[list[Path], typer.Argument(help="Response files of RouteLLM's evaluations.")],
    name: NameOption,
    price: PriceOption = None,
    contaminated: ContaminatedOption = None,
    allow_missing: MissingFlag = False,
    replace: ReplaceFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """RouteLLM's response files of two models."""
    from app.bench import importers

    prices = importers.parse_prices(price or [])
    _keep(
        lambda: importers.read_routellm(
            files, name, prices=prices, contaminated=contaminated or [], allow_missing=allow_missing
        ),
        data_dir,
        replace=replace,
    )


@app.command("mt-bench")
def mt_bench(
    files: Annotated[list[Path], typer.Argument(help="Judgements, e.g. RouteLLM's judgements.jsonl.")],
    questions: Annotated[Path, typer.Option(help="FastChat's question.jsonl.")],
    name: NameOption,
    price: PriceOption = None,
    contaminated: ContaminatedOption = None,
    allow_missing: MissingFlag = False,
    replace: ReplaceFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """MT-Bench conversations as a judge rated them (FastChat, RouteLLM)."""
    from app.bench import importers

    prices = importers.parse_prices(price or [])
    _keep(
        lambda: importers.read_mt_bench(
            files, questions, name, prices=prices, contaminated=contaminated or [], allow_missing=allow_missing
        ),
        data_dir,
        replace=replace,
    )


@app.command("llmrouterbench")
def llmrouterbench(
    files: Annotated[list[Path], typer.Argument(help="JSON records, or folders of them.")],
    name: NameOption,
    allow_missing: MissingFlag = False,
    replace: ReplaceFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """LLMRouterBench's records."""
    from app.bench import importers

    _keep(lambda: importers.read_llmrouterbench(files, name, allow_missing=allow_missing), data_dir, replace=replace)


@app.command("inspect")
def inspect(
    files: Annotated[list[Path], typer.Argument(help="Evaluation logs, .json or .eval, one per model.")],
    name: NameOption,
    scorer: Annotated[str | None, typer.Option(help="Which score, where a log holds several.")] = None,
    price: PriceOption = None,
    allow_missing: MissingFlag = False,
    replace: ReplaceFlag = False,
    data_dir: DataDirOption = None,
) -> None:
    """inspect_ai's evaluation logs."""
    from app.bench import importers

    prices = importers.parse_prices(price or [])
    _keep(
        lambda: importers.read_inspect(files, name, scorer=scorer, prices=prices, allow_missing=allow_missing),
        data_dir,
        replace=replace,
    )


def _keep(read: Callable[[], Imported], data_dir: Path | None, *, replace: bool) -> None:
    """Read and store a suite, then say what was found in it."""
    from app.bench import library
    from app.cli.progress import steps
    from app.cli.store import open_database

    async def work(suite: Suite) -> None:
        async with open_database(data_dir) as database:
            await library.save(database, suite, replace=replace)

    with steps() as step:
        step("reading")
        found = read()
        suite = found.suite
        step(f"storing {len(suite.items):,} items")
        run_async(work(suite))
        step("looking for repeats and near-duplicates")
        remarks = found.findings().lines()
        step("grading what was recorded")
        remarks += _agreement(suite)
    categories: dict[str, int] = {}
    for item in suite.items:
        categories[item.category] = categories.get(item.category, 0) + 1
    typer.echo(f"Suite `{suite.name}`: {len(suite.items):,} items in {len(categories)} categories")
    named = [f"{name} {count:,}" for name, count in sorted(categories.items())]
    more = f" and {len(named) - SHOWN:,} more" if len(named) > SHOWN else ""
    typer.echo(f"  {', '.join(named[:SHOWN])}{more}")
    for line in remarks:
        typer.echo(f"  {line}")


def _agreement(suite: Suite) -> list[str]:
    """How far a grader agrees with the recorded quality, where there is something to grade."""
    from app.bench.graders import GRADERS, agreement

    # What takes long, costs money or runs code is for `bench score` and `bench run`.
    named = {item.grader or suite.grader or "answer" for item in suite.items}
    gradable = named <= GRADERS.keys() and all(item.target is not None for item in suite.items)
    recorded = suite.recorded
    if not gradable or recorded is None or any(reply is None for reply in recorded.replies.flat):
        return []
    own = suite.grader or ("its items' own" if any(item.grader for item in suite.items) else None)
    share, apart = agreement(suite, suite.grader or (None if own else "answer"))
    said = f"grader `{own or 'answer'}` agrees with the recorded quality on {share:.2%} of the replies"
    hint = "" if own else "; recorded quality is used unless --grader answer is given"
    return [f"{said} ({len(apart):,} differ){hint}"]
