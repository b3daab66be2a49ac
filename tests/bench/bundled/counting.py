"""Second solutions, from the prompt alone and by another way than the maker's: numbers, networks, puzzles."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import permutations, product
from math import gcd

import numpy as np
from numpy.typing import NDArray

from tests.bench.bundled.moving import found, numbers

Rule = Callable[[dict[str, int]], bool]
"""Of places by name, not all of them known: false where it is broken already."""


def names_in(text: str) -> list[str]:
    return re.findall(r"[A-Z][a-z]+", text)


def arrangements(prompt: str) -> str:
    """Person by person, dropped where a rule is broken."""
    people, rules = found(r"^(.*?) stand in a row .*? left\. (.*) In how many", prompt).groups()
    names = names_in(people)
    kept = [row_rule(rule, len(names)) for rule in re.findall(r"[^.]+\.", rules)]
    return str(sum(1 for _ in placings(names, {}, kept)))


def placings(names: list[str], placed: dict[str, int], rules: list[Rule]) -> Iterator[dict[str, int]]:
    if len(placed) == len(names):
        yield placed
        return
    for place in set(range(1, len(names) + 1)) - set(placed.values()):
        more = {**placed, names[len(placed)]: place}
        if all(rule(more) for rule in rules):
            yield from placings(names, more, rules)


def row_rule(rule: str, count: int) -> Rule:
    who = names_in(rule.replace("Exactly", ""))

    def known(check: Callable[..., bool]) -> Rule:
        return lambda placed: any(name not in placed for name in who) or check(*(placed[name] for name in who))

    if "not neighbours" in rule:
        return known(lambda one, two: one - two not in (1, -1))
    if "are neighbours" in rule:
        return known(lambda one, two: one - two in (1, -1))
    if "left of" in rule:
        return known(lambda one, two: one < two)
    if "neither end" in rule:
        return known(lambda place: place not in (1, count))
    if "between" in rule:
        gap = numbers(rule)[0]
        return known(lambda one, two: abs(one - two) - 1 == gap)
    assert "odd number" in rule
    return known(lambda place: place % 2 == 1)


def words(prompt: str) -> str:
    """Counted by their last letters, letter by letter."""
    length = int(found(r"exactly (\d+) letters", prompt)[1])
    letters = re.findall(r"\b[a-z]\b", found(r"each letter one of (.*?), do not", prompt)[1])
    barred = found(r"do not contain (.*?) as neighbouring", prompt)[1].split(" or ")
    parity = re.search(r"hold (\w) an (even|odd)", prompt)
    states: dict[tuple[str, str, int], int] = {("", "", 0): 1}
    for _ in range(length):
        after: dict[tuple[str, str, int], int] = {}
        for (first, tail, held), count in states.items():
            for letter in letters:
                if any((tail + letter).endswith(piece) for piece in barred):
                    continue
                state = first or letter, (tail + letter)[-2:], (held + bool(parity and letter == parity[1])) % 2
                after[state] = after.get(state, 0) + count
        states = after
    total = 0
    for (first, tail, held), count in states.items():
        right = not parity or held == (parity[2] == "odd")
        total += count * (right and not ("do not end" in prompt and tail[-1] == first))
    return str(total)


def subsets(prompt: str) -> str:
    """Counted number by number, by remainder, size and whether the last one was taken."""
    members = numbers(found(r"\{(.*?)\}", prompt)[1])
    modulus = int(found(r"divisible by (\d)", prompt)[1])
    apart, least = "differ by exactly 1" in prompt, 3 if "at least 3 members" in prompt else 1
    states = {(0, 0, -9): 1}
    for member in members:
        for (rest, size, last), count in list(states.items()):
            if not (apart and member - last == 1):
                state = (rest + member) % modulus, min(size + 1, 3), member
                states[state] = states.get(state, 0) + count
    return str(sum(count for (rest, size, _), count in states.items() if not rest and size >= least))


def bases(prompt: str) -> str:
    text, base = found(r"Work out (.*) and write the result in base (\d)", prompt).groups()
    text = re.sub(r"(\w+) \(base (\d+)\)", lambda match: str(int(match[1], int(match[2]))), text)
    return np.base_repr(eval(text.replace("×", "*")), int(base))


def powers(prompt: str) -> str:
    """The whole numbers themselves, thousands of digits long."""
    text, modulus = found(r"remainder of (.*) on division by (\d+)", prompt).groups()
    return str(eval(text.replace("×", "*").replace("−", "-").replace("^", "**")) % int(modulus))


def fractions(prompt: str) -> str:
    """Numerator and denominator apart, reduced at the end."""
    terms = re.findall(r"([+−×÷])? ?(\d+)/(\d+)", found(r"Work out (.*) exactly", prompt)[1])
    top, bottom = int(terms[0][1]), int(terms[0][2])
    for sign, upper, lower in terms[1:]:
        other, under = int(upper), int(lower)
        if sign in "+−":
            top, bottom = top * under + (other if sign == "+" else -other) * bottom, bottom * under
        else:
            top, bottom = (top * other, bottom * under) if sign == "×" else (top * under, bottom * other)
    # Brackets stand around all that came before, or are not needed.
    assert prompt.count("(") == max(0, len(terms) - 2)
    return f"{top // gcd(top, bottom)}/{bottom // gcd(top, bottom)}"


def routes(prompt: str) -> str:
    """All pairs at once (Floyd and Warshall)."""
    waiting = int(match[1]) if (match := re.search(r"passed on the way (\d+)", prompt)) else 0
    start, end = found(r"from (\w) to (\w) take", prompt).groups()
    roads = re.findall(r"(\w) (→|–) (\w) (\d+)", prompt)
    towns = sorted({town for left, _, right, _ in roads for town in (left, right)})
    best = dict.fromkeys(product(towns, repeat=2), 10**9)
    for left, kind, right, minutes in roads:
        best[left, right] = int(minutes)
        if kind == "–":
            best[right, left] = int(minutes)
    for middle, left, right in product(towns, repeat=3):
        best[left, right] = min(best[left, right], best[left, middle] + waiting + best[middle, right])
    return str(best[start, end])


def orders(prompt: str) -> str:
    """Counted from the end: any job that no other one left needs can be last."""
    jobs = re.findall(r"\b[A-Z]\b", found(r"The jobs (.*?) are done", prompt)[1])
    needs = {
        (before, after)
        for after, text in re.findall(r"(\w) needs ([^;.]*)", prompt)
        for before in re.findall(r"\b[A-Z]\b", text)
    }

    @cache
    def ways(left: str) -> int:
        lasts = [job for job in left if not any((job, other) in needs for other in left)]
        return sum(ways(left.replace(job, "")) for job in lasts) if left else 1

    return str(ways("".join(jobs)))


def stalls(prompt: str) -> str:
    """Take one or leave it, one after the other."""
    points = dict(re.findall(r"([A-Z][a-z]+) (\d+)", found(r"many points: (.*?)\. These", prompt)[1]))
    clashes = [set(pair) for pair in re.findall(r"(\w+)–(\w+)", prompt)]

    def best(names: frozenset[str]) -> int:
        if not names:
            return 0
        one, rest = min(names), names - {min(names)}
        friends = frozenset(name for name in rest if {one, name} not in clashes)
        return max(int(points[one]) + best(friends), best(rest) if friends != rest else 0)

    return str(best(frozenset(points)))


def houses(prompt: str) -> str:
    """Every name gets a house, one after the other, dropped where a clue is broken; all solutions are looked for."""
    text = found(r"no two share one: (.*?)\.\n", prompt)[1]
    kinds = {kind: re.split(r", | and ", names) for kind, names in re.findall(r"(\w+): ([^;]+)", text)}
    count = len(kinds["person"])
    names = [name for group in kinds.values() for name in group]
    clues = [(clue, [name for name in names if re.search(rf"\b{name}\b", clue)]) for clue in clues_of(prompt)]
    for clue, mentioned in clues:
        mentioned.sort(key=lambda name: found(rf"\b{name}\b", clue).start())
        assert 1 <= len(mentioned) <= 2, clue
    solutions: list[dict[str, int]] = []

    def fill(placed: dict[str, int]) -> None:
        if len(placed) == len(names):
            solutions.append(placed)
            return
        name = names[len(placed)]
        group = next(group for group in kinds.values() if name in group)
        for house in range(1, count + 1):
            more = {**placed, name: house}
            if all(placed.get(other) != house for other in group) and all(
                clue_holds(clue, [more[other] for other in mentioned])
                for clue, mentioned in clues
                if name in mentioned and all(other in more for other in mentioned)
            ):
                fill(more)

    fill({})
    assert len(solutions) == 1, solutions
    wanted = found(r"Which (\w+) belongs", prompt)[1]
    return "-".join(sorted(kinds[wanted], key=solutions[0].__getitem__))


def clues_of(prompt: str) -> list[str]:
    return re.findall(r"^\d+\. (.*)$", prompt, re.MULTILINE)


def clue_holds(clue: str, at: list[int]) -> bool:
    if len(at) == 1:
        return at[0] == numbers(clue)[0]
    if "not in the same" in clue:
        return at[0] != at[1]
    if "same house" in clue:
        return at[0] == at[1]
    if "directly left" in clue:
        return at[1] - at[0] == 1
    if "next to" in clue:
        return abs(at[0] - at[1]) == 1
    assert "somewhere left" in clue
    return at[0] < at[1]


def islanders(prompt: str) -> str:
    """Worlds are columns of a truth table; what is said is worked out for all of them at once."""
    sayings = dict(re.findall(r'^(\w+): "(.*)"$', prompt, re.MULTILINE))
    table = np.array(list(product((False, True), repeat=len(sayings)))).T
    knight = dict(zip(sayings, table, strict=True))
    fits = np.ones(table.shape[1], dtype=bool)
    for speaker, text in sayings.items():
        fits &= said(text, knight, table) == knight[speaker]
    (world,) = np.flatnonzero(fits)
    return "-".join(sorted(name for name in sayings if knight[name][world]))


def said(text: str, knight: dict[str, NDArray[np.bool_]], table: NDArray[np.bool_]) -> NDArray[np.bool_]:
    columns = [knight[name] for name in re.findall(r"[A-Z]\w+", text) if name in knight]
    one, two = columns[0] if columns else table[0], columns[-1] if columns else table[0]
    if text.startswith("Exactly"):
        right = table.sum(axis=0) == numbers(text)[0]
    elif text.startswith("If"):
        right = np.where(one, ~two, True)
    elif "both knaves" in text:
        right = ~(one | two)
    elif "same kind" in text:
        right = one == two
    elif "or both are knights" in text:
        right = one | two
    else:
        right = one if "is a knight" in text else ~one
    return np.asarray(right, dtype=np.bool_)


def codes(prompt: str) -> str:
    """All codes are tried, as strings."""
    length, top = numbers(found(r"has (\d) different digits from 1 to (\d)", prompt)[0])[::2]
    answers = re.findall(r"^(\d+): (\d) in the right place, (\d) in a wrong", prompt, re.MULTILINE)
    fits = []
    for code in permutations("123456789"[:top], length):
        for guess, placed, misplaced in answers:
            same = sum(map(str.__eq__, code, guess))
            if same != int(placed) or len({*code} & {*guess}) - same != int(misplaced):
                break
        else:
            fits.append("".join(code))
    (code_found,) = fits
    return code_found


def overlaps(prompt: str) -> str:
    """Minute by minute."""
    least = int(found(r"at least (\d) rooms", prompt)[1])
    busy = np.zeros(24 * 60, dtype=int)
    for hour, minute, to_hour, to_minute in re.findall(r"(\d\d):(\d\d)–(\d\d):(\d\d)", prompt):
        busy[60 * int(hour) + int(minute) : 60 * int(to_hour) + int(to_minute)] += 1
    return str((busy >= least).sum())


SOLVERS: dict[str, Callable[[str], str]] = {
    "arrangements": arrangements,
    "strings": words,
    "subsets": subsets,
    "bases": bases,
    "powers": powers,
    "fractions": fractions,
    "routes": routes,
    "orders": orders,
    "stalls": stalls,
    "houses": houses,
    "islanders": islanders,
    "codes": codes,
    "overlaps": overlaps,
}
