"""What the journal costs a call: `python -m benchmarks.journal [--calls 20000] [--rounds 5] [--folder FOLDER]`.

Prints microseconds a call, of this process's processor time and of the clock: encoding the row, appending it under
each fsync policy, the whole of `Ledger.record`, the same against a sink that does nothing, and what shipping the rows
to an embedded Postgres costs this process. Medians over the rounds, which take turns. Exits with 1 where `record`
costs more than 15 µs of processor time a call, or shipping more than 6 µs a row.

`always` waits for the disk: it is measured with fewer calls, on the disk that holds `--folder`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import uuid_utils

from app.cli.options import run_async
from app.core.metrics import Metrics
from app.core.types import Attempt, Call, DecisionRecord, Price, RankedModel, Usage
from app.store import text
from app.store.database import Database
from app.store.journal import Fsync, Journal
from app.store.writer import Ledger

POLICIES: tuple[Fsync, ...] = ("none", "interval", "always")
MOST_RECORD, MOST_SHIP = 15.0, 6.0
SYNCED = 200
"""Calls under `always`."""


def a_call() -> Call:
    """A call as routing over five models leaves it."""
    usage = Usage(312, 133)
    price = Price(input=Decimal("1.5E-7"), output=Decimal("0.0000006"), source="config")
    cost = Decimal("0.0001266")
    attempt = Attempt(
        model="sim-mini",
        upstream="direct",
        outcome="ok",
        offset=0.0003,
        latency=0.8123,
        status=200,
        upstream_model="sim-mini-2026",
        usage=usage,
        cost_usd=cost,
        price=price,
        finish_reason="stop",
    )
    ranking = tuple(
        RankedModel(f"sim-{name}", 0.7123, 0.000123, 0.2) for name in ("nano", "mini", "pro", "max", "code")
    )
    decision = DecisionRecord(
        router="knn", version="3", reason="best utility", tradeoff=0.5, ranking=ranking, seed=7, duration=0.0002
    )
    return Call(
        id=str(uuid_utils.uuid7()),
        started_at=datetime.now(UTC),
        endpoint="chat",
        requested_model="auto",
        stream=False,
        outcome="ok",
        status=200,
        latency=0.8131,
        source="live",
        overhead=0.0008,
        model="sim-mini",
        decision=decision,
        attempts=(attempt,),
        usage=usage,
        cost_usd=cost,
    )


def timed(calls: list[Call], take: Callable[[Call], object]) -> tuple[float, float]:
    """Microseconds a call: processor, clock."""
    clock, processor = time.perf_counter(), time.process_time()
    for call in calls:
        take(call)
    return (time.process_time() - processor) / len(calls) * 1e6, (time.perf_counter() - clock) / len(calls) * 1e6


def appending(folder: Path, policy: Fsync, calls: list[Call]) -> dict[str, tuple[float, float]]:
    """A row appended as often as there are calls, and what `interval` does beside it."""
    line = b"C" + text.encode(calls[0])
    journal = Journal(folder / policy, max_bytes=1 << 40, fsync=policy)
    journal.open()
    try:
        found = {f"append, fsync {policy}": timed(calls, lambda _: journal.append(line))}
        if policy == "interval":
            # What this many rows take; in service it is one second's rows, in a thread.
            found["  and its fsync, at once"] = timed(calls[:1], lambda _: journal.sync())
        sealed = journal.rotate()
        assert sealed is not None
        journal.remove(sealed)
    finally:
        journal.close()
    return found


async def one_round(database: Database, folder: Path, calls: list[Call]) -> dict[str, tuple[float, float]]:
    """Each way once."""
    found = {"a sink that does nothing": timed(calls, lambda _: None), "encode": timed(calls, text.encode)}
    for policy in POLICIES:
        found |= appending(folder, policy, calls[:SYNCED] if policy == "always" else calls)
    ledger = Ledger(database, Journal(folder / "ledger", max_bytes=1 << 40), Metrics())
    await ledger.start()
    await ledger.ready(60)
    found["record"] = timed(calls, ledger.record)
    clock, processor = time.perf_counter(), time.process_time()
    assert await ledger.flush(300)
    spent = time.process_time() - processor, time.perf_counter() - clock
    found["ship a row"] = spent[0] / len(calls) * 1e6, spent[1] / len(calls) * 1e6
    await ledger.close()
    return found


async def main(number: int, rounds: int, folder: Path) -> bool:
    database = Database(None, folder)
    await database.open()
    found: dict[str, list[tuple[float, float]]] = {}
    try:
        for _ in range(rounds):
            for name, cost in (await one_round(database, folder, [a_call() for _ in range(number)])).items():
                found.setdefault(name, []).append(cost)
    finally:
        await database.close()
    size = len(text.encode(a_call()))
    print(f"{'µs a call':28}{'processor':>10}{'clock':>10}   medians of {rounds}; a row of {size:,} bytes")
    middle = {
        name: [statistics.median(cost[place] for cost in costs) for place in (0, 1)] for name, costs in found.items()
    }
    for name, (processor, clock) in middle.items():
        print(f"{name:28}{processor:10.2f}{clock:10.2f}")
    added = middle["record"][0] - middle["a sink that does nothing"][0]
    shipping = middle["ship a row"][0]
    print(f"journal on against off: {added:.1f} µs a call (at most {MOST_RECORD:.0f})")
    rate = 1e6 / middle["ship a row"][1]
    print(f"shipping: {shipping:.1f} µs of this process a row (at most {MOST_SHIP:.0f}), {rate:,.0f} rows/s")
    return added <= MOST_RECORD and shipping <= MOST_SHIP


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the journal is written; default: a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hs-", dir=given.folder) as name:
        sys.exit(0 if run_async(main(given.calls, given.rounds, Path(name))) else 1)
