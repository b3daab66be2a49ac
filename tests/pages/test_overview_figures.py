"""What the overview's charts are told to draw."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from app.api.pages.overview_figures import Figure, Nothing, errors_figure, models_figure, times_figure
from app.store.queries.timeline import SHARES, ModelLine, Timeline

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NONE = ModelLine(calls=[0] * 3, cost_usd=[0.0] * 3)
LINE = Timeline(
    since=BEGIN,
    until=BEGIN + 3 * HOUR,
    step=HOUR,
    steps=[BEGIN + place * HOUR for place in range(3)],
    models={
        "small": ModelLine(calls=[6, 0, 1], cost_usd=[0.25, 0.0, 1.5]),
        "large": ModelLine(calls=[2, 0, 0], cost_usd=[3.0, 0.0, 0.0]),
    },
    others=NONE,
    unanswered=ModelLine(calls=[0, 0, 1], cost_usd=[0.0] * 3),
    outcomes={"ok": [8, 0, 1], "error": [0, 0, 1]},
    latency={share: [0.1, None, 2.0] for share in SHARES},
    overhead={share: [0.001, None, 0.002] for share in SHARES},
)
EMPTY = msgspec.structs.replace(
    LINE,
    models={},
    unanswered=NONE,
    outcomes={},
    latency={share: [None] * 3 for share in SHARES},
    overhead={share: [None] * 3 for share in SHARES},
)


def test_bars_of_calls() -> None:
    figure = models_figure(LINE, ["small", "large"], "calls")
    assert isinstance(figure, Figure)
    assert [(one.name, list(one.values), list(one.texts)) for one in figure.series] == [
        ("small", [6, 0, 1], ["6", None, "1"]),
        ("large", [2, 0, 0], ["2", None, None]),
        ("no model answered", [0, 0, 1], [None, None, "1"]),
    ]
    assert figure.stack
    assert figure.axis.whole
    assert (figure.since, figure.until, figure.step) == (BEGIN.timestamp(), BEGIN.timestamp() + 3 * 3600, 3600)
    assert figure.at == [BEGIN.timestamp() + 3600 * place for place in range(3)]


def test_bars_of_spend() -> None:
    figure = models_figure(LINE, ["small", "large"], "spend")
    assert isinstance(figure, Figure)
    assert [(one.name, list(one.texts)) for one in figure.series] == [
        ("small", ["$0.2500", None, "$1.50"]),
        ("large", ["$3.00", None, None]),
    ]
    assert figure.axis.prefix == "$"


def test_shares_are_parts_of_what_there_is_in_a_step() -> None:
    figure = models_figure(LINE, ["small", "large"], "share")
    assert isinstance(figure, Figure)
    assert [list(one.values) for one in figure.series] == [[75, 0, 50], [25, 0, 0], [0, 0, 50]]
    assert figure.series[0].texts[0] == "6", "the list under the pointer says how many they are"
    assert (figure.axis.top, figure.axis.suffix) == (100, "%")


def test_lines_of_times() -> None:
    figure = times_figure(LINE)
    assert isinstance(figure, Figure)
    assert [(one.name, one.dotted, list(one.texts)) for one in figure.series] == [
        ("latency p99", True, ["100 ms", None, "2.0 s"]),
        ("latency p50", False, ["100 ms", None, "2.0 s"]),
        ("overhead p99", True, ["1.0 ms", None, "2.0 ms"]),
        ("overhead p50", False, ["1.0 ms", None, "2.0 ms"]),
    ]
    assert not figure.stack
    assert figure.axis.powers is not None


def test_bars_of_failures() -> None:
    figure = errors_figure(LINE)
    assert isinstance(figure, Figure)
    assert [(one.name, list(one.values)) for one in figure.series] == [("failed", [0, 0, 1])]


@pytest.mark.parametrize("show", ["calls", "spend", "share"])
def test_nothing_to_draw_is_said(show: str) -> None:
    for figure in (models_figure(EMPTY, [], show), times_figure(EMPTY), errors_figure(EMPTY)):
        assert isinstance(figure, Nothing)
        assert figure.nothing.startswith("No ")
