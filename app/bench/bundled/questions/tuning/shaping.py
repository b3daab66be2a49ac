"""JSON brought into another shape; harder with more records and more edits."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from app.bench.bundled.questions.base import CITIES, NAMES, Maker, Question, asked, scaled

FORM = "the JSON on one line, the keys of every object in alphabetical order"
KEYS = ("alpha", "beta", "gamma", "delta", "kappa", "omega", "sigma", "theta")
CREWS = ("red", "blue", "green", "gold")


def _question(task: str, value: Any, steps: int) -> Question:
    return Question(asked(task, FORM), json.dumps(value, sort_keys=True), "json", steps=steps)


def regrouped(rng: Random, level: float) -> Question:
    """A list of records becomes an object of groups."""
    count, crews = scaled(level, 3, 12), CREWS[: scaled(level, 2, 4)]
    people = rng.sample(NAMES, count)
    records = [
        {"name": name, "crew": rng.choice(crews), "points": rng.randrange(1, 30), "active": rng.random() < 0.7}
        for name in people
    ]
    rule = "Leave out records that are not active. " if level > 0.25 else ""
    kept = [record for record in records if record["active"] or not rule]
    groups: dict[str, Any] = {}
    for crew in sorted({str(record["crew"]) for record in kept}):
        own = sorted((r for r in kept if r["crew"] == crew), key=lambda r: (-int(str(r["points"])), str(r["name"])))
        names = [record["name"] for record in own]
        groups[crew] = (
            names
            if level < 0.5
            else {"best": names[0], "names": names, "total": sum(int(str(r["points"])) for r in own)}
        )
    left = " that is left" if rule else ""
    what = (
        "to the list of names of its records"
        if level < 0.5
        else "to an object with `best` (the first name), `names` (the list of names) and `total` (the sum of points)"
    )
    task = (
        f"{json.dumps(records)}\n{rule}Make of this one object that maps each crew{left} {what}; names are "
        "ordered by points, the highest first, and on equal points alphabetically."
    )
    return _question(task, groups, 2 * count + len(kept))


def edited(rng: Random, level: float) -> Question:
    """Edits of a document, in order, each on the result of the one before."""
    document: dict[str, Any] = {}
    for key in rng.sample(KEYS, scaled(level, 2, 4)):
        document[key] = rng.choice(
            (
                rng.randrange(1, 50),
                [rng.randrange(1, 20) for _ in range(3)],
                {"x": rng.randrange(9), "y": rng.randrange(9)},
            )
        )
    start = json.dumps(document, sort_keys=True)
    told = []
    for _ in range(scaled(level, 2, 12)):
        text = _edit(rng, document, level)
        while text is None:
            text = _edit(rng, document, level)
        told.append(text)
    edits = "\n".join(f"{number}. {text}" for number, text in enumerate(told, 1))
    task = f"{start}\nEdit this document in order:\n{edits}\nWhat is the document then?"
    return _question(task, document, 3 * len(told))


def _edit(rng: Random, document: dict[str, Any], level: float) -> str | None:
    """Changes the document and says how; None where this kind of edit does not fit it."""
    kind, key, number = rng.randrange(scaled(level, 4, 8)), rng.choice(sorted(document)), rng.randrange(1, 50)
    free = sorted(set(KEYS) - set(document))
    value = document[key]
    if kind == 0 and free and len(document) < 6:
        new = rng.choice(free)
        document[new] = number
        return f"Set `{new}` to {number}."
    if kind == 1 and len(document) > 2:
        del document[key]
        return f"Delete `{key}`."
    if kind == 2 and free:
        new = rng.choice(free)
        document[new] = document.pop(key)
        return f"Rename `{key}` to `{new}`."
    if kind == 3 and isinstance(value, list) and len(value) < 5:
        value.append(number)
        return f"Append {number} to `{key}`."
    if kind == 4 and isinstance(value, list) and len(value) > 1:
        value.reverse()
        value.pop()
        return f"Reverse `{key}`, then drop its last element."
    if kind == 5 and isinstance(value, int) and len(document) < 6:
        document[key] = {"x": value, "y": value % 7}
        return f"Replace the number n in `{key}` by an object with `x` = n and `y` = the remainder of n by 7."
    if kind == 6:
        other = rng.choice(sorted(document))
        if other == key:
            return None
        document[key], document[other] = document[other], document[key]
        return f"Exchange the values of `{key}` and `{other}`."
    if kind == 7 and isinstance(value, dict):
        document[key] = [value["x"] + value["y"], value["x"]]
        return f"Replace the object in `{key}` by the list of x + y and x."
    return None


def flattened(rng: Random, level: float) -> Question:
    """A tree becomes an object of paths, with some leaves left out or changed."""
    leaves = scaled(level, 4, 16)
    tree: dict[str, Any] = {}
    places = [tree]
    count = 0
    while count < leaves:
        place = rng.choice(places)
        key = rng.choice(KEYS + CITIES[:8]).lower()
        if key in place:
            continue
        if len(places) < leaves // 2 and rng.random() < 0.5:
            place[key] = {}
            places.append(place[key])
            continue
        place[key] = rng.choice((rng.randrange(1, 90), rng.choice(NAMES), None))
        count += 1
    twice = level > 0.4
    flat: dict[str, Any] = {}

    def walk(path: tuple[str, ...], value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk((*path, key), inner)
        elif value is not None:
            deep = twice and len(path) % 2 == 0
            flat["/".join(path)] = value * 2 if deep and isinstance(value, int) else value

    walk((), tree)
    rule = " Numbers whose path has an even number of keys are doubled." if twice else ""
    task = (
        f"{json.dumps(tree)}\nMake of this one flat object: each key is a path, the keys from the outside in, joined "
        f"by /, and each value what lies there. Leave out null values and empty objects.{rule}"
    )
    return _question(task, flat, 2 * leaves)


MAKERS: tuple[Maker, ...] = (regrouped, edited, flattened)
