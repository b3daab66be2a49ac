"""Write the bundled suites: `python -m app.bench.bundled.generate`.

Deterministic: every item is drawn from its own id, so a file is byte for byte the same on every machine and adding a
category changes no other. The files are kept beside this one, so that a run does not depend on how `random` draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

import msgspec

from app.bench.bundled.lines import Line, path_of
from app.bench.bundled.questions import basics, tuning
from app.bench.bundled.questions.base import Maker, Question


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a suite is made of."""

    categories: Mapping[str, tuple[Maker, ...]]
    """The kinds of questions of each category."""
    per_category: int
    levels: int
    simulated: bool
    """Whether simulated models answer it: then every question needs wrong answers."""


RECIPES: Mapping[str, Recipe] = {
    "basics": Recipe(basics.CATEGORIES, per_category=60, levels=10, simulated=True),
    "tuning": Recipe(tuning.CATEGORIES, per_category=45, levels=15, simulated=False),
}


def lines(suite: str) -> list[Line]:
    """All items of a suite, made anew."""
    recipe = RECIPES[suite]
    made: list[Line] = []
    prompts: set[str] = set()
    for category, makers in recipe.categories.items():
        for number in range(1, recipe.per_category + 1):
            item_id = f"{category}-{number:03d}"
            # Each pass through the kinds of a category moves on by one level, so that every kind meets all levels.
            step = (number - 1) // len(makers) + 3 * ((number - 1) % len(makers))
            level = step % recipe.levels / (recipe.levels - 1)
            maker = makers[(number - 1) % len(makers)]
            question = _new_question(item_id, maker, level, prompts, wrong=recipe.simulated)
            made.append(
                Line(
                    id=item_id,
                    category=category,
                    input=question.prompt,
                    target=question.target,
                    grader=question.grader,
                    difficulty=round(0.05 + 0.9 * level, 3),
                    wrong=list(question.wrong),
                    steps=question.steps,
                )
            )
    return made


def _new_question(item_id: str, maker: Maker, level: float, prompts: set[str], *, wrong: bool) -> Question:
    """A question whose text has not been asked yet and, where `wrong`, that can be answered wrongly."""
    for attempt in range(1000):
        question = maker(Random(f"{item_id}/{attempt}"), level)
        if question.prompt not in prompts and (question.wrong or not wrong):
            prompts.add(question.prompt)
            return question
    raise RuntimeError(f"{item_id}: no new question in 1000 draws")


def encoded(suite: str) -> bytes:
    """The whole file of a suite."""
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines(suite))


if __name__ == "__main__":
    for name in RECIPES:
        path_of(name).write_bytes(encoded(name))
