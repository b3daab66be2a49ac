"""A run in the files of other benches, so that their tools can look at it.

RouterArena takes one prediction file a router: a JSON list of `global index, prompt, prediction, generated_result,
cost, accuracy` (source: RouteWorks/RouterArena, router_inference/generate_prediction_file.py and
check_config_prediction_files.py; Lu et al. 2025, arXiv:2510.00202), beside a config that names the models.
RouterBench's tables are wide: columns `<name>`, `<name>|model_response`, `<name>|total_cost` for each model and in the
same way for each router at each of its settings (source: withmartian/routerbench, evaluate_routers.py; Hu et al. 2024,
arXiv:2403.12031).
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.bench.importers.complaints import SHOWN, listing
from app.bench.importers.routerbench import COST, NOBODY, ORACLE, REPLY
from app.bench.suite import Item, Recorded, Suite
from app.core.errors import ConfigError
from app.store.runs import ResultRow
from routers.base import message_text


def routerarena(results: Iterable[ResultRow], suite: Suite, *, router: str, tradeoff: float) -> bytes:
    """RouterArena's prediction file of one router at one tradeoff, as JSON, items in the suite's order.

    `global index` is the item's id and `prompt` the text of its last message: for a submission import RouterArena's
    own prompts with their indices as ids. `cost` is USD, `accuracy` the quality in [0, 1]. `generated_result` holds
    reply and tokens where the suite has recorded that model's; else it is null, and RouterArena asks the model itself.

    Raises `ConfigError` where the run holds nothing of that router and tradeoff, or a call failed before any model was
    chosen: RouterArena wants a model for every prompt.
    """
    found = _of(results, suite, router, tradeoff)
    unrouted = [item.id for item, result in found if result.model is None]
    if unrouted:
        raise ConfigError(
            f"{len(unrouted)} items have no model, first {listing(unrouted[:SHOWN])}: RouterArena wants one for every "
            "prompt, so run them again"
        )
    replies = _Replies(suite)
    entries = [
        {
            "global index": item.id,
            "prompt": item.as_query().text,
            "prediction": result.model,
            "generated_result": replies.generated(item, result),
            "cost": None if result.cost_usd is None else float(result.cost_usd),
            "accuracy": _quality(result),
        }
        for item, result in found
    ]
    return (json.dumps(entries, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "replace")


def routerarena_config(results: Iterable[ResultRow], *, router: str, tradeoff: float) -> bytes:
    """The config that RouterArena wants beside a prediction file: the router's name and the models it chose."""
    models = {row.model for row in results if row.router == router and row.tradeoff == tradeoff and row.model}
    config = {"pipeline_params": {"router_name": router, "models": sorted(models)}}
    return (json.dumps(config, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "replace")


def routerbench(results: Iterable[ResultRow], suite: Suite) -> bytes:
    """A wide CSV in RouterBench's columns, one row an item of the run in the suite's order.

    For each recorded model its score, reply and cost; for each router at each tradeoff the same under the name
    `<router>|tradeoff:<t>`, and the model that answered under `<router>|tradeoff:<t>|model`. A call that failed scores
    0 and costs what was billed; a field is empty where nothing is known. Raises `ConfigError` where there is no result.
    """
    by_item: dict[str, dict[str, ResultRow]] = {}
    settings: dict[str, None] = {}
    for row in results:
        name = f"{row.router}|tradeoff:{row.tradeoff:g}"
        settings[name] = None
        by_item.setdefault(row.item, {})[name] = row
    items = [(place, item) for place, item in enumerate(suite.items) if item.id in by_item]
    if not items:
        raise ConfigError(f"the run holds no result of an item of suite `{suite.name}`: export it with its own suite")
    replies = _Replies(suite)
    models = suite.recorded.models if suite.recorded is not None else ()
    buffer = io.StringIO(newline="")
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(_header(models, list(settings)))
    for place, item in items:
        fields: list[Any] = [item.id, repr([message_text(message) for message in item.messages]), item.category]
        if suite.recorded is not None:
            fields += _recorded_fields(suite.recorded, place)
        for name in settings:
            result = by_item[item.id].get(name)
            fields += ["", "", "", ""] if result is None else _result_fields(item, result, replies)
        table.writerow(fields)
    return buffer.getvalue().encode("utf-8", "replace")


def write(path: Path, raw: bytes) -> None:
    """Put `raw` at `path`, all of it or nothing. Raises `ConfigError` where it cannot be written."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with fresh.open("xb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}): choose another place") from None


def _of(results: Iterable[ResultRow], suite: Suite, router: str, tradeoff: float) -> list[tuple[Item, ResultRow]]:
    rows = list(results)
    wanted = {row.item: row for row in rows if row.router == router and row.tradeoff == tradeoff}
    found = [(item, wanted[item.id]) for item in suite.items if item.id in wanted]
    if not found:
        there = sorted({f"{row.router} at {row.tradeoff:g}" for row in rows})
        raise ConfigError(
            f"the run holds no result of router `{router}` at tradeoff {tradeoff:g} on suite `{suite.name}`: "
            f"it has {listing(there) or 'none at all'}"
        )
    return found


def _quality(result: ResultRow) -> float | None:
    return result.quality if result.answered else 0.0


class _Replies:
    """Texts and tokens of recorded models."""

    def __init__(self, suite: Suite) -> None:
        self.recorded = suite.recorded
        self.row = {item.id: place for place, item in enumerate(suite.items)}
        models = suite.recorded.models if suite.recorded is not None else ()
        self.column = {model: place for place, model in enumerate(models)}

    def generated(self, item: Item, result: ResultRow) -> dict[str, Any] | None:
        """RouterArena's `generated_result`; None where the suite knows no reply."""
        reply = self.text(item, result)
        if not result.answered:
            return {
                "generated_answer": "",
                "success": False,
                "token_usage": None,
                "provider": None,
                "error": result.error,
            }
        if reply is None or self.recorded is None:
            return None
        cell = self.row[item.id], self.column[result.model or ""]
        asked, told = int(self.recorded.prompt_tokens[cell]), int(self.recorded.completion_tokens[cell])
        usage = {"input_tokens": asked, "output_tokens": told, "total_tokens": asked + told}
        return {"generated_answer": reply, "success": True, "token_usage": usage, "provider": None, "error": None}

    def text(self, item: Item, result: ResultRow) -> str | None:
        """What the model that answered is recorded to have said."""
        if self.recorded is None or result.model not in self.column:
            return None
        reply = self.recorded.replies[self.row[item.id], self.column[result.model]]
        return reply if isinstance(reply, str) else None


def _header(models: Sequence[str], settings: Sequence[str]) -> list[str]:
    columns = ["sample_id", "prompt", "eval_name"]
    for model in models:
        columns += [model, model + REPLY, model + COST]
    if models:
        columns.append(ORACLE)
    for name in settings:
        columns += [name, name + REPLY, name + COST, f"{name}|model"]
    return columns


def _recorded_fields(recorded: Recorded, row: int) -> list[Any]:
    fields: list[Any] = []
    for place in range(len(recorded.models)):
        reply = recorded.replies[row, place]
        fields += [
            _number(recorded.quality[row, place]),
            "" if reply is None else repr([reply]),
            _number(recorded.cost[row, place]),
        ]
    return [*fields, _oracle(recorded, row)]


def _oracle(recorded: Recorded, row: int) -> str:
    """The best model, the cheapest of those; nobody where no model scores."""
    quality = np.nan_to_num(recorded.quality[row])
    if quality.max() <= 0:
        return NOBODY
    cost = np.where(quality == quality.max(), np.nan_to_num(recorded.cost[row], nan=np.inf), np.inf)
    return recorded.models[int(cost.argmin())]


def _result_fields(item: Item, result: ResultRow, replies: _Replies) -> list[Any]:
    reply = replies.text(item, result) if result.answered else None
    quality = _quality(result)
    return [
        "" if quality is None else repr(quality),
        "" if reply is None else repr([reply]),
        "" if result.cost_usd is None else str(result.cost_usd),
        result.model or "",
    ]


def _number(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))
