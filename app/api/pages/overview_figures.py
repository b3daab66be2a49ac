"""The charts of the overview, as `app/pages/static/times.js` draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from app.api.pages.overview_rows import NOBODY, OTHERS, ModelRow, palette
from app.core.formats import count, seconds, usd
from app.store.queries.timeline import ModelLine, Timeline

FURTHER, UNANSWERED = "further models", "no model answered"
NO_CALLS = "No calls in this time"
TIMES = {"latency": "--c0", "overhead": "--c1"}
OUTCOMES = {
    "error": ("failed", "--bad"),
    "truncated": ("cut off", "--c4"),
    "rejected": ("refused", "--c3"),
    "client_cancelled": ("given up by the client", "--strong"),
}
"""Outcome → what it is called, and its colour."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """What one colour shows."""

    name: str
    colour: str
    """A variable of the style."""
    values: Sequence[float | None]
    """By step; None where there is none."""
    texts: Sequence[str | None]
    """The values in words; None for what the list under the pointer leaves out."""
    dotted: bool = False


class Axis(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The vertical one. It begins at 0 if not logarithmic."""

    prefix: str = ""
    suffix: str = ""
    """Of the numbers at its ticks."""
    top: float | None = None
    """Where it ends; as high as the values if not given."""
    whole: bool = False
    """There are no ticks between whole numbers."""
    powers: Sequence[tuple[float, str]] | None = None
    """Powers of ten and what they are called: the axis is logarithmic, with these ticks."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Series over time. Times are seconds since 1970."""

    since: float
    until: float
    step: float
    at: Sequence[float]
    """When each step begins."""
    stack: bool
    """Bars, one on the other from the first to the last; lines otherwise."""
    axis: Axis
    series: Sequence[Series]


class Nothing(msgspec.Struct, frozen=True):
    """In place of a chart."""

    nothing: str
    """Why there is none."""


_COUNTS = Axis(whole=True)
_SHOWN = {"calls": _COUNTS, "spend": Axis(prefix="$"), "share": Axis(suffix="%", top=100)}
_SECONDS = Axis(
    powers=[
        (1e-6, "1 µs"), (1e-5, "10 µs"), (1e-4, "100 µs"), (1e-3, "1 ms"), (1e-2, "10 ms"), (0.1, "100 ms"),
        (1.0, "1 s"), (10.0, "10 s"), (100.0, "100 s"), (1000.0, "1,000 s"),
    ]
)  # fmt: skip


def models_figure(line: Timeline, catalog: Iterable[str], show: str) -> Figure | Nothing:
    """Who answered: calls, spend, or the share of the calls."""
    write: Callable[[Any], str] = usd if show == "spend" else count
    colours = palette(catalog, list(line.models))

    def numbers(one: ModelLine) -> Sequence[float]:
        return one.cost_usd if show == "spend" else one.calls

    stacks = [(name, numbers(one), colours.get(name, OTHERS)) for name, one in line.models.items()]
    stacks += [(FURTHER, numbers(line.others), OTHERS), (UNANSWERED, numbers(line.unanswered), NOBODY)]
    series = [_bars(name, some, colour, write) for name, some, colour in stacks if any(some)]
    if not series:
        return Nothing(NO_CALLS if show != "spend" else "No spend in this time")
    if show == "share":
        series = _shares(series)
    return _figure(line, series, _SHOWN[show], stack=True)


def times_figure(line: Timeline) -> Figure | Nothing:
    """Latency and overhead, half of the calls and all but one of a hundred."""
    series = [
        Series(
            name=f"{name} p{share * 100:.0f}",
            colour=colour,
            values=of[share],
            texts=[None if value is None else seconds(value) for value in of[share]],
            dotted=share > 0.5,
        )
        for (name, colour), of in zip(TIMES.items(), (line.latency, line.overhead), strict=True)
        for share in (0.99, 0.5)
    ]
    if not any(value is not None for one in series for value in one.values):
        return Nothing(NO_CALLS)
    return _figure(line, series, _SECONDS, stack=False)


def errors_figure(line: Timeline) -> Figure | Nothing:
    """Calls that did not end well, by outcome."""
    series = [
        _bars(name, line.outcomes[outcome], colour, count)
        for outcome, (name, colour) in OUTCOMES.items()
        if any(line.outcomes.get(outcome, ()))
    ]
    if not series:
        return Nothing("Every call in this time ended well" if line.outcomes else NO_CALLS)
    return _figure(line, series, _COUNTS, stack=True)


def models_legend(rows: Sequence[ModelRow], calls: int) -> list[tuple[str, str]]:
    """Names and colours of the chart of models; `calls`: all there are, unanswered ones too. Beside the charts, because
    inside it would take half of a narrow one."""
    named = [(row.name, row.colour) for row in rows if row.calls and row.colour != OTHERS]
    further = [(FURTHER, OTHERS)] if any(row.calls and row.colour == OTHERS for row in rows) else []
    unanswered = [(UNANSWERED, NOBODY)] if calls > sum(row.calls for row in rows) else []
    return [*named, *further, *unanswered]


def _bars(name: str, numbers: Sequence[float], colour: str, write: Callable[[Any], str]) -> Series:
    texts = [write(number) if number else None for number in numbers]
    return Series(name=name, colour=colour, values=numbers, texts=texts)


def _shares(series: Sequence[Series]) -> list[Series]:
    """In percent of what they are together in each step; the texts stay."""
    steps = list(zip(*(one.values for one in series), strict=True))
    sums = [sum(value or 0.0 for value in values) for values in steps]
    return [
        msgspec.structs.replace(
            one, values=[100 * (value or 0.0) / (whole or 1.0) for value, whole in zip(one.values, sums, strict=True)]
        )
        for one in series
    ]


def _figure(line: Timeline, series: Sequence[Series], axis: Axis, *, stack: bool) -> Figure:
    return Figure(
        since=line.since.timestamp(),
        until=line.until.timestamp(),
        step=line.step.total_seconds(),
        at=[at.timestamp() for at in line.steps],
        stack=stack,
        axis=axis,
        series=series,
    )
