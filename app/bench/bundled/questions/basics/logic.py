"""Puzzles with one answer that follows; harder with more people, variables and clues."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from app.bench.bundled.questions.base import NAMES, Maker, Question, distinct, scaled

TRAITS = (
    ("taller", "tallest", "shortest"),
    ("older", "oldest", "youngest"),
    ("faster", "fastest", "slowest"),
    ("richer", "richest", "poorest"),
)
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
LETTERS = "ABCDEFGH"


def _options(rng: Random, names: list[str], answer: str) -> tuple[str, str, tuple[str, ...]]:
    """The lettered options, the letter of the answer and the letters of the others."""
    shown = rng.sample(names, len(names))
    lines = "\n".join(f"{letter}) {name}" for letter, name in zip(LETTERS, shown, strict=False))
    right = LETTERS[shown.index(answer)]
    return lines, right, distinct(rng.sample(LETTERS[: len(shown)], len(shown)), right)


def ordering(rng: Random, level: float) -> Question:
    names = rng.sample(NAMES, scaled(level, 3, 8))
    more, most, least = rng.choice(TRAITS)
    clues = [f"{left} is {more} than {right}." for left, right in pairwise(names)]
    rng.shuffle(clues)
    place = rng.randrange(len(names)) if level > 0.3 else rng.choice((0, len(names) - 1))
    extreme = {0: most, len(names) - 1: least}.get(place)
    if extreme is not None:
        ask = rng.choice((f"Who is the {extreme}?", f"Which of them is the {extreme}?"))
    else:
        ask = f"Counting from the {most}, who is the {ORDINALS[place]}?"
    lines, right, wrong = _options(rng, names, names[place])
    return Question(f"{' '.join(clues)} {ask}\n{lines}\nChoose one letter.", right, "choice", wrong)


def seating(rng: Random, level: float) -> Question:
    names = rng.sample(NAMES, scaled(level, 3, 8))
    clues = [
        f"{right} sits directly to the right of {left}."
        if rng.random() < 0.5
        else f"{left} sits directly to the left of {right}."
        for left, right in pairwise(names)
    ]
    rng.shuffle(clues)
    place = rng.randrange(len(names))
    ask = rng.choice(
        (
            f"Who is on chair {place + 1}, counting from the left?",
            f"Chair 1 is the leftmost. Who has chair {place + 1}?",
        )
    )
    lines, right_letter, wrong = _options(rng, names, names[place])
    prompt = (
        f"{len(names)} people sit in a row of {len(names)} chairs. {' '.join(clues)} {ask}\n{lines}\nGive the letter."
    )
    return Question(prompt, right_letter, "choice", wrong)


def truth(rng: Random, level: float) -> Question:
    variables = {name: rng.random() < 0.5 for name in "pqrst"[: scaled(level, 2, 5)]}
    order = list(variables)
    rng.shuffle(order)
    text, value = order[0], variables[order[0]]
    for step in range(scaled(level, 1, 8)):
        name = order[(step + 1) % len(order)]
        negated = rng.random() < 0.5
        operand = variables[name] != negated
        word = rng.choice(("and", "or", "xor"))
        value = {"and": value and operand, "or": value or operand, "xor": value != operand}[word]
        text = f"({text} {word} {'not ' if negated else ''}{name})"
    given = ", ".join(f"{name} is {str(known).lower()}" for name, known in variables.items())
    prompt = rng.choice(
        (
            f"Suppose {given}. Is the statement {text} true or false?",
            f"Given that {given}, evaluate {text}. Reply with true or false.",
            f"Let {given}. What is the truth value of {text}: true or false?",
        )
    )
    return Question(prompt, str(value).lower(), "answer", (str(not value).lower(),))


def implying(rng: Random, level: float) -> Question:
    names = rng.sample(NAMES, scaled(level, 3, 8))
    rules = [f"If {left} comes, {right} comes." for left, right in pairwise(names)]
    rng.shuffle(rules)
    start = rng.randrange(len(names) - 1)
    count = len(names) - start
    prompt = rng.choice(
        (
            f"{' '.join(rules)} {names[start]} comes. How many of these {len(names)} people come for certain?",
            f"A party of up to {len(names)} guests. {' '.join(rules)} We know that {names[start]} comes. "
            "For how many guests is it certain that they come?",
        )
    )
    return Question(
        prompt,
        str(count),
        "number",
        distinct((str(count - 1), str(count + 1), str(len(names)), str(start)), str(count)),
    )


MAKERS: tuple[Maker, ...] = (ordering, truth, seating, implying)
