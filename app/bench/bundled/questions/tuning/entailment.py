"""What follows from what is said, by going through all models; harder with more kinds, people and premises."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from random import Random

from app.bench.bundled.questions.base import NAMES, Maker, Question, asked, listed, scaled

KINDS = ("wugs", "toves", "blickets", "zorps", "fleeps", "dants", "quills", "morbs")
VERDICTS = "T if it must be so, F if it cannot be so, and U if what is said leaves it open"


class Claim:
    """A sentence about kinds, as a region of types: a type is a set of kinds, given as bits."""

    def __init__(self, text: str, quantifier: str, region: Callable[[int], bool]) -> None:
        self.text = text
        self.quantifier = quantifier
        """`no`: nothing is of a type in the region; `some`: something is; else the name of the one who is."""
        self.region = region


def kinds(rng: Random, level: float) -> Question:
    """All, no, some and single members."""
    count, ask = scaled(level, 3, 5), scaled(level, 4, 6)
    names = rng.sample(NAMES, 2)
    while True:
        known = rng.sample(KINDS, count)
        premises = _claims(rng, known, names, scaled(level, 3, 9))
        allowed = [
            kind for kind in range(1 << count) if not any(p.quantifier == "no" and p.region(kind) for p in premises)
        ]
        # Whoever is said to exist, with the types they may have; a name always exists.
        each = {p.text: [kind for kind in allowed if p.region(kind)] for p in premises if p.quantifier == "some"}
        each |= {
            name: [kind for kind in allowed if all(p.region(kind) for p in premises if p.quantifier == name)]
            for name in names
        }
        said = {p.text for p in premises}
        asked_for = [claim for claim in _claims(rng, known, names, ask) if claim.text not in said]
        verdicts = "".join(_verdict(claim, allowed, each) for claim in asked_for)
        if (
            all(each.values())
            and len(verdicts) == ask
            and verdicts.count("U") <= ask // 2
            and len(set(verdicts)) > 1 + (level > 0.3)
        ):
            break
    told = "\n".join(p.text for p in premises)
    claims = "\n".join(f"{number}. {claim.text}" for number, claim in enumerate(asked_for, 1))
    task = (
        f"Suppose all this is true of some things, {listed(names)} among them, and nothing else is known (a kind may "
        f"have no members):\n{told}\nSay of each of these sentences {VERDICTS}:\n{claims}"
    )
    steps = ask * (2 + len(premises) // 2)
    return Question(asked(task, f"the {ask} letters in order"), verdicts, "answer", steps=steps)


def _claims(rng: Random, known: list[str], names: list[str], count: int) -> list[Claim]:
    """So many different claims."""
    claims: dict[str, Claim] = {}
    while len(claims) < count:
        one, two, *others = rng.sample(range(len(known)), len(known))
        first, second, third = known[one], known[two], known[others[0]]
        claim = rng.choice(
            (
                Claim(f"All {first} are {second}.", "no", _region({one}, {two})),
                Claim(f"No {first} are {second}.", "no", _region({one, two}, set())),
                Claim(f"All {first} that are not {second} are {third}.", "no", _region({one}, {two, others[0]})),
                Claim(f"Some {first} are {second}.", "some", _region({one, two}, set())),
                Claim(f"Some {first} are not {second}.", "some", _region({one}, {two})),
                _single(names[0], first, _region({one}, set())),
                _single(names[1], f"not {first}", _region(set(), {one})),
            )
        )
        claims.setdefault(claim.text, claim)
    return list(claims.values())


def _single(name: str, what: str, region: Callable[[int], bool]) -> Claim:
    return Claim(
        f"{name} is one of the {what}." if "not " not in what else f"{name} is none of the {what[4:]}.", name, region
    )


def _region(inside: set[int], outside: set[int]) -> Callable[[int], bool]:
    """The types that are of all kinds `inside` and of none `outside`."""
    return lambda kind: all(kind >> one & 1 for one in inside) and not any(kind >> one & 1 for one in outside)


def _verdict(claim: Claim, allowed: list[int], each: dict[str, list[int]]) -> str:
    """Any set of allowed types that serves all who are said to exist is a model, so types can be judged one by one."""
    if claim.quantifier in each:
        holds = [claim.region(kind) for kind in each[claim.quantifier]]
        return "T" if all(holds) else "U" if any(holds) else "F"
    possible = any(claim.region(kind) for kind in allowed)
    certain = any(all(claim.region(kind) for kind in own) for own in each.values())
    if claim.quantifier == "some":
        return "T" if certain else "U" if possible else "F"
    return "F" if certain else "U" if possible else "T"


World = tuple[bool, ...]


def guests(rng: Random, level: float) -> Question:
    """Who comes for certain, given what their coming depends on."""
    count = scaled(level, 4, 9)
    worlds = list(product((True, False), repeat=count))
    while True:
        names = sorted(rng.sample(NAMES, count))
        rules = dict(_rule(rng, names, level) for _ in range(scaled(level, 3, 11)))
        left = [world for world in worlds if all(holds(world) for holds in rules.values())]
        if not left or len(rules) < scaled(level, 3, 11):
            continue
        columns = [{world[place] for world in left} for place in range(count)]
        verdicts = "".join("U" if len(seen) == 2 else "T" if True in seen else "F" for seen in columns)
        if {"T", "F"} <= set(verdicts) and (verdicts.count("U") in range(1, count // 2 + 1) or level < 0.2):
            break
    told = " ".join(rules)
    task = (
        f"{listed(names)} are invited. {told} Say of each of the {count}, in alphabetical order, whether they come: "
        f"{VERDICTS}."
    )
    steps = 2 * count + 3 * len(rules)
    return Question(asked(task, f"the {count} letters in order"), verdicts, "answer", steps=steps)


def _rule(rng: Random, names: list[str], level: float) -> tuple[str, Callable[[World], bool]]:
    a, b, c = rng.sample(range(len(names)), 3)
    one, two, three = names[a], names[b], names[c]
    kind = rng.randrange(scaled(level, 4, 7))
    if kind == 0:
        return f"If {one} comes, {two} comes.", lambda world: not world[a] or world[b]
    if kind == 1:
        return f"If {one} comes, {two} does not come.", lambda world: not world[a] or not world[b]
    if kind == 2:
        return f"{one} or {two} comes, or both.", lambda world: world[a] or world[b]
    if kind == 3:
        return f"Exactly one of {one} and {two} comes.", lambda world: world[a] != world[b]
    if kind == 4:
        return (
            f"If {one} does not come, {two} and {three} both come.",
            lambda world: world[a] or (world[b] and world[c]),
        )
    if kind == 5:
        return (
            f"At least two of {one}, {two} and {three} come.",
            lambda world: world[a] + world[b] + world[c] >= 2,
        )
    return (
        f"{one} comes if and only if {two} or {three} comes.",
        lambda world: world[a] == (world[b] or world[c]),
    )


def relations(rng: Random, level: float) -> Question:
    """Quantifiers within quantifiers, over a list of who trusts whom."""
    count, ask = scaled(level, 3, 7), scaled(level, 4, 7)
    names = sorted(rng.sample(NAMES, count))
    pairs = list(permutations(range(count), 2))
    while True:
        share = rng.uniform(0.35, 0.6)
        trusts = {pair for pair in pairs if rng.random() < share}
        claims = [(text, holds) for text, holds in _quantified(rng, names, trusts).items()]
        chosen = rng.sample(claims, ask)
        verdicts = "".join("T" if holds else "F" for _, holds in chosen)
        if trusts and 2 <= verdicts.count("T") <= ask - 2:
            break
    told = "; ".join(
        f"{names[one]}: {', '.join(names[other] for other in range(count) if (one, other) in trusts) or 'nobody'}"
        for one in range(count)
    )
    shown = "\n".join(f"{number}. {text}" for number, (text, _) in enumerate(chosen, 1))
    task = (
        f"Whom each of {count} people trusts, and nobody else: {told}. Nobody trusts themselves. For each of these "
        f"sentences about the {count} say T if it is true and F if it is false:\n{shown}"
    )
    return Question(asked(task, f"the {ask} letters in order"), verdicts, "answer", steps=ask * count)


def _quantified(rng: Random, names: list[str], trusts: set[tuple[int, int]]) -> dict[str, bool]:
    """Sentences, and whether they are true."""
    everyone = range(len(names))
    a, b = rng.sample(everyone, 2)
    out = [{other for other in everyone if (one, other) in trusts} for one in everyone]
    by = [{other for other in everyone if (other, one) in trusts} for one in everyone]
    return {
        "Everybody trusts somebody.": all(out),
        "Somebody is trusted by all others.": any(len(own) == len(names) - 1 for own in by),
        f"Everybody who trusts {names[a]} trusts {names[b]} too, unless they are {names[b]}.": all(
            b in out[one] for one in by[a] - {b}
        ),
        f"Everybody whom {names[a]} trusts trusts {names[a]}.": out[a] <= by[a],
        "No two people trust exactly the same people.": len({frozenset(own) for own in out}) == len(names),
        "There are two people who trust each other.": any((two, one) in trusts for one, two in trusts),
        "Whoever trusts at least two people is trusted by at least two people.": all(
            len(by[one]) >= 2 for one in everyone if len(out[one]) >= 2
        ),
        "Somebody trusts nobody who trusts them.": any(not out[one] & by[one] for one in everyone),
        "For every two different people there is a third whom both trust.": all(
            out[one] & out[two] for one in everyone for two in range(one)
        ),
        "There are two different people neither of whom trusts the other.": any(
            one not in out[two] and two not in out[one] for one in everyone for two in range(one)
        ),
        "For any three different people: if the first trusts the second and the second the third, the first "
        "trusts the third.": all((one, three) in trusts or one == three for one, two in trusts for three in out[two]),
        f"Exactly two people are trusted by more people than {names[b]} is.": sum(len(own) > len(by[b]) for own in by)
        == 2,
    }


MAKERS: tuple[Maker, ...] = (kinds, guests, relations)
