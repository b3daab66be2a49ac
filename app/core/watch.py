"""Whether files have changed, told by looking at them: the same on every file system and under every orchestrator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[tuple[Path, int, int, int] | tuple[Path, None], ...]
"""Equal for files that nobody has touched: time of the last change, size and inode of each."""


def stamp(files: Iterable[Path]) -> Stamp:
    """The stamp of `files` now; a missing file has one too. Follows symbolic links."""
    return tuple(_look(file) for file in files)


def _look(file: Path) -> tuple[Path, int, int, int] | tuple[Path, None]:
    try:
        found = file.stat()
    except OSError:
        return file, None
    return file, found.st_mtime_ns, found.st_size, found.st_ino
