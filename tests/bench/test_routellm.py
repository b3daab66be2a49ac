"""RouteLLM's response files."""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from app.bench.importers import parse_prices, read_routellm
from app.core.errors import ConfigError

WEAK, STRONG = "mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"
PRICES = parse_prices([f"{WEAK}=0.6/0.6", f"{STRONG}=10/30"])
SHARED = Path(os.environ.get("HULLSPEED_SHARED", Path(__file__).parents[2].parent / "shared")) / "data"


def write(folder: Path, name: str, columns: dict[str, list[Any]]) -> Path:
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def gsm8k(folder: Path, **changes: Any) -> Path:
    columns = {
        "prompt": ["How many?\nSay.", "Which"],
        WEAK: [True, False],
        STRONG: [True, True],
        f"{WEAK}_response": ["12345678", "no"],
        f"{STRONG}_response": ["1234", 'yes, "it"\nis'],
    } | changes
    return write(folder, "gsm8k_responses.csv", columns)


def mmlu(folder: Path, subject: str, **changes: Any) -> Path:
    columns = {"prompt": [f"{subject} A?", f"{subject} B?"], WEAK: [False, False], STRONG: [True, False]} | changes
    return write(folder, f"mmlu_{subject}.csv", columns)


def test_files_become_one_suite(tmp_path: Path) -> None:
    imported = read_routellm([gsm8k(tmp_path), mmlu(tmp_path, "anatomy")], "two", prices=PRICES)
    suite = imported.suite
    assert [(item.id, item.category) for item in suite.items] == [
        ("gsm8k/0", "gsm8k"),
        ("gsm8k/1", "gsm8k"),
        ("mmlu/anatomy/0", "mmlu"),
        ("mmlu/anatomy/1", "mmlu"),
    ]
    recorded = suite.recorded
    assert recorded is not None
    assert recorded.models == (WEAK, STRONG)
    assert recorded.quality.tolist() == [[1, 1], [0, 1], [0, 1], [0, 0]]
    assert recorded.replies[:2].tolist() == [["12345678", "1234"], ["no", 'yes, "it"\nis']]
    assert recorded.replies[2:].tolist() == [[None, None], [None, None]]
    # 14 characters asked; 8 and 4 characters told, or one token where no text was kept.
    assert recorded.prompt_tokens[0].tolist() == [4, 4]
    assert recorded.completion_tokens.tolist() == [[2, 1], [1, 3], [1, 1], [1, 1]]
    assert recorded.cost[0].tolist() == [float(Decimal("0.0000036")), float(Decimal("0.00007"))]
    assert "Costs are estimates" in suite.description


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    mmlu(tmp_path, "virology")
    mmlu(tmp_path, "anatomy")
    suite = read_routellm([tmp_path], "mmlu", prices=PRICES).suite
    assert [item.id for item in suite.items][::2] == ["mmlu/anatomy/0", "mmlu/virology/0"]


def test_contaminated_prompts_are_left_out(tmp_path: Path) -> None:
    barred = tmp_path / "contaminated_prompts.jsonl"
    barred.write_text(json.dumps({"eval_prompt": "Which", "train_prompt": "which", "score": 0.97}) + "\n\n")
    imported = read_routellm([gsm8k(tmp_path)], "one", prices=PRICES, contaminated=[barred])
    assert [item.id for item in imported.suite.items] == ["gsm8k/0"]
    assert "1 contaminated prompts left out." in imported.notes


def test_other_columns_are_left_out_and_named(tmp_path: Path) -> None:
    imported = read_routellm([gsm8k(tmp_path, answer=["12", "it"])], "one", prices=PRICES)
    assert imported.left_out == ("answer",)


