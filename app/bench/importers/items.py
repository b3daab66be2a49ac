"""Plain lists of items, as JSON lines or CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.bench.graders import check_grader, check_target, needs_target
from app.bench.importers.complaints import fail, read_bytes
from app.bench.importers.findings import Imported
from app.bench.importers.tables import TEXT, Kind, read_table
from app.bench.suite import Item, Suite
from app.core.errors import ConfigError

COLUMNS: dict[str, Kind] = {"id": TEXT, "category": TEXT, "input": TEXT}
OPTIONAL_COLUMNS: dict[str, Kind] = {"target": TEXT, "grader": TEXT}


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """One line of a JSONL file of items."""

    id: str
    category: str
    input: str | list[dict[str, Any]]
    target: str | None = None
    grader: str | None = None


def read_items(path: Path, name: str, grader: str | None = None) -> Imported:
    """The suite of a JSONL file, one object a line, or (by its suffix) of a CSV file, one row an item.

    Both with `id, category, input` and, as needed, `target, grader`. `input` is the user's text or, in JSON, a list of
    chat messages. `grader` grades the items that name none. Blank lines are skipped; further columns of a CSV are left
    out and named, further fields of a line are an error. As nothing is recorded, every item needs a grader, and a
    target where its grader does.

    Raises `ConfigError` that names the line (of JSON) or the row (of a CSV, the first below the names being 1).
    """
    if grader is not None:
        check_grader(grader)
    left_out: list[str] = []
    rows: Iterator[tuple[str, _Line]]
    if path.suffix.lower() == ".csv":
        table, left_out = read_table(path, COLUMNS, OPTIONAL_COLUMNS)
        rows = ((f"row {row}", _Line(**fields)) for row, fields in enumerate(table.to_pylist(), start=1))
    else:
        rows = _lines(path)
    listed: list[Item] = []
    places: dict[str, str] = {}
    for place, line in rows:
        item = _item(path, place, line, grader)
        if item.id in places:
            fail(path, f"{place}: id {item.id!r} stands on {places[item.id]} already: ids must be unique")
        places[item.id] = place
        listed.append(item)
    if not listed:
        fail(path, "holds no items: write one JSON object a line with id, category, input, target")
    return Imported(Suite(name, tuple(listed), grader=grader), tuple(left_out))


def _lines(path: Path) -> Iterator[tuple[str, _Line]]:
    raw = read_bytes(path, "the path of a JSONL file of items").removeprefix(b"\xef\xbb\xbf")
    for number, text in enumerate(raw.split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            line = msgspec.json.decode(text, type=_Line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            fail(path, f"line {number}: {error}")
        yield f"line {number}", line


def _item(path: Path, place: str, line: _Line, grader: str | None) -> Item:
    if not line.id:
        fail(path, f"{place}: id is empty: give the item a unique id")
    if isinstance(line.input, list):
        _check_messages(path, place, line.input)
        messages = line.input
    else:
        messages = [{"role": "user", "content": line.input}]
    chosen = line.grader or grader
    if chosen is None:
        fail(path, f"{place}: item {line.id!r} has no grader: add one, or pass one for the whole file")
    try:
        check_grader(chosen)
        if line.target is None and needs_target(chosen):
            raise ConfigError(f"item {line.id!r} has no target: grader {chosen!r} needs one")
        check_target(chosen, line.target)
    except ConfigError as error:
        fail(path, f"{place}: {error.message}")
    return Item(id=line.id, category=line.category, messages=messages, target=line.target, grader=line.grader or None)


def _check_messages(path: Path, place: str, messages: list[dict[str, Any]]) -> None:
    if not messages:
        fail(path, f"{place}: input is an empty list: give at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str | list):
            fail(path, f"{place}: input[{index}] is not a chat message: it needs a role and a content")


def check_targets(path: Path, items: Iterable[Item], grader: str | None) -> None:
    """Raise `ConfigError` where an item has no target that `grader`, if there is one, can use."""
    if grader is None:
        return
    for item in items:
        if item.target is None and needs_target(grader):
            fail(path, f"item {item.id!r} has no target: grader {grader!r} needs one")
        try:
            check_target(grader, item.target)
        except ConfigError as error:
            fail(path, f"item {item.id!r}: {error.message}")


def check_ids(path: Path, ids: Sequence[str]) -> None:
    """Raise `ConfigError` where an id is empty or stands there twice."""
    seen: set[str] = set()
    for item_id in ids:
        if not item_id:
            fail(path, "column 'id' has an empty text: give every item a unique id")
        if item_id in seen:
            fail(path, f"id {item_id!r} stands there more than once: ids must be unique")
        seen.add(item_id)


def plain_item(item_id: str, category: str, prompt: str, target: str | None) -> Item:
    """An item whose chat is one message of the user's."""
    return Item(id=item_id, category=category, messages=[{"role": "user", "content": prompt}], target=target)
