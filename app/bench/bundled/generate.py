"""Write the bundled suite: `python -m app.bench.bundled.generate`.

Deterministic: every item is drawn from its own id, so the file is byte for byte the same on every machine and adding
a category changes no other. The file is kept beside this one, so that a run does not depend on how `random` draws.
"""

from __future__ import annotations

from random import Random

import msgspec

from app.bench.bundled.lines import PATH, Line
from app.bench.bundled.questions import arithmetic, calendar, code, formats, logic, lookup, strings, words
from app.bench.bundled.questions.base import Maker, Question

PER_CATEGORY = 60
LEVELS = 10
CATEGORIES: dict[str, tuple[Maker, ...]] = {
    "arithmetic": arithmetic.MAKERS,
    "calendar": calendar.MAKERS,
    "code": code.MAKERS,
    "format": formats.MAKERS,
    "logic": logic.MAKERS,
    "lookup": lookup.MAKERS,
    "strings": strings.MAKERS,
    "words": words.MAKERS,
}


def lines() -> list[Line]:
    """All items of the suite, made anew."""
    made: list[Line] = []
    prompts: set[str] = set()
    for category, makers in CATEGORIES.items():
        for number in range(1, PER_CATEGORY + 1):
            item_id = f"{category}-{number:03d}"
            # Each pass through the kinds of a category moves on by one level, so that every kind meets all levels.
            level = ((number - 1) // len(makers) + 3 * ((number - 1) % len(makers))) % LEVELS / (LEVELS - 1)
            question = _new_question(item_id, makers[(number - 1) % len(makers)], level, prompts)
            made.append(
                Line(
                    id=item_id,
                    category=category,
                    input=question.prompt,
                    target=question.target,
                    grader=question.grader,
                    difficulty=round(0.05 + 0.9 * level, 3),
                    wrong=list(question.wrong),
                )
            )
    return made


def _new_question(item_id: str, maker: Maker, level: float, prompts: set[str]) -> Question:
    """A question whose text has not been asked yet and that can be answered wrongly."""
    for attempt in range(1000):
        question = maker(Random(f"{item_id}/{attempt}"), level)
        if question.prompt not in prompts and question.wrong:
            prompts.add(question.prompt)
            return question
    raise RuntimeError(f"{item_id}: no new question in 1000 draws")


def encoded() -> bytes:
    """The whole file."""
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines())


if __name__ == "__main__":
    PATH.write_bytes(encoded())
