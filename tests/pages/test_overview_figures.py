"""What the overview's charts are told to draw."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.api.pages.overview_figures import times_figure
from app.store.queries.timeline import Line, ModelLine, Timeline

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ([0.1, 0.2, 0.3], "lines"),
        ([None, 0.2, 0.3], "lines"),
        ([0.1, 0.2, None], "lines"),
        ([0.1, None, 0.3], "lines+markers"),
        ([None, 0.2, None], "lines+markers"),
        ([0.1, None, None], "lines+markers"),
        ([None, None, 0.3], "lines+markers"),
    ],
)
def test_a_step_alone_is_seen(values: Line, mode: str) -> None:
    """A line has two ends: without a dot, a step whose neighbours had no calls would not be drawn at all."""
    hour, nothing = timedelta(hours=1), ModelLine(calls=[0] * 3, cost_usd=[0.0] * 3)
    line = Timeline(
        since=BEGIN,
        until=BEGIN + 3 * hour,
        step=hour,
        steps=[BEGIN + place * hour for place in range(3)],
        models={},
        others=nothing,
        unanswered=nothing,
        outcomes={},
        latency=dict.fromkeys((0.5, 0.9, 0.99), values),
        overhead=dict.fromkeys((0.5, 0.9, 0.99), values),
    )
    assert {one["mode"] for one in times_figure(line)["data"]} == {mode}
