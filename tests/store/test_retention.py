from datetime import date, timedelta
from decimal import Decimal

import sqlalchemy as sa

from app.core.types import Call
from app.store import partitions, runs, suites
from app.store.database import Database
from app.store.queries.calls import CallFilter, get_call, list_calls
from app.store.queries.overview import overview
from app.store.queries.runs import scores_of
from app.store.retention import retain
from app.store.runs import ResultRow
from app.store.shipping import ship
from app.store.text import encode
from tests.store.samples import NOW, full_call, score
from tests.store.test_suites import make_suite

TODAY = NOW.date()


async def ship_calls(database: Database, *calls: Call) -> None:
    async with database.statements() as connection:
        await ship(connection, "call", [encode(call) for call in calls])


def aged(days: int, **fields: object) -> Call:
    return full_call(started_at=NOW - timedelta(days=days), **{"run": None, "item": None, **fields})


async def existing(database: Database) -> set[date]:
    async with database.session() as connection:
        mine = await partitions.days(connection)
        assert mine == await partitions.days(connection, "attempts")
    return {day for day in mine if TODAY - timedelta(days=60) <= day <= TODAY + timedelta(days=60)}


async def test_whole_days_are_dropped_and_their_sums_stay(database: Database) -> None:
    young, old = aged(6), [aged(7) for _ in range(3)]
    await ship_calls(database, young, *old)
    before = await overview(database, NOW - timedelta(days=20), NOW)
    assert TODAY - timedelta(days=7) in await retain(database, 7, now=NOW)
    assert await retain(database, 7, now=NOW) == []
    assert min(await existing(database)) == TODAY - timedelta(days=6)
    assert [row.id for row in (await list_calls(database)).rows] == [young.id]
    assert await overview(database, NOW - timedelta(days=20), NOW) == before
    assert before.total.calls == 4
    async with database.begin() as connection:
        left = (await connection.execute(sa.text("SELECT DISTINCT call_id FROM attempts"))).scalars().all()
    assert [str(key) for key in left] == [young.id]


async def test_by_default_all_is_kept_and_the_next_days_are_ready(database: Database) -> None:
    call = aged(50)
    await ship_calls(database, call)
    assert await retain(database, None, now=NOW) == []
    assert await get_call(database, call.id) is not None
    assert {TODAY + timedelta(days=ahead) for ahead in range(3)} <= await existing(database)


async def test_what_runs_need_stays(database: Database) -> None:
    await suites.save_suite(database, make_suite())
    made = await runs.create_run(database, suite="small", suite_digest="d" * 64, spec={})
    tagged, adopted, other = aged(30, run=made.id), aged(30, run="a harness"), aged(30, run="nobody's")
    live = aged(30)
    await ship_calls(database, tagged, adopted, other, live)
    row = ResultRow(router="knn", tradeoff=0.5, item="i", answered=True, call_id=adopted.id, cost_usd=Decimal(1))
    await runs.add_results(database, made.id, [row])
    assert await retain(database, 7, now=NOW) != []
    kept = {row.id for row in (await list_calls(database)).rows}
    assert kept == {tagged.id, adopted.id}
    found = await get_call(database, tagged.id)
    assert found is not None
    assert found.call == tagged
    assert await retain(database, 7, now=NOW) == []  # nothing left to drop
    assert await retain(database, 7, now=NOW, keep_runs=False) != []
    assert (await list_calls(database)).rows == []


async def test_scores_go_with_their_calls(database: Database) -> None:
    young, old = aged(1), aged(30)
    await ship_calls(database, young, old)
    given = [
        score(young.id, created_at=NOW),
        score(old.id, created_at=NOW - timedelta(days=29)),
        score(old.id, created_at=NOW),  # given lately: its time comes
    ]
    async with database.statements() as connection:
        await ship(connection, "score", [encode(one) for one in given])
    await retain(database, 7, now=NOW)
    found = await scores_of(database, [young.id, old.id])
    assert found == {young.id: [given[0]], old.id: [given[2]]}


async def test_a_day_in_use_is_left_for_the_next_time(database: Database) -> None:
    call = aged(30)
    await ship_calls(database, call)
    async with database.begin() as reader:
        await reader.execute(sa.text("SELECT count(*) FROM calls"))
        assert await retain(database, 7, now=NOW) == []
    assert await get_call(database, call.id) is not None
    assert TODAY - timedelta(days=30) in await retain(database, 7, now=NOW)


async def test_late_rows_of_a_dropped_day_are_taken(database: Database) -> None:
    await ship_calls(database, aged(30))
    await retain(database, 7, now=NOW)
    late = aged(30)
    await ship_calls(database, late)
    assert [row.id for row in (await list_calls(database, CallFilter())).rows] == [late.id]
    assert await retain(database, 7, now=NOW) != []


async def test_minutes_are_kept_for_two_days(database: Database) -> None:
    await ship_calls(database, aged(1), aged(3))
    await retain(database, None, now=NOW)
    async with database.begin() as connection:
        query = sa.text("SELECT seconds, sum(calls) FROM call_stats GROUP BY 1 ORDER BY 1")
        assert [tuple(row) for row in await connection.execute(query)] == [(60, 1), (3600, 2), (86400, 2)]
