"""How an import says no: one line that names the file, the place, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from app.core.errors import ConfigError

SHOWN = 3
"""Ids or cells an error lists before it only counts."""


def fail(path: Path, complaint: str) -> NoReturn:
    """Raise `ConfigError` about the file at `path`."""
    raise ConfigError(f"{path}: {complaint}")


def listing(texts: Iterable[str]) -> str:
    """The texts in a row; the caller cuts them to `SHOWN`."""
    return ", ".join(texts)


def one_line(error: Exception) -> str:
    """What a library said, without line breaks and not at length."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def read_bytes(path: Path, wanted: str) -> bytes:
    """The file's content. `wanted`: what to pass instead where there is none to read."""
    try:
        return path.read_bytes()
    except OSError as error:
        fail(path, f"cannot be read ({error.strerror}): pass {wanted}")
