"""What a few lines of Python print; harder with longer lists and more passes."""

from __future__ import annotations

from random import Random

from app.bench.bundled.questions.base import Maker, Question, distinct, misspelt, scaled, slips
from app.bench.bundled.questions.basics.strings import WORDS


def _asked(rng: Random, source: str) -> str:
    ask = rng.choice(
        (
            "What does this Python program print?",
            "Predict the output of this Python code.",
            "Read the code and state what it prints.",
            "What is the output?",
        )
    )
    return f"{ask}\n```python\n{source}\n```"


def _numbers(rng: Random, level: float, low: int = 4, high: int = 12) -> list[int]:
    return [rng.randrange(1, scaled(level, 12, 60)) for _ in range(scaled(level, low, high))]


def summing(rng: Random, level: float) -> Question:
    numbers, modulus = _numbers(rng, level), rng.randrange(2, scaled(level, 4, 8))
    total = 0
    skipped = 0
    for number in numbers:
        if number % modulus:
            total += number
        else:
            total -= modulus
            skipped += number
    source = (
        f"total = 0\nfor n in {numbers}:\n    if n % {modulus}:\n        total += n\n    else:\n"
        f"        total -= {modulus}\nprint(total)"
    )
    return Question(_asked(rng, source), str(total), "answer", slips(rng, total, sum(numbers), skipped))


def slicing(rng: Random, level: float) -> Question:
    numbers = _numbers(rng, level, 5, 16)
    start, step = rng.randrange(1, 3), rng.choice((2, 3)) if level > 0.4 else 1
    target = numbers[start::step][::-1] if level > 0.6 else numbers[start::step]
    tail = "[::-1]" if level > 0.6 else ""
    source = f"xs = {numbers}\nprint(xs[{start}::{step}]{tail})"
    wrong = (numbers[start - 1 :: step], numbers[start + 1 :: step], target[:-1], target[::-1])
    return Question(_asked(rng, source), str(target), "answer", distinct(map(str, wrong), str(target)))


def mapping(rng: Random, level: float) -> Question:
    numbers, factor = _numbers(rng, level), rng.randrange(2, 7)
    # Below the largest, so that something is left to print.
    limit = min(rng.randrange(4, 12), max(numbers) - 1)
    target = [number * factor - 1 for number in numbers if number > limit]
    source = f"xs = {numbers}\nprint([x * {factor} - 1 for x in xs if x > {limit}])"
    wrong = (
        [number * factor for number in numbers if number > limit],
        [number * factor - 1 for number in numbers],
        target[1:],
        [number * factor - 1 for number in numbers if number <= limit],
    )
    return Question(_asked(rng, source), str(target), "answer", distinct(map(str, wrong), str(target)))


def counting(rng: Random, level: float) -> Question:
    text = "".join(rng.sample(WORDS, scaled(level, 1, 3)))[: scaled(level, 5, 18)]
    target = {sign: text.count(sign) for sign in dict.fromkeys(text)}
    source = f"counts = {{}}\nfor ch in {text!r}:\n    counts[ch] = counts.get(ch, 0) + 1\nprint(counts)"
    first = text[0]
    wrong = (
        target | {first: target[first] + 1},
        dict.fromkeys(target, 1) | {text[-1]: 3},
        {sign: count for sign, count in target.items() if sign != text[-1]},
    )
    return Question(_asked(rng, source), str(target), "answer", distinct(map(str, wrong), str(target)))


def spelling(rng: Random, level: float) -> Question:
    words = rng.sample(WORDS, scaled(level, 1, 4))
    pieces = [word[::-1].upper() if place % 2 else word[1:] for place, word in enumerate(words)]
    target = "-".join(pieces)
    source = (
        f"words = {words}\nout = []\nfor i, w in enumerate(words):\n"
        "    out.append(w[::-1].upper() if i % 2 else w[1:])\n"
        "print(repr('-'.join(out)))"
    )
    wrong = [repr(text) for text in misspelt(rng, target)]
    return Question(_asked(rng, source), repr(target), "answer", distinct(wrong, repr(target)))


def looping(rng: Random, level: float) -> Question:
    value, add = rng.randrange(3, 20), rng.randrange(2, 9)
    bound = scaled(level, 30, 3000) + rng.randrange(20)
    number, passes = value, 0
    while number < bound:
        number = number * 2 if passes % 2 else number + add
        passes += 1
    source = f"n, i = {value}, 0\nwhile n < {bound}:\n    n = n * 2 if i % 2 else n + {add}\n    i += 1\nprint(n + i)"
    result = number + passes
    return Question(_asked(rng, source), str(result), "answer", slips(rng, result, number, number // 2 + passes))


MAKERS: tuple[Maker, ...] = (summing, slicing, mapping, counting, spelling, looping)
