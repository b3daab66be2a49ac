"""JSON files from other benches, whole or a line at a time, looked into without trust in their shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from app.bench.importers.complaints import fail, one_line, read_bytes

T = TypeVar("T")


def parse_object(path: Path, raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object; NaN and Infinity, which Python's writers put into files, are read. `what`: for the error."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        fail(path, f"{what} is not JSON ({one_line(error)}): fetch or write it again")
    if not isinstance(value, dict):
        fail(path, f"{what} is a JSON {type(value).__name__}, not an object: pass another file")
    return value


def read_lines(path: Path, kind: type[T], wanted: str) -> list[T]:
    """The objects of a file of JSON lines, blank lines skipped. `wanted`: what to pass where there is no file."""
    found = []
    for number, line in enumerate(read_bytes(path, wanted).split(b"\n"), start=1):
        if line.strip():
            try:
                found.append(msgspec.json.decode(line, type=kind))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                fail(path, f"line {number}: {error}")
    return found


def field(path: Path, holder: Mapping[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """`holder[name]`, which must be of this kind. `where`: for the error."""
    value = holder.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind in (int, (int, float))):
        shown = "missing" if value is None else f"a {type(value).__name__}"
        fail(path, f"{where}: {name!r} is {shown}: pass a file as its bench writes it")
    return value


def count(holder: Mapping[str, Any], name: str) -> int:
    """A number of tokens; 0 where there is none."""
    value = holder.get(name)
    return int(value) if isinstance(value, int | float) and 0 <= value < 2**53 else 0


def money(holder: Mapping[str, Any], name: str) -> float | None:
    """USD; None where there is none."""
    value = holder.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
