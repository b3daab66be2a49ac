"""Which replies give the same answer, and which give none that could be compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.answers import answer_in, spelled

LONG = "I looked at it from several sides and weighed what speaks for and against it. " * 8


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"reasoning": "…", "answer": "$1,200.00"}', "So the answer is 1200."),
        ('{"answer": 12}', "… which gives \\boxed{12}"),
        ("The answer is \\frac{1}{2}.", "#### 0.5"),
        ("Answer: 7 cards", '{"answer": "7"}'),
        ('{"answer": "10 miles per hour"}', "The answer is **10**."),
        ("The correct answer is (B).", "B"),
        ("B) because of the moon", '{"answer": "b."}'),
        ('{"answer": "[1, 2, \'a\']"}', '{"answer": "[1,2,\\"a\\"]"}'),
        ('{"answer": "\'bcd\'"}', '{"answer": "bcd"}'),
        ("The answer is Paris.", "the answer is paris"),
        ('{"answer": true}', "The answer is True."),
        ('{"answer": ""}', '{"answer": "\'\'"}'),
        ("Look:\n```\nprint(1)\n```", f"{LONG}\n```python\nprint(1)\n```"),
    ],
)
def test_the_same_answer_in_other_words(one: str, other: str) -> None:
    assert answer_in(one) is not None
    assert answer_in(one) == answer_in(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The answer is 12345678.", "The answer is 12345679."),
        ('{"answer": "2 pm"}', '{"answer": "2 am"}'),
        ('{"answer": "3 x"}', '{"answer": "3"}'),
        ('{"answer": "\'00899\'"}', '{"answer": "\'899\'"}'),
        ('{"answer": "USaR"}', '{"answer": "usAr"}'),
        ('{"answer": "[0]"}', '{"answer": "0"}'),
        ("A", "B"),
        ('{"answer": "2, 3"}', '{"answer": "3, 2"}'),
    ],
)
def test_another_answer(one: str, other: str) -> None:
    assert answer_in(one) != answer_in(other)


@pytest.mark.parametrize("reply", [None, "", "   ", LONG, f"{LONG}\n\n{LONG}", '{"answer": "' + "x " * 900 + '"}'])
def test_a_reply_without_an_answer_has_none(reply: str | None) -> None:
    assert answer_in(reply) is None


@given(st.text(max_size=300))
def test_any_text_is_read_and_reading_is_stable(text: str) -> None:
    assert answer_in(text) == answer_in(text)
    assert isinstance(spelled(text), str)


@given(st.integers(-(10**15), 10**15))
def test_thousands_marks_do_not_count(number: int) -> None:
    assert spelled(f"{number:,}") == spelled(str(number))
