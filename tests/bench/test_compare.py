"""Two runs side by side: paired figures, words that claim no more than was shown, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from app.bench.compare import Comparison, Finished, compare
from app.bench.curves import Frame, aiq
from app.bench.figures import Report
from app.bench.render_comparison import render_comparison
from app.bench.report import build_report
from app.bench.results import RouterResult
from app.bench.scoring import look_up
from app.bench.statistics import mcnemar
from app.core.errors import ConfigError
from app.store.runs import ResultRow, RunRow
from tests.bench.tables import small_suite

N = 120
RNG = np.random.default_rng(0)
QUALITY = (RNG.random((N, 3)) < [0.4, 0.6, 0.9]).astype(float)
COST = RNG.uniform(0.8, 1.2, (N, 3)) * [0.001, 0.003, 0.02]
SUITE = small_suite(QUALITY, COST)
SPEC = {"split": "all", "seed": 0, "limit": None, "quality": "recorded", "upstream": "recorded", "routers": []}


def pool_report() -> Report:
    rows = np.arange(N)
    outcomes = SUITE.outcomes()
    return build_report(
        suite=SUITE,
        rows=rows,
        split="all",
        seed=0,
        results=[RouterResult("any", (look_up(outcomes, rows, np.zeros(N, dtype=np.int64), 0.0),))],
        outcomes=outcomes,
        quality_source="recorded",
        tradeoffs=(0.5,),
        kind="score",
        draws=20,
    )


def finished(
    name: str, settings: dict[tuple[str, float], Sequence[int]], *, report: bool = False, **spec: Any
) -> Finished:
    """A run in which each setting picked the given model on every item."""
    run = RunRow(
        id=name,
        suite="small",
        suite_id=None,
        suite_digest=SUITE.digest,
        status="done",
        spec=SPEC | spec,
        created_at=datetime(2025, 1, 1, tzinfo=UTC),
        finished_at=None,
    )
    rows = [
        ResultRow(
            router=router,
            tradeoff=tradeoff,
            item=SUITE.items[row].id,
            answered=True,
            model=SUITE.outcomes().models[model],
            quality=float(QUALITY[row, model]),
            cost_usd=Decimal(str(COST[row, model])),
        )
        for (router, tradeoff), picks in settings.items()
        for row, model in enumerate(picks)
    ]
    return Finished(run, rows, pool_report() if report else None)


def always(model: int) -> list[int]:
    return [model] * N


def printed(comparison: Comparison, width: int = 140) -> str:
    out = io.StringIO()
    render_comparison(comparison, Console(file=out, width=width))
    return out.getvalue()


# ------------------------------------------------------------------------------------------------- differences


def test_a_setting_is_compared_item_by_item() -> None:
    found = compare(finished("one", {("r", 0.5): always(0)}), finished("two", {("r", 0.5): always(2)}), draws=300)
    (change,) = found.settings
    test = mcnemar(QUALITY[:, 2], QUALITY[:, 0])
    assert (change.quality.only_router, change.quality.only_other, change.quality.p) == test
    assert change.quality.difference.value == pytest.approx((QUALITY[:, 2] - QUALITY[:, 0]).mean())
    assert change.quality.difference.low > 0
    assert change.cost_per_1k.value == pytest.approx(1000 * (COST[:, 2] - COST[:, 0]).mean())
    assert change.cost_per_1k.low < change.cost_per_1k.value < change.cost_per_1k.high
    assert (change.said, change.said_of_cost) == ("better", "dearer")
    assert (change.first.quality, change.second.quality) == pytest.approx((QUALITY[:, 0].mean(), QUALITY[:, 2].mean()))
    assert (found.n, found.first.run, found.second.run) == (N, "one", "two")


def test_turned_round_every_difference_has_the_other_sign() -> None:
    one, two = finished("one", {("r", 0.5): always(0)}), finished("two", {("r", 0.5): always(2)})
    forth, back = compare(one, two, draws=300).settings[0], compare(two, one, draws=300).settings[0]
    assert back.quality.difference.value == pytest.approx(-forth.quality.difference.value)
    assert back.quality.difference.low == pytest.approx(-forth.quality.difference.high)
    assert back.quality.p == pytest.approx(forth.quality.p)
    assert (back.said, back.said_of_cost) == ("worse", "cheaper")


def test_the_order_of_the_rows_does_not_matter() -> None:
    one, two = finished("one", {("r", 0.5): always(0)}), finished("two", {("r", 0.5): always(1)})
    turned = replace(two, rows=list(two.rows)[::-1])
    assert compare(one, turned, draws=50).settings == compare(one, two, draws=50).settings


def test_a_run_against_itself_differs_in_nothing() -> None:
    run = finished("one", {("r", 0.0): always(2), ("r", 1.0): always(0)}, report=True)
    found = compare(run, run, draws=50)
    assert {change.said for change in (*found.settings, *found.aiq)} == {"no difference shown"}
    assert {change.said_of_cost for change in found.settings} == {"no difference shown"}
    assert [change.quality.p for change in found.settings] == [1, 1]
    assert found.headline == (
        f"No difference shown in AIQ: 1 router on {N} items. No difference shown in quality: 2 settings on {N} items."
    )
    assert found.notes == ()


def test_aiq_stands_between_the_limits_of_the_pool() -> None:
    one = finished("one", {("r", 0.0): always(2), ("r", 1.0): always(0), ("s", 0.0): always(0)}, report=True)
    two = finished("two", {("r", 0.0): always(2), ("r", 1.0): always(1), ("s", 0.0): always(2)})
    found = compare(one, two, draws=300)
    frame = Frame.of(COST.mean(axis=0), QUALITY.mean(axis=0))
    change = found.aiq[0]
    for value, models in ((change.first, [2, 0]), (change.second, [2, 1])):
        assert value == pytest.approx(aiq(COST[:, models].mean(axis=0), QUALITY[:, models].mean(axis=0), frame))
    assert change.difference.value == pytest.approx(change.second - change.first)
    assert change.difference.low < change.difference.value < change.difference.high
    assert change.tradeoffs == (0, 1)
    assert [change.p_holm >= change.p for change in found.aiq] == [True, True]
    assert found.aiq[1].said == "better"
    assert f"of 2 routers on {N} items by AIQ: 2 better" in found.headline
    assert f"of 3 settings on {N} items by quality" in found.headline


def test_without_a_pool_there_is_no_aiq_and_a_note_says_so() -> None:
    found = compare(finished("one", {("r", 0.5): always(0)}), finished("two", {("r", 0.5): always(2)}), draws=50)
    assert found.aiq == ()
    assert "no limits" in found.notes[0]
    assert found.headline == f"In the second run, of 1 setting on {N} items by quality: 1 better."


def test_pools_that_differ_give_no_aiq() -> None:
    one, two = (finished(name, {("r", 0.5): always(0)}, report=True) for name in ("one", "two"))
    assert two.report is not None
    dearer = tuple(msgspec.structs.replace(single, cost_per_1k=2 * single.cost_per_1k) for single in two.report.pool)
    found = compare(one, replace(two, report=msgspec.structs.replace(two.report, pool=dearer)), draws=50)
    assert found.aiq == ()
    assert "pools beside the two runs differ" in found.notes[0]


def test_holm_corrects_over_all_settings() -> None:
    settings = {("r", tradeoff / 10): always(1) for tradeoff in range(4)}
    found = compare(finished("one", settings), finished("two", dict.fromkeys(settings, always(2))), draws=50)
    assert [change.quality.p_holm for change in found.settings] == pytest.approx(
        [min(1, 4 * change.quality.p) for change in found.settings]
    )


def test_a_failed_call_counts_as_quality_0_and_costs_what_was_billed() -> None:
    one, two = finished("one", {("r", 0.5): always(2)}), finished("two", {("r", 0.5): always(2)})
    failed = [msgspec.structs.replace(row, answered=False, cost_usd=None) for row in two.rows[:30]]
    (change,) = compare(one, replace(two, rows=[*failed, *two.rows[30:]]), draws=200).settings
    assert change.second.coverage == 0.75
    assert change.second.quality == pytest.approx(QUALITY[30:, 2].sum() / N)
    assert change.second.cost_per_1k == pytest.approx(1000 * COST[30:, 2].sum() / N)
    assert change.said == "worse"


def test_what_only_one_run_has_and_how_the_runs_differ_is_noted() -> None:
    one = finished("one", {("r", 0.5): always(0), ("old", 0.5): always(0)})
    two = finished("two", {("r", 0.5): always(0), ("new", 0.2): always(0)}, upstream="live", seed=4)
    text = "\n".join(compare(one, two, draws=50).notes)
    assert "differ in upstream: recorded and live" in text
    assert "differ in seed: 0 and 4" in text
    assert "left out: new at 0.2, old at 0.5" in text


# ------------------------------------------------------------------------------------------------ what is refused


def test_runs_of_other_suites_are_refused() -> None:
    one, two = (finished(name, {("r", 0.5): always(0)}) for name in ("one", "two"))
    other = replace(two, run=msgspec.structs.replace(two.run, suite="other", suite_digest="f" * 64))
    with pytest.raises(ConfigError, match=r"run one is of suite `small` .* run two of suite `other` \(digest ffff"):
        compare(one, other)


def test_runs_judged_another_way_are_refused() -> None:
    one = finished("one", {("r", 0.5): always(0)})
    two = finished("two", {("r", 0.5): always(0)}, quality="grader:number")
    with pytest.raises(ConfigError, match="quality is recorded in run one and grader:number in run two"):
        compare(one, two)


def test_runs_of_other_items_are_refused_by_name() -> None:
    one = finished("one", {("r", 0.5): always(0)})
    two = finished("two", {("r", 0.5): always(0)}, split="test", seed=3)
    with pytest.raises(ConfigError) as error:
        compare(one, replace(two, rows=two.rows[5:]))
    assert "only in run one: 5 (item-0000, item-0001, item-0002, …); only in run two: none" in error.value.message
    assert "all / 0 / None and test / 3 / None" in error.value.message


def test_a_setting_that_lacks_items_is_refused() -> None:
    settings = {("r", 0.0): always(0), ("r", 1.0): always(0)}
    one, two = finished("one", settings), finished("two", settings)
    with pytest.raises(ConfigError, match="r at tradeoff 1 of run two has 119 of 120 items"):
        compare(one, replace(two, rows=two.rows[:-1]))


def test_runs_without_a_setting_in_common_are_refused() -> None:
    one, two = finished("one", {("r", 0.5): always(0)}), finished("two", {("r", 0.4): always(0)})
    with pytest.raises(ConfigError, match=r"run one has r at 0\.5, run two has r at 0\.4"):
        compare(one, two)


def test_a_run_that_is_not_finished_is_refused() -> None:
    one, two = (finished(name, {("r", 0.5): always(0)}) for name in ("one", "two"))
    with pytest.raises(ConfigError, match="run two is not finished"):
        compare(one, replace(two, run=msgspec.structs.replace(two.run, status="failed")))


# ------------------------------------------------------------------------------------------------------ printing


def test_the_comparison_as_json_holds_no_nan() -> None:
    one, two = (finished(name, {("r", 0.5): always(0)}, report=True) for name in ("one", "two"))
    raw = compare(one, two, draws=50).to_json()
    assert b"NaN" not in raw
    found = json.loads(raw)
    assert list(found["aiq"][0]) == [
        "router", "tradeoffs", "first", "second", "difference", "p", "p_holm", "said",
    ]  # fmt: skip
    assert {"first", "second", "quality", "cost_per_1k", "said", "said_of_cost"} <= found["settings"][0].keys()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_table_fits_and_cuts_nothing(width: int) -> None:
    one = finished("one", {("[red]r[/red]", 0.5): always(2)}, report=True)
    two = finished("two", {("[red]r[/red]", 0.5): always(0)})
    found = compare(one, two, draws=100)
    text = printed(found, width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert "…" not in text
    if width >= 160:
        change = found.settings[0]
        assert "[red]r[/red]" in text
        assert f"{change.first.quality:.3f} → {change.second.quality:.3f}" in text
        assert "run two against run one" in text
        assert found.headline in " ".join(text.split())
        assert "$/1k" in text
        assert "−" in text.split("Δ $/1k")[1]
