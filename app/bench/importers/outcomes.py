"""Long tables of recorded outcomes, one row per (item, model), as Parquet or CSV.

Everything is checked before a suite is returned, so that a run never fails, or worse succeeds, on half a matrix.
Tables stay columnar up to the last step: cells are found by the codes of their ids, never row by row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.bench.graders import check_grader, needs_target
from app.bench.importers.cells import Cells
from app.bench.importers.complaints import SHOWN, fail, listing
from app.bench.importers.findings import Imported, describe
from app.bench.importers.items import check_ids, check_targets, plain_item
from app.bench.importers.tables import NUMBER, TEXT, Kind, codes, numbers, read_table
from app.bench.suite import Item, Suite
from app.core.errors import ConfigError

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
JUDGED = ("quality", "cost_usd")


def read_outcomes(
    outcomes: Path, items: Path | None, name: str, *, grader: str | None = None, allow_missing: bool = False
) -> Imported:
    """The suite of a long table of outcomes, one row per (item, model).

    `outcomes`: Parquet or CSV with `sample_id, dataset, prompt, model, quality` (in [0, 1]), `cost_usd` (USD, kept as
    the float64 that stands there) and, where known, `prompt_tokens, completion_tokens, response`. Other columns are
    left out and named. `items`: Parquet or CSV with `id, category, input` and `target`; without it the items are those
    of the table, without targets. An items file may hold further categories, which are left out and named; within a
    category it must hold exactly the ids of the outcomes. Items stand in the order of the items file, else in that of
    the table; models in the order in which the table first names them.

    Every cell of the matrix must be there, unless `allow_missing`: then a cell without a row, or with neither quality
    nor cost in it, is NaN in the suite.

    Raises `ConfigError` where a file, a column, a cell or the grader is wrong.
    """
    if grader is not None:
        check_grader(grader)
        if items is None and needs_target(grader):
            raise ConfigError(
                f"grader {grader!r} needs targets, and {outcomes} has none: pass a file of items, or no grader"
            )
    nullable = JUDGED if allow_missing else ()
    table, extra = read_table(outcomes, OUTCOME_COLUMNS, OPTIONAL_COLUMNS, nullable=nullable)
    long = _LongTable(outcomes, table, allow_missing=allow_missing)
    notes: tuple[str, ...] = ()
    if items is None:
        listed = long.items()
    else:
        listed, left_out = _matching_items(items, long)
        if left_out:
            notes = (f"Categories without outcomes, left out: {', '.join(left_out)}.",)
        check_targets(items, listed, grader)
    recorded = long.cells.recorded([item.id for item in listed])
    said = describe(f"Recorded outcomes of {len(long.models)} models.", recorded, extra, *notes)
    return Imported(Suite(name, tuple(listed), grader=grader, recorded=recorded, description=said), tuple(extra), notes)


class _LongTable:
    """The outcomes file with ids and models as codes; constructed only where every check holds."""

    def __init__(self, path: Path, table: pa.Table, *, allow_missing: bool) -> None:
        self.path = path
        self.table = table
        self.row_item, self.ids = codes(table["sample_id"])
        self.row_model, self.models = codes(table["model"])
        for column, texts in (("sample_id", self.ids), ("model", self.models)):
            if "" in texts:
                fail(path, f"column {column!r} has an empty text: give every row its {column}")
        self.prompts = self._same_per_item("prompt")
        self.categories = self._same_per_item("dataset")
        self.cells = self._cells(allow_missing=allow_missing)
        self.cells.check(path, allow_missing=allow_missing)
        for column, tokens in self._tokens.items():
            self.cells.check_values(
                path,
                column,
                tokens,
                ~((tokens >= 0) & (tokens < 2**53) & (tokens == np.floor(tokens))),
                "is not a number of tokens: it must be whole and 0 or more",
            )

    def _cells(self, *, allow_missing: bool) -> Cells:
        quality, cost = (numbers(self.path, self.table[column], column) for column in JUDGED)
        kept = ~(np.isnan(quality) & np.isnan(cost)) if allow_missing else np.ones(len(quality), dtype=bool)
        self._tokens = {name: self._counted(name)[kept] for name in ("prompt_tokens", "completion_tokens")}
        if "response" in self.table.column_names:
            replies = np.array(self.table["response"].to_pylist(), dtype=np.object_)
        else:
            replies = np.full(self.table.num_rows, None, dtype=np.object_)
        # Numbers of tokens are checked as they stand before the whole ones are used.
        asked, told = (np.clip(tokens, 0, 2**53).astype(np.int64) for tokens in self._tokens.values())
        return Cells(
            self.ids,
            self.models,
            self.row_item[kept],
            self.row_model[kept],
            quality[kept],
            cost[kept],
            asked,
            told,
            replies[kept],
        )

    def _counted(self, column: str) -> NDArray[np.float64]:
        if column not in self.table.column_names:
            return np.zeros(self.table.num_rows)
        # pandas writes whole numbers with gaps as floats with NaN.
        return np.nan_to_num(numbers(self.path, self.table[column], column), nan=0.0)

    def _same_per_item(self, column: str) -> list[str]:
        of_row, texts = codes(self.table[column])
        _, first = np.unique(self.row_item, return_index=True)
        of_item = of_row[first]
        rows = np.flatnonzero(of_row != of_item[self.row_item])
        if rows.size:
            culprit = self.ids[self.row_item[rows[0]]]
            fail(self.path, f"{column} differs between the rows of {culprit}: one sample_id, one {column}")
        return [texts[code] for code in of_item.tolist()]

    def items(self) -> list[Item]:
        """The items as the table itself tells them."""
        return [
            plain_item(item_id, category, prompt, None)
            for item_id, category, prompt in zip(self.ids, self.categories, self.prompts, strict=True)
        ]


def _matching_items(path: Path, long: _LongTable) -> tuple[list[Item], list[str]]:
    """The items of the file that the table has outcomes of, and the categories that it has none of."""
    table, _ = read_table(path, ITEM_COLUMNS, OPTIONAL_ITEM_COLUMNS)
    targets = table["target"].to_pylist() if "target" in table.column_names else [None] * table.num_rows
    listed = [
        plain_item(item_id, category, prompt, target)
        for item_id, category, prompt, target in zip(
            table["id"].to_pylist(),
            table["category"].to_pylist(),
            table["input"].to_pylist(),
            targets,
            strict=True,
        )
    ]
    check_ids(path, [item.id for item in listed])
    known = {item.id: item for item in listed}
    prompts = dict(zip(long.ids, long.prompts, strict=True))
    unknown = [item_id for item_id in long.ids if item_id not in known]
    if unknown:
        fail(
            path,
            f"has no item for {len(unknown)} sample_ids of {long.path}, first {listing(unknown[:SHOWN])}: "
            "pass the items that the outcomes were recorded on",
        )
    covered = {known[item_id].category for item_id in long.ids}
    bare = [item.id for item in listed if item.category in covered and item.id not in prompts]
    if bare:
        fail(
            path,
            f"holds {len(bare)} items that {long.path} has no outcomes of, first {listing(bare[:SHOWN])}: "
            "record them or take them out of the file",
        )
    for item_id, prompt in prompts.items():
        if known[item_id].messages[0]["content"] != prompt:
            fail(
                path,
                f"input of {item_id} is not the prompt that {long.path} was recorded with: pass the items that the "
                "outcomes were recorded on",
            )
    left_out = sorted({item.category for item in listed} - covered)
    return [item for item in listed if item.id in prompts], left_out
