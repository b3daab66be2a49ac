"""Columns out of Parquet and CSV files, texts as text and numbers as float64, whatever wrote them."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.bench.importers.complaints import fail, one_line, read_bytes

Kind = str
TEXT, NUMBER = "text", "a number"
BLOCK = 1 << 30
"""Most bytes of a CSV file parsed at once; a row must fit into it."""


def read_table(
    path: Path, required: Mapping[str, Kind], optional: Mapping[str, Kind], *, nullable: Collection[str] = ()
) -> tuple[pa.Table, list[str]]:
    """The wanted columns of a Parquet or (by its suffix) CSV file, texts as large_string; and the names of its others.

    Columns of `required` must be there and, unless `nullable`, hold no null. In a CSV an empty field without quotes
    is null. Raises `ConfigError` that names the column and the row.
    """
    table, extra = (_read_csv if path.suffix.lower() == ".csv" else _read_parquet)(path, required, optional)
    if table.num_rows == 0:
        fail(path, "is empty: it needs one row for each item")
    for column in required:
        if column not in nullable and table[column].null_count:
            row = pc.index(pc.is_null(table[column]), True).as_py()
            fail(path, f"column {column!r} is null in {table[column].null_count} rows, first row {row}: fill it in")
    return table, extra


def read_wide(path: Path) -> pa.Table:
    """All columns of a Parquet or (by its suffix) CSV file; those of a CSV as large_string."""
    if path.suffix.lower() == ".csv":
        return _all_of_csv(path)
    schema = _schema(path)
    _check_names(path, schema.names)
    return _columns_of_parquet(path, schema.names)


def numbers(path: Path, column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    """The column as float64, NaN where it is null or empty; `True` and `False` are 1 and 0.

    Decimals reach the nearest float64; float64 passes unchanged. Raises `ConfigError` that names the row.
    """
    if _is_kind(column.type, TEXT):
        column = _numbers_of_texts(path, column, name)
    if not _is_kind(column.type, NUMBER):
        fail(path, f"column {name!r} holds {column.type}, not {NUMBER}: convert it")
    values: NDArray[np.float64] = pc.cast(column, pa.float64(), safe=False).to_numpy().astype(np.float64, copy=False)
    return values


def _numbers_of_texts(path: Path, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    texts = pc.utf8_trim_whitespace(pc.cast(column, pa.large_string()))
    texts = pc.if_else(pc.equal(texts, ""), None, texts)
    texts = pc.if_else(pc.equal(pc.utf8_lower(texts), "true"), "1", texts)
    texts = pc.if_else(pc.equal(pc.utf8_lower(texts), "false"), "0", texts)
    try:
        return pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        for row, text in enumerate(texts.to_pylist()):
            if text is not None and not _is_number(text):
                shown = text if len(text) <= 40 else text[:39] + "…"
                fail(path, f"column {name!r} holds {shown!r} in row {row}, not {NUMBER}: convert it")
        raise


def _is_number(text: str) -> bool:
    try:
        pc.cast(pa.array([text]), pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _read_csv(path: Path, required: Mapping[str, Kind], optional: Mapping[str, Kind]) -> tuple[pa.Table, list[str]]:
    table = _all_of_csv(path)
    kinds = _wanted(path, table.column_names, required, optional)
    columns = {
        column: table[column] if kind == TEXT else _numbers_of_texts(path, table[column], column)
        for column, kind in kinds.items()
    }
    # The index that pandas writes without a name is no column to its user.
    extra = [column for column in table.column_names if column not in kinds and column not in ("", "Unnamed: 0")]
    return pa.table(columns), extra


def _all_of_csv(path: Path) -> pa.Table:
    raw = read_bytes(path, "the path of a CSV file")
    names = _header(path, raw)
    _check_names(path, names)
    try:
        return pcsv.read_csv(
            pa.py_buffer(raw),
            # In one block: a quoted reply may be longer than any block one would choose.
            read_options=pcsv.ReadOptions(block_size=min(len(raw) + 1, BLOCK), use_threads=False),
            parse_options=pcsv.ParseOptions(newlines_in_values=True),
            convert_options=pcsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except (pa.ArrowException, OSError) as error:
        fail(path, f"is not a proper CSV file ({one_line(error)}): write it again, as UTF-8 with commas")


def _header(path: Path, raw: bytes) -> list[str]:
    try:
        text = raw[: 1 << 20].decode("utf-8-sig", "replace")
        names = next(csv.reader(io.StringIO(text, newline="")), [])
    except csv.Error as error:
        fail(path, f"is not a proper CSV file ({one_line(error)}): write it again, as UTF-8 with commas")
    if not names:
        fail(path, "is empty: it needs a line with the names of its columns")
    return names


def _read_parquet(path: Path, required: Mapping[str, Kind], optional: Mapping[str, Kind]) -> tuple[pa.Table, list[str]]:
    schema = _schema(path)
    kinds = _wanted(path, schema.names, required, optional)
    for column, kind in kinds.items():
        if schema.names.count(column) > 1:
            fail(path, f"column {column!r} stands there more than once: keep one")
        if not _is_kind(schema.field(column).type, kind):
            fail(path, f"column {column!r} holds {schema.field(column).type}, not {kind}: convert it")
    table = _columns_of_parquet(path, list(kinds))
    for column, kind in kinds.items():
        if kind == TEXT:
            place = table.column_names.index(column)
            table = table.set_column(place, column, pc.cast(table[column], pa.large_string()))
    extra = [column for column in schema.names if column not in kinds and not column.startswith("__index_level_")]
    return table, extra


def _columns_of_parquet(path: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        fail(path, f"is damaged ({one_line(error)}): fetch or write it again")


def _wanted(
    path: Path, there: list[str], required: Mapping[str, Kind], optional: Mapping[str, Kind]
) -> dict[str, Kind]:
    for column in required:
        if column not in there:
            fail(path, f"column {column!r} is missing (it has {', '.join(there)}): rename or add it")
    return {**required, **{column: kind for column, kind in optional.items() if column in there}}


def _check_names(path: Path, names: list[str]) -> None:
    for column in names:
        if names.count(column) > 1:
            fail(path, f"column {column!r} stands there more than once: keep one")


def _schema(path: Path) -> pa.Schema:
    if not path.exists():
        fail(path, "does not exist: check the path")
    if not path.is_file():
        fail(path, "is not a file: pass one Parquet file")
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        fail(path, f"is not a Parquet file ({one_line(error)}): convert it to Parquet")


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


def codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """A code per row, and the texts they stand for, in the order of first appearance."""
    encoded = pc.dictionary_encode(column).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()
