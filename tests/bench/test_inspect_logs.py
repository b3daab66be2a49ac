"""inspect_ai's eval logs, as JSON and as archives."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from app.bench.importers import parse_prices, read_inspect
from app.core.errors import ConfigError

PRICES = parse_prices(["openai/gpt-4o=2.5/10"])


def sample(name: str | int, **changes: Any) -> dict[str, Any]:
    made = {
        "id": name,
        "epoch": 1,
        "input": f"What is {name}?",
        "target": str(name),
        "messages": [
            {"id": "a", "role": "system", "content": "Be short."},
            {"id": "b", "role": "user", "content": [{"type": "text", "text": f"What is {name}?"}], "source": "input"},
            {"id": "c", "role": "assistant", "content": f"It is {name}.", "source": "generate"},
        ],
        "output": {
            "model": "gpt-4o-2024-08-06",
            "choices": [{"message": {"role": "assistant", "content": f"It is {name}."}, "stop_reason": "stop"}],
            "completion": f"It is {name}.",
            "usage": {"input_tokens": 20, "output_tokens": 4, "total_tokens": 24},
        },
        "scores": {"match": {"value": "C", "answer": str(name)}},
        "model_usage": {
            "openai/gpt-4o": {"input_tokens": 20, "output_tokens": 4, "total_tokens": 24},
            "openai/grader": {"input_tokens": 900, "output_tokens": 90, "total_tokens": 990},
        },
        "attachments": {},
    } | changes
    return {key: value for key, value in made.items() if value is not None}


def log(samples: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    spec = {
        "created": "2025-10-01T12:00:00+00:00",
        "task": "inspect_evals/gsm8k",
        "model": "openai/gpt-4o",
        "dataset": {"name": "gsm8k", "samples": len(samples)},
        "config": {"epochs": 1},
    } | changes
    return {"version": 2, "status": "success", "eval": spec, "plan": {"name": "plan"}, "samples": samples}


def as_json(folder: Path, document: dict[str, Any], name: str = "log.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(document, indent=2))
    return path


def as_archive(folder: Path, document: dict[str, Any], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "log.eval"
    head = {key: value for key, value in document.items() if key != "samples"}
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("_journal/start.json", json.dumps({"version": 2, "eval": document["eval"]}))
        archive.writestr("summaries.json", "[]")
        for made in document["samples"]:
            archive.writestr(f"samples/{made['id']}_epoch_{made['epoch']}.json", json.dumps(made))
        archive.writestr("header.json", json.dumps(head))
    return path


def as_zstandard(folder: Path, document: dict[str, Any], *, spoil: bool = False) -> Path:
    """An archive of zip method 93, put together by hand: zipfile writes it only since Python 3.14."""
    files = {"header.json": {key: value for key, value in document.items() if key != "samples"}}
    files |= {f"samples/{made['id']}_epoch_{made['epoch']}.json": made for made in document["samples"]}
    body, directory = b"", b""
    for name, content in files.items():
        raw = json.dumps(content).encode()
        packed = pa.Codec("zstd").compress(raw, asbytes=True)
        crc = zlib.crc32(raw) ^ int(spoil)
        fields = struct.pack("<5H3L2H", 63, 0, 93, 0, 33, crc, len(packed), len(raw), len(name), 0)
        directory += struct.pack("<4s1H", b"PK\x01\x02", 63) + fields
        directory += struct.pack("<3H2L", 0, 0, 0, 0, len(body)) + name.encode()
        body += b"PK\x03\x04" + fields + name.encode() + packed
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, len(files), len(files), len(directory), len(body), 0)
    path = folder / "log.eval"
    path.write_bytes(body + directory + end)
    return path


@pytest.mark.parametrize("form", ["json", "stored", "deflated", "zstandard"])
def test_a_log_in_any_form(tmp_path: Path, form: str) -> None:
    document = log([sample(1), sample("two", scores={"match": {"value": "I"}})])
    if form == "json":
        path = as_json(tmp_path, document)
    elif form == "zstandard":
        path = as_zstandard(tmp_path, document)
    else:
        path = as_archive(tmp_path, document, zipfile.ZIP_STORED if form == "stored" else zipfile.ZIP_DEFLATED)
    suite = read_inspect([path], "logs", prices=PRICES).suite
    assert [(item.id, item.category, item.target) for item in suite.items] == [
        ("gsm8k/1", "gsm8k", "1"),
        ("gsm8k/two", "gsm8k", "two"),
    ]
    assert suite.items[0].messages == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "What is 1?"}]},
    ]
    recorded = suite.recorded
    assert recorded is not None
    assert recorded.models == ("openai/gpt-4o",)
    assert recorded.quality.tolist() == [[1.0], [0.0]]
    assert recorded.cost.tolist() == [[9e-5], [9e-5]]
    assert recorded.prompt_tokens.tolist() == [[20], [20]]
    assert recorded.completion_tokens.tolist() == [[4], [4]]
    assert recorded.replies.tolist() == [["It is 1."], ["It is two."]]


def test_several_models_and_tasks_in_a_folder(tmp_path: Path) -> None:
    usage = {"other/m": {"input_tokens": 1, "output_tokens": 1, "total_cost": 0.25}}
    as_json(tmp_path, log([sample(1)]), "a.json")
    as_json(tmp_path, log([sample(1, model_usage=usage)], model="other/m", created="2025-10-02"), "b.json")
    suite = read_inspect([tmp_path], "logs", prices=PRICES).suite
    assert suite.recorded is not None
    assert suite.recorded.models == ("openai/gpt-4o", "other/m")
    assert suite.recorded.cost.tolist() == [[9e-5, 0.25]]


@pytest.mark.parametrize(
    ("value", "quality"),
    [("C", 1), ("P", 0.5), ("I", 0), ("N", 0), ("yes", 1), ("False", 0), ("0.3", 0.3), (0.7, 0.7), (True, 1), (1, 1)],
)
def test_values_of_scores(tmp_path: Path, value: Any, quality: float) -> None:
    path = as_json(tmp_path, log([sample(1, scores={"match": {"value": value}})]))
    suite = read_inspect([path], "logs", prices=PRICES).suite
    assert suite.recorded is not None
    assert suite.recorded.quality.tolist() == [[quality]]


def test_one_of_several_scorers_is_named(tmp_path: Path) -> None:
    path = as_json(tmp_path, log([sample(1, scores={"match": {"value": "I"}, "model_graded": {"value": "P"}})]))
    with pytest.raises(ConfigError, match="sample 1 was scored by match, model_graded: name the scorer that counts"):
        read_inspect([path], "logs", prices=PRICES)
    suite = read_inspect([path], "logs", scorer="model_graded", prices=PRICES).suite
    assert suite.recorded is not None
    assert suite.recorded.quality.tolist() == [[0.5]]
    with pytest.raises(ConfigError, match="was not scored by 'exact' but by match, model_graded"):
        read_inspect([path], "logs", scorer="exact", prices=PRICES)


def test_epochs_become_their_mean(tmp_path: Path) -> None:
    second = sample(1, epoch=2, scores={"match": {"value": "I"}}, output={"completion": "No."})
    imported = read_inspect([as_json(tmp_path, log([second, sample(1)]))], "logs", prices=PRICES)
    assert imported.suite.recorded is not None
    assert imported.suite.recorded.quality.tolist() == [[0.5]]
    assert imported.suite.recorded.replies.tolist() == [["It is 1."]]
    assert "1 cells are means over several epochs; the reply is the first one's." in imported.notes


@pytest.mark.parametrize("scores", [None, {"match": {"value": float("nan")}}])
def test_samples_without_a_score_are_missing(tmp_path: Path, scores: Any) -> None:
    failed = sample(2, scores=scores, error={"message": "timeout"})
    path = as_json(tmp_path, log([sample(1), failed]))
    with pytest.raises(ConfigError, match=r"1 of 2 cells .* first \(gsm8k/2, openai/gpt-4o\)"):
        read_inspect([path], "logs", prices=PRICES)
    imported = read_inspect([path], "logs", prices=PRICES, allow_missing=True)
    assert imported.suite.recorded is not None
    assert np.isnan(imported.suite.recorded.quality).tolist() == [[False], [True]]
    assert "1 samples failed or were not scored; they count as missing." in imported.notes


def test_the_latest_log_counts_and_unfinished_ones_are_named(tmp_path: Path) -> None:
    for value, day in ((0.25, "2025-10-03"), (0.75, "2025-10-04")):
        cancelled = log([sample(1, scores={"match": {"value": value}})], created=day) | {"status": "cancelled"}
        as_json(tmp_path, cancelled, f"{day}.json")
    imported = read_inspect([tmp_path], "logs", prices=PRICES)
    assert imported.suite.recorded is not None
    assert imported.suite.recorded.quality.tolist() == [[0.75]]
    assert imported.notes == (
        "1 logs left out for a later or finished one of the same task and model.",
        "Unfinished: gsm8k of openai/gpt-4o (cancelled).",
    )
    as_json(tmp_path, log([sample(1, scores={"match": {"value": 0.5}})], created="2025-10-02"), "done.json")
    imported = read_inspect([tmp_path], "logs", prices=PRICES)
    assert imported.suite.recorded is not None
    assert imported.suite.recorded.quality.tolist() == [[0.5]], "a finished one is not lost to one that was cut off"
    assert len(imported.notes) == 1


def test_a_sample_that_failed_says_nothing_about_what_was_asked(tmp_path: Path) -> None:
    # It never got to the system message that the others were asked with.
    failed = sample(1, messages=None, scores=None, output=None, error={"message": "timeout"})
    for name in ("a", "z"):  # before and after the model that answered
        as_json(tmp_path, log([failed], model=f"{name}/m"), f"{name}.json")
    as_json(tmp_path, log([sample(1)]), "m.json")
    suite = read_inspect([tmp_path], "logs", prices=PRICES, allow_missing=True).suite
    assert [message["role"] for message in suite.items[0].messages] == ["system", "user"]
    assert suite.recorded is not None
    assert suite.recorded.models == ("a/m", "openai/gpt-4o", "z/m")
    assert np.isnan(suite.recorded.quality).tolist() == [[True, False, True]]


def test_other_json_in_a_folder_of_logs_is_passed_over(tmp_path: Path) -> None:
    as_json(tmp_path, log([sample(1)]))
    as_json(tmp_path, {"eval_set_id": "x", "tasks": []}, "eval-set.json")
    as_json(tmp_path, {"log.json": {"eval": {}}}, "listing.json")
    assert len(read_inspect([tmp_path], "logs", prices=PRICES).suite.items) == 1


def test_inputs_attachments_and_targets(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Look:"}, {"type": "image", "image": "attachment://1f"}]
    documents = [
        sample(1, messages=None, target=["1", "one"]),
        sample(
            2, messages=None, input=[{"role": "user", "content": parts}], attachments={"1f": "data:image/png;base64,"}
        ),
        sample(3, messages=None, target=["only"], output={"choices": [{"message": {"content": [{"text": "a"}]}}]}),
    ]
    suite = read_inspect([as_json(tmp_path, log(documents))], "logs", prices=PRICES).suite
    assert [item.target for item in suite.items] == [None, "2", "only"]
    assert suite.items[0].messages == [{"role": "user", "content": "What is 1?"}]
    assert suite.items[1].messages[0]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,"},
    }
    assert suite.recorded is not None
    assert suite.recorded.replies[2, 0] == "a"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"scores": {"match": {"value": {"a": 1}}}}, 'sample 1 has score {"a": 1}, which is no number'),
        ({"scores": {"match": {"value": "good"}}}, 'sample 1 has score "good", which is no number'),
        ({"scores": {"match": {"value": 3}}}, "quality of (gsm8k/1, openai/gpt-4o) is 3.0"),
        ({"input": None, "messages": None}, "sample 1: 'input' is missing"),
        (
            {"messages": None, "input": [{"role": "user", "content": [{"type": "audio", "audio": "x"}]}]},
            "sample 1: its chat holds 'audio', and only text and images are taken",
        ),
        ({"messages": None, "input": [{"content": "x"}]}, "sample 1: a message of its chat has no role"),
    ],
)
def test_what_is_wrong_with_a_sample_is_said(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    path = as_json(tmp_path, log([sample(1, **changes)]))
    with pytest.raises(ConfigError) as caught:
        read_inspect([path], "logs", prices=PRICES)
    assert caught.value.message.startswith(f"{path}: ")
    assert line in caught.value.message
    assert "\n" not in caught.value.message


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no eval log"):
        read_inspect([tmp_path], "logs")
    with pytest.raises(ConfigError, match="holds no costs for 1 models, first openai/gpt-4o: name their prices"):
        read_inspect([as_json(tmp_path, log([sample(1)]))], "logs")
    with pytest.raises(ConfigError, match="'samples' is missing"):
        read_inspect([as_json(tmp_path, {"eval": {}})], "logs")
    other = as_json(tmp_path, log([sample(1, messages=None, input="Else?")], model="other/m"), "other.json")
    with pytest.raises(ConfigError, match="item gsm8k/1 is not the question that other models were asked"):
        read_inspect(
            [as_json(tmp_path, log([sample(1)])), other], "logs", prices=PRICES | parse_prices(["other/m=1/1"])
        )


def test_archives_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.eval"
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file"):
        read_inspect([path], "logs")
    path.write_bytes(b"PK\x03\x04 but no more")
    with pytest.raises(ConfigError, match="is not a zip archive that can be read"):
        read_inspect([path], "logs")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.json", "{}")
    with pytest.raises(ConfigError, match=r"has no header\.json"):
        read_inspect([path], "logs")
    with pytest.raises(ConfigError, match="its checksum is wrong"):
        read_inspect([as_zstandard(tmp_path, log([sample(1)]), spoil=True)], "logs", prices=PRICES)
    raw = as_zstandard(tmp_path, log([sample(1)])).read_bytes()
    path.write_bytes(raw.replace(struct.pack("<5H", 63, 0, 93, 0, 33), struct.pack("<5H", 63, 0, 97, 0, 33)))
    with pytest.raises(ConfigError, match=r"zip method 97, which is not read here: `inspect log convert --to json`"):
        read_inspect([path], "logs")
