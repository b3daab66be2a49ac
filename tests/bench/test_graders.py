"""Graders: what counts as right, what does not, and that nothing a model writes can break or stall them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bench.graders import GRADERS, agreement, check_grader, check_target, grade, grade_recorded
from app.bench.importers import import_outcomes
from app.bench.suite import Item, Recorded, Suite
from app.core.errors import ConfigError
from routers.extraction import BUDGET, final_answer

SHARED = Path(os.environ.get("HULLSPEED_SHARED", Path(__file__).parents[2].parent / "shared")) / "data"


def broken(answer: str) -> str:
    """The JSON that models write: newlines and LaTeX unescaped, so that no parser takes it."""
    return f'```json\n{{\n    "reasoning": "so \\(x\\)\nand "quoted" text",\n    "answer": "{answer}"\n}}\n```'


RIGHT = {
    "exact": [
        ("  The  CAT ", "the cat"),
        ("42", "42"),
        ("Cafe\u0301", "café"),
    ],
    "contains": [
        ("It was Paris, surely.", "paris"),
        ("a  b\nc", "B C"),
        ("12 and 123", "123"),
        ("notebook and note", "note"),
        ("the +5 rule", "+5"),
    ],
    "number": [
        ("42", "42"),
        ("The answer is 42 because 6 × 7 gives that.", "42"),
        ("First 3, then 4, in the end 5", "5"),
        ("It costs $1,234.50.", "1234.5"),
        ("1.234,56 €", "1234.56"),
        ("1 234 567", "1234567"),
        ("1{,}234", "1234"),
        ("1_000_000", "1000000"),
        ("-7", "-7"),
        ("−7", "-7"),
        ("-$5", "-5"),
        ("$-5$", "-5"),
        ("6.02e23", "602000000000000000000000"),
        ("6.02 × 10^23", "6.02e23"),
        ("6.02 \\times 10^{23}", "6.02e23"),
        ("\\boxed{\\frac{3}{4}}", "0.75"),
        ("\\boxed{-\\dfrac{3}{4}}", "-3/4"),
        ("3/4", "0.75"),
        ("1 1/2 cups", "1.5"),
        ("1½", "1.5"),
        ("50 %", "50"),
        ("50%", "0.5"),
        ("0.5", "50%"),
        ("50", "50%"),
        ("2.5 million", "2500000"),
        ("5 apples", "5"),
        ("70°", "70"),
        ("90^\\circ", "90"),
        ("9.110", "9.11"),
        ("0.30000000000000004", "0.3"),
        ("So 6 × 7 = **42** apples, less than 50.", "42"),
        ("So the answer is **184**.", "184"),
        ("#### 1,000", "1000"),
        ("Reasoning 1 2 3\n#### 17", "17"),
        ('{"reasoning": "2 + 2", "answer": 4}', "4"),
        ("The final answer is: $\\boxed{-89}$", "-89"),
        ("10 - 3 = 7", "7"),
        ("a range of 3-5", "5"),
        (".5", "0.5"),
        ("221_3", "221"),
        ("221", "221_3"),
        ("1101₂", "1101"),
    ],
    "choice": [
        (reply, "B")
        for reply in (
            *("B", "b", "(B)", "B.", "B)", "**B**", "[B]", "`B`", "B) Paris", "B. Paris", "B: Paris", "$\\boxed{B}$"),
            *(
                "\\boxed{\\text{B}}",
                "\\boxed{(B)}",
                "Answer: B",
                "answer: b.",
                "The answer is B.",
                "The answer is (b).",
            ),
            *(
                "The correct option is B) Paris",
                "I choose B.",
                "I think the correct choice is **B**",
                "Option B is right",
            ),
            *('{"answer": "B"}', '{"answer": "B) Paris"}', "A is wrong, so it must be B.", "Final answer: **(B)**"),
            *(
                "A good question. It is B",
                "I would go with (B).",
                "The answer is option B",
                "A or B?\nAll in all:\n\n(B)",
                "Not A) but B)",
            ),
        )
    ]
    + [("The answer is A because it is.", "A"), ("The answer is I.", "I"), ("The answer is A", "(A)"), ("j", "J")],
    "regex": [("on 2024-05-01", r"\b2024-05-0[1-9]\b"), ("a\nb", "(?s)a.b"), ("Abc", "(?i)ABC"), ("x", "")],
    "json": [
        ('{"b": 1, "a": [1, 2]}', '{"a": [1, 2], "b": 1.0}'),
        ('```json\n{"a": null}\n```', '{"a": null}'),
        ("Here it is:\n```\n[1, 2]\n```\nEnjoy.", "[1, 2]"),
        ('  "x"  ', '"x"'),
        ("true", "true"),
    ],
    "answer": [
        ('{"answer": "42"}', "42"),
        ('{"answer": 42}', "42"),
        ('{"reasoning": "…", "answer": "$1,200.00"}', "1200"),
        (broken("42"), "42"),
        (broken('say \\"hi\\" twice'), 'say "hi" twice'),
        ('{"reasoning": "the "answer": is", "answer": "7",\n}', "7"),
        ('{"answer": "7".\n}', "7"),
        ('{"reasoning": "long", "answer": "the whole', "the whole"),
        ('{"answer": "___"}\nWait. {"answer": "7"}', "7"),
        ('{"answer": "7"}\nForm: {"answer": "___"}', "7"),
        ('{"answer": [1, 2]}', "[1, 2]"),
        ('{"answer": [(1, "a"), (2, "b")]}', "[(1, 'a'), (2, 'b')]"),
        ('{"answer": "\'abc\'"}', "'abc'"),
        ('{"answer": "abc"}', "'abc'"),
        ('{"answer": "\\"abc\\""}', "'abc'"),
        ('{"answer": " \'abc\' "}', "'abc'"),
        ('{"answer": ""}', "''"),
        ('{"answer": "a  b "}', "'a  b '"),
        ('{"answer": "one\\ntwo"}', "'one\\ntwo'"),
        ('{"answer": "one\\\\ntwo"}', "'one\\ntwo'"),
        ("{\"answer\": \"{'a': 1,'b':  None}\"}", "{'a': 1, 'b': None}"),
        ("{\"answer\": \"'{'a': 1}'\"}", "{'a': 1}"),
        ('{"answer": "*********"}', "'*********'"),
        ('{"answer": true}', "True"),
        ('{"answer": "caf\\u00e9"}', "café"),
        ("We get \\boxed{\\frac{1}{2}}", "1/2"),
        ("Hence $x = \\boxed{12}$.", "12"),
        ("The answer is Paris.", "paris"),
        ("The answer to the question is: **Paris**", "Paris"),
        ("Answer:\nParis", "Paris"),
        ("Let me think.\n\nAnswer: 'a b'", "'a b'"),
        ("I looked it up.\nParis", "Paris"),
        ("```\n[1, 2]\n```", "[1, 2]"),
        ("The code prints\n```python\n'ab'\n```", "'ab'"),
        ("Working\n#### 12", "12"),
        ("**Answer:** Paris", "Paris"),
        ("The **answer is Paris**.", "Paris"),
        ("Looking at the map, it must be **Paris** again.", "Paris"),
        ('{"answer": "\\ud83d\\ude00 \\\\frac{1}{2}"}', "😀 \\frac{1}{2}"),
        ('{"answer": "2 + 2 = 4"}', "4"),
        ('{"answer": "221"}', "221_3"),
        ('{"answer": "221_3"}', "221"),
        ('{"answer": "221_{3}"}', "221_3"),
        ("The answer is 14:35.", "14:35"),
        ("So it is **Tuesday**.\nThe final answer is Tuesday!", "Tuesday"),
    ],
}

WRONG = {
    "exact": [("The cat.", "the cat"), ("", "x")],
    "contains": [("123", "12"), ("known", "now"), ("anything", ""), ("", "x")],
    "number": [
        ("none", "0"),
        ("", "0"),
        ("42", "43"),
        ("12345678", "12345679"),
        ("-7", "7"),
        ("The answer is 41, not 42", "42"),
        ("The answer is 4√2", "4"),
        ("The answer is 2^10", "2"),
        ("The answer is 2**10", "10"),
        ("The answer is \\sqrt{2}", "2"),
        ("The answer is 12 or 13", "12"),
        ("The answer is 2, -\\frac{14}{5}", "2"),
        ("1/0", "1"),
        ("5e999999", "5"),
        ("x2", "2"),
        ("42", "no number"),
    ],
    "choice": [
        ("A", "B"),
        ("I think that nothing fits.", "I"),
        ("A pity, nothing fits.", "A"),
        ("The answer is a matter of taste.", "A"),
        ("", "A"),
        ("Because", "B"),
        ("B", "Z"),
    ],
    "regex": [("abc", "^b"), ("abc", "("), ("aa", r"(a)\1"), ("", "a")],
    "json": [
        ('Sure! {"a": 1}', '{"a": 1}'),
        ("1", "true"),
        ('{"a": 1}', '{"a": "1"}'),
        ('{"a": 1, "b": 2}', '{"a": 1}'),
        ("[1, 2]", "[2, 1]"),
        ("[1]", "[1, 1]"),
        ("NaN", "NaN"),
        ("{'a': 1}", '{"a": 1}'),
        ("", "null"),
        ("[" * 900 + "]" * 900, "[" * 900 + "1" + "]" * 900),
    ],
    "answer": [
        ('{"answer": "41"}', "42"),
        ('{"answer": "a b "}', "'a  b '"),
        ('{"answer": "ab "}', "'ab'"),
        ('{"answer": "upper"}', "'UppEr'"),
        ('{"answer": "[2, 1]"}', "[1, 2]"),
        ('{"answer": "[5]"}', "5"),
        ('{"answer": "*********"}', "'*'"),
        ('{"answer": "3\\\\sqrt{5}"}', "3"),
        ('{"answer": "2, -1"}', "2"),
        ('{"answer": ""}', "42"),
        ("Working " + "on and on " * 60, "on"),
        ("", ""),
    ],
}


@pytest.mark.parametrize(("grader", "reply", "target"), [(name, *case) for name in RIGHT for case in RIGHT[name]])
def test_right_replies(grader: str, reply: str, target: str) -> None:
    assert grade(grader, reply, target) == 1.0


@pytest.mark.parametrize(("grader", "reply", "target"), [(name, *case) for name in WRONG for case in WRONG[name]])
def test_wrong_replies(grader: str, reply: str, target: str) -> None:
    assert grade(grader, reply, target) == 0.0


def test_every_grader_has_cases_both_ways() -> None:
    assert set(RIGHT) == set(WRONG) == set(GRADERS)


def test_unknown_graders_are_named_with_the_known_ones() -> None:
    for call in (lambda: check_grader("best"), lambda: grade("best", "", "")):
        with pytest.raises(ConfigError, match=r"'best': use one of answer, choice, code, contains, exact, json, judge"):
            call()


@pytest.mark.parametrize(
    ("grader", "target"), [("regex", "a("), ("regex", r"(a)\1"), ("number", "x"), ("json", "{"), ("choice", "K")]
)
def test_targets_no_reply_can_meet_are_refused(grader: str, target: str) -> None:
    with pytest.raises(ConfigError, match="target "):
        check_target(grader, target)


@pytest.mark.parametrize(
    ("grader", "target"),
    [("regex", "a+"), ("number", "$5"), ("json", "[]"), ("choice", "C"), ("exact", ""), ("answer", "x")],
)
def test_other_targets_are_taken(grader: str, target: str) -> None:
    check_target(grader, target)


TEXT = st.text(st.characters(), max_size=400)
"""Half surrogate pairs included: JSON may hold them."""
PIECES = st.lists(
    st.sampled_from(
        [
            *(
                '"answer":',
                '"answer": "',
                "\\boxed{",
                "}",
                "{",
                "[",
                "]",
                '"',
                "'",
                "\\",
                "```",
                "```json\n",
                "\n",
                " ",
            ),
            *(
                "the answer is",
                "####",
                "12",
                "1,234",
                "/",
                "0",
                "%",
                "-",
                "^",
                "e9",
                "e99999",
                "=",
                "_",
                "√",
                "\\frac{",
            ),
            *("A", "B)", "(C)", "option", "I", "true", "null", "½", "٣", "²", "**", "$", ".", "\ud800", "\0", "__"),
        ]
    ),
    max_size=40,
).map("".join)


@pytest.mark.parametrize("grader", sorted(GRADERS))
@given(reply=TEXT | PIECES, target=TEXT | PIECES)
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_a_grader(grader: str, reply: str, target: str) -> None:
    assert 0.0 <= grade(grader, reply, target) <= 1.0


FITTING = {
    "answer": ("12", "'a'", "some words"),
    "choice": ("B",),
    "contains": ("12", "some words"),
    "exact": ("12", "some words"),
    "json": ("[1, 2]", '{"a": 1}'),
    "number": ("12",),
    "regex": ("(a+)+$", "some words"),
}
"""Targets of each grader's own kind; any text against any other is `test_no_text_breaks_a_grader`."""


