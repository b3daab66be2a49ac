"""RouterBench's wide files: pickles and CSV copies."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.bench.importers import read_routerbench
from app.core.errors import ConfigError
from tests.bench.pickles.make import COLUMNS, FOLDER, MODELS

CHEAP, DEAR = MODELS[1], MODELS[0]


def table(**changes: Any) -> dict[str, list[Any]]:
    columns = {name: list(values) for name, values in COLUMNS.items()}
    columns |= {name.replace("__", "|"): values for name, values in changes.items()}
    return {name: values for name, values in columns.items() if values is not None}


def write_csv(folder: Path, columns: dict[str, list[Any]], *, index: bool = False) -> Path:
    """As pandas' `to_csv` writes it."""
    path = folder / "routerbench.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", *columns] if index else list(columns))
        for row, fields in enumerate(zip(*columns.values(), strict=True)):
            written = ["" if field is None else field for field in fields]
            writer.writerow([row, *written] if index else written)
    return path


def check(path: Path) -> None:
    imported = read_routerbench(path, "rb")
    suite = imported.suite
    assert [(item.id, item.category) for item in suite.items] == [
        ("mmlu-astronomy.val.5", "mmlu-astronomy"),
        ("mtbench.dev.1", "mtbench"),
        ("mtbench.dev.2", "mtbench"),
    ]
    assert suite.items[0].messages == [{"role": "user", "content": 'It\'s a "test"\n? é漢'}]
    assert suite.items[1].messages == [{"role": "user", "content": "first"}, {"role": "user", "content": "second"}]
    assert suite.recorded is not None
    assert suite.recorded.models == MODELS
    assert suite.recorded.quality.T.tolist() == [COLUMNS[DEAR], COLUMNS[CHEAP]]
    assert suite.recorded.cost.T.tolist() == [COLUMNS[f"{DEAR}|total_cost"], COLUMNS[f"{CHEAP}|total_cost"]]
    assert suite.recorded.replies.tolist() == [["A", "A"], ["Hi\n'there'"] * 2, ["", ""]]
    assert imported.left_out == ()
    assert imported.notes == ()
    assert len(suite.digest) == 64


@pytest.mark.parametrize("name", ["pandas-1.5.3", "pandas-2.0.3-protocol-2", "pandas-2.2.3", "pandas-2.2.3-indexed"])
def test_pickles(name: str) -> None:
    check(FOLDER / f"{name}.pkl")


@pytest.mark.parametrize("index", [False, True])
def test_csv_copies_with_and_without_the_index(tmp_path: Path, index: bool) -> None:
    check(write_csv(tmp_path, table(), index=index))


def test_a_copy_read_and_written_again_calls_its_index_unnamed(tmp_path: Path) -> None:
    check(write_csv(tmp_path, {"Unnamed: 0": [0, 1, 2], **table()}))


def test_parquet_copies(tmp_path: Path) -> None:
    path = tmp_path / "routerbench.parquet"
    pq.write_table(pa.table(table()), path)
    check(path)


def test_columns_of_retrieval_are_left_out_and_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path, table(source=["a", "b", "c"], **{"you.com": ["x", "y", "z"]}))
    imported = read_routerbench(path, "rb")
    assert imported.left_out == ("source", "you.com")
    assert "Columns left out: source, you.com." in imported.suite.description


def test_scores_may_be_written_as_truth(tmp_path: Path) -> None:
    suite = read_routerbench(write_csv(tmp_path, table(**{CHEAP: [True, False, True]})), "rb").suite
    assert suite.recorded is not None
    assert suite.recorded.quality[:, 1].tolist() == [1.0, 0.0, 1.0]


def test_the_first_row_of_an_id_counts(tmp_path: Path) -> None:
    doubled = {name: [*values, values[0]] for name, values in table().items()}
    doubled[CHEAP][3] = 0.5
    imported = read_routerbench(write_csv(tmp_path, doubled), "rb")
    assert imported.suite.recorded is not None
    assert imported.suite.recorded.quality.shape == (3, 2)
    assert imported.suite.recorded.quality[0, 1] == 1.0
    assert "1 rows repeat a sample_id; the first of each counts." in imported.notes


def test_an_oracle_that_is_none_is_noted(tmp_path: Path) -> None:
    written = table(oracle_model_to_route_to=["no_model_correct", DEAR, "gone"])
    notes = read_routerbench(write_csv(tmp_path, written), "rb").notes
    assert "oracle_model_to_route_to names models without columns: gone." in notes
    assert "oracle_model_to_route_to is not a best model on 1 of 2 items; it is not used." in notes


