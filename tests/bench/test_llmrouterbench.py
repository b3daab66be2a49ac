"""LLMRouterBench's result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.bench.importers import read_llmrouterbench
from app.core.errors import ConfigError


def record(index: int, /, **changes: Any) -> dict[str, Any]:
    return {
        "index": index,
        "origin_query": f"What is {index}?",
        "prompt": f"Question: What is {index}?\nAnswer:",
        "prompt_tokens": 15,
        "completion_tokens": 5,
        "cost": 0.1 + 0.2,
        "score": 1.0,
        "prediction": str(index),
        "ground_truth": str(index),
        "raw_output": f"It is {index}.",
        "extra_fields": {},
    } | changes


def write(
    root: Path,
    model: str,
    records: list[dict[str, Any]],
    *,
    dataset: str = "aime",
    time: str = "20251001_120000",
    **changes: Any,
) -> Path:
    """At the place and in the form that LLMRouterBench writes."""
    path = root / dataset / "test" / model / f"{dataset}-test-{model}-{time}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "performance": 0.5,
        "time_taken": 1.5,
        "prompt_tokens": 30,
        "completion_tokens": 10,
        "cost": 0.6,
        "counts": len(records),
        "model_name": model,
        "dataset_name": dataset,
        "split": "test",
        "demo": False,
        "extra_metrics": {},
        "data_fingerprint": "ab",
        "records": records,
    } | changes
    kept = {name: value for name, value in document.items() if value is not None}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False), encoding="utf-8")
    return path


def test_results_of_all_models_become_one_suite(tmp_path: Path) -> None:
    write(tmp_path, "qwen", [record(1), record(2, score=0.5, cost=0.0)])
    write(tmp_path, "gpt", [record(1, score=0.0, raw_output=["a", "b"]), record(2, ground_truth=["x"])])
    write(tmp_path, "gpt", [record(7)], dataset="mmlu")
    write(tmp_path, "qwen", [record(7)], dataset="mmlu")
    suite = read_llmrouterbench([tmp_path], "lrb").suite
    assert [(item.id, item.category) for item in suite.items] == [
        ("aime/test/1", "aime"),
        ("aime/test/2", "aime"),
        ("mmlu/test/7", "mmlu"),
    ]
    assert suite.items[0].messages == [{"role": "user", "content": "Question: What is 1?\nAnswer:"}]
    assert suite.items[0].target == "1"
    recorded = suite.recorded
    assert recorded is not None
    assert recorded.models == ("gpt", "qwen")
    assert recorded.quality.tolist() == [[0, 1], [1, 0.5], [1, 1]]
    assert recorded.cost.tolist() == [[0.1 + 0.2, 0.1 + 0.2], [0.1 + 0.2, 0.0], [0.1 + 0.2, 0.1 + 0.2]]
    assert recorded.prompt_tokens[0].tolist() == [15, 15]
    assert recorded.replies[0].tolist() == ["1", "It is 1."]


def test_the_latest_run_counts_and_trials_do_not(tmp_path: Path) -> None:
    write(tmp_path, "m", [record(1, score=0.25)], time="20251002_000000")
    write(tmp_path, "m", [record(1, score=0.5)], time="20250101_000000")
    write(tmp_path, "m", [record(1, score=0.75)], time="20260101_000000", demo=True)
    imported = read_llmrouterbench([tmp_path], "lrb")
    assert imported.suite.recorded is not None
    assert imported.suite.recorded.quality.tolist() == [[0.25]]
    assert imported.notes == (
        "1 trial runs left out.",
        "1 files left out for a later one of the same dataset, split and model.",
    )


def test_older_files_are_named_by_their_folders(tmp_path: Path) -> None:
    path = write(tmp_path, "m", [record(1)], model_name=None, dataset_name=None, split=None)
    suite = read_llmrouterbench([path], "lrb").suite
    assert [item.id for item in suite.items] == ["aime/test/1"]
    assert suite.recorded is not None
    assert suite.recorded.models == ("m",)


def test_a_record_without_a_score_is_a_missing_cell(tmp_path: Path) -> None:
    write(tmp_path, "a", [record(1, score=None), record(2)])
    write(tmp_path, "b", [record(1), record(2)])
    with pytest.raises(ConfigError, match=r"1 of 4 cells .* first \(aime/test/1, a\)"):
        read_llmrouterbench([tmp_path], "lrb")
    suite = read_llmrouterbench([tmp_path], "lrb", allow_missing=True).suite
    assert suite.recorded is not None
    assert np.isnan(suite.recorded.quality).tolist() == [[True, False], [False, False]]


def test_other_wordings_of_one_question_are_noted(tmp_path: Path) -> None:
    write(tmp_path, "a", [record(1)])
    write(tmp_path, "b", [record(1, prompt="Other words")])
    imported = read_llmrouterbench([tmp_path], "lrb")
    assert imported.suite.items[0].messages[0]["content"].startswith("Question")
    assert "1 items were worded differently for some models; the first wording counts." in imported.notes


def test_chats_and_half_characters_are_taken(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi \ud800"}]
    path = write(tmp_path, "a", [record(1)])
    document = json.loads(path.read_text())
    document["records"][0]["prompt"] = chat
    path.write_text(json.dumps(document))
    suite = read_llmrouterbench([path], "lrb").suite
    assert [message["role"] for message in suite.items[0].messages] == ["system", "user"]
    assert suite.items[0].messages[1]["content"] == "Hi \N{REPLACEMENT CHARACTER}"
    assert len(suite.digest) == 64


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"score": 7}, "quality of (aime/test/1, a) is 7.0, which lies outside [0, 1]"),
        ({"score": float("nan")}, "1 of 1 cells (sample_id, model) are missing, first (aime/test/1, a)"),
        ({"cost": None}, "cost_usd of (aime/test/1, a) is nan, which is not known: fill it in"),
        ({"index": None}, "record 0: 'index' is missing"),
        ({"prompt": None, "origin_query": None}, "record 0: 'prompt' is missing"),
    ],
)
def test_what_is_wrong_with_a_record_is_said(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    path = write(tmp_path, "a", [record(1, **changes)])
    with pytest.raises(ConfigError) as caught:
        read_llmrouterbench([path], "lrb")
    assert caught.value.message.startswith(f"{path}: ")
    assert line in caught.value.message


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no result file"):
        read_llmrouterbench([tmp_path], "lrb")
    path = tmp_path / "x.json"
    for raw, line in [
        ("{", "is not JSON"),
        ("[]", "is a JSON list, not an object"),
        ("{}", "'records' is missing"),
        ('{"records": [1]}', "'records' is not a list of objects"),
    ]:
        path.write_text(raw)
        with pytest.raises(ConfigError, match=line):
            read_llmrouterbench([path], "lrb")
    write(tmp_path / "r", "a", [record(1)])
    write(tmp_path / "r", "b", [record(1, origin_query="Another question")])
    with pytest.raises(ConfigError, match="item aime/test/1 is not the question that other models were asked"):
        read_llmrouterbench([tmp_path / "r"], "lrb")
    doubled = write(tmp_path, "c", [record(1), record(1)])
    with pytest.raises(ConfigError, match=r"\(aime/test/1, c\) stands there more than once"):
        read_llmrouterbench([doubled], "lrb")


def test_scores_of_any_kind(tmp_path: Path) -> None:
    write(tmp_path, "a", [record(1, score=True), record(2, score=False), record(3, score=float("nan"))])
    suite = read_llmrouterbench([tmp_path], "lrb", allow_missing=True).suite
    assert suite.recorded is not None
    assert suite.recorded.quality[:2].tolist() == [[1], [0]]
    assert np.isnan(suite.recorded.quality[2, 0])


def test_a_file_at_the_root_of_a_disk(tmp_path: Path) -> None:
    whole = write(tmp_path, "m", [record(1)])
    nameless = write(tmp_path, "n", [record(1)], split=None)
    shallow = Path(f"/tmp/hs-{tmp_path.name}-{whole.stat().st_ino}.json")
    try:
        shallow.write_bytes(whole.read_bytes())
        assert [item.id for item in read_llmrouterbench([shallow], "lrb").suite.items] == ["aime/test/1"]
        shallow.write_bytes(nameless.read_bytes())
        with pytest.raises(ConfigError, match="'split' is missing, and no folder gives it"):
            read_llmrouterbench([shallow], "lrb")
    finally:
        shallow.unlink()
