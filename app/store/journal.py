"""Rows on disk until Postgres has them.

A folder of segments: files of one row a line, `C` or `S` (call or score) before its JSON. A process appends to one
segment of its own, one `write` a row, and holds a lock on it that ends with the process, however that ends. So a
segment whose lock can be taken is what a dead process left, and a last line without a newline is a row whose writing
was cut off. A segment is removed once all its rows are in Postgres.

The size limit is the folder's, over all processes that write to it. Each knows its own bytes exactly and looks at the
others' once a second, so together they may pass the limit by what they write in a second.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from app.core.errors import ConfigError, HullspeedError

log = logging.getLogger(__name__)

Fsync = Literal["none", "interval", "always"]
"""When rows are forced to the disk itself: `none`: left to the kernel (a killed process loses nothing, a machine that
loses power may lose what came in the last half minute); `interval`: about once a second; `always`: every row, before
`append` returns, which costs each call a disk's write latency."""

SUFFIX = ".rows"
REFUSED = "refused"
_REFUSED_ROWS = "rows.jsonl"
MAX_ADOPTED = 64
_BLOCK = 1 << 20


class JournalFull(HullspeedError):
    """The journal has reached its size limit."""


class RefusedRow(msgspec.Struct, frozen=True):
    """A row that was put aside, and what Postgres said of it."""

    error: str
    row: str


@dataclass(eq=False)
class Segment:
    """One file, locked by this process."""

    path: Path
    fd: int
    size: int = 0
    """Bytes, whole rows only."""
    rows: int = 0
    synced: int = 0
    """Bytes known to be on the disk."""

    @property
    def is_torn(self) -> bool:
        """True where it ends in the middle of a row: a crash cut the writing off."""
        return self.size > 0 and os.pread(self.fd, 1, self.size - 1) != b"\n"

    def lines(self, offset: int, wanted: int = _BLOCK) -> tuple[list[bytes], int]:
        """Whole lines from `offset` on, about `wanted` bytes of them, and where the next ones begin."""
        while True:
            block = os.pread(self.fd, min(wanted, self.size - offset), offset)
            end = block.rfind(b"\n") + 1
            if end or len(block) < wanted:
                return block[:end].split(b"\n")[:-1], offset + end
            wanted *= 2


