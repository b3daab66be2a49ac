import asyncio
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from app.core.errors import ConfigError, InvalidRequest, NotFound
from app.store import runs, suites
from app.store.database import Database
from app.store.runs import ResultRow
from tests.fakes.relay import Relay
from tests.store.samples import new_id
from tests.store.test_suites import make_suite

SPEC = {"routers": ["knn", "oracle"], "tradeoffs": [0.0, 0.30000000000000004], "seed": 7, "note": "\x00"}
STORED = {**SPEC, "note": "\ufffd"}

HOLD = """
import asyncio, sys
from pathlib import Path
from app.store.database import Database
from app.store.runs import claim

async def main():
    database = Database(sys.argv[1], Path())
    await database.open()
    async with claim(database, sys.argv[2]):
        print("held", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def start(database: Database, spec: dict | None = None) -> runs.RunRow:
    return await runs.create_run(database, suite="small", suite_digest="d" * 64, spec=spec or SPEC)


@pytest.fixture
async def run(database: Database) -> runs.RunRow:
    await suites.save_suite(database, make_suite())
    return await start(database)


def result(item: int, **fields) -> ResultRow:
    values = {
        "router": "knn",
        "tradeoff": 0.1 + 0.2,
        "item": f"item-{item}",
        "answered": True,
        "call_id": new_id(),
        "model": "m",
        "quality": 1 / 3,
        "cost_usd": Decimal("0.00012300"),
        "latency": 1e-9,
        "overhead": 0.1,
    }
    return ResultRow(**{**values, **fields})


async def test_an_unfinished_run_is_found_by_what_it_does(database: Database, run: runs.RunRow) -> None:
    assert run.spec == STORED
    turned = dict(reversed(STORED.items()))
    for spec in (SPEC, turned):
        found = await runs.find_unfinished(database, suite_digest="d" * 64, spec=spec)
        assert found == run
    assert await runs.find_unfinished(database, suite_digest="d" * 64, spec={**STORED, "seed": 8}) is None
    assert await runs.find_unfinished(database, suite_digest="e" * 64, spec=STORED) is None
    await runs.finish_run(database, run.id, "failed")
    assert (await runs.find_unfinished(database, suite_digest="d" * 64, spec=STORED)) is not None
    await runs.resume_run(database, run.id)
    assert await runs.find_unfinished(database, suite_digest="d" * 64, spec=STORED) == run
    await runs.finish_run(database, run.id, "done", {"auc": 0.1})
    assert await runs.find_unfinished(database, suite_digest="d" * 64, spec=STORED) is None


async def test_results_come_back_exactly_and_once(database: Database, run: runs.RunRow) -> None:
    failed = result(
        2, answered=False, model=None, call_id=None, quality=None, cost_usd=None, latency=None, error="x\x00"
    )
    rows = [result(index) for index in range(2)] + [failed]
    await runs.add_results(database, run.id, rows[:2])
    await runs.add_results(database, run.id, [result(0, quality=0.0), *rows])
    expected = [
        *rows[:2],
        ResultRow(**{**{f: getattr(failed, f) for f in failed.__struct_fields__}, "error": "x\ufffd"}),
    ]
    assert await runs.load_results(database, run.id) == expected


async def test_many_results(database: Database, run: runs.RunRow) -> None:
    await runs.add_results(database, run.id, [result(index) for index in range(2_500)])
    assert len(await runs.load_results(database, run.id)) == 2_500


async def test_a_run_has_one_owner_at_a_time(database: Database, run: runs.RunRow, database_url: str) -> None:
    other = await start(database, {"seed": 8})
    async with runs.claim(database, run.id):
        with pytest.raises(ConfigError, match=f"Another process is replaying run {run.id}"):
            async with runs.claim(database, run.id):
                pass
        async with runs.claim(database, other.id):
            pass
    holder = subprocess.Popen([sys.executable, "-c", HOLD, database_url, run.id], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == "held\n"
        with pytest.raises(ConfigError, match="Another process"):
            async with runs.claim(database, run.id):
                pass
        holder.kill()
    # Postgres notices the end of the connection in its own time.
    for _ in range(300):
        try:
            async with runs.claim(database, run.id):
                return
        except ConfigError:
            await asyncio.sleep(0.1)
    pytest.fail("the claim outlived its process")


async def test_a_run_is_free_as_soon_as_it_is_let_go(database: Database, run: runs.RunRow, database_url: str) -> None:
    """However late the server hears that the connection which held it is closed."""
    async with Relay(database_url, hides_ends=True) as relay:
        far = Database(relay.url, Path())
        await far.open()
        for _ in range(2):
            async with runs.claim(far, run.id):
                assert await runs.claimed(database, [run.id]) == {run.id}
            assert await runs.claimed(database, [run.id]) == set()
        await far.close()


async def test_a_run_is_got_by_a_prefix(database: Database, run: runs.RunRow) -> None:
    second = await start(database)
    report = {"z": 1.0, "a": [1e16, None]}
    await runs.finish_run(database, run.id, "done", report)
    for key in (run.id, run.id[:-1], run.id.upper()):
        found, stored = await runs.get_run(database, key)
        assert (found.id, found.status, list(stored or ()), stored) == (run.id, "done", ["z", "a"], report)
        assert found.finished_at is not None
    assert await runs.get_run(database, second.id) == (second, None)
    with pytest.raises(InvalidRequest, match="more of the id"):
        await runs.get_run(database, run.id[:2])
    for key in ("", "zz", "%"):
        with pytest.raises(NotFound, match="no run"):
            await runs.get_run(database, key)
    assert [row.id for row in await runs.list_runs(database)] == [second.id, run.id]


async def test_a_run_outlives_its_suite(database: Database, run: runs.RunRow) -> None:
    await runs.add_results(database, run.id, [result(0)])
    await suites.delete_suite(database, "small")
    found, _ = await runs.get_run(database, run.id)
    assert (found.suite, found.suite_id) == ("small", None)
    assert len(await runs.load_results(database, run.id)) == 1


async def test_what_is_not_there(database: Database) -> None:
    with pytest.raises(NotFound, match="no suite named 'small'"):
        await start(database)
    with pytest.raises(NotFound, match="no run"):
        await runs.finish_run(database, new_id(), "done")
