"""The ledger: takes each finished call, keeps it in the journal, and brings it to Postgres in batches.

`record` costs a request microseconds and asks nothing of Postgres. A background task ships what has gathered every
fifth of a second, oldest first; while Postgres is away it tries again and again and rows wait on disk. A row is in
Postgres exactly once, however often it was sent, because its id is made here.

Where the disk takes no more rows, or the journal has reached its limit, no call fails: rows wait in memory and go to
Postgres from there, which `trouble` tells; only where Postgres is away as well and memory is full are rows dropped,
counted and told.

Each row bears the writer, which is this process's life, and a number from 1 without a gap (see `receipts`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Coroutine
from itertools import islice

from app.core.errors import HullspeedError, StoreUnavailable
from app.core.metrics import Metrics
from app.core.types import Call, Score
from app.store import migrate, text
from app.store.database import Database
from app.store.delivery import Batch, Delivery, number_of
from app.store.journal import Journal, JournalFull

log = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0
"""How long a read waits for what this process has just recorded, so that one sees one's own calls."""
INTERVAL = 0.2
"""Seconds between two batches."""
BATCH_BYTES = 2 << 20
"""What gathers faster than that does not wait for the interval."""
SEGMENT_BYTES = 64 << 20
"""A segment is closed beyond this while Postgres is away."""
MEMORY_BYTES = 64 << 20
"""Waiting rows held in memory; those beyond it are read back from disk."""
MAX_SEALED = 64
MAX_BACKOFF = 5.0
ADOPT_SECONDS = 60.0
LOOK_SECONDS = 1.0
"""Seconds between two fsyncs under `interval`, and two looks at what other processes have in the folder."""
WARN_SECONDS = 10.0


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
        self._delivery = Delivery(database, journal, metrics)
        self._lost = metrics.ledger_rows.labels("lost")
        self._memory_bytes = memory_bytes
        self._migrated = asyncio.Event()
        if not auto_migrate:
            self._migrated.set()
        self._open = Batch()
        self._sealed: deque[Batch] = deque()
        self._adopted: deque[Batch] = deque()
        self._in_memory = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._care: asyncio.Task[None] | None = None
        self._away = False
        self._closing = False
        self.writer = uuid.uuid4().hex[:16]
        self._head = b'{"writer":"%b","number":' % self.writer.encode()
        self._number = 0
        self._warned: dict[str, float] = {}
        self._lost_at = -WARN_SECONDS
        self._lost_why = ""
        self._unwritten_why = ""

    async def start(self) -> None:
        """Open the journal and begin to ship, left-overs of dead processes too; Postgres need not be there.

        Raises `ConfigError` where the journal cannot be written.
        """
        self._journal.open()
        self._task = asyncio.create_task(self._run(), name="ledger")
        self._care = asyncio.create_task(self._look_after(), name="journal")

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
    def is_away(self) -> bool:
        """Whether Postgres did not take what was last brought to it: rows wait in the journal."""
        return self._away

    @property
    def trouble(self) -> str | None:
        """Why rows were dropped within the last ten seconds, or wait where they could be; for the readiness page. None
        in good times."""
        if time.monotonic() < self._lost_at + WARN_SECONDS:
            return f"rows are being lost: {self._lost_why}"
        if any(batch.exposed for batch in (self._open, *self._sealed)):
            return f"rows wait in memory only: {self._unwritten_why}"
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
        for task in (self._task, self._care):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._task = self._care = None
        self._rescue(self._memory_bytes)
        for batch in (*self._sealed, self._open):
            exposed = set(batch.exposed)
            for line in batch.waiting if exposed else ():
                if line in exposed and (numbered := number_of(line)):
                    self._lose("the disk did not take it, and Postgres is away", numbered[1])
        if left := self._journal.waiting_rows:
            log.warning("%d rows stay in the journal in %s until the next start", left, self._journal.folder)
        self._measure()
        self._journal.close()
        return flushed

    # Taking rows: on the request's path.

    def _take(self, kind: bytes, row: Call | Score) -> None:
        # First of all: a row that goes no further leaves a gap.
        self._number = number = self._number + 1
        if self._task is None:
            self._lose("the ledger is not running", number)
            return
        try:
            line = b"%b%b%d,%b" % (kind, self._head, number, text.encode(row)[1:])
        except Exception as error:
            self._lose(f"it cannot be encoded ({error!r})", number)
            return
        self._keep(line, row.id, number, on_disk=self._append(line))

    def _append(self, line: bytes) -> bool:
        try:
            if self._journal.size > SEGMENT_BYTES and len(self._sealed) < MAX_SEALED:
                self._seal()
            self._journal.append(line)
        except (JournalFull, OSError) as error:
            self._unwritten_why = str(error)
            self._warn("journal", "The journal cannot be written (%s): rows wait in memory only", error)
            return False
        return True

    def _keep(self, line: bytes, key: str, number: int, *, on_disk: bool) -> None:
        batch, weight = self._open, len(line)
        fits = self._in_memory + weight <= self._memory_bytes
        if not on_disk:
            if not fits and not self._make_room(weight):
                self._lose(f"neither the disk nor the memory can hold it ({self._unwritten_why})", number)
                return
            batch.unwritten.append(line)
            batch.exposed.append(line)
        elif not fits and not batch.spilled:
            self._in_memory -= batch.spill()
        if not batch.spilled:
            batch.rows.append(line)
            batch.ids.add(key)
        elif on_disk:
            return
        batch.weight += weight
        self._in_memory += weight
        if batch.weight >= BATCH_BYTES and not self._away:
            self._wake.set()

    def _rescue(self, most: int) -> None:
        """Offer the disk once more what it did not take, `most` bytes of it: a batch waits for Postgres with rows that
        a crash would lose. They go into the open segment, which is not removed before they are shipped, because its
        batch comes later."""
        try:
            for batch in (*self._sealed, self._open):
                while batch.exposed and most > 0:
                    self._journal.append(batch.exposed[0])
                    most -= len(batch.exposed.popleft())
        except (JournalFull, OSError):
            return

    def _make_room(self, weight: int) -> bool:
        """Leave to the disk what is on the disk, until memory can hold `weight` bytes more; False where it cannot."""
        # The first one is being shipped. A sealed one without a segment has its rows in a later one's.
        for batch in islice(self._sealed, 1, None):
            if batch.segment is not None and not batch.spilled and self._in_memory + weight > self._memory_bytes:
                self._in_memory -= batch.spill()
        if self._in_memory + weight > self._memory_bytes and len(self._open.unwritten) < len(self._open.rows):
            self._in_memory -= self._open.spill()
        return self._in_memory + weight <= self._memory_bytes

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
        self._open = Batch()

    # Looking after the journal: in the background, also while Postgres keeps the shipping waiting.

    async def _look_after(self) -> None:
        while not self._closing:
            await asyncio.sleep(LOOK_SECONDS)
            self._rescue(BATCH_BYTES)
            try:
                await _to_the_end(self._sync())
            except OSError as error:
                self._warn("sync", "The journal cannot be forced to the disk (%s)", error)
            self._measure()

    async def _sync(self) -> None:
        await asyncio.to_thread(self._journal.look_around)
        await asyncio.to_thread(self._journal.sync)

    # Shipping rows: in the background.

    async def _run(self) -> None:
        failures = 0
        adopt_at = 0.0
        # Asked as well as cancelled, so that nothing below which swallows a cancellation keeps `close` waiting.
        while not self._closing:
            pause = INTERVAL if not failures else min(MAX_BACKOFF, INTERVAL * 2**failures)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
            now = time.monotonic()
            try:
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
                self._lose(f"{segment.path.name} ends in the middle of it")
            self._adopted.append(Batch(segment, spilled=True))

    async def _ship_all(self) -> None:
        if not self._sealed:
            self._seal()
        if not self._migrated.is_set():
            # Without waiting for the first row: whoever asks for calls before there are any finds an empty table.
            await migrate.upgrade_apart(self._database)
            self._migrated.set()
        while self._sealed:
            await self._ship_batch(self._sealed[0])
            self._sealed.popleft()
        while self._adopted and not self._wake.is_set():
            await self._ship_batch(self._adopted[0])
            self._adopted.popleft()
        await self._delivery.settle()

    async def _ship_batch(self, batch: Batch) -> None:
        await self._delivery.bring(batch)
        self._in_memory -= batch.weight
        batch.done.set()

    # Telling.

    def _measure(self) -> None:
        self._metrics.journal_rows.set(self._journal.waiting_rows)
        self._metrics.journal_bytes.set(self._journal.waiting_bytes)

    def _lose(self, reason: str, number: int | None = None) -> None:
        self._lost.inc()
        if number is not None:
            self._delivery.note(self.writer, "lost", number)
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