def test_missing_cells_are_an_error_unless_allowed(tmp_path: Path) -> None:
    cost = f"{CHEAP}|total_cost"
    path = write_csv(tmp_path, table(**{CHEAP: [1.0, None, 0.25], cost: [0.1, None, 0.0]}))
    with pytest.raises(ConfigError, match=r"1 of 6 cells .* first \(mtbench.dev.1, mistralai/mistral-7b-chat\)"):
        read_routerbench(path, "rb")
    suite = read_routerbench(path, "rb", allow_missing=True).suite
    assert suite.recorded is not None
    assert np.isnan(suite.recorded.quality).tolist() == [[False, False], [False, True], [False, False]]
    assert np.isnan(suite.recorded.cost).tolist() == [[False, False], [False, True], [False, False]]
    assert suite.recorded.replies[1, 1] is None
    assert "1 of 6 cells are missing." in suite.description


def test_replies_that_are_no_lists_are_taken_as_they_stand(tmp_path: Path) -> None:
    replies = ["plain", "[1] is a footnote", "['a', 'b']"]
    suite = read_routerbench(write_csv(tmp_path, table(**{f"{DEAR}|model_response": replies})), "rb").suite
    assert suite.recorded is not None
    assert suite.recorded.replies[:, 0].tolist() == ["plain", "[1] is a footnote", "a\nb"]


def test_prompts_may_be_plain_or_name_roles(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    suite = read_routerbench(write_csv(tmp_path, table(prompt=["plain", str(chat), "['half \\ud800']"])), "rb").suite
    assert suite.items[0].messages == [{"role": "user", "content": "plain"}]
    assert suite.items[1].messages == chat
    assert suite.items[2].messages[0]["content"] == "half \N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"sample_id": None}, "column 'sample_id' is missing"),
        ({"eval_name": ["a", None, "a"]}, "column 'eval_name' is empty in row 1"),
        ({f"{DEAR}|total_cost": None, f"{CHEAP}|total_cost": None}, "has no model: for each one a column of its name"),
        ({"prompt": ["a", "[1 + 1]", "b"]}, "prompt of mtbench.dev.1 is no list of messages"),
        ({"prompt": ["a", "[]", "b"]}, "prompt of mtbench.dev.1 is no list of messages"),
        ({"prompt": ["a", "[__import__('os').abort()]", "b"]}, "prompt of mtbench.dev.1 is no list of messages"),
        ({"prompt": ["a", "[" * 500 + "]" * 500, "b"]}, "prompt of mtbench.dev.1 is no list of messages"),
        ({"prompt": ["a", "['" + "x" * 1_000_001 + "']", "b"]}, "prompt of mtbench.dev.1 is no list of messages"),
        ({"prompt": ["a", "[3]", "b"]}, "prompt of mtbench.dev.1 holds a int: each message must be a text"),
        ({CHEAP: [1.0, "good", 0.0]}, "column 'mistralai/mistral-7b-chat' holds 'good' in row 1, not a number"),
        (
            {CHEAP: [1.0, 10.0, 0.0]},
            "quality of (mtbench.dev.1, mistralai/mistral-7b-chat) is 10.0, which lies outside",
        ),
        ({CHEAP: [1.0, None, 0.0]}, "quality of (mtbench.dev.1, mistralai/mistral-7b-chat) is nan"),
        ({f"{CHEAP}|total_cost": [1.0, -1.0, 0.0]}, "is -1.0, which is not a cost in USD"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    path = write_csv(tmp_path, table(**changes))
    with pytest.raises(ConfigError) as caught:
        read_routerbench(path, "rb")
    assert caught.value.message.startswith(f"{path}: ")
    assert line in caught.value.message
    assert "\n" not in caught.value.message


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_routerbench(tmp_path / "none.csv", "rb")
    for raw, line in [
        (b"", "is empty"),
        (b"a,b\n1\n", "is not a proper CSV file"),
        (b"a,a\n1,2\n", "column 'a' stands there more than once"),
        (b"sample_id,m,m|total_cost\n", "is empty: it needs one row"),
        (b"a\n\xff\xfe\n", "is not a proper CSV file"),
    ]:
        path = tmp_path / "x.csv"
        path.write_bytes(raw)
        with pytest.raises(ConfigError, match=line):
            read_routerbench(path, "rb")
