"""What a replay takes from the ledger: predictions that make calibration the same as in scoring, and prices."""

from __future__ import annotations

import asyncio
import dataclasses
from decimal import Decimal
from pathlib import Path

import numpy as np

from app.bench import bundled, ledger, library
from app.bench.figures import Report
from app.bench.results import RouterResult
from app.bench.run import Target, replay, score
from app.bench.scoring import look_up
from app.bench.suite import Item, Suite
from app.core.metrics import Metrics
from app.store import runs
from app.store.database import Database
from app.store.journal import Journal
from app.store.runs import ResultRow
from app.store.writer import Ledger
from tests.bench.test_replay import plan_of, recorded_proxy
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer
from tests.serving import StartProxy, models
from tests.store.samples import full_call, new_id


def calibrations(report: Report) -> list[object]:
    return [point.calibration for router in report.routers for point in router.points]


async def test_calibration_of_a_replay_is_that_of_scoring(start_proxy: StartProxy, database: Database) -> None:
    suite = bundled.load()
    await library.save(database, suite)
    plan = plan_of(suite, "cheapest", "knn:k=20", "ridge")
    proxy = await recorded_proxy(start_proxy, plan)
    report, _ = await replay(plan, Target(proxy.url, "recorded", known_pool=True), database, plan.build())
    assert calibrations(report) == calibrations(score(plan))
    found = report.routers[2].points[0].calibration
    assert found is not None
    assert found.n == 40
    assert sum(part.n for part in found.bins) == 40
    cheapest = report.routers[0].points[0].calibration
    assert cheapest is not None
    assert (cheapest.brier, cheapest.bins) == (None, ())  # it foretells costs alone
    assert [router.losses for router in report.routers] == [router.losses for router in score(plan).routers]
    assert report.prices == ()  # each outcome states its own cost
    assert not any("ledger" in note for note in report.notes)


async def test_prices_are_those_the_calls_were_billed_at(start_proxy: StartProxy, database: Database) -> None:
    items = tuple(
        Item(id=f"i{k}", category="c", messages=[{"role": "user", "content": f"{k}: 2 + 2?"}], target="4")
        for k in range(3)
    )
    suite = Suite("sums", items, grader="number")
    await library.save(database, suite)
    with FakeOpenAI(default=Answer("4")) as fake:
        # The second is ten times as dear as the first, at USD 1 and 2 per million tokens: see `tests.serving.models`.
        proxy = await start_proxy({"model_list": models(fake.url, "small", "large")})
        plan = dataclasses.replace(plan_of(suite, "cheapest", limit=None), split="all")
        report, _ = await replay(plan, Target(proxy.url, "live", known_pool=False), database, plan.build())
    price = proxy.proxy.catalog["small"].price
    assert price is not None
    (found,) = report.prices
    assert (found.model, found.source) == ("small", "config")
    assert Decimal(str(found.input_per_1m)) == price.input * 1_000_000
    assert Decimal(str(found.output_per_1m)) == price.output * 1_000_000


async def test_calls_of_another_ledger_are_missed_and_named(database: Database) -> None:
    suite = bundled.load()
    await library.save(database, suite)
    plan = plan_of(suite, "cheapest", limit=2)
    run = await runs.create_run(database, suite=suite.name, suite_digest=suite.digest, spec=plan.spec("live"))
    rows = [
        ResultRow(router="cheapest", tradeoff=0.0, item=item.id, answered=True, call_id=new_id()) for item in plan.items
    ]
    await runs.add_results(database, run.id, rows)
    kept = await ledger.read(database, run.id, rows, patience=0.0)
    assert (dict(kept.predictions), kept.prices) == ({}, ())
    assert kept.notes == ("2 of 2 answered calls are not in this ledger: calibration and prices leave them out.",)
    outcomes = plan.outcomes
    assert outcomes is not None
    setting = look_up(outcomes, plan.rows, np.zeros(2, dtype=int), 0.0)
    (result,) = kept.foretold([RouterResult("cheapest", (setting,))], plan.items)
    assert (result.settings[0].predicted_quality, result.settings[0].predicted_cost) == (None, None)


async def test_calls_that_no_result_came_of_are_not_waited_for(database: Database, tmp_path: Path) -> None:
    """A run that was killed has made some, and they must not pass for calls that are still on their way."""
    suite = bundled.load()
    await library.save(database, suite)
    plan = plan_of(suite, "cheapest", limit=2)
    run = await runs.create_run(database, suite=suite.name, suite_digest=suite.digest, spec=plan.spec("live"))
    orphan, early, late = (full_call(run=run.id) for _ in range(3))
    rows = [
        ResultRow(router="cheapest", tradeoff=0.0, item=item.id, answered=True, call_id=call.id)
        for item, call in zip(plan.items, (early, late), strict=True)
    ]
    await runs.add_results(database, run.id, rows)
    writer = Ledger(database, Journal(tmp_path / "journal", max_bytes=1 << 20), Metrics())
    await writer.start()
    for call in (orphan, early):
        writer.record(call)
    assert await writer.flush(10)
    reading = asyncio.create_task(ledger.read(database, run.id, rows))
    await asyncio.wait([reading], timeout=0.5)
    writer.record(late)
    kept = await reading
    await writer.close()
    assert len(kept.predictions) == 2
    assert kept.notes == ()
