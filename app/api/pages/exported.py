"""Calls as a file: JSON lines or CSV, a row each, newest first, sent while they are read."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.store.database import Database
from app.store.queries.calls import CallFilter, CallPage, CallRow, list_calls

MOST_ROWS = 100_000
MOST_SECONDS = 120.0
"""A rare word in ten million texts takes longer to find than anybody waits."""
AT_ONCE = 100
"""Rows encoded at a stretch, between which calls are served."""
_COLUMNS = CallRow.__struct_fields__
_encode = msgspec.json.Encoder(decimal_format="number").encode


async def exported(
    database: Database,
    wanted: CallFilter,
    kind: str,
    first: CallPage,
    *,
    most: int = MOST_ROWS,
    seconds: float = MOST_SECONDS,
) -> AsyncIterator[bytes]:
    """The file in pieces; `kind`: `jsonl` or `csv`; `first`: its first page, at most `AT_ONCE` calls. Where not
    everything is in it, its last line says so and where to go on."""
    write: Callable[[Sequence[CallRow]], bytes] = _json_lines if kind == "jsonl" else _csv
    if kind == "csv":
        yield _csv_lines([_COLUMNS])
    page, sent, deadline = first, 0, time.monotonic() + seconds
    while True:
        if page.rows:
            yield write(page.rows)
        sent += len(page.rows)
        if page.older is None:
            return
        if sent >= most or time.monotonic() > deadline:
            break
        await asyncio.sleep(0)
        page = await list_calls(database, wanted, limit=min(AT_ONCE, most - sent), cursor=page.older)
    note = f"The file ends here after {sent:,} calls; there may be more. GET /v1/calls goes on with this cursor."
    if kind == "jsonl":
        yield _encode({"incomplete": note, "next_cursor": page.older}) + b"\n"
    else:
        yield _csv_lines([[f"# {note}", page.older]])


def _json_lines(rows: Sequence[CallRow]) -> bytes:
    return b"".join([_encode(row) + b"\n" for row in rows])


def _csv(rows: Sequence[CallRow]) -> bytes:
    return _csv_lines([[_cell(getattr(row, name)) for name in _COLUMNS] for row in rows])


def _csv_lines(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    # A spreadsheet takes what begins so for a formula, and these texts are anybody's.
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
