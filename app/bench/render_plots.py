"""The small plots of the page as places in a picture: one plane per category, one reliability diagram per router.

They are drawn as plain SVG by the template, without a script: sixty of them open at once, print, and follow the
page's colours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from app.bench import wording
from app.bench.figures import Calibration, Category, CategoryPoint, CategoryRouter, Interval, Mark, Single

WIDTH, HEIGHT = 320.0, 214.0
LEFT, RIGHT, TOP, BOTTOM = 38.0, 12.0, 10.0, 24.0
"""Margins: room for the labels of the axes."""
STEPS = 10
"""Straight pieces an edge of a hull is drawn with where cost is on a log scale."""
X_LABELS, Y_LABELS = 5, 5
"""Most labels of an axis."""
FEWEST_LABELS = 2

SIDE = 220.0
"""Width and height of a reliability diagram."""
EDGE = 42.0
"""Its margin on the left and at the bottom."""
LARGEST = 9.0
"""Radius of the mark of a bin that holds everything."""


class Tick(NamedTuple):
    at: float
    label: str


class Dot(NamedTuple):
    x: float
    y: float
    text: str
    """Shown when pointed at."""
    colour: str = ""


class Bar(NamedTuple):
    """A vertical interval."""

    x: float
    low: float
    high: float


class RouterMarks(NamedTuple):
    """One router in a plane."""

    colour: str
    hull: str
    """Path data."""
    dots: list[Dot]
    bar: Bar | None
    """Interval of the setting that the leaderboard shows."""


class CategoryPlot(NamedTuple):
    """The plane of one category."""

    category: Category
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    zero: str
    """Path data of the zero router's hull; empty without a pool."""
    oracle: Dot | None
    models: list[Dot]
    routers: list[RouterMarks]
    """The best of the report last, so that it stands on top."""
    summary: str
    """What the plot shows, for those who do not see it."""


class Shown(NamedTuple):
    """How a router of the report is shown."""

    router: str
    colour: str
    best_point: int


class _Frame(NamedTuple):
    """From costs and qualities to places."""

    left: float
    right: float
    """Log10 of the cost where `log`."""
    low: float
    high: float
    log: bool

    @classmethod
    def around(cls, costs: Sequence[float], qualities: Sequence[float]) -> _Frame:
        log = min(costs) > 0
        left, right = (math.log10(min(costs)), math.log10(max(costs))) if log else (0.0, max(costs))
        width, height = max(right - left, 0.3 if log else 1e-9), max(max(qualities) - min(qualities), 0.02)
        return cls(
            left - (0.06 * width if log else 0.02 * width),
            left + 1.06 * width,
            max(min(qualities) - 0.07 * height, -0.02),
            min(max(qualities) + 0.08 * height, 1.02),
            log,
        )

    def x(self, cost: float) -> float:
        along = (math.log10(cost) if self.log else cost) - self.left
        return round(LEFT + along / (self.right - self.left) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, quality: float) -> float:
        up = (quality - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1)

    def path(self, marks: Sequence[Mark]) -> str:
        """A hull: straight over cost, since mixing averages cost, so bent over log cost."""
        places = [(self.x(mark.cost_per_1k), self.y(mark.quality)) for mark in self._along(marks)]
        return "M" + "L".join(f"{x:g} {y:g}" for x, y in places) if len(places) > 1 else ""

    def _along(self, marks: Sequence[Mark]) -> Iterator[Mark]:
        steps = STEPS if self.log else 1
        for left, right in pairwise(marks):
            for step in range(steps):
                part = step / steps
                yield Mark(
                    quality=left.quality + part * (right.quality - left.quality),
                    cost_per_1k=left.cost_per_1k + part * (right.cost_per_1k - left.cost_per_1k),
                )
        yield marks[-1]

    def x_ticks(self) -> list[Tick]:
        values = _log_ticks(self.left, self.right) if self.log else _even_ticks(self.left, self.right, X_LABELS)
        return [Tick(self.x(value), f"${value:g}") for value in values if value >= 0]

    def y_ticks(self) -> list[Tick]:
        values = [value for value in _even_ticks(self.low, self.high, Y_LABELS) if 0 <= value <= 1]
        return [Tick(self.y(value), f"{value:g}") for value in values]


def category_plot(category: Category, shown: Sequence[Shown], colours: Mapping[str, str]) -> CategoryPlot:
    """The plane of `category`; `shown` is of its routers in the same order, `colours` of the models."""
    marks: list[Mark | Single | CategoryPoint] = [point for router in category.routers for point in router.points]
    marks += [*category.pool, *([category.oracle] if category.oracle else [])]
    bars = [_interval(router, how) for router, how in zip(category.routers, shown, strict=True)]
    edges = [edge for bar in bars if bar is not None for edge in (bar.low, bar.high)]
    frame = _Frame.around([mark.cost_per_1k for mark in marks], [*(mark.quality for mark in marks), *edges])
    routers = [
        RouterMarks(how.colour, frame.path(router.hull), _dots(frame, router, how), _bar(frame, router, how))
        for router, how in zip(category.routers, shown, strict=True)
    ]
    return CategoryPlot(
        category=category,
        x_ticks=frame.x_ticks(),
        y_ticks=frame.y_ticks(),
        zero=frame.path(_flat_to_the_dearest(category)) if category.zero else "",
        oracle=_dot(frame, category.oracle, "oracle") if category.oracle else None,
        models=[_dot(frame, single, single.model, colours.get(single.model, "")) for single in category.pool],
        routers=routers[::-1],
        summary=_summary(category, shown),
    )


