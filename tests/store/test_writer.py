import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import psycopg
import pytest
import sqlalchemy as sa

from app.core.errors import StoreUnavailable
from app.core.metrics import Metrics
from app.store import migrate, partitions, writer
from app.store.database import Database
from app.store.delivery import PIECE_ROWS
from app.store.embedded import EmbeddedServer
from app.store.journal import Journal, count
from app.store.queries.calls import LoggedCall, get_call
from app.store.writer import Ledger
from tests.store.samples import full_call, new_id, score, small_call

# Records calls for as long as it is told to, printing each id once the call is recorded.
RECORD = """
import asyncio, sys
from pathlib import Path
from app.core.metrics import Metrics
from app.store.database import Database
from app.store.journal import Journal
from app.store.queries.calls import LoggedCall, get_call
from app.store.writer import Ledger
from app.store.queries.calls import LoggedCall, get_call
from tests.store.samples import full_call

async def main():
    url, folder, pause, calls = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    database = Database(url, folder)
    await database.open()
    ledger = Ledger(database, Journal(folder, max_bytes=1 << 30), Metrics())
    await ledger.start()
    for _ in range(calls):
        call = full_call()
        ledger.record(call)
        sys.stdout.write(call.id + "\\n")
        sys.stdout.flush()
        await asyncio.sleep(pause)
    await ledger.close()
    await database.close()

asyncio.run(main())
"""
NOWHERE = "postgresql://someone:s3cret@127.0.0.1:1/nowhere"


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Ledger]]:
    """Ledgers with a journal in `tmp_path / "journal"`, closed at the end."""
    made: list[Ledger] = []

    async def build(
        database: Database, *, max_bytes: int = 1 << 30, metrics: Metrics | None = None, **options
    ) -> Ledger:
        ledger = Ledger(database, Journal(tmp_path / "journal", max_bytes=max_bytes), metrics or Metrics(), **options)
        await ledger.start()
        made.append(ledger)
        return ledger

    yield build
    for ledger in made:
        await ledger.close(0)


