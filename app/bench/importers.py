"""Suites from files: long tables of recorded outcomes (Parquet) and plain lists of items (JSONL).

Everything is checked before a suite is returned, so that a run never fails, or worse succeeds, on half a matrix. Each
error is one line that names the file, the column or cell, and what to do. Tables stay columnar up to the last step:
cells are found by the codes of their ids, never row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.bench.graders import check_grader, check_target
from app.bench.suite import Item, Recorded, Suite
from app.core.errors import ConfigError

Kind = str
TEXT, NUMBER = "text", "a number"
OUTCOME_COLUMNS: dict[str, Kind] = {
    "sample_id": TEXT,
    "dataset": TEXT,
    "prompt": TEXT,
    "model": TEXT,
    "quality": NUMBER,
    "cost_usd": NUMBER,
}
OPTIONAL_COLUMNS: dict[str, Kind] = {"prompt_tokens": NUMBER, "completion_tokens": NUMBER, "response": TEXT}
ITEM_COLUMNS: dict[str, Kind] = {"id": TEXT, "category": TEXT, "input": TEXT}
OPTIONAL_ITEM_COLUMNS: dict[str, Kind] = {"target": TEXT}
SHOWN = 3
"""Ids or cells an error lists before it only counts."""


def import_outcomes(outcomes: Path, items: Path | None, name: str, *, grader: str | None = None) -> Suite:
    """The suite of a long table of outcomes, one row per (item, model), with every cell of the matrix present.

    `outcomes`: Parquet with `sample_id, dataset, prompt, model, quality` (in [0, 1]), `cost_usd` (USD, kept as the
    float64 that stands there) and, where known, `prompt_tokens, completion_tokens, response`. Other columns are left
    out; the suite's description names them. `items`: Parquet with `id, category, input` and `target`; without it the
    items are those of the table, without targets. An items file may hold further categories, which are left out and
    named in the description; within a category it must hold exactly the ids of the outcomes. Items stand in the order
    of the items file, else in that of the table; models in the order in which the table first names them.

    Raises `ConfigError` where a file, a column, a cell or the grader is wrong.
    """
    if grader is not None:
        check_grader(grader)
        if items is None:
            raise ConfigError(
                f"grader {grader!r} needs targets, and {outcomes} has none: pass a file of items, or no grader"
            )
    table, extra = _read(outcomes, OUTCOME_COLUMNS, OPTIONAL_COLUMNS)
    long = _LongTable(outcomes, table)
    notes = [f"Recorded outcomes of {len(long.models)} models."]
    if extra:
        notes.append(f"Columns left out: {', '.join(extra)}.")
    if items is None:
        listed = long.items()
    else:
        listed, left_out = _matching_items(items, long)
        if left_out:
            notes.append(f"Categories without outcomes, left out: {', '.join(left_out)}.")
        _check_targets(items, listed, grader)
    recorded = long.recorded([item.id for item in listed])
    return Suite(name, tuple(listed), grader=grader, recorded=recorded, description=" ".join(notes))


class _LongTable:
    """The outcomes file with ids and models as codes; constructed only where every check holds."""

    def __init__(self, path: Path, table: pa.Table) -> None:
        self.path = path
        self.table = table
        self.row_item, self.ids = _codes(table["sample_id"])
        self.row_model, self.models = _codes(table["model"])
        for column, texts in (("sample_id", self.ids), ("model", self.models)):
            if "" in texts:
                _fail(path, f"column {column!r} has an empty text: give every row its {column}")
        self._check_cells()
        self.prompts = self._same_per_item("prompt")
        self.categories = self._same_per_item("dataset")
        self.quality = self._numbers("quality")
        self._check_rows(
            ~((self.quality >= 0) & (self.quality <= 1)), "quality", "lies outside [0, 1]: scale or repair it"
        )
        self.cost = self._numbers("cost_usd")
        self._check_rows(
            ~((self.cost >= 0) & np.isfinite(self.cost)), "cost_usd", "is not a cost in USD: it must be 0 or more"
        )
        self.tokens = {column: self._tokens(column) for column in ("prompt_tokens", "completion_tokens")}

    def _cell(self, row: int) -> str:
        return f"({self.ids[self.row_item[row]]}, {self.models[self.row_model[row]]})"

    def _check_rows(self, wrong: NDArray[np.bool_], column: str, complaint: str) -> None:
        rows = np.flatnonzero(wrong)
        if rows.size:
            first = int(rows[0])
            value = self.table[column][first].as_py()
            more = f" ({rows.size} such cells)" if rows.size > 1 else ""
            _fail(self.path, f"{column} of {self._cell(first)} is {value!r}, which {complaint}{more}")

    def _check_cells(self) -> None:
        m = len(self.models)
        cells = self.row_item * m + self.row_model
        known, first, count = np.unique(cells, return_index=True, return_counts=True)
        doubled = np.flatnonzero(count > 1)
        if doubled.size:
            listed = _listing(self._cell(int(first[place])) for place in doubled[:SHOWN])
            _fail(self.path, f"{doubled.size} cells stand there more than once, first {listed}: keep one row for each")
        missing = len(self.ids) * m - known.size
        if missing:
            # Enough of the range to hold the first gaps; the whole matrix may be far larger than the file.
            gaps = np.setdiff1d(np.arange(min(len(self.ids) * m, known.size + SHOWN)), known)[:SHOWN]
            listed = _listing(f"({self.ids[gap // m]}, {self.models[gap % m]})" for gap in gaps.tolist())
            _fail(
                self.path,
                f"{missing} of {len(self.ids) * m} cells (sample_id, model) are missing, first {listed}: every model "
                "needs a row for every item",
            )

    def _same_per_item(self, column: str) -> list[str]:
        codes, texts = _codes(self.table[column])
        _, first = np.unique(self.row_item, return_index=True)
        of_item = codes[first]
        rows = np.flatnonzero(codes != of_item[self.row_item])
        if rows.size:
            culprit = self.ids[self.row_item[rows[0]]]
            _fail(self.path, f"{column} differs between the rows of {culprit}: one sample_id, one {column}")
        return [texts[code] for code in of_item.tolist()]

    def _numbers(self, column: str) -> NDArray[np.float64]:
        # Decimal columns reach the nearest float64; float64 passes unchanged.
        numbers: NDArray[np.float64] = (
            pc.cast(self.table[column], pa.float64(), safe=False).to_numpy().astype(np.float64, copy=False)
        )
        return numbers

    def _tokens(self, column: str) -> NDArray[np.int64]:
        if column not in self.table.column_names:
            return np.zeros(self.table.num_rows, dtype=np.int64)
        # pandas writes whole numbers with gaps as floats with NaN.
        numbers = np.nan_to_num(self._numbers(column), nan=0.0)
        self._check_rows(
            ~((numbers >= 0) & (numbers < 2**53) & (numbers == np.floor(numbers))),
            column,
            "is not a number of tokens: it must be whole and 0 or more",
        )
        return numbers.astype(np.int64)

    def items(self) -> list[Item]:
        """The items as the table itself tells them."""
        return [
            _item(item_id, category, prompt, None)
            for item_id, category, prompt in zip(self.ids, self.categories, self.prompts, strict=True)
        ]

    def recorded(self, order: Sequence[str]) -> Recorded:
        """The matrices, rows in the `order` of the ids."""
        place = {item_id: index for index, item_id in enumerate(order)}
        rows = np.array([place[item_id] for item_id in self.ids], dtype=np.int64)[self.row_item]

        def matrix(values: NDArray[Any]) -> NDArray[Any]:
            grid = np.empty((len(order), len(self.models)), dtype=values.dtype)
            grid[rows, self.row_model] = values
            return grid

        if "response" in self.table.column_names:
            replies = np.array(self.table["response"].to_pylist(), dtype=np.object_)
        else:
            replies = np.full(self.table.num_rows, None, dtype=np.object_)
        return Recorded(
            models=tuple(self.models),
            quality=matrix(self.quality),
            cost=matrix(self.cost),
            prompt_tokens=matrix(self.tokens["prompt_tokens"]),
            completion_tokens=matrix(self.tokens["completion_tokens"]),
            replies=matrix(replies),
        )


def _matching_items(path: Path, long: _LongTable) -> tuple[list[Item], list[str]]:
    """The items of the file that the table has outcomes of, and the categories that it has none of."""
    table, _ = _read(path, ITEM_COLUMNS, OPTIONAL_ITEM_COLUMNS)
    targets = table["target"].to_pylist() if "target" in table.column_names else [None] * table.num_rows
    listed = [
        _item(item_id, category, prompt, target)
        for item_id, category, prompt, target in zip(
            table["id"].to_pylist(),
            table["category"].to_pylist(),
            table["input"].to_pylist(),
            targets,
            strict=True,
        )
    ]
    _check_ids(path, [item.id for item in listed])
    known = {item.id: item for item in listed}
    prompts = dict(zip(long.ids, long.prompts, strict=True))
    unknown = [item_id for item_id in long.ids if item_id not in known]
    if unknown:
        _fail(
            path,
            f"has no item for {len(unknown)} sample_ids of {long.path}, first {_listing(unknown[:SHOWN])}: "
            "pass the items that the outcomes were recorded on",
        )
    covered = {known[item_id].category for item_id in long.ids}
    bare = [item.id for item in listed if item.category in covered and item.id not in prompts]
    if bare:
        _fail(
            path,
            f"holds {len(bare)} items that {long.path} has no outcomes of, first {_listing(bare[:SHOWN])}: "
            "record them or take them out of the file",
        )
    for item_id, prompt in prompts.items():
        if known[item_id].messages[0]["content"] != prompt:
            _fail(
                path,
                f"input of {item_id} is not the prompt that {long.path} was recorded with: pass the items that the "
                "outcomes were recorded on",
            )
    left_out = sorted({item.category for item in listed} - covered)
    return [item for item in listed if item.id in prompts], left_out


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """One line of a JSONL file of items."""

    id: str
    category: str
    input: str | list[dict[str, Any]]
    target: str | None = None
    grader: str | None = None


def import_items(path: Path, name: str, grader: str | None = None) -> Suite:
    """The suite of a JSONL file: one object a line with `id, category, input` and, as needed, `target, grader`.

    `input` is the user's text or a list of chat messages. `grader` grades the items that name none. Blank lines are
    skipped. As nothing is recorded, every item needs a grader and a target.

    Raises `ConfigError` that names the line.
    """
    if grader is not None:
        check_grader(grader)
    listed: list[Item] = []
    lines: dict[str, int] = {}
    for number, raw in enumerate(_lines(path), start=1):
        if not raw.strip():
            continue
        item = _parse_line(path, number, raw, grader)
        if item.id in lines:
            _fail(path, f"line {number}: id {item.id!r} stands on line {lines[item.id]} already: ids must be unique")
        lines[item.id] = number
        listed.append(item)
    if not listed:
        _fail(path, "holds no items: write one JSON object a line with id, category, input, target")
    return Suite(name, tuple(listed), grader=grader)


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        _fail(path, f"cannot be read ({error.strerror}): pass the path of a JSONL file of items")


def _parse_line(path: Path, number: int, raw: bytes, grader: str | None) -> Item:
    try:
        line = msgspec.json.decode(raw, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _fail(path, f"line {number}: {error}")
    if not line.id:
        _fail(path, f"line {number}: id is empty: give the item a unique id")
    if isinstance(line.input, list):
        _check_messages(path, number, line.input)
        messages = line.input
    else:
        messages = [{"role": "user", "content": line.input}]
    chosen = line.grader or grader
    if chosen is None:
        _fail(path, f"line {number}: item {line.id!r} has no grader: add one, or pass one for the whole file")
    try:
        check_grader(chosen)
        if line.target is None:
            _fail(path, f"line {number}: item {line.id!r} has no target: grader {chosen!r} needs one")
        check_target(chosen, line.target)
    except ConfigError as error:
        if error.message.startswith(str(path)):
            raise
        _fail(path, f"line {number}: {error.message}")
    return Item(id=line.id, category=line.category, messages=messages, target=line.target, grader=line.grader)


def _check_messages(path: Path, number: int, messages: list[dict[str, Any]]) -> None:
    if not messages:
        _fail(path, f"line {number}: input is an empty list: give at least one message")
    for place, message in enumerate(messages):
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str | list):
            _fail(path, f"line {number}: input[{place}] is not a chat message: it needs a role and a content")


def _check_targets(path: Path, items: Iterable[Item], grader: str | None) -> None:
    if grader is None:
        return
    for item in items:
        if item.target is None:
            _fail(path, f"item {item.id!r} has no target: grader {grader!r} needs one")
        try:
            check_target(grader, item.target)
        except ConfigError as error:
            _fail(path, f"item {item.id!r}: {error.message}")


def _check_ids(path: Path, ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for item_id in ids:
        if not item_id:
            _fail(path, "column 'id' has an empty text: give every item a unique id")
        if item_id in seen:
            _fail(path, f"id {item_id!r} stands there more than once: ids must be unique")
        seen.add(item_id)


def _item(item_id: str, category: str, prompt: str, target: str | None) -> Item:
    return Item(id=item_id, category=category, messages=[{"role": "user", "content": prompt}], target=target)


def _read(path: Path, required: dict[str, Kind], optional: dict[str, Kind]) -> tuple[pa.Table, list[str]]:
    """The wanted columns of a Parquet file, texts as large_string; and the names of its other columns."""
    schema = _schema(path)
    kinds = required | {column: kind for column, kind in optional.items() if column in schema.names}
    for column, kind in kinds.items():
        if column not in schema.names:
            there = ", ".join(schema.names)
            _fail(path, f"column {column!r} is missing (it has {there}): rename or add it")
        if schema.names.count(column) > 1:
            _fail(path, f"column {column!r} stands there more than once: keep one")
        if not _is_kind(schema.field(column).type, kind):
            _fail(path, f"column {column!r} holds {schema.field(column).type}, not {kind}: convert it")
    try:
        table = pq.read_table(path, columns=list(kinds))
    except (pa.ArrowException, OSError) as error:
        _fail(path, f"is damaged ({_one_line(error)}): fetch or write it again")
    if table.num_rows == 0:
        _fail(path, "is empty: it needs one row for each item")
    for column, kind in kinds.items():
        if column in required and table[column].null_count:
            row = pc.index(pc.is_null(table[column]), True).as_py()
            _fail(path, f"column {column!r} is null in {table[column].null_count} rows, first row {row}: fill it in")
        if kind == TEXT:
            place = table.column_names.index(column)
            table = table.set_column(place, column, pc.cast(table[column], pa.large_string()))
    # The index that pandas writes is no column to its user.
    extra = [column for column in schema.names if column not in kinds and not column.startswith("__index_level_")]
    return table, extra


def _schema(path: Path) -> pa.Schema:
    if not path.exists():
        _fail(path, "does not exist: check the path")
    if not path.is_file():
        _fail(path, "is not a file: pass one Parquet file")
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        _fail(path, f"is not a Parquet file ({_one_line(error)}): convert it to Parquet")


def _is_kind(kind: pa.DataType, wanted: Kind) -> bool:
    if wanted == TEXT:
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        return bool(
            pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind)
            or pa.types.is_null(kind)
        )
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """A code per row, and the texts they stand for, in the order of first appearance."""
    encoded = pc.dictionary_encode(column).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _listing(texts: Iterable[str]) -> str:
    return ", ".join(texts)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _fail(path: Path, complaint: str) -> NoReturn:
    raise ConfigError(f"{path}: {complaint}")
