"""RouterBench's wide files: one row a prompt, columns for eleven models.

Columns: `sample_id`, `prompt` (a list of messages written out as Python writes it), `eval_name`, and for each model
`<model>` (its score in [0, 1]), `<model>|model_response` and `<model>|total_cost` (USD), and
`oracle_model_to_route_to`. The files are pickles; copies in CSV and Parquet carry the same columns.
Source: withmartian/routerbench (Hu et al. 2024, arXiv:2403.12031).
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.bench.importers.cells import Cells
from app.bench.importers.complaints import SHOWN, fail, listing
from app.bench.importers.findings import Imported, describe
from app.bench.importers.wide import Wide, open_wide
from app.bench.suite import Item, Suite
from app.store.text import clean

COST, REPLY = "|total_cost", "|model_response"
ORACLE, NOBODY = "oracle_model_to_route_to", "no_model_correct"
LONGEST = 1_000_000
"""Most characters of a written-out list that are parsed: parsing takes many times the text in memory."""


def read_routerbench(path: Path, name: str, *, allow_missing: bool = False) -> Imported:
    """The suite of a wide file, graded as recorded; categories are the names of the evals.

    A model is whatever has both a column of its name and one of its costs; all further columns (the settings with
    retrieval have some) are left out and named. Scores and costs are kept as they stand. Where an id stands on several
    rows the first counts, as in RouterBench's own tables. Every score and cost must be there, unless `allow_missing`:
    then a cell with neither is NaN in the suite. Tokens are unknown.

    Raises `ConfigError` where the file, a column or a cell is wrong, and where a pickle names anything that a table
    does not need; nothing in it is ever run.
    """
    table = open_wide(path)
    models = [name for name in table.names if name + COST in table.names]
    if not models:
        fail(path, f"has no model: for each one a column of its name and `<name>{COST}` are needed")
    ids, prompts, categories = (table.required(column) for column in ("sample_id", "prompt", "eval_name"))
    rows = np.sort(np.unique(np.array(ids, dtype=np.object_), return_index=True)[1])
    items = [
        Item(id=ids[row], category=categories[row], messages=clean(_messages(path, ids[row], prompts[row])))
        for row in rows.tolist()
    ]
    quality = np.stack([table.numbers(model)[rows] for model in models], axis=1)
    cost = np.stack([table.numbers(model + COST)[rows] for model in models], axis=1)
    order = [item.id for item in items]
    cells = Cells.of_matrices(order, models, quality, cost, replies=_replies(table, models, rows))
    cells.check(path, allow_missing=allow_missing)
    taken = {
        "sample_id",
        "prompt",
        "eval_name",
        ORACLE,
        *models,
        *(m + COST for m in models),
        *(m + REPLY for m in models),
    }
    left_out = tuple(column for column in table.names if column not in taken)
    notes = _notes(table, rows, models, quality)
    recorded = cells.recorded(order)
    said = describe(f"RouterBench: recorded outcomes of {len(models)} models.", recorded, left_out, *notes)
    return Imported(Suite(name, tuple(items), recorded=recorded, description=said), left_out, notes)


def _messages(path: Path, item_id: str, written: str) -> list[dict[str, Any]]:
    if not written.lstrip().startswith("["):
        return [{"role": "user", "content": written}]
    parts = _parsed(written)
    if not isinstance(parts, list) or not parts:
        fail(path, f"prompt of {item_id} is no list of messages: write it as Python writes a list of texts")
    messages: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, str):
            messages.append({"role": "user", "content": part})
        elif isinstance(part, dict) and isinstance(part.get("role"), str) and isinstance(part.get("content"), str):
            messages.append({"role": part["role"], "content": part["content"]})
        else:
            fail(path, f"prompt of {item_id} holds a {type(part).__name__}: each message must be a text")
    return messages


def _parsed(written: str) -> Any:
    """The value of a Python literal; None where it is none, or too long to parse."""
    if len(written) > LONGEST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stray backslash in a text is no concern of the user's
            return ast.literal_eval(written.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _replies(table: Wide, models: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.object_]:
    """Shape (rows, models)."""
    grid = np.full((len(rows), len(models)), None, dtype=np.object_)
    for column, model in enumerate(models):
        if model + REPLY in table.names:
            texts = table.texts(model + REPLY)
            grid[:, column] = [clean(_reply(texts[row])) for row in rows.tolist()]
    return grid


def _reply(written: str | None) -> str | None:
    """The reply's text. A copy may hold it plainly, so what is no list is the text itself."""
    if written is None or not written.startswith("["):
        return written
    parts = _parsed(written)
    if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
        return "\n".join(parts)
    return written


def _notes(
    table: Wide, rows: NDArray[np.int64], models: Sequence[str], quality: NDArray[np.float64]
) -> tuple[str, ...]:
    notes = []
    if len(rows) < table.rows:
        notes.append(f"{table.rows - len(rows):,} rows repeat a sample_id; the first of each counts.")
    if ORACLE in table.names:
        written = table.texts(ORACLE)
        named = [written[row] for row in rows.tolist()]
        place = {model: column for column, model in enumerate(models)}
        strange = sorted({str(model) for model in named if model != NOBODY and model not in place})
        if strange:
            notes.append(f"{ORACLE} names models without columns: {listing(strange[:SHOWN])}.")
        best = np.nan_to_num(quality).max(axis=1)
        agrees = [
            (best[row] == 0) if model == NOBODY else quality[row, place[model]] == best[row]
            for row, model in enumerate(named)
            if model == NOBODY or model in place
        ]
        if not all(agrees):
            wrong = len(agrees) - int(sum(agrees))
            notes.append(f"{ORACLE} is not a best model on {wrong:,} of {len(agrees):,} items; it is not used.")
    return tuple(notes)
