"""Whether every call that was answered stands in the ledger, once.

A writer numbers its rows from 1 (see `receipts`). So each number up to the highest one seen must be received by
Postgres, or wait in a journal, or be among the rows put aside; any other is a row that is missing. For what was
received the rows themselves are counted, day by day, against their receipts. A writer's last rows can only be missed
where a later one of it was seen.

Nothing need be stopped for it. The journal is read before Postgres, because that is the way rows go: one that leaves
the journal in between is found in Postgres. What is missing all the same, because it was in a busy process's memory
only, is looked for again until it is there or patience ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import journal, partitions
from app.store.database import Database
from app.store.delivery import number_of
from app.store.engine import driver
from app.store.receipts import Kind
from app.store.spans import Spans, both, minus, singles, size, union
from app.store.tables import calls, receipts

PATIENCE = 10.0
PAUSE = 0.5


@dataclass(frozen=True)
class WriterBook:
    """What became of one writer's rows. Counts are of numbers, so a row that was sent twice counts once."""

    writer: str
    highest: int
    """The highest number seen: so many rows were recorded."""
    in_postgres: int
    dropped: int
    """Calls that were in Postgres until their day was dropped."""
    waiting: int
    """In the journal only."""
    refused: int
    lost: int
    """Dropped, as the log and `hullspeed_ledger_rows_total` said."""
    missing: Spans
    """In none of them."""


@dataclass(frozen=True)
class DayBook:
    """The calls of one day whose rows and receipts differ."""

    day: date
    receipts: int
    rows: int
    double: int
    """Rows beyond the first of one id."""

    @property
    def absent(self) -> int:
        """Calls that were received and are not there."""
        return max(0, self.receipts - (self.rows - self.double))


@dataclass(frozen=True)
class Books:
    """What `verify` found."""

    writers: list[WriterBook]
    days: list[DayBook]
    """Those that differ."""
    unnumbered: int
    """Rows waiting in the journal without a number: of older versions, or garbage."""

    def total(self, what: str) -> int:
        """Sum of one of their counts over the writers."""
        return sum(getattr(book, what) for book in self.writers)

    @property
    def missing(self) -> int:
        return sum(size(book.missing) for book in self.writers)

    @property
    def absent(self) -> int:
        return sum(day.absent for day in self.days)

    @property
    def double(self) -> int:
        return sum(day.double for day in self.days)

    @property
    def is_complete(self) -> bool:
        """True where each row recorded is in Postgres or on its way, once."""
        return not (self.missing or self.total("lost") or self.absent or self.double)


async def verify(database: Database, folder: Path, patience: float = PATIENCE) -> Books:
    """Hold a journal's folder and Postgres against each other. `patience`: seconds for which missing rows are looked
    for again. Raises `StoreUnavailable`."""
    end = time.monotonic() + patience
    books = await _look(database, folder)
    while books.missing and time.monotonic() < end:
        await asyncio.sleep(PAUSE)
        before = {book.writer: book.missing for book in books.writers}
        books = await _look(database, folder, before)
    return books


async def _look(database: Database, folder: Path, suspects: dict[str, Spans] | None = None) -> Books:
    """One look. `suspects`: what was missing before; what has come since is too new to be missed."""
    on_disk, unnumbered = await asyncio.to_thread(_in_journal, folder)
    async with database.begin() as connection:
        # Receipts and rows as they are at one moment.
        await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        await connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        known = await _received(connection)
        days = await _days(connection)
    aside = await asyncio.to_thread(_put_aside, folder)
    books = []
    for writer in sorted({name for name, _ in known} | on_disk.keys() | aside.keys()):
        refused = union([*known.get((writer, "refused"), []), *aside.get(writer, [])])
        book = _book(writer, known, on_disk.get(writer, []), refused)
        if suspects is not None:
            book = replace(book, missing=both(book.missing, suspects.get(writer, [])))
        books.append(book)
    return Books(books, days, unnumbered)


async def _received(connection: AsyncConnection) -> dict[tuple[str, Kind], Spans]:
    """All numbers received, by writer and kind."""
    one = sa.func.unnest(receipts.c.numbers).label("one")
    query = sa.select(receipts.c.writer, receipts.c.kind, one).subquery()
    rows = await connection.execute(
        sa.select(query.c.writer, query.c.kind, sa.func.lower(query.c.one), sa.func.upper(query.c.one))
    )
    found: dict[tuple[str, Kind], list[tuple[int, int]]] = {}
    for writer, kind, start, stop in rows:
        found.setdefault((writer, kind), []).append((start, stop))
    return {key: union(spans) for key, spans in found.items()}


def _book(writer: str, known: Mapping[tuple[str, Kind], Spans], on_disk: Spans, refused: Spans) -> WriterBook:
    there = union([*known.get((writer, "call"), []), *known.get((writer, "score"), [])])
    dropped = minus(known.get((writer, "dropped"), []), there)
    waiting = minus(on_disk, union(there + dropped))
    accounted = union(there + dropped + waiting)
    refused = minus(refused, accounted)
    accounted = union(accounted + refused)
    lost = minus(known.get((writer, "lost"), []), accounted)
    accounted = union(accounted + lost)
    highest = accounted[-1][1] - 1 if accounted else 0
    return WriterBook(
        writer,
        highest=highest,
        in_postgres=size(there),
        dropped=size(dropped),
        waiting=size(waiting),
        refused=size(refused),
        lost=size(lost),
        missing=minus([(1, highest + 1)], accounted),
    )


def _in_journal(folder: Path) -> tuple[dict[str, Spans], int]:
    """The numbers on disk by writer, and how many rows have none."""
    found: dict[str, list[int]] = {}
    unnumbered = 0
    for lines in journal.read(folder):
        for line in lines:
            if numbered := number_of(line):
                found.setdefault(numbered[0], []).append(numbered[1])
            else:
                unnumbered += bool(line)
    return {writer: singles(numbers) for writer, numbers in found.items()}, unnumbered


def _put_aside(folder: Path) -> dict[str, Spans]:
    found: dict[str, list[int]] = {}
    for row in journal.refused(folder):
        if numbered := number_of(row.row.encode()):
            found.setdefault(numbered[0], []).append(numbered[1])
    return {writer: singles(numbers) for writer, numbers in found.items()}


async def _days(connection: AsyncConnection) -> list[DayBook]:
    """Days whose calls are not those that were received. A day without a partition is past its retention; rows beyond
    the receipts are of versions that gave none."""
    one = sa.func.unnest(receipts.c.numbers).label("one")
    spans = sa.select(receipts.c.day, one).where(receipts.c.kind == "call").subquery()
    width = sa.func.upper(spans.c.one) - sa.func.lower(spans.c.one)
    summed = await connection.execute(sa.select(spans.c.day, sa.func.sum(width)).group_by(spans.c.day))
    wanted: dict[date, int] = {found[0]: int(found[1]) for found in summed}
    day = sa.cast(calls.c.started_at.op("AT TIME ZONE")("UTC"), sa.Date)
    rows, ids = sa.func.count(), sa.func.count(calls.c.id.distinct())
    held = {found[0]: found for found in await connection.execute(sa.select(day, rows, rows - ids).group_by(day))}
    books = [
        DayBook(day, wanted.get(day, 0), *held.get(day, (day, 0, 0))[1:])
        for day in sorted(await partitions.days(await driver(connection)))
    ]
    return [book for book in books if book.absent or book.double]