@pytest.mark.parametrize("grader", sorted(GRADERS))
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "1",
            "1,111",
            ".111",
            "1/",
            "a",
            " ",
            "\n",
            '"',
            "'",
            "\\'",
            "\\",
            "[",
            "{",
            "```",
            "```\n",
            "`",
            "*",
            "$",
            "(A",
        ),
        *(
            '"answer":',
            '"answer": "',
            '"answer": "_" ',
            '"answer":,\n',
            "answer: . ",
            "answer for ",
            "\\boxed{",
            "#### ",
        ),
        *('"' + " " * 199, "\\frac{1}{", "x10^", "A ", "1_1", "-", "½", "12 or ", "\n#### ", "answer is is ", "]["),
    ],
)
def test_long_replies_are_read_in_time(grader: str, piece: str) -> None:
    # The suite's time limit per test is what fails here where a search is quadratic.
    reply = (piece * BUDGET)[: BUDGET + 7] + "z"
    for target in FITTING[grader]:
        assert grade(grader, reply, target) in (0.0, 1.0)


@given(st.integers(-(10**12), 10**12))
def test_an_integer_is_read_in_every_dress(value: int) -> None:
    for reply in (
        f"{value}",
        f"{value:,}",
        f"The answer is {value:,}.",
        f"\\boxed{{{value}}}",
        f'{{"answer": {value}}}',
    ):
        for grader in ("number", "answer"):
            assert grade(grader, reply, str(value)) == 1.0
            assert grade(grader, reply, str(value + 1)) == 0.0


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_a_string_survives_a_json_field(text: str) -> None:
    found = final_answer(json.dumps({"reasoning": "because", "answer": "|" + text + "|"}))
    assert found is not None
    # An escape before letters may be LaTeX that nobody escaped; it is then kept as it stands.
    if "\\" not in json.dumps(text, ensure_ascii=False) and '"' not in text:
        assert found.text == "|" + text + "|"


