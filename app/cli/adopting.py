"""`hullspeed bench adopt`: calls of another harness become a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import AllowCodeFlag, DataDirOption, run_async
from app.cli.showing import CsvOption, HtmlOption, JsonFileOption, show

if TYPE_CHECKING:
    from app.bench.adopt import Adopted


def adopt(
    tag: Annotated[
        str, typer.Argument(metavar="RUN", help="The run its calls are tagged with, by header or by key (KEY+run=RUN).")
    ],
    suite: Annotated[
        str | None,
        typer.Option(help="The suite that has the items. With --log it is made of the log where there is none."),
    ] = None,
    log: Annotated[
        list[Path] | None,
        typer.Option(
            help="The harness's own log, whose scores count: inspect_ai's .eval or .json, lm-eval's samples_*.jsonl, "
            "or a folder of them. May be repeated."
        ),
    ] = None,
    grader: Annotated[str | None, typer.Option(help="Grade replies with this instead of the suite's grader.")] = None,
    allow_code: AllowCodeFlag = False,
    scorer: Annotated[
        str | None, typer.Option(help="Which score of the log, where it holds several, e.g. exact_match,strict-match.")
    ] = None,
    json_file: JsonFileOption = None,
    csv_file: CsvOption = None,
    output: HtmlOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make a run of the calls that another harness sent through the proxy, and report on it."""
    from app.bench.adopt import adopt as carry_out
    from app.cli.progress import steps
    from app.cli.store import open_database
    from app.core.settings import load_settings

    settings = load_settings(data_dir=data_dir)

    async def work() -> Adopted:
        async with open_database(settings=settings) as database:
            return await carry_out(
                database,
                tag,
                suite=suite,
                logs=log or (),
                grader=grader,
                scorer=scorer,
                allow_code=allow_code or settings.allow_code,
            )

    with steps() as step:
        step(f"adopting the calls of `{tag}`")
        found = run_async(work())
    typer.echo(f"Run {found.run} of `{tag}`: {found.used:,} of {found.calls:,} calls are in it.", err=True)
    show(found.report, json_file, output, csv_file)
