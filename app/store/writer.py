"""The ledger: takes each finished call, keeps it in the journal, and brings it to Postgres in batches.

`record` costs a request microseconds and asks nothing of Postgres. A background task ships what has gathered every
fifth of a second, oldest first; while Postgres is away it tries again and again and rows wait on disk. A row is in
Postgres exactly once, however often it was sent, because its id is made here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field

import psycopg
from sqlalchemy.exc import DBAPIError

from app.core.errors import HullspeedError, StoreUnavailable
from app.core.metrics import Metrics
from app.core.types import Call, Score
from app.store import migrate, text
from app.store.database import Database
from app.store.journal import Journal, JournalFull, Segment
from app.store.shipping import ship

log = logging.getLogger(__name__)

INTERVAL = 0.2
"""Seconds between two batches."""
BATCH_ROWS = 500
BATCH_BYTES = 1 << 20
SEGMENT_BYTES = 64 << 20
"""A segment is closed beyond this while Postgres is away."""
MEMORY_BYTES = 64 << 20
"""Waiting rows held in memory; those beyond it are read back from disk."""
MAX_SEALED = 64
MAX_BACKOFF = 5.0
ADOPT_SECONDS = 60.0
WARN_SECONDS = 10.0

_CALL = ord("C")
_SCORE = ord("S")


@dataclass(eq=False)
class _Batch:
    """What is to be shipped of one segment."""

    segment: Segment | None = None
    """None until it is sealed, and where the disk took no row."""
    rows: list[bytes] = field(default_factory=list)
    """All rows; none where `spilled`."""
    unwritten: list[bytes] = field(default_factory=list)
    """The rows that the disk did not take."""
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

    def spill(self) -> int:
        """Leave to the disk what is on the disk; the bytes set free."""
        self.spilled = True
        self.rows = []
        self.ids = set()
        before, self.weight = self.weight, sum(map(len, self.unwritten))
        return before - self.weight


class Ledger:
    """Calls and scores on their way to Postgres. `record` and `record_score` belong to the event loop's thread."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        metrics: Metrics,
        *,
        memory_bytes: int = MEMORY_BYTES,
        auto_migrate: bool = True,
    ) -> None:
        """`auto_migrate`: bring the schema up to date before the first row is shipped, whenever Postgres first answers.
        Past `memory_bytes` of waiting rows, further ones wait on disk only."""
        self._database = database
        self._journal = journal
        self._metrics = metrics
        self._written = metrics.ledger_rows.labels("written")
        self._refused = metrics.ledger_rows.labels("refused")
        self._lost = metrics.ledger_rows.labels("lost")
        self._memory_bytes = memory_bytes
        self._migrated = asyncio.Event()
        if not auto_migrate:
            self._migrated.set()
        self._open = _Batch()
        self._sealed: deque[_Batch] = deque()
        self._adopted: deque[_Batch] = deque()
        self._in_memory = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._away = False
        self._closing = False
        self._warned: dict[str, float] = {}
        self._lost_at = -WARN_SECONDS
        self._lost_why = ""

    async def start(self) -> None:
        """Open the journal and begin to ship, left-overs of dead processes too; Postgres need not be there.

        Raises `ConfigError` where the journal cannot be written.
        """
        self._journal.open()
        self._task = asyncio.create_task(self._run(), name="ledger")

    def record(self, call: Call) -> None:
        """Take a finished call: in the journal when this returns. Never raises; a row that must be dropped is logged
        and counted as lost."""
        self._take(b"C", call)

    def record_score(self, score: Score) -> None:
        """As `record`, for a score."""
        self._take(b"S", score)

    def pending(self, call_id: str) -> bool:
        """True where this process recorded the call and has not shipped it. Rows that no longer fit in memory during
        a long outage are not known here."""
        return any(call_id in batch.ids for batch in (self._open, *self._sealed))

    @property
    def memory(self) -> int:
        """Bytes of waiting rows held in memory."""
        return self._in_memory

    @property
    def trouble(self) -> str | None:
        """Why rows were dropped within the last ten seconds, for the readiness page; None in good times."""
        if time.monotonic() < self._lost_at + WARN_SECONDS:
            return f"rows are being lost: {self._lost_why}"
        return None

    async def ready(self, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until the tables are there and up to date; False after `timeout` seconds without Postgres."""
        try:
            async with asyncio.timeout(timeout):
                if not self._migrated.is_set():
                    self._wake.set()
                await self._migrated.wait()
        except TimeoutError:
            return False
        return True

    async def flush(self, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until all recorded so far is in Postgres (or refused by it); False after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while len(self._sealed) >= MAX_SEALED:
                    await self._sealed[0].done.wait()
                self._seal()
                complete = self._open.empty
                if self._sealed:
                    self._wake.set()
                    await self._sealed[-1].done.wait()
        except TimeoutError:
            return False
        return complete

    async def close(self, timeout: float = 5.0) -> bool:  # noqa: ASYNC109
        """Ship what waits, for `timeout` seconds at most; the rest stays in the journal for the next start.

        True where nothing is left. Rows recorded afterwards are lost.
        """
        if self._task is None:
            return True
        flushed = await self.flush(timeout)
        self._closing = True
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        if unwritten := sum(len(batch.unwritten) for batch in (self._open, *self._sealed)):
            self._lose(unwritten, "the disk did not take it, and Postgres is away")
        if left := self._journal.waiting_rows:
            log.warning("%d rows stay in the journal in %s until the next start", left, self._journal.folder)
        self._measure()
        self._journal.close()
        return flushed

    # Taking rows: on the request's path.

    def _take(self, kind: bytes, row: Call | Score) -> None:
        if self._task is None:
            self._lose(1, "the ledger is not running")
            return
        try:
            line = kind + text.encode(row)
            on_disk = self._append(line)
        except JournalFull as error:
            self._lose(1, error.message)
        except Exception as error:
            self._lose(1, f"it cannot be encoded ({error!r})")
        else:
            self._keep(line, row.id, on_disk=on_disk)

    def _append(self, line: bytes) -> bool:
        try:
            if self._journal.size > SEGMENT_BYTES and len(self._sealed) < MAX_SEALED:
                self._seal()
            self._journal.append(line)
        except OSError as error:
            self._warn("journal", "The journal cannot be written (%s): rows wait in memory only", error)
            return False
        return True

    def _keep(self, line: bytes, key: str, *, on_disk: bool) -> None:
        batch = self._open
        fits = self._in_memory + len(line) <= self._memory_bytes
        if not on_disk:
            if not fits:
                self._lose(1, "neither the disk nor the memory can hold it")
                return
            batch.unwritten.append(line)
        elif not fits and not batch.spilled:
            self._in_memory -= batch.spill()
        if not batch.spilled:
            batch.rows.append(line)
            batch.ids.add(key)
        elif on_disk:
            return
        batch.weight += len(line)
        self._in_memory += len(line)
        if len(batch.rows) == BATCH_ROWS and not self._away:
            self._wake.set()

    def _seal(self) -> None:
        """Close the open batch and queue it, if it has rows."""
        segment = None
        try:
            segment = self._journal.rotate()
        except OSError as error:
            self._warn("journal", "The journal cannot begin a segment (%s)", error)
            # What is in memory can go all the same; its segment goes with a later batch.
            if self._open.spilled:
                return
        if segment is None and self._open.empty:
            return
        self._open.segment = segment
        self._sealed.append(self._open)
        self._open = _Batch()

    # Shipping rows: in the background.

    async def _run(self) -> None:
        failures = 0
        adopt_at = synced_at = 0.0
        # Asked as well as cancelled, so that nothing below which swallows a cancellation keeps `close` waiting.
        while not self._closing:
            pause = INTERVAL if not failures else min(MAX_BACKOFF, INTERVAL * 2**failures)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
            now = time.monotonic()
            try:
                if now >= synced_at + 1.0:
                    synced_at = now
                    await asyncio.to_thread(self._journal.sync)
                if now >= adopt_at and not self._adopted:
                    adopt_at = now + ADOPT_SECONDS
                    await _to_the_end(self._adopt())
                await self._ship_all()
            except Exception as error:
                failures = min(failures + 1, 16)
                self._report_away(error)
                if isinstance(error, StoreUnavailable):
                    await self._database.revive()
            else:
                failures = 0
                self._report_back()
            self._measure()

    async def _adopt(self) -> None:
        for segment in await asyncio.to_thread(self._journal.adopt):
            log.info("Found %d rows that an earlier process left in %s", segment.rows, segment.path.name)
            if segment.is_torn:
                self._lose(1, f"{segment.path.name} ends in the middle of it")
            self._adopted.append(_Batch(segment, spilled=True))

    async def _ship_all(self) -> None:
        if not self._sealed:
            self._seal()
        if not self._migrated.is_set():
            # Without waiting for the first row: whoever asks for calls before there are any finds an empty table.
            await migrate.upgrade(self._database)
            self._migrated.set()
        while self._sealed:
            await self._ship_batch(self._sealed[0])
            self._sealed.popleft()
        while self._adopted and not self._wake.is_set():
            await self._ship_batch(self._adopted[0])
            self._adopted.popleft()

    async def _ship_batch(self, batch: _Batch) -> None:
        async for rows in _slices(batch):
            await self._write(rows)
        if batch.segment is not None:
            self._journal.remove(batch.segment)
        self._in_memory -= batch.weight
        batch.done.set()

    async def _write(self, rows: list[bytes]) -> None:
        """Write `rows` in one transaction; where Postgres refuses it, find the rows at fault and put them aside."""
        try:
            async with self._database.begin() as connection:
                await ship(connection, "call", [row[1:] for row in rows if row[0] == _CALL])
                await ship(connection, "score", [row[1:] for row in rows if row[0] == _SCORE])
        except (DBAPIError, psycopg.Error) as error:
            if not _is_refusal(error):
                raise
            if len(rows) == 1:
                self._put_aside(rows[0], error)
            else:
                await self._write(rows[: len(rows) // 2])
                await self._write(rows[len(rows) // 2 :])
        else:
            strange = [row for row in rows if row[0] not in (_CALL, _SCORE) or len(row) == 1]
            for row in strange:
                self._put_aside(row, ValueError("neither a call nor a score"))
            self._written.inc(len(rows) - len(strange))

    def _put_aside(self, row: bytes, error: Exception) -> None:
        reason = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        log.error("Postgres refuses a row (%s); it is kept in %s/refused", reason, self._journal.folder)
        self._refused.inc()
        try:
            self._journal.refuse(row, reason)
        except OSError:
            log.exception("The refused row could not be kept")

    # Telling.

    def _measure(self) -> None:
        self._metrics.journal_rows.set(self._journal.waiting_rows)
        self._metrics.journal_bytes.set(self._journal.waiting_bytes)

    def _lose(self, rows: int, reason: str) -> None:
        self._lost.inc(rows)
        self._lost_at, self._lost_why = time.monotonic(), reason
        self._warn("lost", "A row is lost: %s", reason)

    def _warn(self, subject: str, message: str, *details: object) -> None:
        """Log an error, but not for every call of a busy proxy."""
        now = time.monotonic()
        if now >= self._warned.get(subject, -WARN_SECONDS) + WARN_SECONDS:
            self._warned[subject] = now
            log.error(message, *details)

    def _report_away(self, error: Exception) -> None:
        if self._away:
            return
        self._away = True
        if isinstance(error, StoreUnavailable):
            log.warning("%s Rows wait in the journal.", error.message)
        elif isinstance(error, HullspeedError):
            log.error("%s Rows wait in the journal.", error.message)
        else:
            log.error("Rows cannot be shipped and wait in the journal", exc_info=error)

    def _report_back(self) -> None:
        if self._away:
            self._away = False
            log.info("Postgres takes rows again")


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Await `work`; when cancelled, only once it is done: a thread cannot be stopped, and it takes locks."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _slices(batch: _Batch) -> AsyncIterator[list[bytes]]:
    """The rows of a batch in pieces of a bounded size. What was taken is not given again when it is tried anew."""
    waiting = batch.unwritten if batch.spilled else batch.rows
    for rows in _cut(waiting[batch.shipped :]):
        yield rows
        batch.shipped += len(rows)
    if not batch.spilled or batch.segment is None:
        return
    while True:
        lines, end = await asyncio.to_thread(batch.segment.lines, batch.offset)
        if end == batch.offset:
            return
        for rows in _cut([line for line in lines if line]):
            yield rows
        batch.offset = end


def _cut(rows: list[bytes]) -> Iterator[list[bytes]]:
    piece: list[bytes] = []
    size = 0
    for row in rows:
        if piece and (len(piece) >= BATCH_ROWS or size + len(row) > BATCH_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += len(row)
    if piece:
        yield piece


def _is_refusal(error: Exception) -> bool:
    """True where the row itself is at fault (its data, a constraint, a limit it runs into)."""
    driver_error = getattr(error, "orig", None) or error
    if isinstance(driver_error, psycopg.DataError | psycopg.IntegrityError):
        return True
    return isinstance(driver_error, psycopg.Error) and (driver_error.sqlstate or "").startswith("54")
