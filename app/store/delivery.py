"""Batches of journalled rows on their way to Postgres.

A batch goes in pieces, the calls of one in a transaction with the receipt for their numbers, its scores in another.
Where there are several, as after an outage, two are on their way at a time, for Postgres gives a connection one core.
The batch's segment is removed when all of it is in Postgres or put aside; a process that dies before that leaves the
segment, and shipping it again changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psycopg

from app.core.metrics import Metrics
from app.store import migrate, receipts
from app.store.database import Database
from app.store.journal import Journal, Segment, claim_refused, read_refused
from app.store.shipping import ship

log = logging.getLogger(__name__)

PIECE_ROWS = 500
PIECE_BYTES = 1 << 19
"""What goes to Postgres at once. With twice as much no row is cheaper by what can be measured, and two pieces on their
way, with the buffers that the driver keeps of that size, take the process 7 MB more."""
TOGETHER = 2
"""Pieces that are on their way at once."""

_CALL = ord("C")
_SCORE = ord("S")


class Numbered(msgspec.Struct):
    """Where a journalled row comes from. Versions before the numbering left it out."""

    writer: str | None = None
    number: int | None = None


_decoder = msgspec.json.Decoder(Numbered)


def number_of(line: bytes) -> tuple[str, int] | None:
    """Writer and number of a journalled row; None where it has none."""
    try:
        found = _decoder.decode(line[1:])
    except msgspec.DecodeError:
        return None
    if found.writer is None or found.number is None:
        return None
    return found.writer, found.number


@dataclass(eq=False)
class Batch:
    """What is to be shipped of one segment."""

    segment: Segment | None = None
    """None until it is sealed, and where the disk took no row."""
    rows: list[bytes] = field(default_factory=list)
    """All rows; none where `spilled`."""
    unwritten: list[bytes] = field(default_factory=list)
    """The rows that its segment lacks, because the disk did not take them."""
    exposed: deque[bytes] = field(default_factory=deque)
    """Those of them that no other segment has either."""
    weight: int = 0
    """Bytes held in memory."""
    spilled: bool = False
    """True where memory had no room: the rows are read from the segment."""
    ids: set[str] = field(default_factory=set)
    shipped: int = 0
    """Rows of those in memory that are in Postgres."""
    offset: int = 0
    """Bytes of the segment whose rows are in Postgres, where it is read."""
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def empty(self) -> bool:
        return not self.rows and not self.spilled

    @property
    def waiting(self) -> list[bytes]:
        """What is still to be shipped of the rows in memory."""
        return (self.unwritten if self.spilled else self.rows)[self.shipped :]

    def spill(self) -> int:
        """Leave to the disk what is on the disk; the bytes set free."""
        self.spilled = True
        self.rows = []
        self.ids = set()
        before, self.weight = self.weight, sum(map(len, self.unwritten))
        return before - self.weight


@dataclass(eq=False)
class Piece:
    """What goes to Postgres at once."""

    rows: list[bytes]
    shipped: int
    """`Batch.shipped` once this and all before it are there."""
    offset: int
    """`Batch.offset`, likewise."""
    written: int | None = None
    """How many of the rows are there; None while it is on its way."""


class Delivery:
    """Ships one batch after the other."""

    def __init__(self, database: Database, journal: Journal, metrics: Metrics) -> None:
        self._database = database
        self._journal = journal
        self._written = metrics.ledger_rows.labels("written")
        self._refused = metrics.ledger_rows.labels("refused")
        self.refused = 0
        """Rows put aside so far."""
        self._notes: list[tuple[str, receipts.Kind, int]] = []

    def note(self, writer: str, kind: receipts.Kind, number: int) -> None:
        """A number that comes to stand in no table: to be acknowledged once Postgres answers."""
        self._notes.append((writer, kind, number))

    async def bring(self, batch: Batch) -> None:
        """Ship a batch and remove its segment. Raises `StoreUnavailable`, or `OSError`; what was shipped of it by then
        is not shipped again when it is tried anew, but for pieces that overtook one which failed."""
        await self._carry(_pieces(batch), batch)
        await self.settle()
        if batch.segment is not None:
            self._journal.remove(batch.segment)

    async def _carry(self, pieces: AsyncGenerator[Piece], batch: Batch) -> None:
        """Ship pieces, `TOGETHER` of them at a time."""
        under_way: deque[Piece] = deque()
        taking = asyncio.Lock()
        failed = False

        async def carry() -> None:
            nonlocal failed
            try:
                while not failed:
                    async with taking:
                        piece = await anext(pieces, None)
                        if piece is None:
                            return
                        under_way.append(piece)
                    piece.written = await self._write(piece.rows)
                    piece.rows.clear()
                    # One that overtakes another counts when that one is there: it would come again with it.
                    while under_way and (written := under_way[0].written) is not None:
                        self._written.inc(written)
                        first = under_way.popleft()
                        batch.shipped, batch.offset = first.shipped, first.offset
            except BaseException:
                failed = True
                raise

        async with aclosing(pieces):
            # Each ends what it has begun: two that ship the same rows would wait for each other.
            found = await asyncio.gather(*(carry() for _ in range(TOGETHER)), return_exceptions=True)
        for error in found:
            if error is not None:
                raise error

    async def settle(self) -> None:
        """Acknowledge what was noted. Raises `StoreUnavailable`."""
        notes = list(self._notes)
        if not notes:
            return
        async with self._database.session() as connection:
            for (writer, kind), numbers in sorted(receipts.to_acknowledge(notes).items()):
                await receipts.acknowledge(connection, writer, kind, numbers)
        del self._notes[: len(notes)]

    async def write(self, rows: list[bytes]) -> None:
        """Write a piece; where Postgres refuses it, find the rows at fault and put them aside. Raises
        `StoreUnavailable`; rows may be in Postgres then, and are left alone when they come again."""
        self._written.inc(await self._write(rows))

    async def _write(self, rows: list[bytes]) -> int:
        """How many are in Postgres now; the others are put aside."""
        try:
            async with self._database.statements() as connection:
                await ship(connection, "call", [row[1:] for row in rows if row[0] == _CALL])
                await ship(connection, "score", [row[1:] for row in rows if row[0] == _SCORE])
        except psycopg.Error as error:
            if not _is_refusal(error):
                raise
            if len(rows) == 1:
                self._put_aside(rows[0], error)
                return 0
            middle = len(rows) // 2
            return await self._write(rows[:middle]) + await self._write(rows[middle:])
        strange = [row for row in rows if row[0] not in (_CALL, _SCORE) or len(row) == 1]
        for row in strange:
            self._put_aside(row, ValueError("neither a call nor a score"))
        return len(rows) - len(strange)

    def _put_aside(self, row: bytes, error: Exception) -> None:
        reason = str(error).strip().split("\n")[0]
        log.error("Postgres refuses a row (%s); it is kept in %s/refused", reason, self._journal.folder)
        self._refused.inc()
        self.refused += 1
        try:
            self._journal.refuse(row, reason)
        except OSError:
            log.exception("The refused row could not be kept")
            return
        if numbered := number_of(row):
            self.note(numbered[0], "refused", numbered[1])


async def drain(database: Database, journal: Journal, metrics: Metrics) -> AsyncIterator[Segment]:
    """Ship what dead processes left in a journal that is not open; gives each segment once it is in Postgres.

    Processes that live keep and ship their own. Raises `StoreUnavailable`, or `OSError`; the rest stays on disk.
    """
    await migrate.upgrade(database)
    delivery = Delivery(database, journal, metrics)
    try:
        while segments := await asyncio.to_thread(journal.adopt):
            for segment in segments:
                await delivery.bring(Batch(segment, spilled=True))
                yield segment
    finally:
        journal.close()


async def retry(database: Database, folder: Path, metrics: Metrics) -> tuple[int, int]:
    """Send the rows that were put aside to Postgres once more, as after a repair; those refused again are put aside
    again. Gives how many were sent and how many of them refused. Raises `StoreUnavailable`, `OSError`."""
    await migrate.upgrade(database)
    delivery = Delivery(database, Journal(folder, max_bytes=1), metrics)
    sent = 0
    for path in await asyncio.to_thread(claim_refused, folder):
        entries = await asyncio.to_thread(read_refused, path)
        for rows in _cut([entry.row.encode() for entry in entries]):
            await delivery.write(rows)
            sent += len(rows)
        await delivery.settle()
        path.unlink()
    return sent, delivery.refused


async def _pieces(batch: Batch) -> AsyncGenerator[Piece]:
    """What is to be shipped of a batch, in pieces of a bounded size."""
    shipped, offset = batch.shipped, batch.offset
    for rows in _cut(batch.waiting):
        shipped += len(rows)
        yield Piece(rows, shipped, offset)
    if not batch.spilled or batch.segment is None:
        return
    while True:
        lines, end = await asyncio.to_thread(batch.segment.lines, offset, TOGETHER * PIECE_BYTES)
        if end == offset:
            return
        begin, offset = offset, end
        pieces = [*_cut([line for line in lines if line])]
        for rows in pieces:
            yield Piece(rows, shipped, offset if rows is pieces[-1] else begin)


def _cut(rows: list[bytes]) -> Iterator[list[bytes]]:
    piece: list[bytes] = []
    size = 0
    for row in rows:
        if piece and (len(piece) >= PIECE_ROWS or size + len(row) > PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += len(row)
    if piece:
        yield piece


def _is_refusal(error: psycopg.Error) -> bool:
    """True where the row itself is at fault (its data, a constraint, a limit it runs into)."""
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return True
    return (error.sqlstate or "").startswith("54")
