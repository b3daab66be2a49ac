"""The ledger at size: `python -m benchmarks.ledger [--calls 10000000]`.

Loads calls of thirty days with their attempts by COPY into an embedded Postgres of its own, adds them up, and then
times what the API and the pages ask: pages by every filter, common and rare, from the newest call and from the middle,
both ways; single calls; the overview; the drop-downs. Then ships calls as the proxy does, beside all that is there: the
rate, and the CPU time it takes this process. Ten million calls take 20 GB of disk and a quarter of an hour.

Goals: a page in under 200 ms, the overview in under 50, 30,000 rows a second into the ledger at 6 µs CPU a row.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]
import sqlalchemy as sa

from app.core.metrics import Metrics
from app.core.types import Attempt, Call, DecisionRecord, Usage
from app.store import migrate, partitions
from app.store.database import Database
from app.store.delivery import PIECE_ROWS, Batch, Delivery
from app.store.journal import Journal
from app.store.queries.calls import CallFilter, CallPage, get_call, list_calls
from app.store.queries.choices import choices, expected_qualities
from app.store.queries.overview import overview
from app.store.queries.periods import StatsFilter
from app.store.shipping import ship
from benchmarks.many_calls import DAYS, MODELS, PRICE, ROUTERS, load, ranking

PAGE = 100


async def print_sizes(database: Database) -> None:
    query = sa.text("""
SELECT substring(t.relname, '^[a-z_]*[a-z]') AS name, sum(s.n_live_tup) AS rows,
  sum(pg_table_size(t.oid)) / 1e9 AS heap, sum(pg_indexes_size(t.oid)) / 1e9 AS indexes
FROM pg_class AS t JOIN pg_stat_user_tables AS s ON s.relid = t.oid
WHERE t.relname ~ '^(calls|attempts)_|^call_stats$' GROUP BY 1 ORDER BY 3 DESC
""")
    indexes = sa.text("""
SELECT regexp_replace(indexrelname, '^calls_\\d+_', '') AS name, sum(pg_relation_size(indexrelid)) / 1e9 AS size
FROM pg_stat_user_indexes WHERE relname ~ '^calls_' GROUP BY 1 ORDER BY 2 DESC
""")
    print(f"\n{'table':12}{'rows':>14}{'heap GB':>10}{'index GB':>10}")
    async with database.begin() as connection:
        for row in await connection.execute(query):
            print(f"{row.name:12}{int(row.rows):14,}{row.heap:10.2f}{row.indexes:10.2f}")
        for row in await connection.execute(indexes):
            print(f"  index {row.name:34}{row.size:6.2f} GB")


class Server:
    """The server's processes."""

    def __init__(self, folder: Path) -> None:
        self._main = psutil.Process(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]))

    def seconds(self) -> float:
        """CPU time so far: what a busy machine changes less than the time by the clock."""
        return sum(sum(process.cpu_times()[:2]) for process in (self._main, *self._main.children()))


async def timed(
    server: Server, name: str, ask: Callable[[int], Awaitable[object]], times: int = 20, *, goal: float
) -> None:
    """Print the median and the worst of `times` different questions, in ms, and the server's CPU time of one."""
    spent, said, cpu = [], "", server.seconds()
    for place in range(times):
        begun = time.perf_counter()
        answer = await ask(place)
        spent.append((time.perf_counter() - begun) * 1000)
        if isinstance(answer, CallPage):
            said = f"{len(answer.rows)} rows" + (f", back to {answer.searched_to:%d %b}" if answer.searched_to else "")
    sign = "" if max(spent) <= goal else "  OVER THE GOAL"
    cpu = (server.seconds() - cpu) / times * 1000
    print(f"{name:44}{statistics.median(spent):9.1f}{max(spent):9.1f}{cpu:9.1f}   {said}{sign}", flush=True)


