"""The table of all figures, and whether the ratios hold."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from benchmarks.hop.measure import DIRECT, Figures

OURS = "Hullspeed"


@dataclass(frozen=True)
class Row:
    """One figure of the table."""

    figure: str
    title: str
    digits: int = 2


ROWS = (
    Row("whole 64 CPU", "CPU-ms a request", 4),
    Row("whole 64 Postgres", "  Postgres, apart", 4),
    Row("whole 64 rate", "  requests/s", 0),
    Row("whole 64 p50", "  p50, ms"),
    Row("whole 64 p99", "  p99, ms"),
    Row("whole 1 CPU", "1 connection: CPU-ms", 4),
    Row("whole 1 rate", "  requests/s", 0),
    Row("whole 1 p50", "  p50, ms", 3),
    Row("whole 1 p99", "  p99, ms", 3),
    Row("whole 1 added p50", "  added p50, ms", 3),
    Row("stream 64 CPU", "CPU-ms a stream of 50", 3),
    Row("stream 64 Postgres", "  Postgres, apart", 4),
    Row("stream 64 rate", "  streams/s", 0),
    Row("stream 64 p50", "  p50, ms"),
    Row("stream 64 p99", "  p99, ms"),
    Row("first token added", "added to first token, ms", 3),
    Row("anthropic 64 CPU", "Anthropic: CPU-ms", 3),
    Row("anthropic 64 rate", "  requests/s", 0),
    Row("RSS", "RSS after load, MB", 0),
    Row("cold start", "cold start, s"),
)


@dataclass(frozen=True)
class Claim:
    """What must hold, and what is hoped for."""

    title: str
    value: Callable[[Figures], float]
    must: float
    goal: float | None = None
    least: bool = False
    """Whether the value must be at least that, not at most."""

    def holds(self, value: float, bound: float) -> bool:
        return value >= bound if self.least else value <= bound


def median(figures: Figures, name: str, figure: str) -> float:
    """Over the rounds. Raises `KeyError` where it was not measured."""
    values = figures.get((name, figure))
    if not values:
        raise KeyError(name, figure)
    return statistics.median(values)


def _share(figure: str, other: str) -> Callable[[Figures], float]:
    """How many times as much as another it takes."""
    return lambda figures: median(figures, OURS, figure) / median(figures, other, figure)


def _fewer(figure: str, other: str) -> Callable[[Figures], float]:
    """How many times less than another it takes."""
    return lambda figures: median(figures, other, figure) / median(figures, OURS, figure)


def _own(figure: str) -> Callable[[Figures], float]:
    return lambda figures: median(figures, OURS, figure)


CLAIMS = (
    Claim("times fewer CPU-ms than litellm's proxy", _fewer("whole 64 CPU", "litellm's proxy"), 40, 100, least=True),
    Claim("times TensorZero's CPU-ms", _share("whole 64 CPU", "TensorZero"), 1.0, 0.6),
    Claim("times nginx's CPU-ms", _share("whole 64 CPU", "nginx"), 20, 8),
    Claim("CPU-ms a request", _own("whole 64 CPU"), 0.25, 0.10),
    Claim("added p50 at one connection, ms", _own("whole 1 added p50"), 0.4, 0.25),
    Claim("added to the first token, ms", _own("first token added"), 0.6, 0.35),
    Claim("CPU-ms a stream of 50 chunks", _own("stream 64 CPU"), 1.7, 1.2),
    Claim("times fewer CPU-ms a stream than litellm's", _fewer("stream 64 CPU", "litellm's proxy"), 25, least=True),
    Claim("CPU-ms a request, Anthropic translated", _own("anthropic 64 CPU"), 1.0),
    Claim("RSS without litellm, MB", _own("RSS"), 90),
    Claim("cold start, s", _own("cold start"), 1.0),
)


def table(figures: Figures, names: Sequence[str]) -> Table:
    """A row a figure, a column a gateway: medians with the least and the most."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("64 connections unless said", no_wrap=True)
    for name in names:
        shown.add_column(name, justify="right", no_wrap=True)
    for row in ROWS:
        cells = [_cell(figures.get((name, row.figure), []), row.digits) for name in names]
        if any(cells):
            shown.add_row(row.title, *(cell or "–" for cell in cells))
    return shown


def _cell(values: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    shown = f"{statistics.median(values):,.{digits}f}"
    if len(values) > 1:
        shown += f" ({min(values):,.{digits}f}–{max(values):,.{digits}f})"
    return shown


def claims(figures: Figures) -> Table:
    """Which of the promises hold."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Hullspeed", "", "must", "goal"):
        shown.add_column(title, justify="right" if title != "" else "left")
    for claim in CLAIMS:
        try:
            value = claim.value(figures)
        except KeyError:
            shown.add_row("–", claim.title, "not run", "")
            continue
        bounds = [_bound(claim, value, bound) for bound in (claim.must, claim.goal)]
        shown.add_row(f"{value:.3g}", claim.title, *bounds)
    return shown


def _bound(claim: Claim, value: float, bound: float | None) -> Text:
    if bound is None:
        return Text("")
    holds = claim.holds(value, bound)
    return Text(f"{'≥' if claim.least else '≤'} {bound:g} {'holds' if holds else 'FAILS'}", "green" if holds else "red")


def direct(figures: Figures) -> str:
    """What the upstream takes by itself."""
    known = {
        "p50 at one connection": "whole 1 p50",
        "first token": "first token",
    }
    said = [
        f"{title} {statistics.median(figures[DIRECT, figure]):.3f} ms"
        for title, figure in known.items()
        if figures.get((DIRECT, figure))
    ]
    return "Without a gateway: " + ", ".join(said)
