"""A run in RouterArena's and RouterBench's files."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.bench import exports
from app.bench.importers import read_routerbench
from app.bench.suite import Item, Suite
from app.core.errors import ConfigError
from app.store.runs import ResultRow
from tests.bench.tables import small_suite


def suite() -> Suite:
    quality, cost = [[0.5, 1.0], [0.0, 0.0], [1.0, 1.0]], [[0.1, 0.1 + 0.2], [0.2, 0.4], [0.3, 0.1]]
    made = small_suite(quality, cost, models=("weak", "strong"))
    items = (
        Item(
            id="ArcMMLU_655",
            category="mmlu",
            messages=[{"role": "system", "content": "Be short."}, {"role": "user", "content": 'It\'s\n"é"'}],
        ),
        *made.items[1:],
    )
    assert made.recorded is not None
    replies = np.array([["w0", "s0\n"], [None, "s1"], ["w2", "s2"]], dtype=object)
    tokens = np.array([[3, 4], [5, 6], [7, 8]])
    recorded = replace(made.recorded, replies=replies, prompt_tokens=tokens, completion_tokens=tokens + 1)
    return replace(made, items=items, recorded=recorded)


def row(item: str, model: str | None, quality: float | None, cost: str | None, **changes: Any) -> ResultRow:
    fields: dict[str, Any] = {"router": "knn:k=5", "tradeoff": 0.2, "answered": True}
    paid = None if cost is None else Decimal(cost)
    return ResultRow(**(fields | {"item": item, "model": model, "quality": quality, "cost_usd": paid} | changes))


def results() -> list[ResultRow]:
    return [
        row("item-0002", "strong", 1.0, "0.1"),
        row("ArcMMLU_655", "strong", 1.0, "0.30000000000000004"),
        row("item-0001", "weak", None, "0.05", answered=False, error="timeout"),
        row("item-0002", "weak", 0.25, None, router="cheapest", tradeoff=1.0),
        row("ArcMMLU_655", "live-model", 0.75, "0.01", router="cheapest", tradeoff=1.0),
    ]


def test_routerarenas_prediction_file() -> None:
    entries = json.loads(exports.routerarena(results(), suite(), router="knn:k=5", tradeoff=0.2))
    assert [entry["global index"] for entry in entries] == ["ArcMMLU_655", "item-0001", "item-0002"]
    assert entries[0] == {
        "global index": "ArcMMLU_655",
        "prompt": 'It\'s\n"é"',
        "prediction": "strong",
        "generated_result": {
            "generated_answer": "s0\n",
            "success": True,
            "token_usage": {"input_tokens": 4, "output_tokens": 5, "total_tokens": 9},
            "provider": None,
            "error": None,
        },
        "cost": 0.1 + 0.2,
        "accuracy": 1.0,
    }
    failed = entries[1]
    assert (failed["prediction"], failed["cost"], failed["accuracy"]) == ("weak", 0.05, 0.0)
    assert failed["generated_result"] == {
        "generated_answer": "",
        "success": False,
        "token_usage": None,
        "provider": None,
        "error": "timeout",
    }


def test_routerarena_asks_where_no_reply_is_known() -> None:
    entries = json.loads(exports.routerarena(results(), suite(), router="cheapest", tradeoff=1.0))
    assert [entry["generated_result"] is None for entry in entries] == [True, False]
    bare = json.loads(exports.routerarena(results(), replace(suite(), recorded=None), router="cheapest", tradeoff=1.0))
    assert [entry["generated_result"] for entry in bare] == [None, None]
    assert [entry["cost"] for entry in bare] == [0.01, None]


def test_routerarenas_config_names_the_models_chosen() -> None:
    config = json.loads(exports.routerarena_config(results(), router="knn:k=5", tradeoff=0.2))
    assert config == {"pipeline_params": {"router_name": "knn:k=5", "models": ["strong", "weak"]}}


def test_routerarena_wants_results_and_a_model_for_each() -> None:
    with pytest.raises(ConfigError, match=r"no result of router `knn` .*: it has cheapest at 1, knn:k=5 at 0\.2"):
        exports.routerarena(results(), suite(), router="knn", tradeoff=0.2)
    with pytest.raises(ConfigError, match="it has none at all"):
        exports.routerarena([], suite(), router="knn", tradeoff=0.2)
    unrouted = [row("item-0001", None, None, None, answered=False)]
    with pytest.raises(ConfigError, match="1 items have no model, first item-0001"):
        exports.routerarena(unrouted, suite(), router="knn:k=5", tradeoff=0.2)


def test_routerbenchs_table() -> None:
    rows = list(csv.DictReader(io.StringIO(exports.routerbench(results(), suite()).decode(), newline="")))
    assert [fields["sample_id"] for fields in rows] == ["ArcMMLU_655", "item-0001", "item-0002"]
    first, second, third = rows
    assert first["prompt"] == str(["Be short.", 'It\'s\n"é"'])
    assert first["eval_name"] == "mmlu"
    assert (first["strong"], first["strong|total_cost"]) == ("1.0", "0.30000000000000004")
    assert first["strong|model_response"] == str(["s0\n"])
    assert [fields["oracle_model_to_route_to"] for fields in rows] == ["strong", "no_model_correct", "strong"]
    name = "knn:k=5|tradeoff:0.2"
    assert (first[name], first[f"{name}|total_cost"], first[f"{name}|model"]) == (
        "1.0",
        "0.30000000000000004",
        "strong",
    )
    # A failed call scores 0 and costs what was billed.
    assert (second[name], second[f"{name}|total_cost"], second[f"{name}|model_response"]) == ("0.0", "0.05", "")
    cheapest = "cheapest|tradeoff:1"
    assert (third[cheapest], third[f"{cheapest}|total_cost"], third[f"{cheapest}|model"]) == ("0.25", "", "weak")
    assert [second[f"{cheapest}{part}"] for part in ("", "|total_cost", "|model", "|model_response")] == [""] * 4


def test_the_table_is_one_that_can_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    exports.write(path, exports.routerbench(results()[:3], suite()))
    imported = read_routerbench(path, "again")
    recorded, known = imported.suite.recorded, suite().recorded
    assert recorded is not None
    assert known is not None
    assert recorded.models == ("weak", "strong", "knn:k=5|tradeoff:0.2")
    assert recorded.quality[:, :2].tolist() == known.quality.tolist()
    assert recorded.cost[:, :2].tolist() == known.cost.tolist()
    assert recorded.replies[:, :2].tolist() == known.replies.tolist()
    assert recorded.quality[:, 2].tolist() == [1.0, 0.0, 1.0]
    assert imported.left_out == ("knn:k=5|tradeoff:0.2|model",)


def test_a_live_run_has_columns_of_its_routers_alone() -> None:
    raw = exports.routerbench(results(), replace(suite(), recorded=None)).decode()
    assert raw.splitlines()[0].startswith("sample_id,prompt,eval_name,knn:k=5|tradeoff:0.2,")
    with pytest.raises(ConfigError, match="holds no result of an item of suite `small`"):
        exports.routerbench([], suite())


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    exports.write(path, b"one")
    exports.write(path, b"two")
    assert path.read_bytes() == b"two"
    with pytest.raises(ConfigError, match="cannot be written"):
        exports.write(tmp_path / "none" / "file", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        exports.write(tmp_path / "folder", b"x")
    assert sorted(made.name for made in tmp_path.iterdir()) == ["file", "folder"]
