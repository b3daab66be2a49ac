import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.core.errors import StoreUnavailable
from app.core.metrics import Metrics
from app.store import journal as segments
from app.store.database import Database
from app.store.delivery import drain, retry
from app.store.journal import Journal, count, left_over
from app.store.retention import retain
from app.store.tables import runs
from app.store.verify import Books, verify
from app.store.writer import Ledger
from tests.store.samples import full_call, new_id, score
from tests.store.test_writer import NOWHERE, RECORD, ids, rows, until


@pytest.fixture
async def ledger(database: Database, tmp_path: Path) -> AsyncIterator[Ledger]:
    made = Ledger(database, Journal(tmp_path / "journal", max_bytes=1 << 30), Metrics())
    await made.start()
    yield made
    await made.close(0)


async def left_behind(folder: Path, calls: int, url: str = NOWHERE) -> list[str]:
    """The ids of calls that a writer has recorded, to its end."""
    database = Database(url, folder)
    await database.open()
    ledger = Ledger(database, Journal(folder, max_bytes=1 << 30), Metrics())
    await ledger.start()
    recorded = [full_call() for _ in range(calls)]
    for call in recorded:
        ledger.record(call)
    await ledger.close(0 if url == NOWHERE else 30)
    await database.close()
    return [call.id for call in recorded]


async def drained(database: Database, folder: Path) -> list[int]:
    return [segment.rows async for segment in drain(database, Journal(folder, max_bytes=1), Metrics())]


def counts(books: Books) -> dict[str, int]:
    names = ("highest", "in_postgres", "dropped", "waiting", "refused", "lost")
    return {name: books.total(name) for name in names} | {"missing": books.missing}


async def test_rows_are_followed_from_the_journal_to_postgres(
    database: Database, ledger: Ledger, tmp_path: Path
) -> None:
    folder = tmp_path / "journal"
    assert await verify(database, folder) == Books([], [], 0)
    calls = [full_call() for _ in range(30)]
    for call in calls:
        ledger.record(call)
    ledger.record_score(score(calls[0].id))
    books = await verify(database, folder)
    assert (books.total("highest"), books.is_complete) == (31, True)
    assert books.total("in_postgres") + books.total("waiting") == 31
    assert await ledger.flush(30)
    books = await verify(database, folder)
    assert counts(books) == {
        "highest": 31,
        "in_postgres": 31,
        "dropped": 0,
        "waiting": 0,
        "refused": 0,
        "lost": 0,
        "missing": 0,
    }
    assert [book.writer for book in books.writers] == [ledger.writer]


async def test_each_life_of_a_process_is_a_writer(database: Database, tmp_path: Path, database_url: str) -> None:
    folder = tmp_path / "journal"
    shipped = await left_behind(folder, 5, database_url)
    left = await left_behind(folder, 7)
    books = await verify(database, folder)
    assert sorted((book.highest, book.in_postgres, book.waiting) for book in books.writers) == [(5, 5, 0), (7, 0, 7)]
    assert books.is_complete
    assert await drained(database, folder) == [7]
    books = await verify(database, folder)
    assert counts(books) == {
        "highest": 12,
        "in_postgres": 12,
        "dropped": 0,
        "waiting": 0,
        "refused": 0,
        "lost": 0,
        "missing": 0,
    }
    assert await ids(database) == sorted(shipped + left)


async def test_a_row_that_vanished_is_missed(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    await left_behind(folder, 9)
    (segment,) = folder.glob("*.rows")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:3] + lines[5:]))
    for _ in range(2):
        books = await verify(database, folder, 0)
        assert not books.is_complete
        assert [book.missing for book in books.writers] == [[(4, 6)]]
        assert books.total("highest") == 9
        await drained(database, folder)


async def test_a_segment_that_was_shipped_and_comes_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    await left_behind(folder, 9)
    (segment,) = folder.glob("*.rows")
    kept = segment.read_bytes()
    assert await drained(database, folder) == [9]
    segment.write_bytes(kept)
    books = await verify(database, folder)
    assert counts(books) == {
        "highest": 9,
        "in_postgres": 9,
        "dropped": 0,
        "waiting": 0,
        "refused": 0,
        "lost": 0,
        "missing": 0,
    }
    assert await drained(database, folder) == [9]
    assert await verify(database, folder) == books


