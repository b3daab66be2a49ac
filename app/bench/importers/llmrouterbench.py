"""LLMRouterBench's result files: one JSON file for each dataset, split and model.

They stand at `results/bench/<dataset>/<split>/<model>/<dataset>-<split>-<model>-<time>.json` and hold `dataset_name`,
`split`, `model_name`, `demo` and `records`, each with `index, origin_query, prompt, prompt_tokens, completion_tokens,
cost` (USD), `score, prediction, ground_truth, raw_output`. Older ones lack the names, which their folders then give.
Source: ynulihao/LLMRouterBench (Li et al. 2026, arXiv:2601.07206).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from app.bench.importers.complaints import fail, read_bytes
from app.bench.importers.documents import count, field, money, parse_object
from app.bench.importers.findings import Imported, describe
from app.bench.importers.gathering import Answer, Gathering
from app.bench.suite import Item, Suite

_TIME = re.compile(r"(\d{8}_\d{6})\.json$")


@dataclass(frozen=True)
class _Run:
    path: Path
    dataset: str
    split: str
    model: str
    records: list[dict[str, Any]]


def read_llmrouterbench(paths: Sequence[Path], name: str, *, allow_missing: bool = False) -> Imported:
    """The suite of result files (folders: all JSON files below them), graded as recorded.

    Items are `<dataset>/<split>/<index>`, categories the datasets; a target is the ground truth where that is a text.
    Trial runs (`demo`) are left out; of several files for the same dataset, split and model the latest counts, by the
    time in its name. A record without a score is a missing cell. Every model must have every item, unless
    `allow_missing`. Raises `ConfigError` where a file or a cell is wrong, or two models were not asked the same.
    """
    runs, notes = _latest(paths)
    gathering = Gathering()
    for run in runs:
        for place, record in enumerate(run.records):
            where = f"record {place}"
            index = field(run.path, record, "index", (int, str), where)
            item = Item(
                id=f"{run.dataset}/{run.split}/{index}",
                category=run.dataset,
                messages=_messages(run.path, record, where),
                target=_target(record.get("ground_truth")),
            )
            asked = record.get("origin_query", record.get("prompt"))
            gathering.add(run.path, item, asked, run.model, _answer(record))
    suite, more = gathering.suite(paths[0], name, allow_missing=allow_missing)
    notes += more
    said = describe(f"LLMRouterBench: recorded outcomes of {len(gathering.models)} models.", suite.recorded, (), *notes)
    return Imported(Suite(name, suite.items, recorded=suite.recorded, description=said), notes=tuple(notes))


def _latest(paths: Sequence[Path]) -> tuple[list[_Run], list[str]]:
    files = [file for path in paths for file in (sorted(path.rglob("*.json")) if path.is_dir() else [path])]
    latest: dict[tuple[str, str, str], _Run] = {}
    trials = older = 0
    for file in sorted(files, key=lambda file: (_time(file), file)):
        document = parse_object(file, read_bytes(file, "a result file of LLMRouterBench"), "it")
        if document.get("demo") is True:
            trials += 1
            continue
        run = _run(file, document)
        key = (run.dataset, run.split, run.model)
        older += key in latest
        latest[key] = run
    if not latest:
        fail(paths[0], "holds no result file: pass results/bench, or files in it")
    notes = []
    if trials:
        notes.append(f"{trials:,} trial runs left out.")
    if older:
        notes.append(f"{older:,} files left out for a later one of the same dataset, split and model.")
    return [latest[key] for key in sorted(latest)], notes


def _time(file: Path) -> str:
    found = _TIME.search(file.name)
    return found[1] if found else ""


def _run(file: Path, document: dict[str, Any]) -> _Run:
    records = field(file, document, "records", list, "it")
    if not records or not all(isinstance(record, dict) for record in records):
        fail(file, "'records' is not a list of objects: pass a file as LLMRouterBench writes it")
    dataset, split, model = (
        _name(file, document, key, file.absolute().parts[place : place + 1])
        for key, place in (("dataset_name", -4), ("split", -3), ("model_name", -2))
    )
    return _Run(file, dataset, split, model, records)


def _name(file: Path, document: dict[str, Any], key: str, folder: Sequence[str]) -> str:
    """What the document says, else the folder it should lie in."""
    given = document.get(key)
    if isinstance(given, str) and given:
        return given
    if not folder or not folder[0].strip("/"):
        fail(file, f"{key!r} is missing, and no folder gives it: keep the file at <dataset>/<split>/<model>/")
    return folder[0]


def _messages(path: Path, record: dict[str, Any], where: str) -> list[dict[str, Any]]:
    prompt = record.get("prompt") or record.get("origin_query")
    if isinstance(prompt, list) and prompt and all(_is_message(part) for part in prompt):
        return [{"role": part["role"], "content": part["content"]} for part in prompt]
    if isinstance(prompt, list | dict):
        prompt = msgspec.json.encode(prompt).decode()
    if not isinstance(prompt, str):
        fail(path, f"{where}: 'prompt' is missing: pass a file as LLMRouterBench writes it")
    return [{"role": "user", "content": prompt}]


def _is_message(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("role"), str) and isinstance(part.get("content"), str | list)


def _target(truth: Any) -> str | None:
    return truth if isinstance(truth, str) and truth else None


def _score(record: dict[str, Any]) -> float | None:
    """A number, or whether it was right; None where there is neither."""
    value = record.get("score")
    return None if not isinstance(value, int | float) or value != value else float(value)


def _answer(record: dict[str, Any]) -> Answer:
    score = _score(record)
    reply = next((record[key] for key in ("raw_output", "prediction") if isinstance(record.get(key), str)), None)
    if score is None:
        return Answer(np.nan, np.nan, 0, 0, None)
    paid = money(record, "cost")
    return Answer(
        score,
        np.nan if paid is None else paid,
        count(record, "prompt_tokens"),
        count(record, "completion_tokens"),
        reply,
    )
