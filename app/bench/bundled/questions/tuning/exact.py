"""Exact arithmetic in several steps; harder with more terms and longer numbers."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from app.bench.bundled.questions.base import Maker, Question, asked, scaled

DIGITS = "0123456789abcdef"


def in_base(number: int, base: int) -> str:
    """A natural number in a base from 2 to 16."""
    text = ""
    while number:
        number, digit = divmod(number, base)
        text = DIGITS[digit] + text
    return text or "0"


def bases(rng: Random, level: float) -> Question:
    """Numbers in mixed bases."""
    known = (2, 8, 16) if level < 0.3 else (3, 5, 6, 7, 9, 11, 12, 13, 16)
    count = scaled(level, 2, 5)
    numbers = [rng.randrange(8, scaled(level, 40, 9000)) for _ in range(count)]
    own = [rng.choice(known) for _ in numbers]
    shown = [f"{in_base(number, base)} (base {base})" for number, base in zip(numbers, own, strict=True)]
    text, value = shown[0], numbers[0]
    for number, term in zip(numbers[1:], shown[1:], strict=True):
        if level > 0.5 and rng.random() < 0.5 and value < 10**7:
            text, value = f"{_bracketed(text)} × {term}", value * number
        else:
            text, value = f"{text} + {term}", value + number
    base = rng.choice([base for base in (3, 4, 5, 6, 7, 8, 9) if base not in own])
    target = in_base(value, base)
    letters = " Beyond 9 the digits are a = 10, b = 11, c = 12, d = 13, e = 14, f = 15." if max(own) > 10 else ""
    task = f"Work out {text} and write the result in base {base}.{letters}"
    steps = sum(len(term.split()[0]) for term in shown) + count + len(target)
    return Question(asked(task, "the digits in that base, such as 2120"), target, "number", steps=steps)


def _bracketed(text: str) -> str:
    """In brackets where a factor behind it would otherwise belong to its last term."""
    return f"({text})" if " + " in text or " − " in text else text


def powers(rng: Random, level: float) -> Question:
    """Powers by a modulus."""
    value, text = 0, ""
    # A remainder of 0 or 1 is what somebody would guess.
    while value < 2:
        modulus = rng.randrange(scaled(level, 11, 400), scaled(level, 30, 999))
        terms = [
            (rng.randrange(2, scaled(level, 9, 99)), rng.randrange(3, scaled(level, 6, 900)))
            for _ in range(scaled(level, 1, 4))
        ]
        text, value = f"{terms[0][0]}^{terms[0][1]}", pow(*terms[0], modulus)
        for base, exponent in terms[1:]:
            sign = rng.choice("+−×")
            text = f"{_bracketed(text) if sign == '×' else text} {sign} {base}^{exponent}"
            power = pow(base, exponent, modulus)
            value = {"+": value + power, "−": value - power, "×": value * power}[sign] % modulus
    task = (
        f"What is the remainder of {text} on division by {modulus}, as a whole number from 0 to {modulus - 1}? "
        "(^ is the power.)"
    )
    steps = sum(exponent.bit_length() + exponent.bit_count() for _, exponent in terms)
    return Question(asked(task, "the remainder"), str(value), "number", steps=steps)


def fractions(rng: Random, level: float) -> Question:
    """A chain of operations on fractions."""
    while True:
        value, text = Fraction(0), ""
        for place in range(scaled(level, 2, 8)):
            lower = rng.randrange(2, scaled(level, 8, 24))
            part = Fraction(rng.randrange(1, scaled(level, 8, 30)), lower)
            if part.denominator == 1:
                part += Fraction(1, lower)
            shown = f"{part.numerator}/{part.denominator}"
            sign = rng.choice("+−×÷" if level > 0.25 else "+−")
            if not place:
                value, text = part, shown
                continue
            text = f"({text}) {sign} {shown}" if place > 1 else f"{text} {sign} {shown}"
            value = {"+": value + part, "−": value - part, "×": value * part, "÷": value / part}[sign]
        if value.denominator > 1 and value > 0 and len(str(value)) <= 4 + 12 * level:
            break
    task = f"Work out {text} exactly."
    count = text.count("/")
    steps = count + len(str(value)) * (count - 1) // 2
    return Question(asked(task, "the fraction in lowest terms, such as 17/12"), str(value), "number", steps=steps)


MAKERS: tuple[Maker, ...] = (bases, powers, fractions)
