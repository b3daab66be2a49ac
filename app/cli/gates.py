"""Failing a command on what a report says, for use in CI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from app.bench.compare import Comparison, Finished
    from app.bench.report import Report
    from app.store.database import Database


def fail_under(report: Report, least: float) -> None:
    """Exit with 1 where a router's AIQ is below `least`, or unknown."""
    low = [router for router in report.routers if router.aiq is None or router.aiq < least]
    if low:
        said = ", ".join(
            f"{router.router} {'unknown' if router.aiq is None else f'{router.aiq:.4f}'}" for router in low
        )
        typer.echo(f"failed: AIQ under {least:g}: {said}", err=True)
        raise typer.Exit(1)


def fail_if_worse(comparison: Comparison) -> None:
    """Exit with 1 where a router's AIQ, or a setting's quality where there is no AIQ, is shown to be worse."""
    judged: Sequence[tuple[str, str]] = [(change.router, change.said) for change in comparison.aiq] or [
        (f"{change.router} at {change.tradeoff:g}", change.said) for change in comparison.settings
    ]
    worse = [name for name, said in judged if said == "worse"]
    if worse:
        typer.echo(f"failed: worse than run {comparison.first.run}: {', '.join(worse)}", err=True)
        raise typer.Exit(1)


async def load_finished(database: Database, key: str) -> Finished:
    """A run with its results, by its id or the beginning of it."""
    import msgspec

    from app.bench.compare import Finished
    from app.bench.report import Report
    from app.store.runs import get_run, load_results

    run, stored = await get_run(database, key)
    report = None if stored is None else msgspec.convert(stored, Report)
    return Finished(run, await load_results(database, run.id), report)