def test_only_the_end_of_a_very_long_reply_is_read() -> None:
    assert grade("answer", 'The answer is 1. {"answer": "1"}' + " word" * BUDGET + "\nThe answer is 2.", "2") == 1.0


def small(replies: list[list[str | None]], quality: list[list[float]], **changes: object) -> Suite:
    items = tuple(
        Item(id=f"q{row}", category="c", messages=[{"role": "user", "content": "?"}], target="7", grader=None)
        for row in range(len(replies))
    )
    zeros = np.zeros((len(replies), len(replies[0])))
    recorded = Recorded(
        models=tuple("ab"),
        quality=np.array(quality),
        cost=zeros,
        prompt_tokens=zeros.astype(np.int64),
        completion_tokens=zeros.astype(np.int64),
        replies=np.array(replies, dtype=np.object_),
    )
    fields: dict[str, object] = {"name": "small", "items": items, "grader": "number", "recorded": recorded}
    return Suite(**(fields | changes))  # type: ignore[arg-type]


def test_recorded_replies_are_graded_anew() -> None:
    suite = small([["7", "8"], ["it is 7", None]], [[1.0, 1.0], [0.0, np.nan]])
    assert np.array_equal(grade_recorded(suite), [[1, 0], [1, np.nan]], equal_nan=True)
    # "it is 7" holds the number but is not the whole reply.
    assert np.array_equal(grade_recorded(suite, "exact"), [[1, 0], [0, np.nan]], equal_nan=True)
    share, differing = agreement(suite)
    assert share == pytest.approx(1 / 3)
    assert [(cell.item, cell.model, cell.recorded, cell.graded) for cell in differing] == [
        ("q0", "b", 1.0, 0.0),
        ("q1", "a", 0.0, 1.0),
    ]
    assert (differing[0].target, differing[0].reply) == ("7", "8")


