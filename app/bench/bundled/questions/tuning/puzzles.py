"""Puzzles whose one solution was found by search; harder with more unknowns and no clue too many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, permutations, product
from random import Random

import numpy as np
from numpy.typing import NDArray

from app.bench.bundled.questions.base import NAMES, Maker, Question, asked, listed, scaled

THINGS = {
    "person": NAMES,
    "pet": ("cat", "dog", "owl", "fox", "hen", "eel", "rat", "yak"),
    "drink": ("tea", "milk", "cocoa", "juice", "water", "cider", "mead", "broth"),
    "colour": ("red", "green", "blue", "white", "black", "pink", "grey", "amber"),
}
SIZES = ((3, 2), (3, 3), (4, 2), (3, 4), (4, 3), (5, 2), (4, 4), (5, 3))
"""Houses and kinds of things in them, by level."""

Clue = tuple[str, int, int, NDArray[np.bool_]]
"""What is said, the two kinds of things it is about, and which pairs of orders of these keep it."""


def houses(rng: Random, level: float) -> Question:
    """Who lives where with what."""
    count, kinds = SIZES[scaled(level, 0, len(SIZES) - 1)]
    orders = np.array(list(permutations(range(count))))
    names = {kind: rng.sample(THINGS[kind], count) for kind in list(THINGS)[:kinds]}
    clues = _true_clues(rng, list(names.items()), orders)
    rng.shuffle(clues)
    needed: list[Clue] = []
    for clue in clues:
        needed.append(clue)
        if _solutions(needed, kinds, len(orders)) == 1:
            break
    for clue in list(needed):
        fewer = [other for other in needed if other is not clue]
        if _solutions(fewer, kinds, len(orders)) == 1:
            needed = fewer
    wanted = rng.randrange(1, kinds)
    kind = list(names)[wanted]
    told = "\n".join(f"{number}. {said[0].upper()}{said[1:]}" for number, (said, *_) in enumerate(needed, 1))
    # What stands in no clue has to be named, and in an order that gives nothing away.
    known = "; ".join(f"{kind}: {listed(sorted(values))}" for kind, values in names.items())
    task = (
        f"{count} houses stand in a row, numbered 1 to {count} from left to right. Each has one of each of these, and "
        f"no two share one: {known}.\n{told}\nWhich {kind} belongs to which house?"
    )
    target = "-".join(names[kind])
    form = f"each {kind} from house 1 to house {count}, joined by hyphens"
    return Question(asked(task, form), target, "answer", steps=count * kinds + 2 * len(needed))


def _true_clues(rng: Random, names: list[tuple[str, list[str]]], orders: NDArray[np.int64]) -> list[Clue]:
    """Clues that hold where the i-th of each list of names is in house i; an order says where each name is."""
    count = orders.shape[1]
    clues: list[Clue] = []
    for (left, (one, ones)), (right, (two, twos)) in product(enumerate(names), repeat=2):
        for place, other in product(range(count), repeat=2):
            here, there = orders[:, place][:, None], orders[:, other][None, :]
            first, second = _owner(one, ones[place]), _owner(two, twos[other])
            if left < right and place == other:
                clues.append((f"{first} is in the same house as {second}.", left, right, here == there))
            if left < right and place != other and rng.random() < 0.2:
                clues.append((f"{first} is not in the same house as {second}.", left, right, here != there))
            if left != right and place + 1 == other:
                clues.append((f"{first} is in the house directly left of {second}.", left, right, here + 1 == there))
            if left != right and abs(place - other) == 1:
                clues.append((f"{first} is in a house next to {second}.", left, right, abs(here - there) == 1))
            if left != right and place < other:
                clues.append((f"{first} is in a house somewhere left of {second}.", left, right, here < there))
        if left == right:
            place = rng.randrange(count)
            fixed = np.broadcast_to(orders[:, place][:, None] == place, (len(orders), len(orders)))
            clues.append((f"{_owner(one, ones[place])} is in house {place + 1}.", left, left, fixed))
    return clues


def _owner(kind: str, name: str) -> str:
    return name if kind == "person" else f"the {kind} {name}"


def _solutions(clues: Sequence[Clue], kinds: int, orders: int) -> int:
    """How many ways to place everything keep the clues: 0, 1, or 2 for more."""
    tables = {pair: np.ones((orders, orders), dtype=bool) for pair in combinations(range(kinds), 2)}
    alone = [np.ones(orders, dtype=bool) for _ in range(kinds)]
    for _, left, right, keeps in clues:
        if left == right:
            alone[left] &= keeps[:, 0]
        elif left < right:
            tables[left, right] &= keeps
        else:
            tables[right, left] &= keeps.T

    def search(kind: int, open_orders: list[NDArray[np.bool_]]) -> int:
        if kind == kinds - 1:
            return min(2, int(open_orders[kind].sum()))
        found = 0
        for order in np.flatnonzero(open_orders[kind]):
            left = [*open_orders[: kind + 1]]
            left += [open_orders[later] & tables[kind, later][order] for later in range(kind + 1, kinds)]
            if all(some.any() for some in left[kind + 1 :]):
                found += search(kind + 1, left)
            if found > 1:
                return 2
        return found

    return search(0, alone)


Saying = tuple[str, Callable[[tuple[bool, ...]], bool]]


def islanders(rng: Random, level: float) -> Question:
    """Who always tells the truth and who always lies."""
    count = scaled(level, 4, 10)
    worlds = list(product((True, False), repeat=count))
    while True:
        names = rng.sample(NAMES, count)
        names.sort()
        sayings = [_saying(rng, names, speaker, level) for speaker in range(count)]
        left = [world for world in worlds if all(said(world) == world[who] for who, (_, said) in enumerate(sayings))]
        if len(left) == 1 and any(left[0]):
            break
    told = "\n".join(f'{name}: "{text}"' for name, (text, _) in zip(names, sayings, strict=True))
    rule = "\nAn `if` claim is false only where its first part is true and its second is not." if "If " in told else ""
    task = (
        f"Each of these islanders either always tells the truth (a knight) or always lies (a knave):\n{told}{rule}\n"
        "Who are the knights?"
    )
    target = "-".join(name for name, knight in zip(names, left[0], strict=True) if knight)
    form = "the knights in alphabetical order, joined by hyphens"
    return Question(asked(task, form), target, "answer", steps=2 * count + scaled(level, 0, 3) * count)


def _saying(rng: Random, names: list[str], speaker: int, level: float) -> Saying:
    """What an islander says of others, and whether it is true in a world."""
    one, two = rng.sample([place for place in range(len(names)) if place != speaker], 2)
    number = rng.randrange(1, len(names))
    kind = rng.choice(("is", "both", "same", "some", "if", "count")[: scaled(level, 3, 6)])
    if kind == "is":
        knight = rng.random() < 0.4
        return f"{names[one]} is a {'knight' if knight else 'knave'}.", lambda world: world[one] == knight
    if kind == "both":
        return f"{names[one]} and {names[two]} are both knaves.", lambda world: not world[one] and not world[two]
    if kind == "same":
        return f"{names[one]} and {names[two]} are of the same kind.", lambda world: world[one] == world[two]
    if kind == "some":
        return f"{names[one]} or {names[two]} or both are knights.", lambda world: world[one] or world[two]
    if kind == "if":
        return (
            f"If {names[one]} is a knight, then {names[two]} is a knave.",
            lambda world: not (world[one] and world[two]),
        )
    return f"Exactly {number} of all of us are knights.", lambda world: sum(world) == number


def codes(rng: Random, level: float) -> Question:
    """A code of digits from guesses at it; the guesses are as many as it takes."""
    length, top = scaled(level, 3, 5), scaled(level, 5, 9)
    codes = np.array(list(permutations(range(1, top + 1), length)))
    secret = codes[rng.randrange(len(codes))]
    open_codes = np.ones(len(codes), dtype=bool)
    told = []
    while open_codes.sum() > 1:
        guess = codes[rng.randrange(len(codes))]
        placed = (codes == guess).sum(axis=1)
        shared = (codes[:, :, None] == guess).sum(axis=(1, 2))
        own = int((secret == guess).sum()), len(set(secret.tolist()) & set(guess.tolist()))
        fits = open_codes & (placed == own[0]) & (shared == own[1])
        if own[0] == length or fits.sum() == open_codes.sum():
            continue
        open_codes = fits
        told.append(f"{''.join(map(str, guess))}: {own[0]} in the right place, {own[1] - own[0]} in a wrong place")
    task = (
        f"A code has {length} different digits from 1 to {top}. Guesses at it, and how many of their digits are in the "
        "code, in the right place or in a wrong one:\n" + "\n".join(told) + "\nWhat is the code?"
    )
    return Question(
        asked(task, "the digits of the code"),
        "".join(map(str, secret)),
        "answer",
        steps=(length + 1) * len(told),
    )


MAKERS: tuple[Maker, ...] = (houses, islanders, codes)
