"""A suite as one folder, to hand on: `suite.toml`, `items.parquet` and, where there are outcomes, `outcomes.parquet`.

What is read is what was written, to the last bit of every cost, and anybody's tools can look into it. The same suite
gives the same bytes (with the same version of Arrow), so folders can be compared and kept under version control. The
hashes in `suite.toml` find damage and mix-ups; they are no signature.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.bench.suite import Item, Recorded, Suite
from app.core.errors import ConfigError
from routers.artifacts import replace_folder

FORMAT = 1
"""Version of the layout described above."""
HEAD, ITEMS, OUTCOMES = "suite.toml", "items.parquet", "outcomes.parquet"
_ITEMS = pa.schema(
    [
        pa.field("id", pa.large_string(), nullable=False),
        pa.field("category", pa.large_string(), nullable=False),
        pa.field("messages", pa.large_string(), nullable=False),  # JSON
        pa.field("target", pa.large_string()),
        pa.field("grader", pa.large_string()),
    ]
)
_OUTCOMES = pa.schema(
    [
        pa.field("sample_id", pa.large_string(), nullable=False),
        pa.field("model", pa.large_string(), nullable=False),
        pa.field("quality", pa.float64(), nullable=False),
        pa.field("cost_usd", pa.float64(), nullable=False),
        pa.field("prompt_tokens", pa.int64(), nullable=False),
        pa.field("completion_tokens", pa.int64(), nullable=False),
        pa.field("response", pa.large_string()),
    ]
)


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """`suite.toml`."""

    format: int
    name: str
    description: str
    simulated: bool
    digest: str
    """`Suite.digest`."""
    files: dict[str, str]
    """SHA-256 of every other file."""
    grader: str | None = None
    models: list[str] | None = None
    """In the order of the suite; None where nothing is recorded."""


def export(suite: Suite, folder: Path, *, overwrite: bool = False) -> None:
    """Write a suite so that `folder` holds either all of it or nothing.

    A missing cell (neither quality nor cost) takes no row: its tokens and reply are not kept. Raises `ConfigError`
    when the folder is there and not empty, unless it holds a suite and `overwrite` is set, or cannot be written.
    """
    _refuse_what_is_there(folder, overwrite=overwrite)
    contents = {ITEMS: _parquet(_items_table(suite))}
    if suite.recorded is not None:
        contents[OUTCOMES] = _parquet(_outcomes_table(suite, suite.recorded))
    contents[HEAD] = _head(suite, contents).encode()
    try:
        replace_folder(folder, contents)
    except OSError as error:
        _fail(folder, f"cannot be written ({error.strerror or error}): choose another folder")


def load(folder: Path) -> Suite:
    """The suite that `export` wrote. Raises `ConfigError` where a file is missing, damaged, or not of this suite."""
    head = _read_head(folder / HEAD)
    wanted = {ITEMS} if head.models is None else {ITEMS, OUTCOMES}
    if set(head.files) != wanted:
        _fail(folder / HEAD, f"lists {', '.join(sorted(head.files))}, expected {', '.join(sorted(wanted))}")
    tables = {name: _checked(folder / name, head.files[name]) for name in sorted(wanted)}
    items = _items_of(folder / ITEMS, tables[ITEMS])
    recorded = None
    if head.models is not None:
        recorded = _recorded_of(folder / OUTCOMES, tables[OUTCOMES], items, head.models)
    try:
        suite = Suite(head.name, items, head.grader, recorded, head.simulated, head.description)
    except ValueError as error:
        _fail(folder, f"{error}: export the suite again")
    if suite.digest != head.digest:
        _fail(folder, f"its items have digest {suite.digest[:12]}…, {HEAD} says {head.digest[:12]}…: export it again")
    return suite


def _items_table(suite: Suite) -> pa.Table:
    columns = {
        "id": [item.id for item in suite.items],
        "category": [item.category for item in suite.items],
        "messages": [msgspec.json.encode(item.messages).decode() for item in suite.items],
        "target": [item.target for item in suite.items],
        "grader": [item.grader for item in suite.items],
    }
    return pa.table(columns, schema=_ITEMS)


def _outcomes_table(suite: Suite, recorded: Recorded) -> pa.Table:
    present = ~(np.isnan(recorded.quality) & np.isnan(recorded.cost))
    rows, places = np.nonzero(present)
    columns = {
        "sample_id": [suite.items[row].id for row in rows.tolist()],
        "model": [recorded.models[place] for place in places.tolist()],
        "quality": recorded.quality[present].astype(np.float64),
        "cost_usd": recorded.cost[present].astype(np.float64),
        "prompt_tokens": recorded.prompt_tokens[present].astype(np.int64),
        "completion_tokens": recorded.completion_tokens[present].astype(np.int64),
        "response": recorded.replies[present].tolist(),
    }
    return pa.table(columns, schema=_OUTCOMES)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=100_000)
    return bytes(sink.getvalue().to_pybytes())


def _head(suite: Suite, contents: Mapping[str, bytes]) -> str:
    lines = [f"format = {FORMAT}", f"name = {_quoted(suite.name)}"]
    if suite.grader is not None:
        lines.append(f"grader = {_quoted(suite.grader)}")
    lines += [
        f"description = {_quoted(suite.description)}",
        f"simulated = {str(suite.simulated).lower()}",
        f"digest = {_quoted(suite.digest)}",
    ]
    if suite.recorded is not None:
        lines += ["models = [", *(f"    {_quoted(model)}," for model in suite.recorded.models), "]"]
    lines += ["", "[files]"]
    lines += [f"{_quoted(name)} = {_quoted(_sha256(raw))}" for name, raw in sorted(contents.items())]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # JSON's strings are TOML's, but for one control character that TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _read_head(path: Path) -> _Head:
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        _fail(path, f"cannot be read ({error.strerror}): pass the folder of an exported suite")
    except ValueError as error:
        _fail(path, f"is not TOML ({_one_line(error)}): export the suite again")
    if document.get("format") != FORMAT:
        _fail(path, f"has format {document.get('format')!r}, expected {FORMAT}: export the suite with this version")
    try:
        return msgspec.convert(document, _Head)
    except msgspec.ValidationError as error:
        _fail(path, f"{_one_line(error)}: export the suite again")


def _checked(path: Path, digest: str) -> pa.Table:
    try:
        raw = path.read_bytes()
    except OSError as error:
        _fail(path, f"cannot be read ({error.strerror}): copy the whole folder again")
    if _sha256(raw) != digest:
        _fail(path, f"does not match the hash in {HEAD}: copy the whole folder again")
    try:
        table = pq.read_table(pa.py_buffer(raw))
    except (pa.ArrowException, OSError) as error:
        _fail(path, f"is not a Parquet file ({_one_line(error)}): export the suite again")
    schema = _ITEMS if path.name == ITEMS else _OUTCOMES
    if not table.schema.equals(schema):
        _fail(path, f"has columns {', '.join(table.column_names)}, expected {', '.join(schema.names)}")
    return table


def _items_of(path: Path, table: pa.Table) -> tuple[Item, ...]:
    try:
        return tuple(
            Item(**(fields | {"messages": msgspec.json.decode(fields["messages"], type=list[dict[str, Any]])}))
            for fields in table.to_pylist()
        )
    except (msgspec.DecodeError, TypeError) as error:
        _fail(path, f"holds messages that are no chat ({_one_line(error)}): export the suite again")


def _recorded_of(path: Path, table: pa.Table, items: tuple[Item, ...], models: list[str]) -> Recorded:
    row = {item.id: place for place, item in enumerate(items)}
    column = {model: place for place, model in enumerate(models)}
    try:
        cells = (
            np.array([row[item] for item in table["sample_id"].to_pylist()], dtype=np.int64),
            np.array([column[model] for model in table["model"].to_pylist()], dtype=np.int64),
        )
    except KeyError as error:
        _fail(path, f"names {error}, which is no item or model of the suite: export it again")
    if len(np.unique(cells[0] * len(models) + cells[1])) != table.num_rows:
        _fail(path, "holds a cell twice: export the suite again")

    def matrix(name: str, missing: Any, kind: Any) -> Any:
        grid = np.full((len(items), len(models)), missing, dtype=kind)
        grid[cells] = table[name].to_pylist() if kind is np.object_ else table[name].to_numpy()
        return grid

    return Recorded(
        models=tuple(models),
        quality=matrix("quality", np.nan, np.float64),
        cost=matrix("cost_usd", np.nan, np.float64),
        prompt_tokens=matrix("prompt_tokens", 0, np.int64),
        completion_tokens=matrix("completion_tokens", 0, np.int64),
        replies=matrix("response", None, np.object_),
    )


def _refuse_what_is_there(folder: Path, *, overwrite: bool) -> None:
    if folder.is_dir():
        held = {path.name for path in folder.iterdir()}
        if HEAD in held and not overwrite:
            _fail(folder, "holds a suite already: choose another folder, or allow to overwrite")
        if held and HEAD not in held:
            _fail(folder, "holds other files: choose another folder")
    elif folder.exists() or folder.is_symlink():
        _fail(folder, "is not a folder: choose another name")


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _fail(path: Path, complaint: str) -> NoReturn:
    raise ConfigError(f"{path}: {complaint}")
