"""The report as a leaderboard in a terminal, or as plain text where the output is none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.bench import wording
from app.bench.figures import Baselines, Estimate, PointReport, Report, RouterReport

UNKNOWN = "–"
STYLES = {wording.BETTER: "green", wording.WORSE: "red", wording.UNDECIDED: "dim"}
LONGEST_NAME = 28
LEAST_MODELS = 18
"""Width under which a list of models tells nothing."""
GAP = 2
"""Blanks after a column: one of padding, one that the box puts between columns."""
EDGES = 2

Row = Mapping[str, Text]


class _Column(NamedTuple):
    name: str
    justify: JustifyMethod
    rank: int
    """What comes first when there is not room for all: 0 always stands."""


COLUMNS = (
    _Column("router", "left", 0),
    _Column("AIQ", "right", 0),
    _Column("Δ zero  [95 %]", "left", 0),
    _Column("t", "right", 3),
    _Column("quality", "right", 0),
    _Column("$/1k", "right", 0),
    _Column("p50", "right", 2),
    _Column("overhead", "right", 1),
    _Column("APGR", "right", 4),
    _Column("over seeds", "left", 1),
    _Column("Δ best", "left", 5),
    _Column("models", "left", 6),
)


def render_leaderboard(report: Report, console: Console) -> None:
    """Print the headline, the routers best first, the baselines apart from them, and the notes.

    Columns that do not fit the console are left out whole, the least telling first; no figure is ever cut.
    """
    console.print(_title(report))
    console.print(Text(" · ".join(wording.facts(report)), style="dim"))
    console.print()
    console.print(Text(report.headline, style="bold"))
    console.print()
    table = _table(report, console.width)
    console.print(table)
    for line in _shares(wording.by_aiq(report.routers)):
        console.print(Padding(Text(line), (0, 0, 0, 1)))
    console.print()
    for line in _legend(report, {str(column.header) for column in table.columns}):
        console.print(Padding(Text(line, style="dim"), (0, 0, 0, 1)))
    for note in report.notes:
        console.print(Padding(Text(f"• {note}"), (0, 0, 0, 1)))


def _title(report: Report) -> Text:
    title = Text(report.suite, style="bold")
    if report.simulated:
        title.append("  ").append(" SIMULATED MODELS ", style="black on yellow")
    return title


def _table(report: Report, width: int) -> Table:
    routers = [_router(router, router.router) for router in wording.by_aiq(report.routers)]
    baselines = list(_baselines(report.baselines)) if report.baselines is not None else []
    columns = _fitting([*routers, *baselines], width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, GAP - 1, 0, 0), header_style="bold")
    for column in columns:
        # Only the last column may shrink: rich takes width from columns that wrap before it takes it from others.
        table.add_column(column.name, justify=column.justify, no_wrap=column.name != "models", overflow="ellipsis")
    for row in routers:
        table.add_row(*_cells(row, columns))
    if baselines:
        table.add_section()
        table.add_row(Text("baselines", style="bold cyan"))
    for row in baselines:
        table.add_row(*_cells(row, columns), style="cyan")
    return table


def _cells(row: Row, columns: Sequence[_Column]) -> list[Text]:
    return [row.get(column.name, Text(UNKNOWN)) for column in columns]


def _fitting(rows: Sequence[Row], width: int) -> list[_Column]:
    """The columns there is room for, in their order; one that no row has anything to say in is left out."""
    room, chosen = width - EDGES, set()
    for column in sorted(COLUMNS, key=lambda column: column.rank):
        cells = [row[column.name].plain for row in rows if column.name in row]
        needed = GAP + max(cell_len(text) for text in [column.name, *cells])
        if column.name == "models":
            needed = min(needed, GAP + LEAST_MODELS)
        if column.rank == 0 or (cells and needed <= room):
            chosen.add(column.name)
            room -= needed
    return [column for column in COLUMNS if column.name in chosen]


def _router(router: RouterReport, name: str) -> Row:
    point = router.points[router.best_point]
    return {
        **_plain(name, router.aiq, point.quality, point.cost_per_1k, _share(point.share)),
        "t": Text(f"{point.tradeoff:g}"),
        "Δ zero  [95 %]": _delta(router.delta_aiq, router.verdict),
        **_times(point),
        **_further(router),
    }


def _further(router: RouterReport) -> dict[str, Text]:
    """What stands only in some reports, or only where there is room."""
    cells = {}
    if router.pair is not None and router.pair.apgr is not None:
        cells["APGR"] = Text(f"{router.pair.apgr:.3f}")
    if router.seeds is not None:
        cells["over seeds"] = Text(wording.over_seeds(router.seeds))
    test = router.against_best_single
    if test is not None:
        p = test.p if test.p_holm is None else test.p_holm
        style = "dim" if wording.finding(test) == wording.UNDECIDED else ""
        cells["Δ best"] = Text(f"{wording.signed(test.difference.value):>7} {wording.p_value(p)}", style=style)
    return cells


def _baselines(baselines: Baselines) -> Iterator[Row]:
    oracle, zero = baselines.oracle, baselines.zero
    yield _plain("oracle", oracle.aiq, oracle.quality, oracle.cost_per_1k, "best model of each prompt")
    for name, router in (("know_dataset", baselines.know_dataset), ("length", baselines.length)):
        if router is not None:
            yield _router(router, wording.FITTED[name])
    yield _plain("zero router", zero.aiq, None, None, " → ".join(single.model for single in zero.hull))
    best, cheapest, random = baselines.best_single, baselines.cheapest, baselines.random
    yield _plain("best single", None, best.quality, best.cost_per_1k, best.model)
    yield _plain("random", None, random.quality, random.cost_per_1k, "all alike")
    yield _plain("cheapest", None, cheapest.quality, cheapest.cost_per_1k, cheapest.model)


def _plain(name: str, aiq: float | None, quality: float | None, cost: float | None, models: str) -> dict[str, Text]:
    label = Text(name)
    label.truncate(LONGEST_NAME, overflow="ellipsis")
    return {
        "router": label,
        "AIQ": Text(UNKNOWN if aiq is None else f"{aiq:.4f}"),
        "quality": Text(UNKNOWN if quality is None else f"{quality:.3f}"),
        "$/1k": Text(UNKNOWN if cost is None else wording.money(cost)),
        "models": Text(models, no_wrap=True, overflow="ellipsis"),
    }


def _delta(delta: Estimate | None, verdict: str | None) -> Text:
    if delta is None:
        return Text(UNKNOWN)
    text = f"{wording.signed(delta.value):>7} [{wording.signed(delta.low)}, {wording.signed(delta.high)}]"
    return Text(text, style=STYLES.get(verdict or "", ""))


def _times(point: PointReport) -> dict[str, Text]:
    """Nothing where nothing was called: a 0 would be a claim."""
    times = {"p50": point.latency, "overhead": point.overhead}
    return {name: Text(wording.seconds(value.p50)) for name, value in times.items() if value is not None}


def _share(share: Mapping[str, float]) -> str:
    parts = (f"{f'{part:.0%}' if part >= 0.005 else '<1%'} {model}" for model, part in share.items())
    return ", ".join(parts) or "no answer"


_TIMES = {
    "p50": "p50: median latency end to end",
    "overhead": "overhead: median of Hullspeed's own part of the latency",
}


def _shares(routers: Sequence[RouterReport]) -> Iterator[str]:
    """Who was asked how often, whole: the table's column may have no room for it."""
    yield "Model share at that setting:"
    for router in routers:
        point = router.points[router.best_point]
        yield f"  {router.router}: {_share(point.share)}"


def _legend(report: Report, columns: Collection[str]) -> Iterator[str]:
    """What the columns mean, and who shows no difference."""
    yield "A router's row shows its setting t of highest utility at an even tradeoff; $/1k: USD per 1,000 requests"
    timed = [said for name, said in _TIMES.items() if name in columns]
    if timed:
        yield "; ".join(timed)
    if report.baselines is None:
        return
    yield "Δ zero: AIQ above the zero router (blind mixing of single models), paired bootstrap over prompts"
    yield from _further_legend(report.baselines, columns)
    undecided = [router.router for router in wording.by_aiq(report.routers) if router.verdict == wording.UNDECIDED]
    if undecided:
        yield f"No difference shown: {', '.join(undecided)}."


def _further_legend(baselines: Baselines, columns: Collection[str]) -> Iterator[str]:
    if "Δ best" in columns:
        best = baselines.best_single.model
        yield f"Δ best: quality over the best single model, {best}; p: paired test, Holm over the routers"
    if "over seeds" in columns:
        yield "over seeds: mean ± sd of Δ zero over splits and fits, and how many intervals lie above 0"
    if "APGR" in columns:
        yield "APGR: part of the gap between the two models recovered, on average over all shares of dearer calls"