def test_an_items_own_grader_comes_first() -> None:
    suite = small([["it is 7", "7"]], [[1.0, 1.0]])
    own = Item(id="q0", category="c", messages=[], target="7", grader="exact")
    assert grade_recorded(small([["it is 7", "7"]], [[1.0, 1.0]], items=(own,)), "number").tolist() == [[0.0, 1.0]]
    assert grade_recorded(suite, "number").tolist() == [[1.0, 1.0]]


def test_what_cannot_be_graded_anew_is_said() -> None:
    with pytest.raises(ConfigError, match=r"holds no text for 2 replies, first \(q0, b\)"):
        grade_recorded(small([["7", None], [None, "7"]], [[1.0, 1.0], [1.0, 1.0]]))
    with pytest.raises(ConfigError, match="has no grader"):
        grade_recorded(small([["7", "7"]], [[1.0, 1.0]], grader=None))
    with pytest.raises(ConfigError, match="has no recorded replies"):
        grade_recorded(small([["7", "7"]], [[1.0, 1.0]], recorded=None))
    bare = Item(id="q0", category="c", messages=[])
    with pytest.raises(ConfigError, match="item 'q0' of suite 'small' has no target"):
        grade_recorded(small([["7", "7"]], [[1.0, 1.0]], items=(bare,)))


