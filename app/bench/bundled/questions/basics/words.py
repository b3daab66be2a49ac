"""Stories with numbers; harder with more steps to the answer."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from app.bench.bundled.questions.base import NAMES, Maker, Question, digits, listed, scaled, slips

GOODS = ("pencils", "mugs", "lamps", "scarves", "kettles", "rulers", "candles", "baskets", "cushions", "torches")


def shopping(rng: Random, level: float) -> Question:
    name = rng.choice(NAMES)
    goods = rng.sample(GOODS, scaled(level, 1, 5))
    bought = [(digits(rng, 1) + 1, digits(rng, scaled(level, 1, 2))) for _ in goods]
    total = sum(count * price for count, price in bought)
    parts = [f"{count} {good} at {price} dollars each" for good, (count, price) in zip(goods, bought, strict=True)]
    voucher = digits(rng, 1) if level > 0.5 else 0
    less = f" A voucher takes {voucher} dollars off the bill." if voucher else ""
    prompt = rng.choice(
        (
            f"{name} buys {listed(parts)}.{less} How many dollars are to be paid?",
            f"In a shop {name} picks {listed(parts)}.{less} What is the bill, in dollars?",
            f"How much does {name} spend on {listed(parts)}?{less} Answer in dollars.",
        )
    )
    return Question(
        prompt, str(total - voucher), "number", slips(rng, total - voucher, total + voucher, sum(p for _, p in bought))
    )


def travelling(rng: Random, level: float) -> Question:
    legs = [(10 * rng.randrange(3, 14), rng.randrange(2, 8)) for _ in range(scaled(level, 1, 5))]
    distance = sum(speed * hours for speed, hours in legs)
    parts = [f"{hours} hours at {speed} km per hour" for speed, hours in legs]
    prompt = rng.choice(
        (
            f"A train runs {', then '.join(parts)}. How many kilometres does it cover?",
            f"{rng.choice(NAMES)} drives {', after that '.join(parts)}. How long is the whole way in km?",
            f"What distance in kilometres is covered in {listed(parts)}?",
        )
    )
    return Question(prompt, str(distance), "number", slips(rng, distance, sum(speed for speed, _ in legs)))


def sharing(rng: Random, level: float) -> Question:
    giver, *others = rng.sample(NAMES, scaled(level, 2, 5) + 1)
    start = digits(rng, scaled(level, 2, 3)) + 40
    left = start
    steps = []
    for other in others:
        part = rng.randrange(2, max(3, left // (len(others) + 1)))
        gained = level > 0.4 and rng.random() < 0.4
        left += part if gained else -part
        steps.append(f"gets {part} from {other}" if gained else f"gives {part} to {other}")
    good = rng.choice(GOODS)
    prompt = rng.choice(
        (
            f"{giver} has {start} {good}, {listed(steps)}. How many {good} does {giver} have then?",
            f"Starting with {start} {good}, {giver} {listed(steps)}. How many are left?",
            f"{giver} owns {start} {good}. {giver} {listed(steps)}. What is the number of {good} now?",
        )
    )
    return Question(prompt, str(left), "number", slips(rng, left, 2 * start - left if 2 * start > left else start))


def ages(rng: Random, level: float) -> Question:
    names = rng.sample(NAMES, scaled(level, 2, 6))
    age = rng.randrange(14, 33)
    clues = [f"{names[0]} is {age} years old."]
    for younger, older in pairwise(names):
        gap = rng.randrange(2, 12)
        if level > 0.7 and age < 20:
            age *= 2
            clues.append(f"{older} is twice as old as {younger}.")
        else:
            age += gap
            clues.append(f"{older} is {gap} years older than {younger}.")
    later = rng.randrange(3, 15)
    prompt = rng.choice(
        (
            f"{' '.join(clues)} How old will {names[-1]} be in {later} years?",
            f"{' '.join(clues)} In {later} years, what is the age of {names[-1]}?",
        )
    )
    return Question(prompt, str(age + later), "number", slips(rng, age + later, age))


def filling(rng: Random, level: float) -> Question:
    rates = [rng.randrange(3, 20) for _ in range(scaled(level, 1, 4))]
    drain = rng.randrange(1, min(rates)) if level > 0.5 and min(rates) > 1 else 0
    net = sum(rates) - drain
    minutes = digits(rng, scaled(level, 1, 2)) + 1
    volume = net * minutes
    taps = listed([f"one of {rate} litres a minute" for rate in rates])
    hole = f" A leak loses {drain} litres a minute." if drain else ""
    prompt = rng.choice(
        (
            f"A tank of {volume} litres is filled by these taps: {taps}.{hole} How many minutes does it take?",
            f"Taps run into an empty tank of {volume} litres: {taps}.{hole} After how many minutes is it full?",
        )
    )
    return Question(prompt, str(minutes), "number", slips(rng, minutes, volume // sum(rates) + 2 * bool(drain) + 3))


MAKERS: tuple[Maker, ...] = (shopping, travelling, sharing, ages, filling)
