"""What the bench's pages ask of Postgres."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from app.store import runs, suites
from app.store.database import Database
from app.store.queries.results import Setting, paired_items, run_items, run_pace, run_progress, told
from app.store.queries.run_list import run_lines
from app.store.queries.suites import narrowed, recorded_models, suite_facts, suite_item, suite_items
from app.store.runs import ResultRow, RunRow
from tests.store.test_suites import make_suite

ROUTERS = ("knn", "ridge")


def row(router: str, item: int, quality: float | None, **fields: object) -> ResultRow:
    given = {"answered": True, "model": f"model-{item % 2}", "cost_usd": Decimal("0.01"), "latency": 0.5, **fields}
    return ResultRow(router=router, tradeoff=0.1, item=f"item-{item}", quality=quality, **given)  # type: ignore[arg-type]


@pytest.fixture
async def run(database: Database) -> RunRow:
    await suites.save_suite(database, make_suite())
    spec = {"routers": list(ROUTERS), "tradeoffs": [0.1], "items": 5}
    made = await runs.create_run(database, suite="small", suite_digest="d" * 64, spec=spec)
    rows = [row("knn", item, 1.0) for item in range(5)]
    rows += [
        row("ridge", 0, 0.25),
        row("ridge", 1, 1.0, model="model-9"),
        row("ridge", 2, 0.0, answered=False, error="500: gone", model=None, cost_usd=None),
        row("ridge", 3, None, error="not graded", judge_cost_usd=Decimal("0.5")),
    ]
    await runs.add_results(database, made.id, rows)
    return made


async def test_a_suite(database: Database, run: RunRow) -> None:
    facts = await suite_facts(database, name="small")
    assert facts is not None
    assert (facts.items, facts.categories, facts.graders) == (5, {"even": 3, "odd": 2}, ["exact", "numeric"])
    assert await suite_facts(database, digest="d" * 64) == facts
    assert await suite_facts(database, name="nothing") is None
    models = await recorded_models(database, facts.id)
    assert {model.model for model in models} == {"model-0", "model-1", "model-2"}
    assert [model.cost for model in models] == sorted(model.cost or 0 for model in models)
    assert next(model.items for model in models if model.model == "model-0") == 4
    lines, total = await suite_items(database, facts.id, category="even", search=None, limit=2, offset=1)
    assert ([line.id for line in lines], total) == (["item-2", "item-4"], 3)
    item = await suite_item(database, facts.id, 1)
    assert item is not None
    assert [outcome.quality for outcome in item.outcomes] == [None, None]
    assert await suite_item(database, facts.id, 99) is None


@pytest.mark.parametrize(
    ("search", "found"), [("ITEM-3", [3]), ("3?", [3]), ("item_3", []), ("%", []), ('"', []), ("\\", []), ("\x00", [])]
)
async def test_a_search_is_literal(database: Database, run: RunRow, search: str, found: list[int]) -> None:
    facts = await suite_facts(database, name="small")
    assert facts is not None
    lines, _ = await suite_items(database, facts.id, category=None, search=search, limit=9, offset=0)
    assert [line.position for line in lines] == found


def test_what_is_looked_for_is_no_sql() -> None:
    also, given = narrowed("x'; --", "a\nb")
    assert "x'" not in also
    assert given["quoted"] == "%a\\\\nb%"


async def test_progress(database: Database, run: RunRow) -> None:
    found = await run_progress(database, run.id)
    assert found["knn", 0.1].done == 5
    ridge = found["ridge", 0.1]
    assert (ridge.done, ridge.failed, ridge.ungraded) == (4, 1, 1)
    assert ridge.quality == pytest.approx(1.25 / 3)
    assert (ridge.cost_usd, ridge.judge_cost_usd) == (pytest.approx(0.03), 0.5)
    assert await run_pace(database, run.id, datetime.now(UTC), timedelta(seconds=10)) is None


async def test_items_of_a_run(database: Database, run: RunRow) -> None:
    setting = Setting(run.id, "ridge", 0.1)
    wanted = {"category": None, "search": None, "limit": 10, "offset": 0}
    lines, total = await run_items(database, setting, run.suite_id, only="all", **wanted)  # type: ignore[arg-type]
    assert ([line.position for line in lines], total) == ([0, 1, 2, 3], 4)
    assert lines[0].preview == "0?"
    lines, _ = await run_items(database, setting, run.suite_id, only="failed", **wanted)  # type: ignore[arg-type]
    assert [line.error for line in lines] == ["500: gone", "not graded"]
    lines, _ = await run_items(database, setting, None, only="wrong", **wanted)  # type: ignore[arg-type]
    assert [(line.item, line.position) for line in lines] == [("item-0", None), ("item-2", None), ("item-3", None)]


async def test_pairs(database: Database, run: RunRow) -> None:
    sides = Setting(run.id, "knn", 0.1), Setting(run.id, "ridge", 0.1)
    wanted = {"category": None, "search": None, "limit": 10, "offset": 0}
    lines, counts = await paired_items(database, *sides, run.suite_id, show="all", **wanted)  # type: ignore[arg-type]
    # What was not graded is left out; what failed counts as 0.
    assert [(line.item, line.quality_b) for line in lines] == [("item-2", 0.0), ("item-0", 0.25), ("item-1", 1.0)]
    assert (counts.all, counts.regressions, counts.improvements, counts.models) == (3, 2, 0, 2)
    lines, _ = await paired_items(database, *reversed(sides), run.suite_id, show="improvements", **wanted)  # type: ignore[arg-type]
    assert [line.item for line in lines] == ["item-2", "item-0"]
    lines, _ = await paired_items(database, *sides, run.suite_id, show="models", **{**wanted, "category": "odd"})  # type: ignore[arg-type]
    assert [line.item for line in lines] == ["item-1"]


async def test_replies_come_from_the_recording_where_it_answered(database: Database, run: RunRow) -> None:
    setting = Setting(run.id, "knn", 0.1)
    ours, theirs = await told(database, [(setting, True), (setting, False)], run.suite_id, "item-2")
    assert ours is not None
    assert theirs is not None
    assert (ours.reply or "").startswith("reply 2 of 0")
    assert theirs.reply is None
    assert await told(database, [(setting, True)], run.suite_id, "nothing") == [None]


async def test_runs_in_a_list(database: Database, run: RunRow) -> None:
    routers = [
        {"router": "knn", "aiq": 0.5, "delta_aiq": {"value": 0.1, "low": -0.1, "high": 0.2}, "delta_p_holm": 0.5,
         "points": [{"cost_per_1k": 1.5}, {"cost_per_1k": 2}]},
        {"router": "ridge", "aiq": None, "delta_aiq": None, "points": []},
    ]  # fmt: skip
    await runs.finish_run(database, run.id, "done", {"n": 5, "headline": "x", "routers": routers})
    await runs.create_run(database, suite="small", suite_digest="e" * 64, spec={})
    lines, total = await run_lines(database, limit=10)
    assert (total, lines[0].routers, lines[0].n) == (2, (), None)
    knn, ridge = lines[1].routers
    assert (knn.router, knn.value, knn.low, knn.cost_per_1k) == ("knn", 0.1, -0.1, 3.5)
    assert (ridge.aiq, ridge.value, ridge.cost_per_1k) == (None, None, 0.0)
    lines, total = await run_lines(database, limit=10, digest="d" * 64)
    assert [line.run.id for line in lines] == [run.id]
    assert total == 1


async def test_who_holds_a_run(database: Database, run: RunRow) -> None:
    assert await runs.claimed(database, [run.id]) == set()
    async with runs.claim(database, run.id):
        assert await runs.claimed(database, [run.id, "00000000-0000-7000-8000-000000000000"]) == {run.id}
    assert await runs.claimed(database, [run.id]) == set()


async def test_an_unfinished_run_of_before_is_found(database: Database, run: RunRow) -> None:
    """It does not say how many items it has, which follows from the rest."""
    wanted = {key: value for key, value in run.spec.items() if key != "items"}
    found = await runs.find_unfinished(database, suite_digest="d" * 64, spec={**wanted, "items": 7})
    assert found is not None
    assert found.id == run.id
