"""The charts of the overview, as plotly draws them. Colours are names of the style's variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from app.api.pages.overview_rows import NOBODY, OTHERS, ModelRow, palette
from app.core.formats import count, seconds, usd
from app.store.queries.timeline import ModelLine, Timeline

Figure = dict[str, Any]
FURTHER, UNANSWERED = "further models", "no model answered"
NO_CALLS = "No calls in this time"
_TICKS = {1e-5: "10 µs", 1e-4: "100 µs", 1e-3: "1 ms", 1e-2: "10 ms", 0.1: "100 ms", 1: "1 s", 10: "10 s", 100: "100 s"}
TIMES = {"latency": "--c0", "overhead": "--c1"}
OUTCOMES = {
    "error": ("failed", "--bad"),
    "truncated": ("cut off", "--c4"),
    "rejected": ("refused", "--c3"),
    "client_cancelled": ("given up by the client", "--strong"),
}
"""Outcome → what it is called, and its colour."""
_STACKED: Figure = {"barmode": "stack", "bargap": 0.12}
_MARGIN = {"l": 64, "r": 10, "t": 8, "b": 40}
_TIMES_OF_DAY = [
    {"dtickrange": [None, 59_999], "value": "%H:%M:%S\n%b %-d"},
    {"dtickrange": [60_000, 86_399_999], "value": "%H:%M\n%b %-d"},
]
"""plotly's own without the year, with which two do not stand beside each other on a phone."""
_UNMEASURED: Figure = {"automargin": False}
"""Room for labels is known beforehand: that plotly measures them and draws again takes a fifth of the first drawing."""


def models_figure(line: Timeline, catalog: Iterable[str], show: str) -> Figure:
    """Who answered: calls, spend, or the share of the calls."""
    write: Callable[[Any], str] = usd if show == "spend" else count
    colours = palette(catalog, list(line.models))

    def values(one: ModelLine) -> Sequence[float]:
        return one.cost_usd if show == "spend" else one.calls

    stacks = [(name, values(one), colours.get(name, OTHERS)) for name, one in line.models.items()]
    stacks += [(FURTHER, values(line.others), OTHERS), (UNANSWERED, values(line.unanswered), NOBODY)]
    bars = [_bars(line, name, numbers, colour, write) for name, numbers, colour in stacks if any(numbers)]
    if not bars:
        return nothing(NO_CALLS if show != "spend" else "No spend in this time")
    if show == "share":
        layout = _layout(line, {"ticksuffix": "%", "range": [0, 100]}, **_STACKED, barnorm="percent")
    elif show == "spend":
        layout = _layout(line, {"tickprefix": "$", "rangemode": "tozero"}, **_STACKED)
    else:
        layout = _layout(line, {}, **_STACKED)
    return {"data": bars, "layout": layout}


def times_figure(line: Timeline) -> Figure:
    """Latency and overhead, half of the calls and all but one of a hundred."""
    lines = [
        (f"{name} p{share * 100:.0f}", of[share], colour, "dot" if share > 0.5 else "solid")
        for (name, colour), of in zip(TIMES.items(), (line.latency, line.overhead), strict=True)
        for share in (0.99, 0.5)
    ]
    if not any(value is not None for _, values, _, _ in lines for value in values):
        return nothing(NO_CALLS)
    middle = [_iso(at + line.step / 2) for at in line.steps]
    data = [
        {
            "type": "scatter",
            # A step alone among empty ones has no line to either side. Elsewhere dots only make the first drawing take
            # a third longer: .22 s for 85 steps in Chromium, .16 without.
            "mode": "lines+markers" if _has_lone(values) else "lines",
            "marker": {"size": 4, "color": colour},
            "name": name,
            "x": middle,
            "y": values,
            "text": [seconds(value) for value in values],
            "hovertemplate": "%{text}",
            "line": {"color": colour, "dash": dash, "width": 2 if dash == "solid" else 1.5},
        }
        for name, values, colour, dash in lines
    ]
    axis = {"type": "log", "tickvals": list(_TICKS), "ticktext": list(_TICKS.values())}
    return {"data": data, "layout": _layout(line, axis)}


def errors_figure(line: Timeline) -> Figure:
    """Calls that did not end well, by outcome."""
    bars = [
        _bars(line, name, line.outcomes[outcome], colour, count)
        for outcome, (name, colour) in OUTCOMES.items()
        if any(line.outcomes.get(outcome, ()))
    ]
    if not bars:
        return nothing("Every call in this time ended well" if line.outcomes else NO_CALLS)
    return {"data": bars, "layout": _layout(line, {"rangemode": "tozero"}, **_STACKED)}


def models_legend(rows: Sequence[ModelRow], calls: int) -> list[tuple[str, str]]:
    """Names and colours of the chart of models; `calls`: all there are, unanswered ones too. Beside the charts, because
    plotly's own takes half of a narrow one."""
    named = [(row.name, row.colour) for row in rows if row.calls and row.colour != OTHERS]
    further = [(FURTHER, OTHERS)] if any(row.calls and row.colour == OTHERS for row in rows) else []
    unanswered = [(UNANSWERED, NOBODY)] if calls > sum(row.calls for row in rows) else []
    return [*named, *further, *unanswered]


def nothing(text: str) -> Figure:
    """In place of a chart."""
    note = {
        "text": text,
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "x": 0.5,
        "y": 0.5,
        "font": {"size": 14},
    }
    hidden = {"visible": False, "fixedrange": True}
    return {"data": [], "layout": {"annotations": [note], "xaxis": hidden, "yaxis": hidden}}


def _bars(line: Timeline, name: str, numbers: Sequence[float], colour: str, write: Callable[[Any], str]) -> Figure:
    return {
        "type": "bar",
        "name": name,
        "x": [_iso(at) for at in line.steps],
        # Left out rather than 0, so that the list under the pointer names only who was there.
        "y": [number or None for number in numbers],
        "text": [write(number) for number in numbers],
        "textposition": "none",
        "hovertemplate": "%{text}",
        "xperiod": line.step.total_seconds() * 1000,
        "xperiodalignment": "middle",
        "marker": {"color": colour},
    }


def _has_lone(values: Sequence[float | None]) -> bool:
    """One of them stands alone among those that are not known."""
    around = [None, *values, None]
    return any(
        value is not None and before is None and after is None
        for before, value, after in zip(around, around[1:], around[2:], strict=False)
    )


def _layout(line: Timeline, yaxis: Figure, **more: Any) -> Figure:
    xaxis = {"type": "date", "range": [_iso(line.since), _iso(line.until)], "uirevision": f"{line.since}"}
    # What the reader has zoomed into or switched off stays so when the chart is drawn again.
    return {
        "uirevision": "kept",
        "showlegend": False,
        "margin": _MARGIN,
        "xaxis": {**_UNMEASURED, "tickangle": 0, "tickformatstops": _TIMES_OF_DAY, **xaxis},
        "yaxis": {**_UNMEASURED, "ticklabeloverflow": "allow", **yaxis},
        **more,
    }


def _iso(moment: datetime) -> str:
    """With a Z at its end: the page writes it in the reader's zone."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
