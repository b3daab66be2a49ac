"""What a run found: by check, by point, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from app.conform.run import Result, Verdict

STYLES: Mapping[Verdict, str] = {"kept": "green", "broken": "bold red", "not applicable": "dim"}


def count(results: Sequence[Result], verdict: Verdict) -> int:
    """How many checks ended so."""
    return sum(result.verdict == verdict for result in results)


def by_point(results: Sequence[Result]) -> dict[int, Verdict]:
    """A point is kept where no check of it is broken and at least one is kept."""
    found: dict[int, Verdict] = {}
    for result in sorted(results, key=lambda result: result.point):
        verdicts = {other.verdict for other in results if other.point == result.point}
        worst: Verdict = "not applicable"
        if "broken" in verdicts:
            worst = "broken"
        elif "kept" in verdicts:
            worst = "kept"
        found[result.point] = worst
    return found


def as_json(results: Sequence[Result], **about: Any) -> dict[str, Any]:
    """The whole run; `about` says what was run against what."""
    return {
        **about,
        "kept": count(results, "kept"),
        "broken": count(results, "broken"),
        "not_applicable": count(results, "not applicable"),
        "points": {str(point): verdict for point, verdict in by_point(results).items()},
        "checks": [result.as_json() for result in results],
    }


def as_table(results: Sequence[Result]) -> Table:
    """One row a check."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("point", justify="right")
    table.add_column("what is promised")
    table.add_column("verdict", no_wrap=True)
    table.add_column("evidence", overflow="fold")
    for result in sorted(results, key=lambda result: result.point):
        verdict = Text(result.verdict, STYLES[result.verdict])
        promise = Text(result.what)
        if result.name:
            promise.append(f"\n{result.name}", "dim")
        table.add_row(str(result.point), promise, verdict, Text(result.evidence))
    return table


def summary(results: Sequence[Result]) -> str:
    """One line."""
    points = by_point(results)
    broken = [str(point) for point, verdict in points.items() if verdict == "broken"]
    kept, failed, not_judged = (count(results, verdict) for verdict in STYLES)
    line = f"{kept} checks kept, {failed} broken, {not_judged} not applicable"
    return line + (f"; broken points: {', '.join(broken)}" if broken else "; every point that could be judged is kept")