@pytest.fixture
async def nowhere(tmp_path: Path) -> AsyncIterator[Database]:
    """A database that does not answer."""
    database = Database(NOWHERE, tmp_path)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that a test may stop."""
    folder = Path(tempfile.mkdtemp(prefix="hs-"))
    server = EmbeddedServer(folder / "postgres")
    yield server
    server.stop()
    shutil.rmtree(folder)


async def ids(database: Database, table: str = "calls") -> list[str]:
    """The ids in a table, as often as they stand there."""
    async with database.begin() as connection:
        return sorted(str(row[0]) for row in await connection.execute(sa.text(f"SELECT id FROM {table}")))


async def attempts_of(database: Database) -> int:
    async with database.begin() as connection:
        return (await connection.execute(sa.text("SELECT count(*) FROM attempts"))).scalar_one()


def rows(metrics: Metrics, result: str) -> float:
    return metrics.registry.get_sample_value("hullspeed_ledger_rows_total", {"result": result}) or 0.0


async def until(condition, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not (await condition() if asyncio.iscoroutinefunction(condition) else condition()):
            await asyncio.sleep(0.05)


async def test_what_is_recorded_is_shipped_without_asking(database: Database, make, tmp_path: Path) -> None:
    metrics = Metrics()
    ledger = await make(database, metrics=metrics)
    calls = [full_call() for _ in range(1_234)]
    judged = [score(call.id) for call in calls[:7]]
    for call in calls:
        ledger.record(call)
    for one in judged:
        ledger.record_score(one)
    assert count(tmp_path / "journal")[0] == 1_241
    assert ledger.pending(calls[0].id)
    await until(lambda: not ledger.pending(calls[-1].id) and rows(metrics, "written") == 1_241)
    assert await ids(database) == sorted(call.id for call in calls)
    assert await ids(database, "scores") == sorted(one.id for one in judged)
    assert await attempts_of(database) == 2 * 1_234
    assert await ledger.close()
    assert list((tmp_path / "journal").iterdir()) == []
    assert metrics.registry.get_sample_value("hullspeed_journal_rows") == 0
    assert rows(metrics, "lost") == rows(metrics, "refused") == 0


@pytest.mark.parametrize("which", ["first", "second"])
async def test_of_two_pieces_on_their_way_one_fails(
    which: str, new_database: Callable[[], str], make, tmp_path: Path
) -> None:
    database = Database(new_database(), tmp_path)
    await database.open()
    await migrate.upgrade(database)
    calls = [small_call() for _ in range(PIECE_ROWS + 500)]
    held, other_piece = (calls[0], 500) if which == "first" else (calls[-1], PIECE_ROWS)
    counted = "SELECT count(*) FROM calls"
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with await psycopg.AsyncConnection.connect(database.address.url) as other:
        async with other.transaction():
            await partitions.ensure(other, [held.started_at.date()])
        # A row of one piece is being written by somebody else, who then thinks better of it.
        await other.execute(
            "INSERT INTO calls (id, started_at, endpoint, requested_model, stream, outcome, status, latency, source, "
            "attempt_count) VALUES (%s, %s, '', '', false, 'ok', 200, 0, 'live', 0)",
            (held.id, held.started_at),
        )
        metrics = Metrics()
        ledger = await make(database, metrics=metrics)
        for call in calls:
            ledger.record(call)
        async with await psycopg.AsyncConnection.connect(database.address.url, autocommit=True) as watcher:

            async def value(query: str) -> int | None:
                found = await (await watcher.execute(query)).fetchone()
                return found and found[0]

            async def it_waits_alone() -> bool:
                return await value(counted) == other_piece and await value(waiting) is not None

            await until(it_waits_alone)
            await watcher.execute("SELECT pg_terminate_backend(%s)", (await value(waiting),))
            await other.rollback()
            # What has overtaken another piece comes again with it, and counts once.
            await until(lambda: rows(metrics, "written") == len(calls))
            assert await value(counted) == len(calls)
    assert await ledger.close()
    assert rows(metrics, "written") == len(calls)
    assert rows(metrics, "refused") == rows(metrics, "lost") == 0
    async with database.begin() as connection:
        numbers = await connection.execute(sa.text("SELECT sum(calls) FROM call_stats WHERE seconds = 60"))
        assert numbers.scalar_one() == len(calls)
    await database.close()


async def test_a_batch_shipped_twice_gives_single_rows(database: Database, make, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    ledger = await make(database)
    call, judged = full_call(), score(new_id())
    ledger.record(call)
    ledger.record_score(judged)
    ledger.record(call)
    (segment,) = folder.glob("*.rows")
    copy = segment.read_bytes()
    assert await ledger.flush(30)
    (folder / "0-0-again.rows").write_bytes(copy)
    again = Metrics()
    await make(database, metrics=again)
    await until(lambda: rows(again, "written") == 3)
    assert await ids(database) == [call.id]
    assert await ids(database, "scores") == [judged.id]
    assert await attempts_of(database) == 2
    assert await get_call(database, call.id) == LoggedCall(call, ())


async def test_flush_says_when_postgres_is_away(nowhere: Database, make, tmp_path: Path, caplog) -> None:
    ledger = await make(nowhere)
    assert await ledger.flush(0.1)  # nothing to ship
    call = full_call()
    ledger.record(call)
    assert not await ledger.flush(0.5)
    assert ledger.pending(call.id)
    assert not await ledger.close(0.1)
    assert count(tmp_path / "journal")[0] == 1
    assert "127.0.0.1:1" in caplog.text
    assert "s3cret" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_the_next_start_ships_what_was_left(nowhere: Database, database: Database, make, tmp_path: Path) -> None:
    calls = [full_call() for _ in range(700)]
    ledger = await make(nowhere)
    for call in calls:
        ledger.record(call)
    assert not await ledger.close(0)
    assert count(tmp_path / "journal")[0] == 700
    await make(database)
    await until(lambda: count(tmp_path / "journal")[0] == 0)
    assert await ids(database) == sorted(call.id for call in calls)


async def test_postgres_stopped_and_started_again(own_server: EmbeddedServer, make, tmp_path: Path) -> None:
    url = await asyncio.to_thread(own_server.start)
    database = Database(url, tmp_path)
    await database.open()
    ledger = await make(database)
    recorded: list[str] = []

    async def record(batches: int) -> None:
        for _ in range(batches):
            for call in [full_call() for _ in range(20)]:
                ledger.record(call)
                recorded.append(call.id)
            await asyncio.sleep(0.02)

    await record(20)
    assert await ledger.flush(30)
    traffic = asyncio.create_task(record(100))
    await asyncio.to_thread(own_server.stop)
    await traffic
    await record(5)
    assert not await ledger.flush(0.5)
    assert count(tmp_path / "journal")[0] > 0
    assert url == await asyncio.to_thread(own_server.start)
    await record(5)
    assert await ledger.flush(60)
    assert await ids(database) == sorted(recorded)
    assert await attempts_of(database) == 2 * len(recorded)
    assert count(tmp_path / "journal") == (0, 0)
    await ledger.close()
    await database.close()


async def test_while_postgres_hangs_the_journal_is_looked_after(own_server: EmbeddedServer, tmp_path: Path) -> None:
    url = await asyncio.to_thread(own_server.start)
    database = Database(url, tmp_path)
    await database.open()
    metrics, journal = Metrics(), Journal(tmp_path / "journal", max_bytes=1 << 30, fsync="interval")
    ledger = Ledger(database, journal, metrics)
    await ledger.start()
    calls = [full_call() for _ in range(3)]
    ledger.record(calls[0])
    assert await ledger.flush(30)
    first = psutil.Process(int((own_server.folder / "postmaster.pid").read_text().split()[0]))
    server = [first, *first.children(recursive=True)]
    for process in server:
        process.suspend()
    try:
        for call in calls[1:]:
            ledger.record(call)
            assert not await ledger.flush(0.5)
        gauge = metrics.registry.get_sample_value
        await until(lambda: gauge("hullspeed_journal_rows") == 2)
        await until(lambda: all(segment.synced == segment.size for segment in journal._held))
    finally:
        for process in server:
            process.resume()
    assert await ledger.flush(60)
    assert await ids(database) == sorted(call.id for call in calls)
    await ledger.close()
    await database.close()


async def test_an_embedded_server_that_dies_is_started_again(make, tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="hs-"))
    database = Database(None, folder)
    try:
        await database.open()
        ledger = await make(database)
        first, second = full_call(), full_call()
        ledger.record(first)
        assert await ledger.flush(30)
        os.kill(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

        async def answers() -> bool:
            try:
                await database.ping()
            except StoreUnavailable:
                return False
            return True

        async def is_gone() -> bool:
            return not await answers()

        await until(is_gone)  # the server's children live on for a moment
        ledger.record(second)
        assert await ledger.flush(90)
        await until(answers)
        assert await ids(database) == sorted([first.id, second.id])
        await ledger.close()
    finally:
        await database.close()
        shutil.rmtree(folder)


@pytest.mark.parametrize("answering", [True, False])
async def test_a_killed_process_loses_nothing_it_recorded(
    answering: bool, database_url: str, database: Database, make, tmp_path: Path
) -> None:
    folder = tmp_path / "journal"
    command = [sys.executable, "-c", RECORD, database_url if answering else NOWHERE, str(folder), "0.001", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [await asyncio.to_thread(process.stdout.readline) for _ in range(600)]
        process.kill()
        said += process.stdout.read().splitlines(keepends=True)
    recorded = {line.strip() for line in said if line.endswith("\n")}
    await make(database)
    await until(lambda: count(folder)[0] == 0)
    found = await ids(database)
    assert len(found) == len(set(found))
    assert recorded <= set(found)
    assert len(found) - len(recorded) <= 1  # recorded, but killed before it could say so
    assert await attempts_of(database) == 2 * len(found)


async def test_two_processes_with_journals_in_one_folder(database_url: str, database: Database, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", RECORD, database_url, str(tmp_path / "journal"), "0.001", "500"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    recorded: list[str] = []
    for process in processes:
        output, errors = await asyncio.to_thread(process.communicate, timeout=90)
        assert (process.returncode, errors) == (0, "")
        recorded += output.split()
    assert await ids(database) == sorted(recorded)
    assert len(recorded) == 1_000
    assert list((tmp_path / "journal").iterdir()) == []


async def test_a_torn_last_line_is_counted(database: Database, make, tmp_path: Path, caplog) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    whole, torn = full_call(), full_call()
    (folder / "0-0-a.rows").write_bytes(b"C" + msgspec.json.encode(whole) + b"\nC" + msgspec.json.encode(torn)[:-40])
    metrics = Metrics()
    await make(database, metrics=metrics)
    await until(lambda: count(folder)[0] == 0)
    assert await ids(database) == [whole.id]
    assert rows(metrics, "lost") == 1
    assert "0-0-a.rows ends in the middle" in caplog.text


async def test_rows_that_postgres_refuses_hold_up_no_other(database: Database, make, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    metrics = Metrics()
    ledger = await make(database, metrics=metrics)
    good = [full_call() for _ in range(60)]
    bad = [full_call(id="no uuid"), full_call(status=2**40), full_call(latency=float("nan"))]
    for index, call in enumerate(good):
        ledger.record(call)
        if index % 25 == 0:
            ledger.record(bad[index // 25])
    ledger.record_score(score("no uuid either"))
    assert await ledger.flush(60)
    assert await ids(database) == sorted(call.id for call in good)
    assert (rows(metrics, "written"), rows(metrics, "refused")) == (60, 4)
    lines = (folder / "refused" / "rows.jsonl").read_bytes().splitlines()
    kept = [msgspec.json.decode(line) for line in lines]
    assert [json.loads(entry["row"][1:])["id"] for entry in kept[:3]] == [call.id for call in bad]
    assert [json.loads(entry["row"][1:])["number"] for entry in kept] == [2, 28, 54, 64]
    assert "no uuid" in kept[0]["error"]
    assert "value" not in kept[3]["error"] or "no uuid either" in kept[3]["error"]
    assert count(folder) == (0, 0)


async def test_garbage_in_a_segment_is_put_aside(database: Database, make, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    call = full_call()
    garbage = [b"C{}", b"\x00\xff\xfe", b"", b'C{"id":', b"X{}", b"C]", b"C"]
    lines = [*garbage[:4], b"C" + msgspec.json.encode(call), *garbage[4:]]
    (folder / "0-0-a.rows").write_bytes(b"\n".join(lines) + b"\n")
    metrics = Metrics()
    await make(database, metrics=metrics)
    await until(lambda: count(folder)[0] == 0)
    assert await ids(database) == [call.id]
    assert (rows(metrics, "written"), rows(metrics, "refused")) == (1, 6)


async def test_past_the_memory_limit_rows_come_back_from_disk(
    nowhere: Database, own_server: EmbeddedServer, make, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 100_000)
    url = await asyncio.to_thread(own_server.start)
    await asyncio.to_thread(own_server.stop)
    database = Database(url, tmp_path)
    await database.open()
    ledger = await make(database, memory_bytes=50_000)
    calls = [full_call() for _ in range(500)]
    for call in calls:
        ledger.record(call)
        assert ledger.memory <= 50_000
    assert not await ledger.flush(0.5)
    assert len(list((tmp_path / "journal").glob("*.rows"))) > 5
    await asyncio.to_thread(own_server.start)
    assert await ledger.flush(60)
    assert await ids(database) == sorted(call.id for call in calls)
    assert ledger.memory == 0
    await ledger.close()
    await database.close()


async def test_past_its_limit_the_journal_leaves_rows_to_memory_and_tells(
    own_server: EmbeddedServer, make, tmp_path: Path, caplog
) -> None:
    url = await asyncio.to_thread(own_server.start)
    await asyncio.to_thread(own_server.stop)
    database = Database(url, tmp_path)
    await database.open()
    metrics = Metrics()
    ledger = await make(database, max_bytes=10_000, metrics=metrics)
    calls = [full_call() for _ in range(100)]
    ledger.record(calls[0])
    assert ledger.trouble is None
    for call in calls[1:]:
        ledger.record(call)
    assert count(tmp_path / "journal")[0] < 10
    assert "memory only" in (ledger.trouble or "")
    assert "limit of 10,000 bytes" in (ledger.trouble or "")
    assert caplog.text.count("memory only") == 1
    await asyncio.to_thread(own_server.start)
    assert await ledger.flush(60)
    assert await ids(database) == sorted(call.id for call in calls)
    assert rows(metrics, "lost") == 0
    assert ledger.trouble is None
    await ledger.close()
    await database.close()


async def test_rows_are_dropped_loudly_where_disk_and_memory_are_full(
    nowhere: Database, make, tmp_path: Path, caplog
) -> None:
    metrics = Metrics()
    ledger = await make(nowhere, max_bytes=10_000, memory_bytes=20_000, metrics=metrics)
    for _ in range(100):
        ledger.record(full_call())
    assert ledger.memory <= 20_000
    lost = rows(metrics, "lost")
    on_disk, size = count(tmp_path / "journal")
    assert 8_000 < size <= 10_000
    # What is on disk makes room in memory for what is not.
    assert ledger.memory > 18_000
    assert lost == 100 - on_disk - round(ledger.memory / (size / on_disk))
    assert "limit of 10,000 bytes" in (ledger.trouble or "")
    assert caplog.text.count("A row is lost") == 1


async def test_a_disk_that_takes_rows_again_gets_those_it_did_not_take(
    nowhere: Database, database: Database, make, tmp_path: Path
) -> None:
    import resource

    metrics = Metrics()
    ledger = await make(nowhere, metrics=metrics)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    calls = [full_call() for _ in range(5)]
    ledger.record(calls[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    try:
        for call in calls[1:]:
            ledger.record(call)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await until(lambda: count(tmp_path / "journal")[0] == 5)
    assert ledger.trouble is None
    await ledger.close(0)
    assert rows(metrics, "lost") == 0
    await make(database)
    await until(lambda: count(tmp_path / "journal")[0] == 0)
    assert await ids(database) == sorted(call.id for call in calls)


async def test_a_disk_that_takes_nothing_costs_no_row_while_postgres_answers(
    database: Database, make, tmp_path: Path, caplog
) -> None:
    import resource

    metrics = Metrics()
    ledger = await make(database, metrics=metrics)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    calls = [full_call() for _ in range(5)]
    ledger.record(calls[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    try:
        for call in calls[1:]:
            ledger.record(call)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "rows wait in memory only" in caplog.text
    assert await ledger.flush(30)
    assert await ids(database) == sorted(call.id for call in calls)
    assert rows(metrics, "lost") == 0


async def test_record_never_raises(database: Database, make, tmp_path: Path) -> None:
    metrics = Metrics()
    idle = Ledger(database, Journal(tmp_path / "idle", max_bytes=1 << 20), metrics)
    idle.record(full_call())
    ledger = await make(database, metrics=metrics)
    ledger.record(full_call(request_text=object()))
    await ledger.close()
    ledger.record(full_call())
    assert rows(metrics, "lost") == 3


async def test_an_empty_database_is_migrated_before_the_first_row(
    new_database: Callable[[], str], make, tmp_path: Path
) -> None:
    database = Database(new_database(), tmp_path)
    await database.open()
    ledger = await make(database)
    call = small_call()
    ledger.record(call)
    assert await ledger.flush(60)
    assert await migrate.current(database) == migrate.head()
    assert await ids(database) == [call.id]
    await ledger.close()
    await database.close()


async def test_a_cut_connection_costs_no_row(database: Database, database_url: str, make) -> None:
    ledger = await make(database)
    recorded: list[str] = []
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as admin:
        for _ in range(30):
            for call in [full_call() for _ in range(20)]:
                ledger.record(call)
                recorded.append(call.id)
            await asyncio.sleep(0.03)
            await admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    assert await ledger.flush(60)
    with contextlib.suppress(Exception):
        await database.ping()
    assert await ids(database) == sorted(recorded)
    assert await attempts_of(database) == 2 * len(recorded)
