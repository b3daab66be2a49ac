"""The report: right names, right figures, nothing dropped, nothing claimed that was not shown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from app.bench.arena import arena_score
from app.bench.curves import Frame, aiq, aiq_rb_compat
from app.bench.figures import Estimate
from app.bench.report import Report, build_report
from app.bench.results import RouterResult, Setting
from app.bench.scoring import look_up
from app.bench.statistics import bootstrap_means, interval, mcnemar, permutation_test
from app.bench.suite import Suite
from app.bench.wording import finding, verdict
from tests.bench.tables import shared_suite, small_suite

NAN = math.nan
TRADEOFFS = (0.0, 0.5, 1.0)
WHEN = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def seeded_suite(n: int = 60, seed: int = 0, **kwargs: Any) -> Suite:
    """Three models, each dearer and better than the last, over two categories."""
    rng = np.random.default_rng(seed)
    quality = (rng.random((n, 3)) < [0.5, 0.7, 0.9]).astype(float)
    cost = rng.uniform(0.8, 1.2, (n, 3)) * [0.001, 0.003, 0.02]
    return small_suite(quality, cost, categories=["x", "y"] * (n // 2), **kwargs)


def picks(suite: Suite, rows: np.ndarray, *models: int, name: str = "mine") -> RouterResult:
    """A router with one setting per model of `models`, which always picks it."""
    outcomes = suite.outcomes()
    settings = (look_up(outcomes, rows, np.full(len(rows), model), place / 10) for place, model in enumerate(models))
    return RouterResult(name, tuple(settings), {"k": 3})


def oracle_picks(suite: Suite, rows: np.ndarray, name: str = "seer") -> RouterResult:
    """Settings that pick per item what scores best, ties to the cheapest; the other end is the cheapest model."""
    outcomes = suite.outcomes()
    best = (outcomes.quality[rows] - 1e-6 * outcomes.cost[rows]).argmax(axis=1)
    return RouterResult(name, (look_up(outcomes, rows, best, 0.0), look_up(outcomes, rows, np.zeros_like(best), 1.0)))


def build(suite: Suite, *results: RouterResult, rows: np.ndarray | None = None, **kwargs: Any) -> Report:
    given: dict[str, Any] = {
        "rows": suite.rows("test", 1) if rows is None else rows,
        "split": "test",
        "seed": 1,
        "outcomes": suite.outcomes() if suite.recorded else None,
        "quality_source": "recorded",
        "tradeoffs": TRADEOFFS,
        "kind": "score",
        "draws": 200,
        "created_at": WHEN,
    }
    return build_report(suite=suite, results=results, **(given | kwargs))


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


# ----------------------------------------------------------------------------------------------------- shape


def test_the_names_that_readers_of_the_json_rely_on() -> None:
    suite = seeded_suite()
    raw = json.loads(build(suite, picks(suite, suite.rows("test", 1), 0, 2)).to_json())
    assert {"suite", "n", "split", "seed", "pool", "baselines", "routers", "quality_source", "notes"} <= raw.keys()
    assert {"suite_digest", "versions", "created_at", "kind", "run", "headline"} <= raw.keys()
    assert {"model", "quality", "cost_per_1k"} <= raw["pool"][0].keys()
    around = raw["baselines"]
    assert list(around) == ["cheapest", "best_single", "random", "oracle", "zero", "length", "know_dataset"]
    assert {"model", "quality", "cost_per_1k"} <= around["cheapest"].keys()
    assert {"quality", "cost_per_1k", "aiq"} <= around["oracle"].keys()
    assert {"aiq", "delta_aiq", "points"} <= around["length"].keys()
    router = raw["routers"][0]
    assert {"router", "params", "aiq", "delta_aiq", "points", "aiq_log", "cost_save", "verdict"} <= router.keys()
    assert list(router["delta_aiq"]) == ["value", "low", "high"]
    point = router["points"][1]
    assert {"tradeoff", "n", "coverage", "quality", "cost_per_1k", "share", "latency", "overhead"} <= point.keys()
    assert point["share"] == {"c": 1.0}
    assert (point["latency"], point["overhead"]) == (None, None)


def test_a_report_survives_its_json() -> None:
    suite = seeded_suite()
    report = build(suite, picks(suite, suite.rows("test", 1), 0, 2))
    assert Report.from_json(report.to_json()) == report


def test_same_arguments_same_report_and_another_seed_other_intervals() -> None:
    suite = seeded_suite()
    rows = suite.rows("test", 1)
    result = picks(suite, rows, 0, 1)
    report = build(suite, result)
    assert build(suite, result) == report
    other = build(suite, result, rows=rows, seed=2)
    assert other.routers[0].aiq == report.routers[0].aiq
    assert other.routers[0].delta_aiq != report.routers[0].delta_aiq


def test_no_figure_is_nan_even_where_everything_fails() -> None:
    suite = small_suite([[0.0, 0.0]] * 6, [[0.0, 0.0]] * 6)
    rows = np.arange(6)
    failed = Setting(0.5, (None,) * 6, np.zeros(6), np.zeros(6), np.zeros(6, bool), np.full(6, NAN), np.full(6, NAN))
    report = build(suite, RouterResult("dead", (failed,)), rows=rows, split="all")
    raw = report.to_json().decode()
    assert "NaN" not in raw
    assert "Infinity" not in raw
    assert all(not isinstance(leaf, float) or math.isfinite(leaf) for leaf in leaves(json.loads(raw)))
    point = report.routers[0].points[0]
    assert (point.coverage, point.share, point.latency) == (0, {}, None)
    assert (report.routers[0].perf_gain, report.routers[0].cost_save, report.routers[0].aiq_log) == (None, None, None)


# --------------------------------------------------------------------------------------------------- figures


def test_a_router_that_is_the_pool_is_the_zero_router_exactly() -> None:
    suite = seeded_suite()
    report = build(suite, picks(suite, suite.rows("test", 1), 0, 1, 2))
    router = report.routers[0]
    assert report.baselines is not None
    assert router.aiq == pytest.approx(report.baselines.zero.aiq)
    assert router.delta_aiq is not None
    assert (router.delta_aiq.value, router.delta_aiq.low, router.delta_aiq.high) == pytest.approx((0, 0, 0))
    assert router.verdict == "no difference shown"
    assert "No difference shown" in report.headline
    assert router.cost_save == pytest.approx(0)


def test_a_router_that_sees_the_answers_closes_the_gap() -> None:
    suite = seeded_suite(200)
    report = build(suite, oracle_picks(suite, suite.rows("test", 1)))
    router = report.routers[0]
    assert router.verdict == "better than the zero router"
    assert router.gap_closed is not None
    assert 0.8 < router.gap_closed <= 1  # two settings cannot follow the whole of the oracle's curve
    assert router.cost_save is not None
    assert router.cost_save > 0.5
    point = router.points[0]
    assert (point.opt_sel, point.opt_acc, point.opt_cost) == pytest.approx((1, 1, 1))
    assert point.regret == pytest.approx(0)
    assert point.pareto
    assert report.headline.startswith("seer beats the zero router (ΔAIQ +")


def test_a_router_that_wastes_money_is_called_worse() -> None:
    suite = seeded_suite(200)
    outcomes, rows = suite.outcomes(), suite.rows("test", 1)
    worst = (outcomes.quality[rows] - outcomes.cost[rows]).argmin(axis=1)
    report = build(suite, RouterResult("fool", (look_up(outcomes, rows, worst, 0.0),)))
    assert report.routers[0].verdict == "worse than the zero router"
    assert "does worse than the zero router" in report.headline
    assert "does not reach the quality of the best single model, c" in report.headline


def test_figures_come_from_the_same_prompts() -> None:
    suite = seeded_suite()
    rows = suite.rows("test", 1)
    report = build(suite, picks(suite, rows, 1))
    outcomes = suite.outcomes().take(rows)
    assert report.n == len(rows)
    means = outcomes.cost.mean(axis=0), outcomes.quality.mean(axis=0)
    assert [single.model for single in report.pool] == ["a", "b", "c"]
    assert [single.quality for single in report.pool] == pytest.approx(means[1])
    assert [single.cost_per_1k for single in report.pool] == pytest.approx(1000 * means[0])
    point = report.routers[0].points[0]
    assert (point.quality, point.cost_per_1k) == pytest.approx((means[1][1], 1000 * means[0][1]))
    expected = aiq([means[0][1]], [means[1][1]], Frame.of(*means))
    assert report.routers[0].aiq == pytest.approx(expected)


def test_every_draw_recomputes_whole_curves_limits_included() -> None:
    suite = seeded_suite()
    rows = suite.rows("test", 1)
    result = picks(suite, rows, 0, 2)
    taken = suite.outcomes().take(rows)
    columns = [*taken.cost.T, *taken.quality.T]
    columns += [setting.cost for setting in result.settings] + [setting.quality for setting in result.settings]
    aiqs, deltas = [], []
    for means in bootstrap_means(np.column_stack(columns), draws=200, seed=1):
        singles, points = means[:6].reshape(2, 3), means[6:].reshape(2, 2)
        frame = Frame.of(*singles)
        aiqs.append(aiq(*points, frame))
        deltas.append(aiqs[-1] - aiq(*singles, frame))
    router = build(suite, result).routers[0]
    assert router.aiq_interval is not None
    assert router.delta_aiq is not None
    assert (router.aiq_interval.low, router.aiq_interval.high) == pytest.approx(interval(np.array(aiqs)))
    assert (router.delta_aiq.low, router.delta_aiq.high) == pytest.approx(interval(np.array(deltas)))


def test_rb_compat_reaches_to_the_dearest_hull_of_all_that_are_compared() -> None:
    suite = seeded_suite()
    rows = suite.rows("test", 1)
    report = build(suite, picks(suite, rows, 0), picks(suite, rows, 0, 1, name="other"))
    around = report.baselines
    assert around is not None
    assert around.length is not None
    assert around.know_dataset is not None
    compared = [*report.routers, around.length, around.know_dataset]
    reach = max(hull[-1].cost_per_1k for hull in (around.zero.hull, *(router.hull for router in compared)))
    assert reach > report.routers[1].hull[-1].cost_per_1k
    for router in compared:
        marks = [(mark.cost_per_1k, mark.quality) for mark in router.hull]
        assert router.aiq_rb_compat == pytest.approx(aiq_rb_compat(*zip(*marks, strict=True), reach=reach))


def test_intervals_hold_the_figures_they_are_of() -> None:
    suite = seeded_suite(200)
    report = build(suite, picks(suite, suite.rows("test", 1), 0, 2))
    router = report.routers[0]
    assert router.aiq is not None
    assert router.aiq_interval is not None
    assert router.aiq_interval.low < router.aiq < router.aiq_interval.high
    for point in router.points:
        assert point.quality_interval.low < point.quality < point.quality_interval.high
        assert point.cost_interval.low < point.cost_per_1k < point.cost_interval.high


def test_failed_calls_count_as_quality_0_and_in_the_coverage() -> None:
    suite = small_suite([[1.0, 1.0]] * 10, [[0.001, 0.002]] * 10)
    rows = np.arange(10)
    whole = picks(suite, rows, 0).settings[0]
    answered = np.arange(10) >= 4
    # A reply that was graded although the call broke off counts for nothing, but what was billed is billed.
    broken = replace(whole, answered=answered, model=tuple("a" if ok else None for ok in answered))
    report = build(suite, RouterResult("mine", (broken,)), rows=rows, split="all")
    point = report.routers[0].points[0]
    assert (point.n, point.coverage, point.quality) == (10, 0.6, pytest.approx(0.6))
    assert point.cost_per_1k == pytest.approx(1)
    assert point.share == {"a": 0.6}
    assert any("coverage down to 60.0%" in note for note in report.notes)


def test_latency_is_given_where_something_was_called() -> None:
    suite = seeded_suite()
    rows = suite.rows("test", 1)
    seconds = np.linspace(0.1, 1.0, len(rows))
    seconds[0] = NAN
    setting = replace(picks(suite, rows, 0).settings[0], latency=seconds, overhead=seconds / 100)
    report = build(suite, RouterResult("mine", (setting,)), kind="replay", upstream="recorded", run="r1")
    point = report.routers[0].points[0]
    assert point.latency is not None
    assert point.overhead is not None
    assert point.latency.p50 == pytest.approx(np.nanmedian(seconds))
    assert point.latency.p50 < point.latency.p95 < point.latency.p99
    assert point.overhead.p99 == pytest.approx(point.latency.p99 / 100)
    assert any("not a model's" in note for note in report.notes)
    assert not any("Nothing was called" in note for note in report.notes)
    assert any("Nothing was called" in note for note in build(suite, picks(suite, rows, 0)).notes)


def test_the_setting_shown_alone_is_the_one_of_highest_even_utility() -> None:
    suite = small_suite([[0.5, 0.9, 1.0]] * 10, [[0.001, 0.002, 0.01]] * 10)
    rows = np.arange(10)
    report = build(suite, picks(suite, rows, 0, 1, 2), rows=rows, split="all")
    assert report.routers[0].best_point == 1


# --------------------------------------------------------------------------------------------- paired tests


def test_the_best_point_is_tested_against_the_best_single_model_item_by_item() -> None:
    suite = seeded_suite(200)
    rows = suite.rows("test", 1)
    report = build(suite, picks(suite, rows, 0))
    taken = suite.outcomes().take(rows).quality
    test = report.routers[0].against_best_single
    assert test is not None
    assert (test.against, test.test, test.n) == ("c", "mcnemar", len(rows))
    expected = mcnemar(taken[:, 0], taken[:, 2])
    assert (test.only_router, test.only_other, test.p) == expected
    assert test.difference.value == pytest.approx(taken[:, 0].mean() - taken[:, 2].mean())
    assert test.difference.low < test.difference.value < test.difference.high < 0
    assert test.p_holm == test.p  # one router: nothing to correct for


def test_graded_quality_is_tested_by_permutation() -> None:
    quality = np.random.default_rng(0).choice([0, 0.25, 0.5, 1], (40, 2))
    suite = small_suite(quality, [[0.001, 0.01]] * 40)
    rows = np.arange(40)
    report = build(suite, picks(suite, rows, 0, 1), picks(suite, rows, 0, name="b"), rows=rows, split="all")
    test = report.routers[0].against_best_single
    assert test is not None
    assert (test.test, test.only_router, test.only_other) == ("permutation", None, None)
    best = int(quality.mean(axis=0).argmax())
    chosen = quality[:, report.routers[0].best_point]
    assert test.p == permutation_test(chosen, quality[:, best], seed=1)


def test_the_zero_router_is_asked_at_the_same_cost() -> None:
    suite = small_suite([[0.0, 1.0]] * 10 + [[1.0, 1.0]] * 10, [[0.001, 0.005]] * 20)
    rows = np.arange(20)
    outcomes = suite.outcomes()
    # Half of the calls to the dear model, just where it is needed: blind mixing at that cost gets 3/4.
    knows = RouterResult("knows", (look_up(outcomes, rows, (rows < 10).astype(int), 0.5),))
    test = build(suite, knows, rows=rows, split="all").routers[0].against_zero
    assert test is not None
    assert (test.against, test.test) == ("zero router", "permutation")
    assert test.difference.value == pytest.approx(0.25)
    assert test.difference.low > 0
    assert test.p == 2 / 2**10


def test_a_router_cheaper_than_every_model_has_no_zero_router_beside_it() -> None:
    suite = seeded_suite()
    rows = suite.rows("test", 1)
    setting = replace(picks(suite, rows, 0).settings[0], cost=np.full(len(rows), 1e-6))
    router = build(suite, RouterResult("thrifty", (setting,))).routers[0]
    assert router.against_zero is None
    assert router.against_best_single is not None


def test_a_router_that_is_one_model_differs_in_nothing() -> None:
    suite = seeded_suite(200)
    router = build(suite, picks(suite, suite.rows("test", 1), 2)).routers[0]
    for test in (router.against_best_single, router.against_zero):
        assert test is not None
        assert test.p == 1
        assert (test.difference.low, test.difference.high) == pytest.approx((0, 0))
        assert finding(test) == "no difference shown"


def test_holm_counts_the_routers_of_the_report_and_not_its_baselines() -> None:
    suite = seeded_suite(200)
    rows = suite.rows("test", 1)
    results = [picks(suite, rows, 0, name=f"r{place}") for place in range(3)]
    alone, report = build(suite, results[0]), build(suite, *results)
    single, among = alone.routers[0], report.routers[0]
    assert single.delta_p is not None
    assert (single.delta_p_holm, among.delta_p) == (single.delta_p, single.delta_p)
    assert among.delta_p_holm == pytest.approx(3 * single.delta_p)
    assert among.against_zero is not None
    assert among.against_zero.p_holm == pytest.approx(min(1, 3 * among.against_zero.p))
    assert report.baselines is not None
    assert report.baselines.know_dataset is not None
    assert report.baselines.know_dataset.delta_p is not None
    assert report.baselines.know_dataset.delta_p_holm is None


def test_what_holm_takes_back_is_said_in_the_conclusion_the_headline_and_the_notes() -> None:
    suite = seeded_suite(200)
    rows = suite.rows("test", 1)
    # With 100 draws no p is below 2 / 101: shown alone, not among five.
    results = [replace(oracle_picks(suite, rows), router=f"r{place}") for place in range(5)]
    alone = build(suite, results[0], draws=100)
    assert alone.routers[0].conclusion is not None
    assert alone.routers[0].conclusion.startswith("r0: better than the zero router (ΔAIQ +")
    assert "Holm" not in alone.headline + "".join(alone.notes)
    report = build(suite, *results, draws=100)
    router = report.routers[0]
    assert router.verdict == "better than the zero router"  # the interval's own word
    assert router.conclusion is not None
    assert "by itself" in router.conclusion
    assert (
        "but no difference shown after Holm's correction for 5 routers (p 0.020, corrected 0.099)" in router.conclusion
    )
    assert "not shown after Holm's correction, p 0.099" in report.headline
    note = next(note for note in report.notes if "Holm" in note)
    assert "no difference to the zero router is shown for r0 (p 0.02 → 0.099)" in note


def test_where_holm_changes_nothing_a_note_says_so() -> None:
    suite = seeded_suite(200)
    rows = suite.rows("test", 1)
    report = build(suite, oracle_picks(suite, rows), picks(suite, rows, 0, 1, 2), draws=400)
    assert any("Holm's correction for that changes no verdict" in note for note in report.notes)


# ----------------------------------------------------------------------- two models, calibration, one score


def test_two_models_have_routellms_figures() -> None:
    suite = small_suite([[0.0, 1.0]] * 10 + [[1.0, 1.0]] * 10, [[0.001, 0.005]] * 20, models=["little", "large"])
    rows = np.arange(20)
    outcomes = suite.outcomes()
    knows = RouterResult("knows", (look_up(outcomes, rows, (rows < 10).astype(int), 0.5),))
    router = build(suite, knows, rows=rows, split="all").routers[0]
    assert router.pair is not None
    assert (router.pair.weak, router.pair.strong, router.pair.pgr) == ("little", "large", pytest.approx(1))
    assert router.pair.auc == pytest.approx((0.75 + 1) / 2)
    assert router.pair.apgr == pytest.approx(0.75)
    assert router.pair.cpt == {"20": pytest.approx(0.1), "50": pytest.approx(0.25), "80": pytest.approx(0.4)}
    assert build(seeded_suite(), picks(seeded_suite(), np.arange(60), 0), rows=np.arange(60)).routers[0].pair is None


def test_a_dearer_model_that_is_no_better_leaves_nothing_to_recover() -> None:
    suite = small_suite([[1.0, 0.0]] * 6, [[0.001, 0.005]] * 6)
    router = build(suite, picks(suite, np.arange(6), 0, 1), rows=np.arange(6), split="all").routers[0]
    assert router.pair is not None
    assert (router.pair.weak, router.pair.pgr, router.pair.apgr) == ("a", None, None)
    assert router.pair.cpt == {"20": None, "50": None, "80": None}


def test_predictions_are_judged_on_answered_items() -> None:
    suite = small_suite([[1.0, 0.0]] * 4, [[0.002, 0.004]] * 4)
    rows = np.arange(4)
    setting = look_up(suite.outcomes(), rows, np.array([0, 1, 0, 1]), 0.5)
    setting = replace(
        setting,
        answered=np.array([True, True, True, False]),
        predicted_quality=np.array([0.5, 0.0, NAN, 1.0]),
        predicted_cost=np.array([0.001, 0.004, 0.002, 9.0]),
    )
    found = build(suite, RouterResult("mine", (setting,)), rows=rows, split="all").routers[0].points[0].calibration
    assert found is not None
    assert (found.n, found.n_cost) == (2, 3)
    assert found.brier == pytest.approx(0.25 / 2)
    assert found.ece == pytest.approx(0.5 / 2)
    assert found.auc == {}  # each model was always right, or always wrong
    assert found.cost_mape == pytest.approx(0.5 / 3)


def test_without_predictions_nothing_is_judged_and_the_length_baseline_foretells() -> None:
    suite = seeded_suite()
    report = build(suite, picks(suite, suite.rows("test", 1), 0))
    assert report.routers[0].points[0].calibration is None
    assert report.baselines is not None
    assert report.baselines.length is not None
    assert report.baselines.length.points[0].calibration is not None


def test_every_point_has_an_arena_score() -> None:
    suite = seeded_suite()
    point = build(suite, picks(suite, suite.rows("test", 1), 1)).routers[0].points[0]
    assert point.arena == arena_score(point.quality, point.cost_per_1k)


# --------------------------------------------------------------------------------------- what cannot be said


def test_without_recorded_outcomes_nothing_is_compared() -> None:
    suite = seeded_suite()
    rows = suite.rows("test", 1)
    result = picks(suite, rows, 0, 2)
    report = build(suite, result, outcomes=None, kind="replay")
    assert (report.pool, report.baselines) == ((), None)
    router = report.routers[0]
    assert (router.aiq, router.delta_aiq, router.verdict, router.gap_closed) == (None, None, None, None)
    assert router.points[0].quality == pytest.approx(result.settings[0].quality.mean())
    assert router.points[0].quality_interval.low < router.points[0].quality
    assert router.points[0].opt_sel is None
    assert any("Nothing is recorded" in note for note in report.notes)
    assert "nothing to compare it with" in report.headline


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (0.02, 0.01, 0.03, "better than the zero router"),
        (-0.02, -0.03, -0.01, "worse than the zero router"),
        (0.02, -0.001, 0.03, "no difference shown"),
        (-0.02, -0.03, 0.001, "no difference shown"),
        (0.0, 1e-17, 1e-17, "no difference shown"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(value: float, low: float, high: float, expected: str) -> None:
    assert verdict(Estimate(value=value, low=low, high=high)) == expected


def test_the_oracle_is_never_the_headline() -> None:
    suite = seeded_suite(200)
    rows = suite.rows("test", 1)
    seer = replace(oracle_picks(suite, rows), router="oracle")
    assert build(suite, seer, picks(suite, rows, 0)).headline.startswith("mine does worse")
    assert build(suite, seer).headline.startswith("No router was scored")
    assert build(suite).headline.startswith("No router was scored")


def test_simulated_models_are_called_so() -> None:
    suite = seeded_suite(simulated=True)
    report = build(suite, picks(suite, suite.rows("test", 1), 0))
    assert report.simulated
    assert report.headline.startswith("Simulated models: ")
    assert any("simulated" in note for note in report.notes)


def test_missing_outcomes_and_absent_models_are_named() -> None:
    quality = [[1.0, 0.0, NAN], [0.0, NAN, NAN]] * 10
    cost = [[0.001, 0.002, NAN], [0.001, NAN, NAN]] * 10
    suite = small_suite(quality, cost)
    rows = np.arange(20)
    report = build(suite, picks(suite, rows, 0), rows=rows, split="all", notes=["from the caller"])
    assert [single.model for single in report.pool] == ["a", "b"]
    assert {single.model: single.coverage for single in report.pool} == {"a": 1.0, "b": 0.5}
    text = "\n".join(report.notes)
    assert "Not in the pool" in text
    assert "25.0% of the recorded outcomes are missing" in text
    assert "fitted to items that are also scored" in text
    assert "length baseline could not be fitted" in text
    assert "from the caller" in text
    assert report.baselines is not None
    assert report.baselines.length is None
    assert report.baselines.know_dataset is not None


def test_a_suite_too_small_to_train_on_still_gives_a_report() -> None:
    suite = small_suite([[1.0, 0.0]], [[0.001, 0.002]])
    rows = np.arange(1)
    report = build(suite, picks(suite, rows, 0), rows=rows, split="all", seed=1)
    assert report.n == 1
    assert report.routers[0].points[0].quality == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quality": np.zeros(3)}, "not about the"),
        ({"quality": np.full(60, NAN)}, "NaN or infinite"),
        ({"cost": np.full(60, -1.0)}, "negative"),
        ({"answered": np.ones(59, bool)}, "not about the"),
        ({"predicted_quality": np.ones(59)}, "not about the"),
    ],
)
def test_results_that_are_not_about_these_items_are_refused(change: dict[str, Any], message: str) -> None:
    suite = seeded_suite()
    rows = np.arange(60)
    setting = replace(picks(suite, rows, 0).settings[0], **change)
    with pytest.raises(ValueError, match=message):
        build(suite, RouterResult("mine", (setting,)), rows=rows)


def test_outcomes_of_another_suite_are_refused() -> None:
    suite = seeded_suite()
    with pytest.raises(ValueError, match="not of the same items"):
        build(suite, outcomes=suite.outcomes().take(range(30)))


def test_an_empty_split_or_a_router_without_settings_is_refused() -> None:
    suite = seeded_suite()
    with pytest.raises(ValueError, match="no items to score"):
        build(suite, picks(suite, np.arange(60), 0), rows=np.arange(0))
    with pytest.raises(ValueError, match="no settings"):
        build(suite, RouterResult("mine", ()))


# -------------------------------------------------------------------------------------------- golden numbers


def test_a_report_on_the_recorded_set() -> None:
    suite = shared_suite("zeroeval_4sets_8models")
    rows = suite.rows("all", 42)
    mini = suite.outcomes().models.index("gpt-4o-mini-2024-07-18")
    report = build(suite, picks(suite, rows, mini), rows=rows, split="all", seed=42)
    around = report.baselines
    assert around is not None
    assert round(around.zero.aiq, 5) == 0.82372
    assert round(around.oracle.aiq, 4) == 0.9330
    assert (round(around.oracle.quality, 4), round(around.oracle.cost_per_1k, 5)) == (0.9341, 0.32243)
    assert (around.best_single.model, round(around.best_single.quality, 4)) == ("gpt-4o-2024-05-13", 0.8496)
    assert (around.cheapest.model, round(around.cheapest.cost_per_1k, 4)) == ("gemini-1.5-flash", 0.0674)
    assert report.routers[0].verdict == "worse than the zero router"
    assert around.know_dataset is not None
    assert around.know_dataset.delta_aiq is not None
    assert around.know_dataset.delta_aiq.value > 0
