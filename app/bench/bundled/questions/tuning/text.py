"""Letters moved, replaced, matched and enciphered by rules; harder with more rules and longer texts."""

from __future__ import annotations

import re
from random import Random

from app.bench.bundled.questions.base import Maker, Question, asked, scaled

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def surgery(rng: Random, level: float) -> Question:
    """Edits made in order."""
    letters = rng.sample(ALPHABET, 6)
    text = "".join(rng.choices(letters, k=scaled(level, 5, 12)))
    start, told, steps = text, [], 0
    for _ in range(scaled(level, 2, 9)):
        rule, changed = _edit(rng, text, letters)
        while changed == text or not 3 <= len(changed) <= 16:
            rule, changed = _edit(rng, text, letters)
        told.append(rule)
        text = changed
        steps += 1 + len(text) // 4
    edits = "\n".join(f"{number}. {rule}" for number, rule in enumerate(told, 1))
    task = f"Start with the text {start} and make these edits in order, each on the result of the one before:\n{edits}"
    return Question(asked(task, "the text that results"), text, "answer", steps=steps)


def _edit(rng: Random, text: str, letters: list[str]) -> tuple[str, str]:
    """A rule, and what it makes of `text`."""
    one, two, three = rng.sample(letters, 3)
    number = rng.randrange(2, 5)
    kind = rng.randrange(9)
    if kind == 0:
        return "Reverse the whole text.", text[::-1]
    if kind == 1:
        return f"Move the first {number} letters to the end.", text[number:] + text[:number]
    if kind == 2:
        return f"Replace every {one} by {two}{three}.", text.replace(one, two + three)
    if kind == 3:
        swapped = text.translate(str.maketrans(one + two, two + one))
        return f"Turn every {one} into {two} and every {two} into {one}, at the same time.", swapped
    if kind == 4:
        kept = "".join(sign for place, sign in enumerate(text, 1) if place % number)
        return f"Delete the letters in places {number}, {2 * number}, {3 * number} and so on, counted from 1.", kept
    if kind == 5:
        shifted = "".join(ALPHABET[(ALPHABET.index(sign) + number) % 26] for sign in text)
        return f"Replace every letter by the one {number} later in the alphabet (a follows z).", shifted
    if kind == 6:
        once = "".join(dict.fromkeys(text))
        return "Of every letter that occurs several times keep only the first occurrence.", once
    if kind == 7:
        return f"Write the first {number} letters in alphabetical order.", "".join(sorted(text[:number])) + text[
            number:
        ]
    half = len(text) // 2
    return (
        "Exchange the first half with the second; with an odd number of letters the middle one stays in the middle.",
        text[-half:] + text[half : len(text) - half] + text[:half],
    )


def matches(rng: Random, level: float) -> Question:
    """Where a regular expression matches."""
    while True:
        text = "".join(rng.choices("abcd"[: scaled(level, 3, 4)], k=scaled(level, 8, 44)))
        atoms = [_atom(rng, level) for _ in range(scaled(level, 2, 4))]
        pattern = "".join(atoms)
        if re.search(pattern, "") is not None:
            continue
        found = [match.start() for match in re.finditer(pattern, text)]
        if scaled(level, 2, 4) <= len(found) <= 8 and found[-1] > len(text) // 2:
            break
    task = (
        f"Search the text {text} for the regular expression {pattern} from left to right; matches do not overlap, "
        "and ?, + and {m,n} take as much as they can (as Python's re.finditer does). At which positions do the matches "
        "begin? The first letter has position 0."
    )
    steps = len(text) // 2 + len(atoms) * len(found)
    return Question(asked(task, "the list of positions, such as [0, 7]"), str(found), "answer", steps=steps)


def _atom(rng: Random, level: float) -> str:
    one, two, three = rng.sample("abc", 3)
    simple = (one, f"[{one}{two}]")
    more = (f"[^{one}]", f"({one}{two}|{three})", f"({one}|{one}{two})")
    atom = rng.choice(simple if level < 0.3 else simple + more)
    return atom + rng.choice(("", "", "+", "?", "{1,2}") if level > 0.15 else ("", "+"))


def ciphers(rng: Random, level: float) -> Question:
    """A keyword shifts the letters, then columns change places."""
    length = scaled(level, 4, 18)
    plain = "".join(rng.choices(ALPHABET, k=length))
    key = "".join(rng.sample(ALPHABET[1:], scaled(level, 1, 4)))
    secret = "".join(
        ALPHABET[(ALPHABET.index(sign) + ALPHABET.index(key[place % len(key)])) % 26]
        for place, sign in enumerate(plain)
    )
    steps = length
    if len(key) == 1:
        how = f"every letter was moved on in the alphabet by {ALPHABET.index(key)} places (a follows z)"
    else:
        how = (
            f"below the text the key {key} was written again and again, and every letter was moved on in the alphabet "
            "by the letter of the key below it (a = 0, b = 1, …, z = 25; a follows z)"
        )
    if level > 0.5:
        columns = rng.randrange(3, 6)
        order = rng.sample(range(columns), columns)
        secret = "".join(secret[column::columns] for column in order)
        how += (
            f"; the result was written in rows of {columns} letters, the last row perhaps shorter, and read column by "
            f"column from top to bottom, the columns in the order {', '.join(str(column + 1) for column in order)}"
        )
        steps += length // 2
    task = f"A text was enciphered so: {how}. That gave {secret}. What was the text? It has no meaning."
    return Question(asked(task, "the text"), plain, "answer", steps=steps)


MAKERS: tuple[Maker, ...] = (surgery, matches, ciphers)