class Journal:
    """The segments this process holds. All of it belongs to one thread, but `adopt` and `sync` may run in another."""

    def __init__(self, folder: Path, *, max_bytes: int, fsync: Fsync = "none") -> None:
        """`max_bytes` bounds what waits in the folder, whichever process wrote it."""
        self.folder = folder
        self._max_bytes = max_bytes
        self._fsync = fsync
        self._held: list[Segment] = []
        self._open: Segment | None = None
        self._sealed_bytes = 0
        self._elsewhere = 0
        self._cut_off = False

    @property
    def waiting_rows(self) -> int:
        return sum(segment.rows for segment in self._held)

    @property
    def waiting_bytes(self) -> int:
        return self._sealed_bytes + self.size

    @property
    def size(self) -> int:
        """Bytes in the open segment."""
        return self._open.size if self._open else 0

    def open(self) -> None:
        """Begin a segment. Raises `ConfigError` where the folder cannot be written to."""
        try:
            # What users asked may stand in it: for this account only.
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._begin()
        except OSError as error:
            raise ConfigError(
                f"The journal cannot be written in {self.folder} ({error.strerror or error}); make the folder writable "
                "or set HULLSPEED_DATA_DIR to another one."
            ) from error

    def append(self, line: bytes) -> None:
        """Add one row: `C` or `S` and its JSON. Raises `JournalFull`, or `OSError` where the disk refuses it."""
        segment = self._open
        if segment is None:
            raise OSError("the journal is closed")
        if self._cut_off:
            self._mend(segment)
        whole = line + b"\n"
        if self._sealed_bytes + self._elsewhere + segment.size + len(whole) > self._max_bytes:
            raise JournalFull(f"the journal in {self.folder} has reached its limit of {self._max_bytes:,} bytes")
        written = os.write(segment.fd, whole)
        if written < len(whole):
            self._cut_off = True
            self._mend(segment)
            raise OSError("the disk took a row only in part")
        segment.size += written
        segment.rows += 1
        if self._fsync == "always":
            os.fsync(segment.fd)
            segment.synced = segment.size

    def rotate(self) -> Segment | None:
        """Close the open segment to new rows and begin another one; None where it has none. Raises `OSError`."""
        sealed = self._open
        if sealed is None or not sealed.size:
            return None
        self._begin()
        self._weigh()
        return sealed

    def adopt(self) -> list[Segment]:
        """Take over segments that dead processes left, the oldest first. Reads each once to count its rows."""
        mine = {segment.path for segment in self._held}
        adopted: list[Segment] = []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if path in mine or len(adopted) >= MAX_ADOPTED:
                continue
            fd = _lock(path, os.O_RDWR)
            if fd is None:
                continue
            segment = Segment(path, fd, size=os.fstat(fd).st_size)
            segment.rows = sum(len(lines) for lines in _all_lines(segment))
            self._held.append(segment)
            if segment.size:
                adopted.append(segment)
            else:
                self.remove(segment)
        self._weigh()
        return adopted

    def look_around(self) -> None:
        """Learn how much of the limit other processes take. Blocks for microseconds a segment; may run in a thread."""
        mine = {segment.path.name for segment in self._held}
        total = 0
        # A segment that goes away meanwhile takes nothing.
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX) and entry.name not in mine:
                    with contextlib.suppress(FileNotFoundError):
                        total += entry.stat().st_size
        self._elsewhere = total

    def remove(self, segment: Segment) -> None:
        """Delete a segment whose rows are in Postgres. Raises `OSError`; it is held still then."""
        segment.path.unlink(missing_ok=True)
        self._let_go(segment)

    def sync(self) -> None:
        """Force what was written to the disk, for the policy `interval`. Blocks; may run in a thread."""
        if self._fsync != "interval":
            return
        for segment in list(self._held):
            size = segment.size
            if size > segment.synced:
                try:
                    fd = os.dup(segment.fd)
                except OSError:
                    continue  # removed meanwhile
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
                segment.synced = size

    def close(self) -> None:
        """Let go of all segments; what they hold stays on disk for the next start."""
        for segment in list(self._held):
            if segment.size:
                self._let_go(segment)
            else:
                self.remove(segment)
        self._open = None

    def refuse(self, line: bytes, error: str) -> None:
        """Put aside a row that Postgres will not have, for a person to look at. Raises `OSError`."""
        entry = RefusedRow(error, line.decode(errors="replace"))
        with _refused_folder(self.folder) as folder:
            fd = os.open(folder / _REFUSED_ROWS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(fd, msgspec.json.encode(entry) + b"\n")
            finally:
                os.close(fd)

    def _let_go(self, segment: Segment) -> None:
        self._held.remove(segment)
        self._weigh()
        os.close(segment.fd)

    def _weigh(self) -> None:
        # Anew each time: two threads that add to one sum would lose something of it.
        self._sealed_bytes = sum(segment.size for segment in list(self._held) if segment is not self._open)

    def _mend(self, segment: Segment) -> None:
        """Take back what the disk took of a row that it did not take whole."""
        os.ftruncate(segment.fd, segment.size)
        self._cut_off = False

    def _begin(self) -> None:
        while True:
            # Names sort by age.
            path = self.folder / f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
            fd = _lock(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
            # Between its making and its locking another process may have taken it for a left-over one.
            if fd is not None:
                segment = Segment(path, fd)
                self._held.append(segment)
                self._open, self._cut_off = segment, False
                return


def left_over(folder: Path) -> list[Path]:
    """The segments in a journal's folder that no living process holds."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if (fd := _lock(path, os.O_RDONLY)) is not None:
            os.close(fd)
            found.append(path)
    return found


def count(*paths: Path) -> tuple[int, int]:
    """Rows and bytes waiting in segments, or in all those of a folder, whichever process holds them."""
    rows = size = 0
    for lines in read(*paths):
        rows += len(lines)
        size += sum(map(len, lines)) + len(lines)
    return rows, size


def read(*paths: Path) -> Iterator[list[bytes]]:
    """The lines of segments, or of all those of a folder, about a megabyte at a time. One that is removed meanwhile,
    because its rows are in Postgres, is left out."""
    for path in paths:
        for file in sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]:
            try:
                fd = os.open(file, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                yield from _all_lines(Segment(file, fd, size=os.fstat(fd).st_size))
            finally:
                os.close(fd)


def refused(folder: Path) -> list[RefusedRow]:
    """The rows of a journal that were put aside."""
    paths = sorted((folder / REFUSED).glob(f"*{_REFUSED_ROWS}"))
    return [row for path in paths for row in read_refused(path)]


def claim_refused(folder: Path) -> list[Path]:
    """Files of rows put aside that nobody adds to any more: what is put aside from now on goes into another one."""
    if not (folder / REFUSED).exists():
        return []
    with _refused_folder(folder) as refused_folder:
        rows = refused_folder / _REFUSED_ROWS
        if rows.exists():
            rows.rename(rows.with_name(f"{time.time_ns():020d}-{_REFUSED_ROWS}"))
        return sorted(refused_folder.glob(f"*-{_REFUSED_ROWS}"))


def read_refused(path: Path) -> list[RefusedRow]:
    """One file of rows put aside; a last line that a crash cut off is left out."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [msgspec.json.decode(line, type=RefusedRow) for line in lines if line]


@contextlib.contextmanager
def _refused_folder(folder: Path) -> Iterator[Path]:
    """The folder for rows put aside, with a lock that makes adding and claiming wait for each other."""
    path = folder / REFUSED
    path.mkdir(exist_ok=True, mode=0o700)
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(fd)


def _all_lines(segment: Segment) -> Iterator[list[bytes]]:
    offset = 0
    while True:
        lines, end = segment.lines(offset)
        if end == offset:
            return
        yield lines
        offset = end


def _lock(path: Path, flags: int) -> int | None:
    """The file's descriptor with its lock held; None where another process holds it or has removed it."""
    try:
        fd = os.open(path, flags, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    if os.fstat(fd).st_nlink:
        return fd
    os.close(fd)
    return None
