"""Numbers that all workers of a host see: what is in flight, who is set aside until when, what a rate limit has left.

The supervisor makes one piece of memory before it forks the workers. Every number in it is a double of eight aligned
bytes, which processors read and write whole, and nobody takes a lock to read or to write one. So:

- Counts (`Tally`) have one cell for each worker, which alone writes it; their sum is exact. Two workers that look at a
  sum at the same moment may both take the last place: a cap may be passed by one less than there are workers.
- What has one cell for all (`Place`: failures, until when, what a bucket has left) is read, changed and written.
  Where two workers do so within the same microsecond, one of the changes is lost: a failure or a request that is not
  counted, never a wrong state that stays.

Times are those of `time.monotonic`, which all processes of a host share. One process alone keeps the same numbers in
memory of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import tempfile
import weakref

FAILS, TRIALS, BACK_AT, TRYING, REQUESTS, TOKENS, SINCE = range(7)
"""The cells of a place that all workers write: failures in a row, trials that failed, when it is tried again (0: not
set aside), the number of the worker that tries it plus one (0: nobody), when the bucket of requests and the one of
tokens is full again, since when it is set aside (0: it is not)."""
_SHARED = 7
PLACES = 4096
"""Deployments that are known to all workers; further ones are known to each worker alone."""
_BYTES = 8


class Tally:
    """A count over all workers: each adds to a cell of its own."""

    __slots__ = ("_cells", "_mine")

    def __init__(self, cells: memoryview[float] | None = None, worker: int = 0) -> None:
        """`cells`: one double for each worker; without them this process counts alone."""
        self._cells = _alone(1) if cells is None else cells
        self._mine = worker

    @property
    def total(self) -> int:
        """Over all workers."""
        return int(sum(self._cells))

    def add(self, count: int) -> None:
        """Count for this worker."""
        self._cells[self._mine] += count


class Place:
    """What all workers know of one deployment."""

    __slots__ = ("cells", "inflight", "trier")

    def __init__(self, cells: memoryview[float] | None = None, workers: int = 1, worker: int = 0) -> None:
        cells = _alone(_SHARED + workers) if cells is None else cells
        self.cells = cells[:_SHARED]
        """See `FAILS` and its neighbours."""
        self.inflight = Tally(cells[_SHARED:], worker)
        self.trier = worker + 1.0
        """This worker, as `TRYING` names it."""


class Shared:
    """The memory. Made by the supervisor; each worker says who it is by `join`."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self.worker = 0
        self._width = 1 + _SHARED + workers
        if workers > 1:
            self._memory = mmap.mmap(-1, _BYTES * (2 * workers + PLACES * self._width))
            self._cells = memoryview(self._memory).cast("d")
            self._keys = memoryview(self._memory).cast("Q")
            self._lock, path = tempfile.mkstemp()
            os.unlink(path)  # noqa: PTH108 - nobody needs its name
            weakref.finalize(self, os.close, self._lock)
        else:
            self._cells = _alone(2)
        self.inflight, self.waiting = self._tallies()

    def join(self, worker: int) -> None:
        """This process is worker number `worker`, from 0; one of that number before it is dead."""
        self.worker = worker
        self.inflight, self.waiting = self._tallies()

    def forget(self, worker: int) -> None:
        """That worker is dead: nothing of its is in flight, waits or is being tried."""
        self._cells[worker] = self._cells[self.workers + worker] = 0.0
        for start in range(2 * self.workers, len(self._cells), self._width):
            if self._keys[start]:
                place = self._cells[start + 1 : start + self._width]
                place[_SHARED + worker] = 0.0
                if place[TRYING] == worker + 1.0:
                    place[TRYING] = 0.0

    def place(self, *key: object) -> Place:
        """What is known under `key`, the same for every worker that asks by it; a new place knows nothing.

        Places are never given free: a deployment that a new configuration drops and a later one has again is as it
        was. Where all are taken, a place that this worker alone knows.
        """
        if self.workers == 1:
            return Place()
        wanted = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:_BYTES]) or 1
        # Locks of this kind belong to a process, not to the descriptor that the workers have in common.
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            for step in range(PLACES):
                start = 2 * self.workers + (wanted + step) % PLACES * self._width
                if self._keys[start] in (0, wanted):
                    self._keys[start] = wanted
                    return Place(self._cells[start + 1 : start + self._width], self.workers, self.worker)
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)
        return Place(workers=self.workers, worker=self.worker)

    def _tallies(self) -> tuple[Tally, Tally]:
        count = self.workers
        return Tally(self._cells[:count], self.worker), Tally(self._cells[count : 2 * count], self.worker)


def _alone(cells: int) -> memoryview[float]:
    return memoryview(bytearray(_BYTES * cells)).cast("d")
