"""Sums to work out; harder with more digits and more steps."""

from __future__ import annotations

from random import Random

from app.bench.bundled.questions.base import Maker, Question, digits, listed, scaled, slips


def adding(rng: Random, level: float) -> Question:
    numbers = [digits(rng, scaled(level, 2, 5)) for _ in range(scaled(level, 2, 6))]
    sum_sign = " + ".join(map(str, numbers))
    prompt = rng.choice(
        (
            f"What is {sum_sign}?",
            f"Add up {listed(numbers)}.",
            f"Work out the sum {sum_sign} and state the result.",
            f"A column reads {', '.join(map(str, numbers))}. What does it total?",
        )
    )
    return Question(prompt, str(sum(numbers)), "number", slips(rng, sum(numbers), sum(numbers) - 100))


def subtracting(rng: Random, level: float) -> Question:
    size = scaled(level, 2, 7)
    low, high = sorted((digits(rng, size), digits(rng, size)))
    if level > 0.5:
        low, high = high, low
    result = high - low
    prompt = rng.choice(
        (
            f"What is {high} - {low}?",
            f"Subtract {low} from {high}.",
            f"Take {low} away from {high}: what remains, with its sign?",
            f"Find the difference {high} minus {low}.",
        )
    )
    return Question(prompt, str(result), "number", slips(rng, result, result + 100))


def multiplying(rng: Random, level: float) -> Question:
    left, right = digits(rng, scaled(level, 1, 4)), digits(rng, scaled(level, 2, 4))
    prompt = rng.choice(
        (
            f"What is {left} × {right}?",
            f"Multiply {left} by {right}.",
            f"Compute the product of {left} and {right}.",
            f"{left} rows of {right} seats each: how many seats are there in all?",
        )
    )
    return Question(prompt, str(left * right), "number", slips(rng, left * right, left * right - left))


def dividing(rng: Random, level: float) -> Question:
    divisor, quotient = digits(rng, scaled(level, 1, 3)), digits(rng, scaled(level, 2, 4))
    rest = rng.randrange(divisor) if level > 0.3 else 0
    number = divisor * quotient + rest
    prompt = rng.choice(
        (
            f"How many whole times does {divisor} go into {number}?",
            f"Divide {number} by {divisor} and give the quotient without the remainder.",
            f"What is {number} // {divisor}, rounding down?",
        )
    )
    return Question(prompt, str(quotient), "number", slips(rng, quotient, quotient + 1))


def remaining(rng: Random, level: float) -> Question:
    divisor, number = digits(rng, scaled(level, 1, 3)) + 2, digits(rng, scaled(level, 2, 6))
    prompt = rng.choice(
        (
            f"What remainder does {number} leave when divided by {divisor}?",
            f"Compute {number} mod {divisor}.",
            f"{number} eggs are packed in boxes of {divisor}. How many are left over?",
        )
    )
    return Question(prompt, str(number % divisor), "number", slips(rng, number % divisor, number // divisor))


def chained(rng: Random, level: float) -> Question:
    value = digits(rng, 2)
    text = str(value)
    for _ in range(scaled(level, 2, 6)):
        operand = digits(rng, scaled(level, 1, 2))
        sign = rng.choice("+-*")
        value = {"+": value + operand, "-": value - operand, "*": value * operand}[sign]
        text = f"({text} {sign} {operand})"
    text = text[1:-1]
    prompt = rng.choice(
        (
            f"Evaluate {text}.",
            f"What does the expression {text} come to?",
            f"Respecting the brackets, compute {text}.",
        )
    )
    return Question(prompt, str(value), "number", slips(rng, value, -value, value + operand))


def percentages(rng: Random, level: float) -> Question:
    percent = rng.choice((10, 25, 50)) if level < 0.4 else rng.randrange(3, 98)
    base = 100 * digits(rng, scaled(level, 1, 4))
    result = base * percent // 100
    prompt = rng.choice(
        (
            f"What is {percent} % of {base}?",
            f"Find {percent} percent of {base}.",
            f"A price of {base} dollars is cut by {percent} %. By how many dollars?",
        )
    )
    return Question(prompt, str(result), "number", slips(rng, result, base - result))


MAKERS: tuple[Maker, ...] = (adding, subtracting, multiplying, dividing, remaining, chained, percentages)
