"""The figures of one category are those a report on its items alone would have."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.bench.categories import FEWEST, by_category
from app.bench.curves import Frame, aiq
from app.bench.figures import Report
from app.bench.report import build_report
from app.bench.results import RouterResult
from app.bench.scoring import look_up
from app.bench.suite import Suite
from tests.bench.tables import small_suite

NAN = math.nan


def mixed_suite(sizes: dict[str, int], seed: int = 0) -> Suite:
    rng = np.random.default_rng(seed)
    kinds = [name for name, size in sizes.items() for _ in range(size)]
    quality = (rng.random((len(kinds), 3)) < [0.5, 0.7, 0.9]).astype(float)
    cost = rng.uniform(0.8, 1.2, (len(kinds), 3)) * [0.001, 0.003, 0.02]
    return small_suite(quality, cost, categories=kinds)


def coin(suite: Suite, rows: np.ndarray, name: str = "coin") -> RouterResult:
    """Three settings that pick at random, ever dearer."""
    outcomes = suite.outcomes()
    picks = [np.random.default_rng(place).integers(0, place + 1, len(rows)) for place in range(3)]
    return RouterResult(name, tuple(look_up(outcomes, rows, pick, place / 2) for place, pick in enumerate(picks)))


def report_on(suite: Suite, rows: np.ndarray, *results: RouterResult, recorded: bool = True) -> Report:
    return build_report(
        suite=suite,
        rows=rows,
        split="all",
        seed=3,
        results=results,
        outcomes=suite.outcomes() if recorded else None,
        quality_source="recorded",
        tradeoffs=(0.5,),
        kind="score",
        draws=150,
    )


def test_a_category_has_the_figures_of_a_report_on_its_items_alone() -> None:
    suite = mixed_suite({"few": 30, "many": 50})
    rows = np.arange(80)
    report = report_on(suite, rows, coin(suite, rows), coin(suite, rows, "again"))
    assert [(found.category, found.n) for found in report.categories] == [("many", 50), ("few", 30)]
    whole = coin(suite, rows)
    for category, places in zip(report.categories, (np.arange(30, 80), np.arange(30)), strict=True):
        own = RouterResult("coin", tuple(setting.at(places) for setting in whole.settings))
        alone = report_on(suite, places, own)
        assert category.pool == alone.pool
        assert alone.baselines is not None
        assert category.best_single == alone.baselines.best_single.model
        assert category.oracle is not None
        assert category.oracle.quality == alone.baselines.oracle.quality
        assert [mark.cost_per_1k for mark in category.zero] == [
            single.cost_per_1k for single in alone.baselines.zero.hull
        ]
        mine, theirs = category.routers[0], alone.routers[0]
        assert (mine.router, mine.aiq, mine.delta_aiq, mine.hull) == (
            "coin",
            theirs.aiq,
            theirs.delta_aiq,
            theirs.hull,
        )
        for point, other in zip(mine.points, theirs.points, strict=True):
            assert (point.quality, point.cost_per_1k, point.quality_interval, point.share) == (
                other.quality,
                other.cost_per_1k,
                other.quality_interval,
                other.share,
            )


def test_one_category_is_the_report_itself() -> None:
    suite = mixed_suite({"only": 40})
    rows = np.arange(40)
    report = report_on(suite, rows, coin(suite, rows))
    (category,) = report.categories
    assert (category.n, category.pool) == (report.n, report.pool)
    assert category.routers[0].delta_aiq == report.routers[0].delta_aiq


def test_too_few_items_have_figures_and_no_intervals() -> None:
    suite = mixed_suite({"few": FEWEST - 1, "enough": FEWEST})
    rows = np.arange(2 * FEWEST - 1)
    enough, few = report_on(suite, rows, coin(suite, rows)).categories
    assert enough.routers[0].delta_aiq is not None
    assert enough.pool[0].quality_interval is not None
    assert few.routers[0].delta_aiq is None
    assert few.pool[0].quality_interval is None
    assert few.routers[0].points[0].quality_interval is None
    taken = suite.outcomes().take(np.arange(FEWEST - 1))
    frame = Frame.of(taken.cost.mean(axis=0), taken.quality.mean(axis=0))
    points = few.routers[0].points
    expected = aiq([point.cost_per_1k / 1000 for point in points], [point.quality for point in points], frame)
    assert few.routers[0].aiq == pytest.approx(expected)


def test_a_model_without_outcomes_in_a_category_is_not_of_its_pool() -> None:
    quality = [[1.0, 0.0, 1.0]] * 12 + [[1.0, 1.0, NAN]] * 12 + [[NAN, NAN, NAN]] * 12
    cost = [[0.001, 0.002, 0.003]] * 12 + [[0.001, 0.002, NAN]] * 12 + [[NAN, NAN, NAN]] * 12
    suite = small_suite(quality, cost, categories=["all"] * 12 + ["two"] * 12 + ["void"] * 12)
    rows = np.arange(36)
    router = RouterResult("mine", (look_up(suite.outcomes(), rows, np.zeros(36, dtype=int), 0.5),))
    found = {category.category: category for category in report_on(suite, rows, router).categories}
    assert [single.model for single in found["all"].pool] == ["a", "b", "c"]
    assert [single.model for single in found["two"].pool] == ["a", "b"]
    assert (found["void"].pool, found["void"].zero, found["void"].oracle) == ((), (), None)
    point = found["void"].routers[0].points[0]
    assert (point.coverage, point.quality, point.share) == (0.0, 0.0, {})


def test_without_outcomes_a_category_has_points_and_nothing_to_compare_with() -> None:
    suite = mixed_suite({"x": 20, "y": 20})
    rows = np.arange(40)
    for category in report_on(suite, rows, coin(suite, rows), recorded=False).categories:
        assert (category.pool, category.zero, category.oracle, category.best_single) == ((), (), None, None)
        assert (category.routers[0].aiq, category.routers[0].delta_aiq) == (None, None)
        for point in category.routers[0].points:
            assert sum(point.share.values()) == pytest.approx(point.coverage)


def test_no_router_no_categories() -> None:
    assert by_category(["x"], [], None, draws=10, seed=0) == ()
