"""The grader `math`: the final answer is the target's formula, in whatever form.

Formulas are read and compared by Math-Verify (github.com/huggingface/Math-Verify, on sympy) in the worker process, as
it sees fit: a decimal fraction is compared to six places, an inequality with its interval, `x = 5` with 5. Prose, and
what it cannot read, is compared by the grader `answer`. A comparison that exceeds the limits is worth 0, and says so.
"""

from __future__ import annotations

import re
from functools import lru_cache

from app.bench.graders.base import Judgement
from app.bench.graders.rules import GRADERS
from app.bench.graders.texts import same_text
from app.bench.graders.worker import WORKER, Unsettled
from app.bench.suite import Item
from routers.extraction import final_answer
from routers.numerals import whole

LONGEST = 2_000
"""Characters of a formula; a longer one is text."""
PROSE = re.compile(r"(?<![\\A-Za-z])(?!(?:sqrt|sin|cos|tan|cot|sec|csc|log|exp)[^A-Za-z])[A-Za-z]{3,}")
"""A word, which the library would take for a product of letters."""
FORMULA = re.compile(r"\\\(|\\\[|\$[^$]{1,2000}\$|\\boxed|\\text|\\math|\\operatorname|\\begin")
"""Marks of a formula among words, and commands that take words."""
UNSETTLED = "the formulas could not be compared within the limits on time and memory"


def math(item: Item, reply: str) -> Judgement:
    """Whether the final answer of `reply` is the formula `item.target`, or as text the target."""
    assert item.target is not None
    found = final_answer(reply)
    if found is None:
        return Judgement(0.0)
    try:
        verdict = _same(found.text, item.target)
    except Unsettled:
        return Judgement(0.0, comment=UNSETTLED)
    if verdict is None:
        verdict = GRADERS["answer"](reply, item.target)
    return Judgement(float(verdict))


# Several models give the same answer to the same item, and a second look costs as much as the first. An exception is
# not cached: a machine that was busy then may not be now.
@lru_cache(maxsize=10_000)
def _same(answer: str, target: str) -> bool | None:
    """None where one of the two is no formula."""
    if same_text(answer, target):
        return True
    left, right = whole(answer), whole(target)
    if left is not None and right is not None and left.equals(right):
        return True
    if max(len(answer), len(target)) > LONGEST or _is_prose(answer) or _is_prose(target):
        return None
    return WORKER.ask("math", answer, target)


def _is_prose(text: str) -> bool:
    return PROSE.search(text) is not None and FORMULA.search(text) is None