async def pages(database: Database, server: Server, today: datetime) -> None:
    """Every filter from the newest call, then from anywhere, then back towards the newer."""
    rng = random.Random(1)

    def anywhere() -> datetime:
        return today - timedelta(days=rng.random() * (DAYS - 1))

    filters: dict[str, Callable[[], CallFilter]] = {
        "no filter": CallFilter,
        "a common model": lambda: CallFilter(model="small"),
        "a rare model (1 in 100,000)": lambda: CallFilter(model="seldom"),
        "no such model": lambda: CallFilter(model="unknown"),
        "a router": lambda: CallFilter(router="cascade"),
        "router and model": lambda: CallFilter(router="cascade", model="coder"),
        "router and rare model": lambda: CallFilter(router="ridge", model="seldom"),
        "outcome ok": lambda: CallFilter(outcome="ok"),
        "outcome truncated (1 in 10,000)": lambda: CallFilter(outcome="truncated"),
        "error type and router": lambda: CallFilter(error_type="server_error", router="cascade"),
        "a session": lambda: CallFilter(session=f"session-{rng.randrange(2_000_000)}"),
        "a run": lambda: CallFilter(run=f"run-{rng.randrange(1, 29):02}-{rng.randrange(3)}"),
        "replays": lambda: CallFilter(source="replay"),
        "3 attempts or more": lambda: CallFilter(min_attempts=3),
        "4 attempts or more (1 in 20,000)": lambda: CallFilter(min_attempts=4),
        "latency of 3 s or more (8 %)": lambda: CallFilter(min_latency=3.0),
        "latency of 25 s or more (1 in 30,000)": lambda: CallFilter(min_latency=25.0),
        "cost between": lambda: CallFilter(min_cost_usd=0.0005, max_cost_usd=0.00051),
        "cost that none has": lambda: CallFilter(min_cost_usd=1.0),
        "a frequent word": lambda: CallFilter(text="hulls sails"),
        "a rare word": lambda: CallFilter(text="narwhal"),
        "model, outcome and a day": lambda: CallFilter(
            model="large", outcome="error", since=(day := anywhere()), until=day + timedelta(days=1)
        ),
    }
    print(f"\n{'a page of ' + str(PAGE) + ' calls':44}{'median':>9}{'worst ms':>9}{'CPU ms':>9}")
    for name, make in filters.items():
        await timed(server, f"{name}", lambda _, make=make: list_calls(database, make(), limit=PAGE), goal=200)  # type: ignore[misc]
        cursors = []
        for _ in range(20):
            wanted = make()
            start = msgspec.structs.replace(wanted, until=wanted.until or anywhere())
            cursors.append((wanted, await list_calls(database, start, limit=PAGE)))
        await timed(
            server,
            "  deep, older",
            lambda place, cursors=cursors: list_calls(  # type: ignore[misc]
                database, cursors[place][0], limit=PAGE, cursor=cursors[place][1].older
            ),
            goal=200,
        )
        await timed(
            server,
            "  deep, newer",
            lambda place, cursors=cursors: list_calls(  # type: ignore[misc]
                database, cursors[place][0], limit=PAGE, cursor=cursors[place][1].newer
            ),
            goal=200,
        )


async def others(database: Database, server: Server, now: datetime, today: datetime) -> None:
    rng = random.Random(2)
    known: list[str] = []
    for _ in range(20):
        until = today - timedelta(days=rng.random() * (DAYS - 1))
        known += [row.id for row in (await list_calls(database, CallFilter(until=until), limit=1)).rows]
    print(f"\n{'otherwise':44}{'median':>9}{'worst ms':>9}{'CPU ms':>9}")
    await timed(server, "a call whole", lambda place: get_call(database, known[place]), goal=50)
    await timed(
        server, "a call that is not there", lambda place: get_call(database, known[place][:-6] + "abcdef"), goal=50
    )
    for name, back in (("an hour", 1), ("a day", 24), ("a week", 168), ("thirty days", 720)):
        await timed(
            server,
            f"overview of {name}",
            lambda _, back=back: overview(database, now - timedelta(hours=back), now),  # type: ignore[misc]
            goal=50,
        )
    await timed(server, "overview of all", lambda _: overview(database), goal=50)
    live = StatsFilter(source="live", router="knn")
    await timed(server, "overview of a router's live calls", lambda _: overview(database, None, now, live), goal=50)
    await timed(server, "drop-downs", lambda _: choices(database), goal=200)
    await timed(server, "expected qualities", lambda _: expected_qualities(database), goal=200)


