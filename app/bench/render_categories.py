"""What the page shows of categories and calibration: the small plots with the tables beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from app.bench import wording
from app.bench.categories import FEWEST
from app.bench.figures import Category, CategoryRouter, Estimate, Report, RouterReport
from app.bench.render_plots import CalibrationPlot, Shown, calibration_plot, category_plot

UNKNOWN = "–"
OPEN = 12
"""Categories whose plots are seen at once; the others open on demand."""
TONES = {wording.BETTER: "better", wording.WORSE: "worse"}


class Cell(NamedTuple):
    """A router in the matrix of differences."""

    text: str
    interval: str
    tone: str


class Line(NamedTuple):
    """A category in that matrix."""

    category: str
    n: str
    best: str
    cells: list[Cell]


class Row(NamedTuple):
    """A router or model on one category, written out."""

    category: str
    name: str
    t: str
    quality: str
    cost: str
    aiq: str
    delta: str


def categories(
    report: Report, coloured: Sequence[tuple[RouterReport, str]], models: Mapping[str, str]
) -> dict[str, Any] | None:
    """Of `coloured`, the routers best first; `models` has the models' colours. None for a report without categories."""
    if not report.categories or not report.routers:
        return None
    if len(report.categories) == 1:
        return {"only": report.categories[0].category}
    shown = [Shown(router.router, colour, router.best_point) for router, colour in coloured]
    place = {id(router): index for index, router in enumerate(report.routers)}
    order = [place[id(router)] for router, _ in coloured]
    return {
        "only": "",
        "shown": shown,
        "models": list(models.items()) if report.pool else [],
        "pooled": bool(report.pool),
        "plots": [category_plot(_ordered(category, order), shown, models) for category in report.categories],
        "open": OPEN,
        "fewest": FEWEST,
        "matrix": [_line(_ordered(category, order)) for category in report.categories],
        "table": [row for category in report.categories for row in _rows(_ordered(category, order), shown)],
    }


def _ordered(category: Category, order: Sequence[int]) -> Category:
    """The category with its routers best first."""
    return Category(
        category=category.category,
        n=category.n,
        pool=category.pool,
        routers=tuple(category.routers[place] for place in order),
        best_single=category.best_single,
        oracle=category.oracle,
        zero=category.zero,
    )


def _line(category: Category) -> Line:
    cells = [_cell(category, router) for router in category.routers]
    return Line(category.category, f"{category.n:,}", category.best_single or UNKNOWN, cells)


def _cell(category: Category, router: CategoryRouter) -> Cell:
    delta = router.delta_aiq
    if delta is None:
        if router.aiq is None:
            return Cell(UNKNOWN, "", "undecided")
        return Cell(UNKNOWN, f"{category.n} items: no interval", "undecided")
    said = wording.verdict(delta)
    return Cell(wording.signed(delta.value), f"{_estimate(delta)}: {said}", TONES.get(said, "undecided"))


def _rows(category: Category, shown: Sequence[Shown]) -> Iterator[Row]:
    name = category.category
    for router, how in zip(category.routers, shown, strict=True):
        point = router.points[how.best_point]
        quality = f"{point.quality:.3f}"
        if point.quality_interval is not None:
            quality += f" [{point.quality_interval.low:.3f}, {point.quality_interval.high:.3f}]"
        aiq = UNKNOWN if router.aiq is None else f"{router.aiq:.4f}"
        delta = UNKNOWN if router.delta_aiq is None else _estimate(router.delta_aiq)
        yield Row(name, how.router, f"{point.tradeoff:g}", quality, wording.money(point.cost_per_1k), aiq, delta)
    for single in category.pool:
        quality = f"{single.quality:.3f}"
        if single.quality_interval is not None:
            quality += f" [{single.quality_interval.low:.3f}, {single.quality_interval.high:.3f}]"
        yield Row(name, single.model, UNKNOWN, quality, wording.money(single.cost_per_1k), UNKNOWN, UNKNOWN)


def _estimate(delta: Estimate) -> str:
    return f"{wording.signed(delta.value)} [{wording.signed(delta.low)}, {wording.signed(delta.high)}]"


def calibrations(named: Sequence[tuple[str, str, RouterReport]]) -> list[CalibrationPlot]:
    """Of all that foretold the quality of its picks; `named`: name, colour and report of each."""
    plots = []
    for name, colour, router in named:
        point = router.points[router.best_point]
        found = point.calibration
        if found is not None and found.bins and found.brier is not None and found.ece is not None:
            plots.append(calibration_plot(name, colour, point.tradeoff, found))
    return plots