@pytest.mark.parametrize(
    ("name", "least", "per_category"),
    [
        ("zeroeval_4sets_8models", 0.996, {"gsm": 0.999, "crux": 0.988, "math-l5": 0.996, "numersense": 0.998}),
        ("zeroeval_gsm_crux_mathl5", 0.9915, {"gsm": 0.995, "crux": 0.985, "math-l5": 0.993}),
    ],
)
def test_answers_of_real_models_are_graded_as_they_were_recorded(
    name: str, least: float, per_category: dict[str, float]
) -> None:
    files = SHARED / f"{name}.parquet", SHARED / "zeroeval_items.parquet"
    if not all(file.exists() for file in files):
        pytest.skip(f"{name} is not in {SHARED}; point HULLSPEED_SHARED at the shared folder")
    suite = import_outcomes(*files, name, grader="answer")
    share, differing = agreement(suite)
    assert share >= least
    categories = [item.category for item in suite.items]
    wrong = {cell.item: 0 for cell in differing}
    for cell in differing:
        wrong[cell.item] += 1
    assert suite.recorded is not None
    for category, bound in per_category.items():
        missed = sum(wrong.get(item.id, 0) for item in suite.items if item.category == category)
        assert 1 - missed / (categories.count(category) * len(suite.recorded.models)) >= bound
