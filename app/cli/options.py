"""Options that several commands share, and how a command runs asynchronous work."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

T = TypeVar("T")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML file with model_list and routing.", show_envvar=False)
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Where everything is kept (HULLSPEED_DATA_DIR).", show_default=False)
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
AllowCodeFlag = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Run code for grading: programs that models wrote (in a sandbox), files that the suite names "
        "(HULLSPEED_ALLOW_CODE).",
    ),
]


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a new event loop: uvloop's where it is installed."""
    # Not as what the loop's task gives: a runner that ends has the task described in full, its result with it, which
    # takes a tenth of a second where that is a suite.
    results: list[T] = []

    async def run() -> None:
        results.append(await work)

    try:
        import uvloop
    except ImportError:
        asyncio.run(run())
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    return results[0]
