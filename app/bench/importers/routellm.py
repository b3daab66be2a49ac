"""RouteLLM's response files: one row a prompt, a column per model that says whether it was right.

CSV with `prompt`, `<model>` (True or False) for each model and, in the GSM8K file, `<model>_response`; MMLU's 57
subjects are one file each, `mmlu_<subject>.csv`, without the responses, which are single letters there.
`contaminated_prompts.jsonl` beside them names, as `eval_prompt`, prompts that RouteLLM leaves out.
Source: lm-sys/RouteLLM, routellm/evals (Ong et al. 2024, arXiv:2406.18665).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.bench.importers.cells import Cells
from app.bench.importers.complaints import fail
from app.bench.importers.documents import read_lines
from app.bench.importers.findings import Imported, describe
from app.bench.importers.items import plain_item
from app.bench.importers.prices import CHARACTERS, check_prices, cost, rough_tokens
from app.bench.importers.wide import open_wide
from app.bench.suite import Item, Suite
from app.core.errors import ConfigError
from app.core.types import Price

RESPONSE = "_response"
_TRUTH = {"true", "false", "0", "1", "0.0", "1.0"}


@dataclass(frozen=True)
class _Part:
    """One file: n items, m models."""

    items: list[Item]
    models: list[str]
    quality: NDArray[np.float64]
    """Shape (n, m)."""
    replies: NDArray[np.object_]
    """Shape (n, m)."""
    left_out: list[str]
    """Columns that are neither of a model nor a response."""
    barred: int
    """Rows whose prompt is contaminated."""


class _Contaminated(msgspec.Struct):
    eval_prompt: str


def read_routellm(
    paths: Sequence[Path],
    name: str,
    *,
    prices: Mapping[str, Price],
    contaminated: Sequence[Path] = (),
    allow_missing: bool = False,
) -> Imported:
    """The suite of one or more response files (folders: all CSV files in them), graded as recorded.

    `prices`: by model, since the files hold no costs (see `parse_prices`); tokens are estimated from the lengths of
    the texts, and a model without a response column is taken to answer in one token. `contaminated`: files of prompts
    to leave out. `mmlu_<subject>.csv` gives items `mmlu/<subject>/<row>` of the category `mmlu`, another file items
    `<stem>/<row>` of the category `<stem>`, less `_responses`; rows count from 0.

    Every model must have a score for every prompt, unless `allow_missing`: then an empty cell is NaN in the suite.
    Raises `ConfigError`.
    """
    files = _files(paths)
    barred = frozenset(prompt for path in contaminated for prompt in read_contaminated(path))
    parts = [_part(path, barred, prices) for path in files]
    models = list(dict.fromkeys(model for part in parts for model in part.models))
    check_prices(files[0], prices, models)
    items = [item for part in parts for item in part.items]
    if not items:
        fail(files[0], "every prompt is contaminated: pass other files")
    quality, replies = _joined(parts, models, len(items))
    cells = _cells(items, models, quality, replies, prices)
    cells.check(files[0], allow_missing=allow_missing)
    recorded = cells.recorded([item.id for item in items])
    notes = [f"Costs are estimates: {CHARACTERS} characters a token, and one token where no response was kept."]
    if dropped := sum(part.barred for part in parts):
        notes.append(f"{dropped:,} contaminated prompts left out.")
    left_out = tuple(dict.fromkeys(column for part in parts for column in part.left_out))
    said = describe(f"RouteLLM: recorded outcomes of {len(models)} models.", recorded, left_out, *notes)
    return Imported(Suite(name, tuple(items), recorded=recorded, description=said), left_out, tuple(notes))


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        if not found:
            fail(path, "holds no CSV file: pass RouteLLM's response files")
        files += found
    names = Counter(_named(file) for file in files)
    for file in files:
        if names[_named(file)] > 1:
            fail(file, "another file gives its items the same ids, which are made of its name: rename one")
    if not files:
        raise ConfigError("name at least one of RouteLLM's response files, e.g. gsm8k_responses.csv")
    return files


def read_contaminated(path: Path) -> list[str]:
    """The prompts of a `contaminated_prompts.jsonl`. Raises `ConfigError`."""
    lines = read_lines(path, _Contaminated, "the path of a JSONL file of contaminated prompts")
    return [line.eval_prompt for line in lines]


def _part(path: Path, barred: Collection[str], prices: Mapping[str, Price]) -> _Part:
    table = open_wide(path)
    prompts = table.required("prompt")
    columns = [column for column in table.names if column != "prompt"]
    responses = {column + RESPONSE for column in columns} & set(columns)
    models = [
        column for column in columns if column not in responses and (column in prices or _judges(table.texts(column)))
    ]
    if not models:
        fail(path, "has no model: for each one a column of True and False is needed")
    kept = [row for row, prompt in enumerate(prompts) if prompt not in barred]
    category, stem = _named(path)
    items = [plain_item(f"{stem}/{row}", category, prompts[row], None) for row in kept]
    quality = np.stack([table.numbers(model)[kept] for model in models], axis=1)
    replies = np.full(quality.shape, None, dtype=np.object_)
    for column, model in enumerate(models):
        if model + RESPONSE in responses:
            texts = table.texts(model + RESPONSE)
            replies[:, column] = [texts[row] for row in kept]
    left_out = [column for column in columns if column not in responses and column not in models]
    return _Part(items, models, quality, replies, left_out, len(prompts) - len(kept))


def _judges(texts: Sequence[str | None]) -> bool:
    """Whether a column says of each prompt that a model was right or wrong."""
    said = {text.strip().lower() for text in texts if text}
    return bool(said) and said <= _TRUTH


def _named(path: Path) -> tuple[str, str]:
    """Category and beginning of the ids."""
    stem = path.stem.removesuffix("_responses")
    category, underscore, subject = stem.partition("_")
    if category == "mmlu" and underscore:
        return category, f"{category}/{subject}"
    return stem, stem


def _joined(parts: Sequence[_Part], models: Sequence[str], n: int) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    quality = np.full((n, len(models)), np.nan)
    replies = np.full((n, len(models)), None, dtype=np.object_)
    start = 0
    for part in parts:
        columns = np.array([models.index(model) for model in part.models])
        places = np.ix_(np.arange(start, start + len(part.items)), columns)
        quality[places], replies[places] = part.quality, part.replies
        start += len(part.items)
    return quality, replies


def _cells(
    items: Sequence[Item],
    models: Sequence[str],
    quality: NDArray[np.float64],
    replies: NDArray[np.object_],
    prices: Mapping[str, Price],
) -> Cells:
    asked = np.array([[rough_tokens(item.as_query().text)] * len(models) for item in items], dtype=np.int64)
    told = np.ones(quality.shape, dtype=np.int64)
    costs = np.full(quality.shape, np.nan)
    for row, column in np.argwhere(~np.isnan(quality)).tolist():
        reply = replies[row, column]
        if reply is not None:
            told[row, column] = rough_tokens(reply)
        costs[row, column] = cost(prices[models[column]], asked[row, column].item(), told[row, column].item())
    ids = [item.id for item in items]
    return Cells.of_matrices(ids, models, quality, costs, prompt_tokens=asked, completion_tokens=told, replies=replies)
