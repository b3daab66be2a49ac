"""Importing suites: what comes through unchanged, and the one clear line for all that is wrong."""

from __future__ import annotations

import csv
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.bench.importers import import_items, import_outcomes, read_items, read_outcomes
from app.core.errors import ConfigError

SHARED = Path(os.environ.get("HULLSPEED_SHARED", Path(__file__).parents[2].parent / "shared")) / "data"
COSTS = [0.1 + 0.2, 1e-9, 0.0003159, 0.0]


def recorded_file(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not in {SHARED}; point HULLSPEED_SHARED at the shared folder")
    return path


def columns(**changes: Any) -> dict[str, Any]:
    """Two items by two models, rows out of order."""
    return {
        "sample_id": ["q2", "q1", "q1", "q2"],
        "dataset": ["d2", "d1", "d1", "d2"],
        "prompt": ["second", "first", "first", "second"],
        "model": ["m1", "m2", "m1", "m2"],
        "quality": [0.0, 0.5, 1.0, 0.25],
        "prompt_tokens": [2, 1, 1, 2],
        "completion_tokens": [10, 20, 30, 40],
        "cost_usd": COSTS,
        "response": ["q2 m1", "q1 m2", "q1 m1", "q2 m2"],
    } | changes


def write(folder: Path, name: str, table: dict[str, Any]) -> Path:
    path = folder / name
    pq.write_table(pa.table(table), path)
    return path


def outcomes_file(folder: Path, **changes: Any) -> Path:
    kept = {name: values for name, values in columns(**changes).items() if values is not None}
    return write(folder, "outcomes.parquet", kept)


def items_file(folder: Path, **changes: Any) -> Path:
    table = {
        "id": ["q1", "q2"],
        "category": ["c1", "c2"],
        "input": ["first", "second"],
        "target": ["one", "two"],
    } | changes
    return write(folder, "items.parquet", {name: values for name, values in table.items() if values is not None})


def test_cells_land_where_they_belong(tmp_path: Path) -> None:
    suite = import_outcomes(outcomes_file(tmp_path), None, "mine")
    assert suite.name == "mine"
    assert [(item.id, item.category, item.target) for item in suite.items] == [("q2", "d2", None), ("q1", "d1", None)]
    assert suite.items[0].messages == [{"role": "user", "content": "second"}]
    recorded = suite.recorded
    assert recorded is not None
    assert recorded.models == ("m1", "m2")
    assert recorded.quality.tolist() == [[0.0, 0.25], [1.0, 0.5]]
    assert recorded.cost.tolist() == [[COSTS[0], COSTS[3]], [COSTS[2], COSTS[1]]]
    assert recorded.prompt_tokens.tolist() == [[2, 2], [1, 1]]
    assert recorded.completion_tokens.tolist() == [[10, 40], [30, 20]]
    assert recorded.replies.tolist() == [["q2 m1", "q2 m2"], ["q1 m1", "q1 m2"]]
    assert not suite.simulated


def test_items_give_order_categories_and_targets(tmp_path: Path) -> None:
    suite = import_outcomes(outcomes_file(tmp_path), items_file(tmp_path), "mine", grader="exact")
    assert [(item.id, item.category, item.target) for item in suite.items] == [("q1", "c1", "one"), ("q2", "c2", "two")]
    assert suite.grader == "exact"
    assert suite.recorded is not None
    assert suite.recorded.quality.tolist() == [[1.0, 0.5], [0.0, 0.25]]


def test_texts_and_tokens_may_be_absent(tmp_path: Path) -> None:
    bare = import_outcomes(
        outcomes_file(tmp_path, response=None, prompt_tokens=None, completion_tokens=[1.0, None, float("nan"), 4.0]),
        None,
        "mine",
    )
    assert bare.recorded is not None
    assert bare.recorded.replies.tolist() == [[None, None], [None, None]]
    assert bare.recorded.prompt_tokens.tolist() == [[0, 0], [0, 0]]
    assert bare.recorded.completion_tokens.tolist() == [[1, 4], [0, 0]]


def test_further_columns_and_categories_are_left_out_and_named(tmp_path: Path) -> None:
    items = items_file(
        tmp_path, id=["q1", "q2", "q3"], category=["c1", "c2", "c3"], input=["first", "second", "third"], target=None
    )
    suite = import_outcomes(outcomes_file(tmp_path, contaminated=[True, False, True, False]), items, "mine")
    assert "Columns left out: contaminated." in suite.description
    assert "Categories without outcomes, left out: c3." in suite.description
    assert [item.id for item in suite.items] == ["q1", "q2"]


def test_other_types_of_columns_are_read(tmp_path: Path) -> None:
    suite = import_outcomes(
        outcomes_file(
            tmp_path,
            quality=[False, True, True, False],
            model=pa.array(["m1", "m2", "m1", "m2"]).dictionary_encode(),
            cost_usd=pa.array([Decimal("0.10"), Decimal("0.20"), Decimal("0.30"), Decimal("0.40")]),
        ),
        None,
        "mine",
    )
    assert suite.recorded is not None
    assert suite.recorded.quality.tolist() == [[0, 0], [1, 1]]
    assert suite.recorded.cost.tolist() == [[0.1, 0.4], [0.3, 0.2]]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"quality": None}, "column 'quality' is missing"),
        ({"quality": ["a", "b", "c", "d"]}, "column 'quality' holds string, not a number"),
        ({"prompt": [1, 2, 2, 1]}, "column 'prompt' holds int64, not text"),
        ({"quality": [0.0, None, 1.0, 1.0]}, "column 'quality' is null in 1 rows, first row 1"),
        ({"model": ["m1", None, "m1", "m2"]}, "column 'model' is null in 1 rows, first row 1"),
        ({"model": ["m1", "", "m1", ""]}, "column 'model' has an empty text"),
        ({"quality": [0.0, float("nan"), 1.0, 1.0]}, "quality of (q1, m2) is nan, which is not known: fill it in"),
        ({"quality": [0.0, 1.5, 1.0, -1.0]}, "quality of (q1, m2) is 1.5, which lies outside [0, 1]: scale or repair "),
        ({"cost_usd": [0.0, -0.1, 0.0, 0.0]}, "cost_usd of (q1, m2) is -0.1, which is not a cost in USD"),
        ({"cost_usd": [0.0, float("nan"), 0.0, 0.0]}, "cost_usd of (q1, m2) is nan"),
        ({"cost_usd": [0.0, float("inf"), 0.0, 0.0]}, "cost_usd of (q1, m2) is inf"),
        ({"prompt_tokens": [1.5, 1.0, 1.0, 1.0]}, "prompt_tokens of (q2, m1) is 1.5, which is not a number of tokens"),
        ({"completion_tokens": [1, 1, -1, 1]}, "completion_tokens of (q1, m1) is -1"),
        ({"model": ["m1", "m1", "m1", "m2"]}, "1 cells stand there more than once, first (q1, m1)"),
        ({"model": ["m1", "m2", "m1", "m3"]}, "2 of 6 cells (sample_id, model) are missing, first (q2, m2), (q1, m3)"),
        ({"prompt": ["second", "first", "FIRST", "second"]}, "prompt differs between the rows of q1"),
        ({"dataset": ["d2", "d1", "d1", "d1"]}, "dataset differs between the rows of q2"),
        ({name: pa.array([], type=pa.string()) for name in columns()}, "column 'quality' holds string"),
    ],
)
def test_what_is_wrong_with_outcomes_is_said_in_one_line(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    path = outcomes_file(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        import_outcomes(path, None, "mine")
    message = caught.value.message
    assert message.startswith(f"{path}: ")
    assert line in message
    assert "\n" not in message


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.parquet"
    pq.write_table(pa.table(columns()).slice(0, 0), path)
    with pytest.raises(ConfigError, match="is empty"):
        import_outcomes(path, None, "mine")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"id": None}, "column 'id' is missing"),
        ({"id": ["q1", "q1"]}, "id 'q1' stands there more than once"),
        ({"id": ["q1", ""]}, "column 'id' has an empty text"),
        ({"id": ["q1", "q9"]}, "has no item for 1 sample_ids of"),
        ({"input": ["first", "2nd"]}, "input of q2 is not the prompt that"),
        ({"target": ["one", None]}, "item 'q2' has no target: grader 'answer' needs one"),
        ({"target": None}, "item 'q1' has no target"),
        (
            {"id": [*"12345", "q1", "q2"], "category": ["c1"] * 7, "input": ["x"] * 7, "target": ["y"] * 7},
            "holds 5 items that",
        ),
    ],
)
def test_what_is_wrong_with_items_is_said_in_one_line(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    outcomes, items = outcomes_file(tmp_path), items_file(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        import_outcomes(outcomes, items, "mine", grader="answer")
    assert caught.value.message.startswith(f"{items}: ")
    assert line in caught.value.message
    assert "\n" not in caught.value.message


def test_first_items_without_outcomes_are_listed(tmp_path: Path) -> None:
    ids = ["q1", "q2", "n1", "n2", "n3", "n4"]
    items = items_file(tmp_path, id=ids, category=["c"] * 6, input=["first", "second", *"abcd"], target=["t"] * 6)
    with pytest.raises(ConfigError, match=r"holds 4 items .* no outcomes of, first n1, n2, n3: "):
        import_outcomes(outcomes_file(tmp_path), items, "mine")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        import_outcomes(tmp_path / "none.parquet", None, "mine")
    with pytest.raises(ConfigError, match="is not a file"):
        import_outcomes(tmp_path, None, "mine")
    text = tmp_path / "text.parquet"
    text.write_text("sample_id,model\n")
    with pytest.raises(ConfigError, match="is not a Parquet file"):
        import_outcomes(text, None, "mine")
    # Intact at the end, where the schema stands, but not in the data.
    damaged = outcomes_file(tmp_path)
    raw = damaged.read_bytes()
    damaged.write_bytes(raw[:4] + bytes(200) + raw[204:])
    with pytest.raises(ConfigError, match="is damaged"):
        import_outcomes(damaged, None, "mine")


def test_graders_are_checked_before_the_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no grader is called 'best': use one of answer, choice"):
        import_outcomes(tmp_path / "none.parquet", None, "mine", grader="best")
    with pytest.raises(ConfigError, match="needs targets"):
        import_outcomes(tmp_path / "none.parquet", None, "mine", grader="exact")


def jsonl(folder: Path, *lines: Any) -> Path:
    path = folder / "items.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def line_of(**changes: Any) -> dict[str, Any]:
    return {"id": "a", "category": "c", "input": "hello", "target": "1"} | changes


def test_items_of_a_jsonl_file(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hello"}]
    path = jsonl(
        tmp_path,
        "\ufeff" + json.dumps(line_of()),
        "",
        line_of(id="b", input=chat, grader="number"),
        line_of(id="c", grader=""),
    )
    suite = import_items(path, "mine", "exact")
    assert [item.id for item in suite.items] == ["a", "b", "c"]
    assert suite.items[0].messages == [{"role": "user", "content": "hello"}]
    assert suite.items[1].messages == chat
    assert [item.grader for item in suite.items] == [None, "number", None]
    assert (suite.name, suite.grader, suite.recorded) == ("mine", "exact", None)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: "),
        ("[]", "line 2: Expected `object`"),
        ('{"id": "\xff"', "line 2: "),
        (line_of(id="b", colour="red"), "line 2: Object contains unknown field `colour`"),
        ({"id": "b", "category": "c"}, "line 2: Object missing required field `input`"),
        (line_of(id="b", target=3), "line 2: Expected `str | null`, got `int` - at `$.target`"),
        (line_of(), "line 2: id 'a' stands on line 1 already"),
        (line_of(id=""), "line 2: id is empty"),
        (line_of(id="b", input=[]), "line 2: input is an empty list"),
        (line_of(id="b", input=[{"role": "user"}]), "line 2: input[0] is not a chat message"),
        (line_of(id="b", target=None), "line 2: item 'b' has no target"),
        (line_of(id="b", grader="best"), "line 2: no grader is called 'best'"),
        (line_of(id="b", grader="regex", target="("), "line 2: target '(' is no RE2 pattern"),
        (line_of(id="b", grader="json", target="{'a': 1}"), "is not JSON"),
        (line_of(id="b", grader="number", target="many"), "holds no number"),
        (line_of(id="b", grader="choice", target="Z"), "is not a letter from A to J"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(tmp_path: Path, line: Any, complaint: str) -> None:
    path = jsonl(tmp_path, line_of(), line)
    with pytest.raises(ConfigError) as caught:
        import_items(path, "mine", "exact")
    assert caught.value.message.startswith(f"{path}: ")
    assert complaint in caught.value.message
    assert "\n" not in caught.value.message


def test_items_need_a_file_something_in_it_and_a_grader(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        import_items(tmp_path / "none.jsonl", "mine")
    with pytest.raises(ConfigError, match="holds no items"):
        import_items(jsonl(tmp_path, "", "  "), "mine")
    with pytest.raises(ConfigError, match="line 1: item 'a' has no grader"):
        import_items(jsonl(tmp_path, line_of()), "mine")


def write_csv(folder: Path, name: str, table: dict[str, Any]) -> Path:
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


def test_a_csv_of_outcomes_gives_the_same_suite(tmp_path: Path) -> None:
    table = columns(response=['a\n"b", c', "é", "NA", " "], extra=["x"] * 4)
    read = read_outcomes(write_csv(tmp_path, "outcomes.csv", {"": range(4), **table}), None, "mine")
    wanted = read_outcomes(write(tmp_path, "outcomes.parquet", table), None, "mine")
    assert read.left_out == wanted.left_out == ("extra",)
    assert read.suite.digest == wanted.suite.digest
    assert read.suite.recorded is not None
    assert wanted.suite.recorded is not None
    for name in ("quality", "cost", "prompt_tokens", "completion_tokens", "replies"):
        assert getattr(read.suite.recorded, name).tolist() == getattr(wanted.suite.recorded, name).tolist()


def test_a_csv_says_which_row_is_wrong(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "outcomes.csv", columns(quality=[0.0, "good", 1.0, 0.5]))
    with pytest.raises(ConfigError, match="column 'quality' holds 'good' in row 1, not a number"):
        import_outcomes(path, None, "mine")
    path = write_csv(tmp_path, "outcomes.csv", columns(prompt=["second", "", "first", "second"]))
    with pytest.raises(ConfigError, match="column 'prompt' is null in 1 rows, first row 1"):
        import_outcomes(path, None, "mine")


@pytest.mark.parametrize("empty", [None, float("nan")])
def test_missing_cells_are_counted_where_they_are_allowed(tmp_path: Path, empty: float | None) -> None:
    gap = columns(quality=[0.0, empty, 1.0, 0.25], cost_usd=[0.1, empty, 0.2, 0.3])
    path = write(tmp_path, "outcomes.parquet", gap)
    with pytest.raises(ConfigError):
        import_outcomes(path, None, "mine")
    recorded = import_outcomes(path, None, "mine", allow_missing=True).recorded
    assert recorded is not None
    assert np.isnan(recorded.quality).tolist() == [[False, False], [False, True]]
    assert np.isnan(recorded.cost).tolist() == [[False, False], [False, True]]
    assert recorded.completion_tokens.tolist() == [[10, 40], [30, 0]]
    assert recorded.replies[1, 1] is None


def test_rows_that_are_not_there_are_missing_cells(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.parquet"
    pq.write_table(pa.table(columns()).slice(0, 3), path)
    with pytest.raises(ConfigError, match=r"1 of 4 cells .* first \(q2, m2\)"):
        import_outcomes(path, None, "mine")
    suite = import_outcomes(path, None, "mine", allow_missing=True)
    assert suite.recorded is not None
    assert np.isnan(suite.recorded.quality).tolist() == [[False, True], [False, False]]
    assert "1 of 4 cells are missing." in suite.description


def test_half_a_cell_is_an_error_even_where_gaps_are_allowed(tmp_path: Path) -> None:
    path = outcomes_file(tmp_path, quality=[0.0, None, 1.0, 0.25])
    with pytest.raises(ConfigError, match=r"quality of \(q1, m2\) is nan"):
        import_outcomes(path, None, "mine", allow_missing=True)
    path = outcomes_file(tmp_path, cost_usd=[0.0, None, 1.0, 0.25])
    with pytest.raises(ConfigError, match=r"cost_usd of \(q1, m2\) is nan"):
        import_outcomes(path, None, "mine", allow_missing=True)


def test_items_of_a_csv_file(tmp_path: Path) -> None:
    table = {"id": ["a", "b"], "category": ["c", "c"], "input": ["one\ntwo", "three"], "target": ["1", "2"]}
    path = write_csv(tmp_path, "items.csv", table | {"grader": ["number", ""], "by": ["me", "me"]})
    imported = read_items(path, "mine", "exact")
    assert [(item.id, item.target, item.grader) for item in imported.suite.items] == [
        ("a", "1", "number"),
        ("b", "2", None),
    ]
    assert imported.suite.items[0].messages == [{"role": "user", "content": "one\ntwo"}]
    assert imported.left_out == ("by",)
    with pytest.raises(ConfigError, match="row 2: item 'b' has no grader"):
        import_items(path, "mine")
    with pytest.raises(ConfigError, match="column 'category' is missing"):
        import_items(write_csv(tmp_path, "items.csv", {"id": ["a"], "input": ["x"]}), "mine", "exact")


def test_items_beside_outcomes_may_be_csv(tmp_path: Path) -> None:
    table = {"id": ["q1", "q2"], "category": ["c1", "c2"], "input": ["first", "second"], "target": ["one", ""]}
    suite = import_outcomes(outcomes_file(tmp_path), write_csv(tmp_path, "items.csv", table), "mine")
    assert [(item.id, item.target) for item in suite.items] == [("q1", "one"), ("q2", None)]


def test_real_outcomes_come_through_exactly() -> None:
    path = recorded_file("zeroeval_4sets_8models.parquet")
    suite = import_outcomes(path, recorded_file("zeroeval_items.parquet"), "zeroeval", grader="answer")
    assert suite.recorded is not None
    table = pq.read_table(path, columns=["sample_id", "model", "cost_usd", "quality"]).to_pydict()
    row = {item.id: place for place, item in enumerate(suite.items)}
    column = {model: place for place, model in enumerate(suite.recorded.models)}
    rows, places = [row[key] for key in table["sample_id"]], [column[key] for key in table["model"]]
    assert np.array_equal(suite.recorded.cost[rows, places], table["cost_usd"])
    assert np.array_equal(suite.recorded.quality[rows, places], table["quality"])
    assert suite.recorded.quality.shape == (3352, 8)
    # The golden figures of the best single model and of the oracle.
    best = column["gpt-4o-2024-05-13"]
    assert suite.recorded.quality[:, best].mean() == pytest.approx(0.8496, abs=5e-5)
    assert 1000 * suite.recorded.cost[:, best].mean() == pytest.approx(4.7501, abs=5e-5)
    assert suite.recorded.quality.max(axis=1).mean() == pytest.approx(0.9341, abs=5e-5)
    assert {item.category for item in suite.items} == {"crux", "gsm", "math-l5", "numersense"}


def test_real_outcomes_with_items_of_further_categories() -> None:
    suite = import_outcomes(
        recorded_file("zeroeval_gsm_crux_mathl5.parquet"), recorded_file("zeroeval_items.parquet"), "big"
    )
    assert suite.recorded is not None
    assert suite.recorded.quality.shape == (2840, 26)
    assert "left out: numersense" in suite.description


def test_real_outcomes_without_texts() -> None:
    suite = import_outcomes(recorded_file("routellm_mmlu_gsm8k_2models.parquet"), None, "two")
    assert suite.recorded is not None
    assert suite.recorded.quality.shape == (15361, 2)
    assert "Columns left out: contaminated." in suite.description
    assert sum(reply is None for reply in suite.recorded.replies.ravel()) == 28084
