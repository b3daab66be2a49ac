"""How many there are, by trying all; harder with more things and more conditions on them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise, permutations, product
from random import Random

from app.bench.bundled.questions.base import NAMES, Maker, Question, asked, listed, scaled

Row = tuple[str, ...]


def arrangements(rng: Random, level: float) -> Question:
    """People in a row."""
    count, rules = scaled(level, 4, 8), scaled(level, 1, 5)
    while True:
        names = sorted(rng.sample(NAMES, count))
        told: list[str] = []
        kept = list(permutations(names))
        rows = len(kept)
        for _ in range(rules):
            text, holds = _condition(rng, names)
            told.append(text)
            kept = [row for row in kept if holds(row)]
        if 2 < len(kept) < rows and len(set(told)) == rules:
            break
    task = (
        f"{listed(names)} stand in a row of {count} places, numbered from 1 on the left. {' '.join(told)} In how many "
        "different orders can they stand?"
    )
    return Question(asked(task, "the number"), str(len(kept)), "number", steps=count * (1 + rules))


def _condition(rng: Random, names: list[str]) -> tuple[str, Callable[[Row], bool]]:
    """A rule about one or two of the people, and whether a row keeps it."""
    one, two = rng.sample(names, 2)
    kind = rng.randrange(6)
    if kind == 0:
        return f"{one} and {two} are not neighbours.", lambda row: abs(row.index(one) - row.index(two)) != 1
    if kind == 1:
        return f"{one} stands somewhere to the left of {two}.", lambda row: row.index(one) < row.index(two)
    if kind == 2:
        return f"{one} stands at neither end.", lambda row: one not in (row[0], row[-1])
    if kind == 3:
        return f"{one} and {two} are neighbours.", lambda row: abs(row.index(one) - row.index(two)) == 1
    if kind == 4:
        gap = rng.randrange(1, max(2, len(names) - 3))
        people = "1 person stands" if gap == 1 else f"{gap} people stand"
        return (
            f"Exactly {people} between {one} and {two}.",
            lambda row: abs(row.index(one) - row.index(two)) == gap + 1,
        )
    return f"{one} has a place with an odd number.", lambda row: row.index(one) % 2 == 0


def strings(rng: Random, level: float) -> Question:
    """Words over a small alphabet that avoid some pieces."""
    letters = sorted(rng.sample("bcdfghklmnpqrstvwz", 3 if level < 0.75 else 4))
    length = scaled(level, 3, 8) if len(letters) == 3 else scaled(level, 4, 6)
    pieces = ["".join(pair) for pair in product(letters, repeat=2)]
    if level > 0.6:
        pieces += ["".join(three) for three in product(letters, repeat=3) if len(set(three)) == 2]
    while True:
        barred = sorted(rng.sample(pieces, scaled(level, 1, 3)))
        if not any(one in two for one in barred for two in barred if one != two):
            break
    words = ["".join(word) for word in product(letters, repeat=length)]
    words = [word for word in words if not any(piece in word for piece in barred)]
    told = f"do not contain {' or '.join(barred)} as neighbouring letters in that order"
    if level > 0.35:
        letter, parity = rng.choice(letters), rng.randrange(2)
        words = [word for word in words if word.count(letter) % 2 == parity]
        told += f", hold {letter} an {('even', 'odd')[parity]} number of times{' (0 is even)' * (not parity)}"
    if level > 0.7:
        words = [word for word in words if word[0] != word[-1]]
        told += ", and do not end with the letter they begin with"
    task = f"How many words of exactly {length} letters, each letter one of {listed(letters)}, {told}?"
    steps = length * (len(barred) + (level > 0.35) + (level > 0.7))
    return Question(asked(task, "the number"), str(len(words)), "number", steps=steps)


def subsets(rng: Random, level: float) -> Question:
    """Choices of numbers by their sum, size and distance."""
    count, modulus = scaled(level, 4, 12), rng.randrange(3, 6)
    while True:
        numbers = sorted(rng.sample(range(1, 2 * count + 4), count))
        chosen = [part for size in range(1, count + 1) for part in combinations(numbers, size)]
        told = [f"has a sum divisible by {modulus}"]
        chosen = [part for part in chosen if sum(part) % modulus == 0]
        if level > 0.3:
            told.append("holds no two numbers that differ by exactly 1")
            chosen = [part for part in chosen if all(high - low > 1 for low, high in pairwise(part))]
        if level > 0.6:
            told.append("has at least 3 members")
            chosen = [part for part in chosen if len(part) >= 3]
        if len(chosen) > 2:
            break
    task = f"How many non-empty subsets of {{{', '.join(map(str, numbers))}}} are such that the subset {listed(told)}?"
    return Question(asked(task, "the number"), str(len(chosen)), "number", steps=count * (1 + len(told)))


MAKERS: tuple[Maker, ...] = (arrangements, strings, subsets)