def _flat_to_the_dearest(category: Category) -> list[Mark]:
    """The zero router's hull, with the flat end that AIQ counts."""
    dearest = max(single.cost_per_1k for single in category.pool)
    return [*category.zero, Mark(quality=category.zero[-1].quality, cost_per_1k=dearest)]


def _dot(frame: _Frame, at: Mark | Single | CategoryPoint, name: str, colour: str = "") -> Dot:
    text = f"{name}: quality {at.quality:.3f}, ${wording.money(at.cost_per_1k)} per 1k"
    return Dot(frame.x(at.cost_per_1k), frame.y(at.quality), text, colour)


def _dots(frame: _Frame, router: CategoryRouter, how: Shown) -> list[Dot]:
    return [_dot(frame, point, f"{how.router}, t = {point.tradeoff:g}") for point in router.points]


def _interval(router: CategoryRouter, how: Shown) -> Interval | None:
    return router.points[how.best_point].quality_interval


def _bar(frame: _Frame, router: CategoryRouter, how: Shown) -> Bar | None:
    interval = _interval(router, how)
    if interval is None:
        return None
    return Bar(frame.x(router.points[how.best_point].cost_per_1k), frame.y(interval.low), frame.y(interval.high))


def _summary(category: Category, shown: Sequence[Shown]) -> str:
    best = f"; best single model {category.best_single}" if category.best_single else ""
    said = (
        f"; {how.router} quality {router.points[how.best_point].quality:.3f} at "
        f"${wording.money(router.points[how.best_point].cost_per_1k)} per 1k"
        for router, how in zip(category.routers, shown, strict=True)
    )
    return f"Quality against cost of {category.category}, {category.n:,} items{best}{''.join(said)}"


def _log_ticks(left: float, right: float) -> list[float]:
    """Round costs between two powers of ten: 1, 2, 5 of each power, or 1 and 3, or 1 alone, as there is room."""
    powers = range(math.floor(left), math.ceil(right) + 1)
    kept: list[float] = []
    for digits in ((1, 2, 5), (1, 3), (1,)):
        every = [float(f"{digit}e{power}") for power in powers for digit in digits]
        kept = [value for value in every if left <= math.log10(value) <= right]
        if len(kept) <= X_LABELS:
            break
    if len(kept) >= FEWEST_LABELS:
        return kept[:: math.ceil(len(kept) / X_LABELS)]
    # Less than a power of ten wide: even steps say more than one round cost.
    return _even_ticks(10**left, 10**right, 3)


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in [low, high], at most `most` of them."""
    raw = (high - low) / most
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{place * step:.6g}") for place in range(first, last + 1)]


# ------------------------------------------------------------------------------------------------ calibration


class BinMark(NamedTuple):
    """A bin of a reliability diagram."""

    x: float
    y: float
    radius: float
    low: float
    high: float
    text: str


class CalibrationPlot(NamedTuple):
    """The reliability diagram of one router at one setting."""

    name: str
    colour: str
    tradeoff: float
    found: Calibration
    marks: list[BinMark]
    ticks: list[float]
    """Of both axes, in [0, 1]."""

    def x(self, predicted: float) -> float:
        return along(predicted)

    def y(self, observed: float) -> float:
        return SIDE - EDGE - (along(observed) - EDGE)


def along(value: float) -> float:
    """Place of a value in [0, 1] along the lower axis; what lies outside stands at the edge."""
    return round(EDGE + min(max(value, 0.0), 1.0) * (SIDE - EDGE - RIGHT), 1)


def calibration_plot(name: str, colour: str, tradeoff: float, found: Calibration) -> CalibrationPlot:
    """The diagram of `found`; the area of a mark is its share of the items."""
    plot = CalibrationPlot(name, colour, tradeoff, found, [], [0.0, 0.25, 0.5, 0.75, 1.0])
    for part in found.bins:
        text = (
            f"{part.n:,} items: predicted {part.predicted:.3f}, observed {part.observed:.3f} "
            f"[{part.interval.low:.3f}, {part.interval.high:.3f}]"
        )
        radius = round(max(LARGEST * math.sqrt(part.n / max(found.n, 1)), 2.0), 1)
        low, high = plot.y(part.interval.low), plot.y(part.interval.high)
        plot.marks.append(BinMark(plot.x(part.predicted), plot.y(part.observed), radius, low, high, text))
    return plot