def line(rng: random.Random, at: datetime) -> bytes:
    """A call as the journal holds it, about 1.8 kB."""
    model, router = rng.choice(MODELS[:7]), rng.choice(ROUTERS)
    usage = Usage(rng.randrange(20, 4000), rng.randrange(1, 900))
    cost = PRICE.input * usage.prompt_tokens + PRICE.output * usage.completion_tokens
    latency = rng.lognormvariate(0, 0.8)
    answer = Attempt(
        model=model,
        upstream="direct",
        outcome="ok",
        offset=0.0004,
        latency=latency,
        status=200,
        time_to_first_token=latency / 3,
        upstream_model=f"{model}-2025",
        usage=usage,
        cost_usd=cost,
        price=PRICE,
        finish_reason="stop",
    )
    failed = Attempt(
        model=rng.choice(MODELS), upstream="direct", outcome="error", offset=0.0003, latency=0.2, status=500, error="no"
    )
    call = Call(
        id=f"{int(at.timestamp() * 1000):012x}7{rng.getrandbits(12):03x}8{rng.getrandbits(60):015x}",
        started_at=at,
        endpoint="/v1/chat/completions",
        requested_model="auto",
        stream=True,
        outcome="ok",
        status=200,
        latency=latency,
        source="live",
        overhead=rng.lognormvariate(-7.4, 0.4),
        time_to_first_token=latency / 3,
        model=model,
        decision=DecisionRecord(
            router=router,
            version="1",
            reason="best utility",
            tradeoff=0.3,
            ranking=ranking(rng, model),
            seed=rng.getrandbits(40),
            duration=0.00012,
        ),
        attempts=(failed, answer) if rng.random() < 0.08 else (answer,),
        usage=usage,
        cost_usd=cost,
        session=f"session-{rng.randrange(1000)}" if rng.random() < 0.4 else None,
    )
    return msgspec.json.encode(call)


async def shipping(database: Database, server: Server, calls: int) -> None:
    """Ship calls, one batch after the other over one connection, and as the ledger's writer does after an outage."""
    rng = random.Random(3)
    lines = [line(rng, datetime.now(UTC)) for _ in range(5_000)]
    heads = ("calls/s", "rows/s", "CPU-µs a call", "a row", "server's a call")
    print(f"\n{'shipped (a row: a call or an attempt)':40}" + "".join(f"{head:>16}" for head in heads))

    async def send(batches: list[list[bytes]]) -> None:
        for batch in batches:
            async with database.statements() as connection:
                await ship(connection, "call", batch)

    async def catch_up(batches: list[list[bytes]]) -> None:
        numbers = itertools.count(1)
        # As the journal has them.
        waiting = [b'C{"writer":"bench","number":%d,%b' % (next(numbers), row[1:]) for rows in batches for row in rows]
        await Delivery(database, Journal(Path(), max_bytes=1), Metrics()).bring(Batch(rows=waiting))

    for name, rows, bring in (
        ("100 calls a batch, one connection", 100, send),
        (f"{PIECE_ROWS:,} calls a batch, one connection", PIECE_ROWS, send),
        ("what one writer has waiting", PIECE_ROWS, catch_up),
    ):
        # The same but for their ids and times.
        ready = [_renewed(lines, rows, rng) for _ in range(calls // rows)]
        sent, tried = rows * len(ready), await _attempts(database)
        begun, cpu, served = time.perf_counter(), time.process_time(), server.seconds()
        await bring(ready)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        served = server.seconds() - served
        written = sent + await _attempts(database) - tried
        figures = (
            f"{sent / seconds:16,.0f}{written / seconds:16,.0f}{cpu / sent * 1e6:16.2f}{cpu / written * 1e6:16.2f}"
        )
        print(f"{name:40}{figures}{served / sent * 1e6:16.1f}", flush=True)


def _renewed(lines: list[bytes], rows: int, rng: random.Random) -> list[bytes]:
    """So many of the lines, as calls that began just now."""
    at = datetime.now(UTC)
    renewed = []
    for old in rng.choices(lines, k=rows):
        key = f"{int(at.timestamp() * 1000):012x}7{rng.getrandbits(12):03x}8{rng.getrandbits(60):015x}".encode()
        begin = old.index(b'"id":"') + 6
        renewed.append(old[:begin] + key + old[begin + 32 :])
    return renewed


async def _attempts(database: Database) -> int:
    async with database.begin() as connection:
        table = partitions.partition("attempts", datetime.now(UTC).date())
        return int((await connection.execute(sa.text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def main(calls: int, shipped: int, folder: Path) -> None:
    database = Database(None, folder)
    await database.open()
    try:
        await migrate.upgrade(database)
        now = datetime.now(UTC)
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        url = database.address.url
        if not (await list_calls(database, limit=1)).rows:
            await load(database, url, calls, today)
        await print_sizes(database)
        server = Server(folder)
        await pages(database, server, today)
        await others(database, server, now, today)
        await shipping(database, server, shipped)
    finally:
        await database.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000_000, help="calls to load")
    parser.add_argument("--ship", type=int, default=50_000, help="calls to ship for each rate")
    parser.add_argument("--folder", type=Path, help="keep the database here, and use the one that is here already")
    arguments = parser.parse_args()
    place = arguments.folder or Path(tempfile.mkdtemp(prefix="hs-"))
    try:
        asyncio.run(main(arguments.calls, arguments.ship, place))
    finally:
        if arguments.folder is None:
            shutil.rmtree(place)