async def test_rows_deleted_from_postgres_are_missed(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    first, *_ = await left_behind(folder, 9)
    await drained(database, folder)
    async with database.begin() as connection:
        await connection.execute(sa.text("DELETE FROM calls WHERE id = :id"), {"id": first})
    books = await verify(database, folder, 0)
    assert (books.absent, books.missing, books.is_complete) == (1, 0, False)
    assert [(day.receipts, day.rows) for day in books.days] == [(9, 8)]


async def test_days_that_were_dropped_are_not_missed(database: Database, ledger: Ledger, tmp_path: Path) -> None:
    old = datetime.now(UTC) - timedelta(days=9)
    for call in (
        full_call(started_at=old),
        full_call(started_at=old, run=None),
        full_call(started_at=datetime.now(UTC)),
    ):
        ledger.record(call)
    assert await ledger.flush(30)
    assert await retain(database, 3) == [old.date()]
    books = await verify(database, tmp_path / "journal", 0)
    assert (books.total("in_postgres"), books.total("dropped"), books.absent) == (1, 2, 0)
    assert books.is_complete


async def test_what_a_run_keeps_of_a_dropped_day_is_not_missed(
    database: Database, ledger: Ledger, tmp_path: Path
) -> None:
    old = datetime.now(UTC) - timedelta(days=9)
    run = {"id": new_id(), "suite": "s", "suite_digest": "d", "status": "done", "spec": {}, "created_at": old}
    async with database.begin() as connection:
        await connection.execute(sa.insert(runs).values(run))
    for name in (run["id"], None, None):
        ledger.record(full_call(started_at=old, run=name))
    assert await ledger.flush(30)
    assert await retain(database, 3) == [old.date()]
    assert len(await ids(database)) == 1
    assert (await verify(database, tmp_path / "journal", 0)).is_complete


async def test_a_row_that_was_dropped_is_told(database: Database, ledger: Ledger, tmp_path: Path) -> None:
    ledger.record(full_call())
    ledger.record(full_call(request_text=object()))
    ledger.record(full_call())
    ledger.record(full_call(request_text=object()))
    assert await ledger.flush(30)
    books = await verify(database, tmp_path / "journal")
    assert counts(books) == {
        "highest": 4,
        "in_postgres": 2,
        "dropped": 0,
        "waiting": 0,
        "refused": 0,
        "lost": 2,
        "missing": 0,
    }
    assert not books.is_complete


async def test_rows_put_aside_are_counted_and_may_be_sent_again(
    database: Database, ledger: Ledger, tmp_path: Path
) -> None:
    folder = tmp_path / "journal"
    mended, hopeless = full_call(status=2**40), full_call(id="no uuid")
    for call in (full_call(), mended, hopeless, full_call()):
        ledger.record(call)
    assert await ledger.flush(30)
    expected = {"highest": 4, "in_postgres": 2, "dropped": 0, "waiting": 0, "refused": 2, "lost": 0, "missing": 0}
    books = await verify(database, folder)
    assert counts(books) == expected
    assert books.is_complete
    assert await retry(database, folder, Metrics()) == (2, 2)
    assert counts(await verify(database, folder)) == expected
    # As if the program that wrote it had been at fault.
    path = folder / "refused" / "rows.jsonl"
    path.write_text(path.read_text().replace(str(2**40), "200"))
    assert await retry(database, folder, Metrics()) == (2, 1)
    assert counts(await verify(database, folder)) == {**expected, "in_postgres": 3, "refused": 1}
    assert mended.id in await ids(database)
    assert [json.loads(row.row[1:])["id"] for row in segments.refused(folder)] == ["no uuid"]


async def test_rows_without_a_number_ship_and_are_told_apart(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    (folder / "0-0-a.rows").write_text(f'C{{"id":"{new_id()}"}}\nnonsense\n')
    books = await verify(database, folder)
    assert (books.unnumbered, books.writers, books.is_complete) == (2, [], True)


async def test_it_is_right_while_others_write_and_ship(database: Database, database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    command = [sys.executable, "-c", RECORD, database_url, str(folder), "0.0005", "100000"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        seen = 0
        while seen < 3_000:
            books = await verify(database, folder)
            assert books.is_complete, books
            assert books.total("highest") >= seen
            seen = books.total("highest")
            # What a living process holds is its own to ship.
            assert await drained(database, folder) == []
    finally:
        for process in processes:
            process.kill()
    said = [line for process in processes for line in process.communicate()[0].split(b"\n")[:-1]]
    assert (await verify(database, folder)).is_complete
    await drained(database, folder)
    books = await verify(database, folder)
    assert (books.is_complete, books.total("waiting"), left_over(folder)) == (True, 0, [])
    found = await ids(database)
    assert {line.decode().strip() for line in said} <= set(found)
    assert len(found) == len(set(found)) == books.total("in_postgres")


async def test_a_drain_without_postgres_leaves_all_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    await left_behind(folder, 3)
    database = Database(NOWHERE, tmp_path)
    await database.open()
    with pytest.raises(StoreUnavailable):
        await drained(database, folder)
    await database.close()
    assert count(*left_over(folder))[0] == 3


async def test_drains_at_once_ship_each_row_once(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    recorded = [call for _ in range(3) for call in await left_behind(folder, 400)]
    metrics = Metrics()
    drains = [drain(database, Journal(folder, max_bytes=1), metrics) for _ in range(2)]

    async def all_of(draining) -> int:
        return sum([segment.rows async for segment in draining])

    async def one() -> int:
        return await all_of(drains.pop())

    assert sum(await asyncio.gather(one(), one())) == 1_200 == rows(metrics, "written")
    assert await ids(database) == sorted(recorded)
    assert (await verify(database, folder)).is_complete
    await until(lambda: left_over(folder) == [])
