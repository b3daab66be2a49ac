"""Rows on disk until Postgres has them.

A folder of segments: files of one row a line, `C` or `S` (call or score) before its JSON. A process appends to one
segment of its own, one `write` a row, and holds a lock on it that ends with the process, however that ends. So a
segment whose lock can be taken is what a dead process left, and a last line without a newline is a row whose writing
was cut off. A segment is removed once all its rows are in Postgres.
"""

from __future__ import annotations

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
loses power may lose some seconds); `interval`: about once a second; `always`: every row, before `append` returns, which
costs each call a disk's write latency."""

SUFFIX = ".rows"
REFUSED = "refused"
MAX_ADOPTED = 64
_BLOCK = 1 << 20


class JournalFull(HullspeedError):
    """The journal has reached its size limit."""


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

    def lines(self, offset: int) -> tuple[list[bytes], int]:
        """Whole lines from `offset` on, about a megabyte of them, and where the next ones begin."""
        wanted = _BLOCK
        while True:
            block = os.pread(self.fd, min(wanted, self.size - offset), offset)
            end = block.rfind(b"\n") + 1
            if end or len(block) < wanted:
                return block[:end].split(b"\n")[:-1], offset + end
            wanted *= 2


class Journal:
    """The segments this process holds. All of it belongs to one thread, but `adopt` and `sync` may run in another."""

    def __init__(self, folder: Path, *, max_bytes: int, fsync: Fsync = "none") -> None:
        """`max_bytes` bounds what this process holds on disk."""
        self.folder = folder
        self._max_bytes = max_bytes
        self._fsync = fsync
        self._held: list[Segment] = []
        self._open: Segment | None = None
        self._cut_off = False

    @property
    def waiting_rows(self) -> int:
        return sum(segment.rows for segment in self._held)

    @property
    def waiting_bytes(self) -> int:
        return sum(segment.size for segment in self._held)

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
        if self.waiting_bytes + len(line) >= self._max_bytes:
            raise JournalFull(f"the journal in {self.folder} has reached its limit of {self._max_bytes:,} bytes")
        # Set apart from the remains of a row that the disk took only in part.
        whole = b"\n" + line + b"\n" if self._cut_off else line + b"\n"
        written = 0
        try:
            written = os.write(segment.fd, whole)
        finally:
            self._cut_off = written < len(whole)
            segment.size += written
        if self._cut_off:
            raise OSError("the disk took a row only in part")
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
        return adopted

    def remove(self, segment: Segment) -> None:
        """Delete a segment whose rows are in Postgres. Raises `OSError`; it is held still then."""
        segment.path.unlink(missing_ok=True)
        self._held.remove(segment)
        os.close(segment.fd)

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
        self._open = None
        for segment in list(self._held):
            if segment.size:
                self._held.remove(segment)
                os.close(segment.fd)
            else:
                self.remove(segment)

    def refuse(self, line: bytes, error: str) -> None:
        """Put aside a row that Postgres will not have, for a person to look at. Raises `OSError`."""
        folder = self.folder / REFUSED
        folder.mkdir(exist_ok=True, mode=0o700)
        entry = {"error": error, "row": line.decode(errors="replace")}
        fd = os.open(folder / "rows.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(fd, msgspec.json.encode(entry) + b"\n")
        finally:
            os.close(fd)

    def _begin(self) -> None:
        while True:
            # Names sort by age.
            path = self.folder / f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
            fd = _lock(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
            # Between its making and its locking another process may have taken it for a left-over one.
            if fd is not None:
                self._open = Segment(path, fd)
                self._held.append(self._open)
                self._cut_off = False
                return


def count(folder: Path) -> tuple[int, int]:
    """Rows and bytes waiting in a journal's folder, whichever process holds them."""
    rows = size = 0
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            segment = Segment(path, fd, size=os.fstat(fd).st_size)
            rows += sum(len(lines) for lines in _all_lines(segment))
            size += segment.size
        finally:
            os.close(fd)
    return rows, size


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
