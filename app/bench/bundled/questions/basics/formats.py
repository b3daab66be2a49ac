"""Replies that must have an exact form; harder with more fields and entries."""

from __future__ import annotations

import json
from datetime import date
from random import Random
from typing import Any

from app.bench.bundled.questions.base import CITIES, NAMES, Maker, Question, distinct, scaled

JOBS = ("baker", "nurse", "pilot", "welder", "tailor", "clerk", "diver", "farmer", "judge", "potter")
FRUITS = (
    "apple", "plum", "quince", "fig", "grape", "lemon", "cherry", "mango", "papaya", "kiwi", "pear", "orange",
    "banana", "lime", "melon", "apricot", "peach", "guava", "lychee", "damson",
)  # fmt: skip


def _wrong(target: Any, *values: Any) -> tuple[str, ...]:
    texts = [json.dumps(value, ensure_ascii=False) for value in values]
    return distinct(texts, json.dumps(target, ensure_ascii=False))


def record(rng: Random, level: float) -> Question:
    facts: dict[str, Any] = {
        "name": rng.choice(NAMES),
        "age": rng.randrange(19, 80),
        "city": rng.choice(CITIES),
        "job": rng.choice(JOBS),
        "member": rng.random() < 0.5,
        "points": rng.randrange(100, 9000),
        "shifts": rng.sample(range(1, 29), 3),
        "rating": rng.randrange(10, 50) / 10,
    }
    keys = ["name", "age", *rng.sample(list(facts)[2:], scaled(level, 0, 6))]
    told = {
        "name": f"{facts['name']} has registered.",
        "age": f"The age given is {facts['age']}.",
        "city": f"Home is {facts['city']}.",
        "job": f"By trade: {facts['job']}.",
        "member": "Membership is active." if facts["member"] else "There is no active membership.",
        "points": f"The account holds {facts['points']} points.",
        "shifts": f"Shifts fall on days {', '.join(map(str, facts['shifts']))} of the month.",
        "rating": f"The average rating is {facts['rating']}.",
    }
    sentences = " ".join(told[key] for key in [keys[0], *rng.sample(keys[1:], len(keys) - 1)])
    order = rng.sample(keys, len(keys))
    notes = " Use true or false for member." * ("member" in keys) + " shifts is a list of numbers." * ("shifts" in keys)
    prompt = rng.choice(
        (
            f"Reply with JSON only, an object with the keys {', '.join(order)}.{notes} Text: {sentences}",
            f"{sentences}\nExtract {', '.join(order)} as one JSON object.{notes} Output nothing else.",
            f"Turn this into a JSON object with exactly the keys {', '.join(order)}.{notes}\n{sentences}",
        )
    )
    target = {key: facts[key] for key in order}
    mistakes = (
        target | {"age": str(facts["age"])},
        target | {"age": facts["age"] + 1},
        {key: value for key, value in target.items() if key != order[-1]},
        target | {"note": None},
    )
    return Question(prompt, json.dumps(target), "json", _wrong(target, *mistakes))


def ordered(rng: Random, level: float) -> Question:
    numbers = rng.sample(range(2, 10 ** scaled(level, 2, 4)), scaled(level, 4, 14))
    falling = rng.random() < 0.5
    target = sorted(numbers, reverse=falling)
    how = "descending" if falling else "ascending"
    text = ", ".join(map(str, numbers))
    prompt = rng.choice(
        (
            f"Sort these numbers in {how} order and reply with a JSON list only: {text}",
            f"Output {text} as a JSON array in {how} order, nothing else.",
            f"JSON only: the list of {text}, put in {how} order.",
        )
    )
    return Question(
        prompt,
        json.dumps(target),
        "json",
        _wrong(target, target[::-1], target[:-1], [target[1], target[0], *target[2:]], numbers),
    )


def unique(rng: Random, level: float) -> Question:
    kinds = rng.sample(FRUITS, scaled(level, 3, 9))
    basket = kinds + rng.choices(kinds, k=scaled(level, 2, 9))
    rng.shuffle(basket)
    target = sorted(set(basket))
    prompt = rng.choice(
        (
            f"List each fruit once, alphabetically, as a JSON array and nothing else: {', '.join(basket)}",
            f"Remove the repeats from {', '.join(basket)} and reply with an alphabetically sorted JSON list only.",
            f"As JSON only: the distinct words among {' '.join(basket)}, from a to z.",
        )
    )
    return Question(
        prompt, json.dumps(target), "json", _wrong(target, target[::-1], target[1:], sorted(basket), basket)
    )


def tally(rng: Random, level: float) -> Question:
    kinds = rng.sample(FRUITS, scaled(level, 2, 6))
    basket = kinds + rng.choices(kinds, k=scaled(level, 2, 14))
    rng.shuffle(basket)
    target = {kind: basket.count(kind) for kind in sorted(kinds)}
    prompt = rng.choice(
        (
            f"Count each word in: {' '.join(basket)}. Reply with a JSON object from word to count, nothing else.",
            f"JSON only: how often each fruit occurs in {', '.join(basket)} (keys are the fruits).",
        )
    )
    first, last = min(kinds), max(kinds)
    mistakes = (
        target | {first: target[first] + 1},
        target | {last: target[last] - 1},
        {kind: str(count) for kind, count in target.items()},
    )
    return Question(prompt, json.dumps(target), "json", _wrong(target, *mistakes))


def iso(rng: Random, level: float) -> Question:
    day = date(rng.randrange(1905, 2099), rng.randrange(1, 13), rng.randrange(1, 13))
    month = f"{day:%B}"
    easy = (f"{day.day} {month} {day.year}", f"{month} {day.day}, {day.year}")
    hard = (
        f"{day.day}.{day.month}.{day.year} (day first)",
        f"{day.month}/{day.day}/{day.year % 100:02d} (month first, year {day.year // 100}xx)",
        f"the {day.timetuple().tm_yday}. day of the year {day.year}",
    )
    given = rng.choice(easy) if level < 0.4 else rng.choice(hard)
    prompt = rng.choice(
        (
            f"Write this date in ISO form (YYYY-MM-DD) and nothing else: {given}",
            f"Convert {given} to YYYY-MM-DD. Reply with the date only.",
            f"Give {given} as an ISO 8601 date. No other words.",
        )
    )
    wrong = (
        f"{day.year}-{day.day:02d}-{day.month:02d}",
        f"{day.year}-{day.month}-{day.day}",
        f"{day.day:02d}-{day.month:02d}-{day.year}",
        f"{day.year}/{day.month:02d}/{day.day:02d}",
    )
    return Question(prompt, day.isoformat(), "exact", distinct(wrong, day.isoformat()))


MAKERS: tuple[Maker, ...] = (record, ordered, unique, tally, iso)
