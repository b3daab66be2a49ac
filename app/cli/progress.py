"""What a command says while it works, on standard error: a bar or a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from time import monotonic
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from app.bench.replay import Progress as Done
    from app.store.runs import RunRow

LINES = 10
"""Plain lines for a whole run, more where one takes longer than `LONGEST`."""
LONGEST = 60.0
"""Seconds."""


class Bar:
    """One progress bar over the calls of a run."""

    def __init__(self, progress: Progress, total: int, *, plain: bool, cap: Decimal | None = None) -> None:
        """`plain`: a line now and then in place of the bar; `cap`: USD at which the run is stopped."""
        self.progress = progress
        self.task = progress.add_task("replaying", total=total, detail="")
        self.description = "replaying"
        self.plain = plain
        self.cap = cap
        self.total = total
        self.earlier = 0
        self.shown = 0
        self.told_at = monotonic()

    def describe(self, what: str) -> None:
        """Say what is being done."""
        self.description = what
        self.progress.update(self.task, description=what)

    def start(self, run: RunRow, done: int, total: int) -> None:
        """The run begins, or goes on after `done` calls."""
        self.earlier, self.total = done, total
        if done:
            self.progress.console.print(f"resuming run {run.id}: {done:,} of {total:,} calls are done")
        self.progress.update(self.task, total=total, completed=done)

    def advance(self, done: Done) -> None:
        """Called after every call; drawing is rarer."""
        if self.plain:
            self._tell(done)
        elif done.done - self.shown >= 20 or done.done == done.total:
            self.shown = done.done
            self.progress.update(self.task, completed=self.earlier + done.done, detail=self._detail(done))

    def _detail(self, done: Done) -> str:
        cap = "" if self.cap is None else f" of ${self.cap}"
        detail = f"{done.rate:,.0f}/s ${done.spent:.4f}{cap} quality {done.mean_quality:.3f}"
        if done.ungraded:
            detail += f" {done.ungraded:,} not graded"
        if done.failed:
            detail += f" {done.failed:,} failed"
        return detail

    def _tell(self, done: Done) -> None:
        """A plain line, where it is time for one."""
        late = monotonic() > self.told_at + LONGEST
        if not late and done.done * LINES // done.total == self.shown * LINES // done.total:
            return
        self.shown, self.told_at = done.done, monotonic()
        so_far = self.earlier + done.done
        left = (done.total - done.done) / max(done.rate, 1e-9)
        typer.echo(
            f"{self.description}: {so_far:,} of {self.total:,} ({so_far / self.total:.0%}) {self._detail(done)}, "
            f"{left:,.0f} s left",
            err=True,
        )

    def summary(self, run: str, upstream: str, done: Done) -> str:
        """What to say at the end."""
        failed = f", {done.failed:,} failed" if done.failed else ""
        speed = f" at {done.rate:,.0f} calls/s" if done.done else ""
        judging = f", ${done.judge_cost:.4f} for judging them" if done.judge_cost else ""
        ungraded = f", {done.ungraded:,} not graded" if done.ungraded else ""
        whose = {"recorded": " by the recording, nothing was spent", "simulated": " by simulated models"}
        return (
            f"Run {run}: {done.done:,} calls over HTTP{speed}, ${done.cost:.4f} billed{whose.get(upstream, '')}"
            f"{judging}{ungraded}{failed}"
        )


@contextmanager
def progress_bar(total: int, *, quiet: bool, cap: Decimal | None = None) -> Iterator[Bar]:
    """A bar over `total` calls, with spend and the time that is left. `quiet`: nothing at all."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None if console.width >= 100 else 10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    shown = console.is_terminal and not quiet
    with Progress(*columns, console=console, disable=not shown, expand=console.width >= 100) as progress:
        yield Bar(progress, total, plain=not shown and not quiet, cap=cap)


Step = Callable[[str], None]
"""Told what begins now."""


@contextmanager
def steps(*, quiet: bool = False) -> Iterator[Step]:
    """For work of a few long steps: what is being done and for how long.

    Where there is no terminal, a line for each step that took a second or more once it is done: what fails is told by
    its error alone.
    """
    console = Console(stderr=True)
    if quiet:
        yield lambda _step: None
    elif console.is_terminal:
        columns = (SpinnerColumn(), TextColumn("{task.description} …"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", visible=False)
            yield lambda step: progress.reset(task, description=step, visible=True)
    else:
        plain = _PlainSteps()
        yield plain.begin
        plain.end()


class _PlainSteps:
    """Steps as lines."""

    def __init__(self) -> None:
        self.step: str | None = None
        self.began = monotonic()

    def begin(self, step: str) -> None:
        self.end()
        self.step, self.began = step, monotonic()

    def end(self) -> None:
        took = monotonic() - self.began
        if self.step is not None and took >= 1:
            typer.echo(f"{self.step}: {took:,.1f} s", err=True)