def test_missing_cells_are_an_error_unless_allowed(tmp_path: Path) -> None:
    paths = [gsm8k(tmp_path, **{WEAK: [True, ""]})]
    with pytest.raises(ConfigError, match=r"1 of 4 cells .* first \(gsm8k/1, mixtral"):
        read_routellm(paths, "one", prices=PRICES)
    suite = read_routellm(paths, "one", prices=PRICES, allow_missing=True).suite
    assert suite.recorded is not None
    assert np.isnan(suite.recorded.quality).tolist() == [[False, False], [True, False]]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"prompt": ["a", ""]}, "column 'prompt' is empty in row 1"),
        ({WEAK: ["True", "maybe"]}, f"column '{WEAK}' holds 'maybe' in row 1, not a number"),
        ({WEAK: [1, 9]}, f"quality of (gsm8k/1, {WEAK}) is 9.0, which lies outside [0, 1]"),
        ({"llama": [True, True]}, "holds no costs for 1 models, first llama: name their prices"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    path = gsm8k(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        read_routellm([path], "one", prices=PRICES)
    assert caught.value.message.startswith(f"{path}: ")
    assert line in caught.value.message


def test_files_that_cannot_be_one_suite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no CSV file"):
        read_routellm([tmp_path], "none", prices=PRICES)
    with pytest.raises(ConfigError, match="name at least one"):
        read_routellm([], "none", prices=PRICES)
    path = gsm8k(tmp_path)
    with pytest.raises(ConfigError, match="another file gives its items the same ids"):
        read_routellm([path, path], "twice", prices=PRICES)
    with pytest.raises(ConfigError, match="has no model"):
        read_routellm([write(tmp_path, "x.csv", {"prompt": ["a"], "text": ["b"]})], "none", prices={})
    barred = tmp_path / "barred.jsonl"
    barred.write_text('{"prompt": "Which"}')
    with pytest.raises(ConfigError, match="line 1: Object missing required field `eval_prompt`"):
        read_routellm([path], "one", prices=PRICES, contaminated=[barred])
    barred.write_text('{"eval_prompt": "Which"}\n' + json.dumps({"eval_prompt": "How many?\nSay."}))
    with pytest.raises(ConfigError, match="every prompt is contaminated"):
        read_routellm([path], "one", prices=PRICES, contaminated=[barred])


@pytest.mark.parametrize("text", ["m", "m=1", "m=1/x", "=1/2", "m=-1/2", "m=nan/1", "m=1/2/3"])
def test_prices_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="is not of the form model=INPUT/OUTPUT"):
        parse_prices([text])


def test_the_real_files_give_the_published_accuracies(tmp_path: Path) -> None:
    source = SHARED / "routellm_mmlu_gsm8k_2models.parquet"
    if not source.exists():
        pytest.skip(f"{source.name} is not in {SHARED}; point HULLSPEED_SHARED at the shared folder")
    wanted = ["sample_id", "prompt", "model", "quality", "response", "contaminated"]
    rows: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in pq.read_table(source, columns=wanted).to_pylist():
        rows[row["sample_id"]][row["model"]] = row
    files: dict[str, dict[str, list[Any]]] = {}
    barred = set()
    for sample, by_model in rows.items():
        dataset, *subject, _ = sample.split("/")
        name = f"mmlu_{subject[0]}.csv" if subject else f"{dataset}_responses.csv"
        columns = files.setdefault(name, defaultdict(list))
        columns["prompt"].append(next(iter(by_model.values()))["prompt"])
        for model, row in by_model.items():
            columns[model].append(bool(row["quality"]))
            if row["response"] is not None:
                columns[f"{model}_response"].append(row["response"])
            if row["contaminated"]:
                barred.add(row["prompt"])
    for name, columns in files.items():
        write(tmp_path, name, columns)
    listed = tmp_path / "contaminated_prompts.jsonl"
    listed.write_text("".join(json.dumps({"eval_prompt": prompt}) + "\n" for prompt in sorted(barred)))
    models = sorted({model for by_model in rows.values() for model in by_model}, key=lambda model: "gpt" in model)
    prices = parse_prices([f"{models[0]}=0.6/0.6", f"{models[1]}=10/30"])
    suite = read_routellm([tmp_path], "real", prices=prices, contaminated=[listed]).suite
    assert suite.recorded is not None
    quality = suite.recorded.quality[:, [suite.recorded.models.index(model) for model in models]]
    for category, n, weak, strong in (("mmlu", 14037, 68.09147, 80.58702), ("gsm8k", 1307, 63.73374, 85.76894)):
        of = np.array([item.category == category for item in suite.items])
        assert of.sum() == n
        assert (100 * quality[of].mean(axis=0)).round(5).tolist() == [weak, strong]


def test_files_whose_items_would_have_the_same_ids_are_refused(tmp_path: Path) -> None:
    first = gsm8k(tmp_path)
    second = first.rename(tmp_path / "gsm8k.csv")
    with pytest.raises(ConfigError, match="gives its items the same ids, which are made of its name: rename one"):
        read_routellm([gsm8k(tmp_path), second], "two", prices=PRICES)
