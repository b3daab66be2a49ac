"""The CSV table: every figure of the report, one row a point, under the names it documents."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from app.bench import render_csv as module
from app.bench.figures import Report
from app.bench.render_csv import COLUMNS, render_csv
from tests.bench.test_render import report_on, two_models


def table(report: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render_csv(report))))


def rows_of(rows: list[dict[str, str]], kind: str, name: str) -> Iterator[dict[str, str]]:
    return (row for row in rows if (row["kind"], row["name"]) == (kind, name))


def test_a_row_for_everything_that_has_a_place() -> None:
    report = report_on(called=True)
    rows = table(report)
    assert report.baselines is not None
    assert [row["name"] for row in rows if row["kind"] == "model"] == [single.model for single in report.pool]
    names = [row["name"] for row in rows if row["kind"] == "baseline"]
    assert names[:5] == ["cheapest", "best single", "random", "oracle", "zero router"]
    assert set(names[5:]) == {"length", "know_dataset"}
    assert sum(row["kind"] == "router" for row in rows) == sum(len(router.points) for router in report.routers)
    assert {(row["suite"], row["suite_digest"], row["seed"]) for row in rows} == {
        (report.suite, report.suite_digest, "1")
    }


def test_the_figures_are_those_of_the_report_in_full() -> None:
    report = report_on(called=True)
    rows = table(report)
    for router in report.routers:
        assert router.delta_aiq is not None
        assert router.aiq_interval is not None
        for place, (row, point) in enumerate(zip(rows_of(rows, "router", router.router), router.points, strict=True)):
            assert float(row["tradeoff"]) == point.tradeoff
            assert row["shown"] == str(int(place == router.best_point))
            assert [float(row[f"quality{end}"]) for end in ("", "_low", "_high")] == [
                point.quality,
                point.quality_interval.low,
                point.quality_interval.high,
            ]
            assert [float(row[name]) for name in ("cost_per_1k", "cost_low", "cost_high")] == [
                point.cost_per_1k,
                point.cost_interval.low,
                point.cost_interval.high,
            ]
            assert row["latency_p95"] == ("" if point.latency is None else repr(point.latency.p95))
            assert row["overhead_p50"] == ("" if point.overhead is None else repr(point.overhead.p50))
            assert [float(row[name]) for name in ("aiq", "aiq_low", "aiq_high", "delta_aiq", "delta_low")] == [
                router.aiq,
                router.aiq_interval.low,
                router.aiq_interval.high,
                router.delta_aiq.value,
                router.delta_aiq.low,
            ]
            assert row["verdict"] == router.verdict
            assert row["pareto"] == str(int(point.pareto))
            assert {name: float(row[f"share:{name}"]) for name in point.share} == point.share
    assert next(rows_of(rows, "router", "mine"))["latency_p95"] == "0.25"
    best = next(rows_of(rows, "baseline", "best single"))
    assert report.baselines is not None
    assert (best["model"], float(best["quality"])) == (
        report.baselines.best_single.model,
        report.baselines.best_single.quality,
    )
    assert float(next(rows_of(rows, "baseline", "zero router"))["aiq"]) == report.baselines.zero.aiq


def test_calibration_stands_where_something_was_foretold() -> None:
    report = two_models()
    rows = table(report)
    found = report.routers[0].points[0].calibration
    assert found is not None
    row = next(rows_of(rows, "router", "prophet"))
    assert [float(row[name]) for name in ("brier", "ece", "cost_mape")] == [found.brier, found.ece, found.cost_mape]
    assert [next(rows_of(rows, "router", "mute"))[name] for name in ("brier", "ece", "cost_mape")] == ["", "", ""]


def test_without_a_pool_there_are_routers_alone_and_nothing_is_made_up() -> None:
    rows = table(report_on(recorded=False))
    assert {row["kind"] for row in rows} == {"router"}
    assert {row["aiq"] for row in rows} == {row["delta_low"] for row in rows} == {""}


def test_every_column_is_documented_and_no_other() -> None:
    header = next(csv.reader(io.StringIO(render_csv(report_on()))))
    fixed = [name for name in header if not name.startswith("share:")]
    assert fixed == list(COLUMNS)
    said = module.__doc__ or ""
    named = set(re.findall(r"`([^`]+)`", said))
    short = {f"{name}_{end}" for name in ("latency", "overhead") for end in ("p95", "p99")}  # written as `_p95`, `_p99`
    assert set(COLUMNS) - short <= named


def test_odd_names_stay_in_their_field() -> None:
    odd = 'a,"b"\nc'
    rows = table(report_on(router=odd, name=odd, models=(odd, "x;y", "ü")))
    assert {row["suite"] for row in rows} == {odd}
    assert any(row["name"] == odd and row["kind"] == "router" for row in rows)
    assert f"share:{odd}" in rows[0]
