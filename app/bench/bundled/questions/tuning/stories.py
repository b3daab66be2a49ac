"""Stories with figures, some of which have nothing to do with the question; harder with more events and asides."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from app.bench.bundled.questions.base import NAMES, Maker, Question, asked, listed, scaled

GOODS = ("lamps", "mugs", "baskets", "scarves", "kettles", "candles", "brooms", "vases")


def market(rng: Random, level: float) -> Question:
    """Money and stock over a day; many events concern only one of them."""
    name, friend = rng.sample(NAMES, 2)
    good, other = rng.sample(GOODS, 2)
    stock, cash = 12 * rng.randrange(3, 9), 10 * rng.randrange(5, 40)
    told = [f"{name} comes to the market with {stock} {good} and {cash} crowns."]
    steps = 0
    while steps < scaled(level, 3, 20):
        kind, number, price = rng.randrange(scaled(level, 3, 8)), rng.randrange(2, 9), rng.randrange(3, 30)
        if kind == 0 and stock > number:
            stock, cash = stock - number, cash + number * price
            told.append(f"{name} sells {number} {good} at {price} crowns each.")
        elif kind == 1 and cash >= number * price:
            stock, cash = stock + number, cash - number * price
            told.append(f"{name} buys {number} more {good} for {price} crowns each.")
        elif kind == 2 and cash > price:
            cash -= price
            told.append(f"{name} pays {price} crowns for lunch.")
        elif kind == 3 and stock % 3 == 0 and stock > 20:
            stock -= stock // 3
            told.append(f"A third of {name}'s {good} are stolen.")
        elif kind == 4 and stock > 10:
            stock, cash = stock - 5, cash + 5 * price - 5
            told.append(f"{friend} takes 5 {good} from {name}, for {price} crowns each, less 5 crowns on the whole.")
        elif kind == 5 and cash > number * price:
            stock, cash = stock + number, cash - number * price
            told.append(f"A customer brings {number} {good} back, and {name} refunds the {price} crowns paid for each.")
        elif kind == 6 and cash % 4 == 0 and cash > 150:
            cash -= cash // 4
            told.append(f"{name} lends {friend} a quarter of the money at hand.")
        elif kind == 7 and stock > 8 and steps > 4:
            half = (stock + 1) // 2
            stock, cash = stock - half, cash + half * price
            told.append(f"{name} sells half of the {good} left, rounded up to a whole number, at {price} crowns each.")
        else:
            continue
        steps += 1
        if rng.random() < 0.2 + 0.3 * level:
            told.append(
                rng.choice(
                    (
                        f"{friend} sells {number} {other} at {price} crowns each.",
                        f"The next stall has {rng.randrange(10, 90)} {other} in {rng.randrange(2, 9)} boxes.",
                        f"Last week {name} had sold {number} {good} at {price + 2} crowns each.",
                        f"{name} refuses {price + 9} crowns that are offered for {number} {good}.",
                    )
                )
            )
    task = f"{' '.join(told)} How many crowns and how many {good} does {name} have in the end?"
    form = "the list of crowns and pieces, such as [210, 36]"
    return Question(asked(task, form), str([cash, stock]), "answer", steps=2 * steps)


def ages(rng: Random, level: float) -> Question:
    """Ages that hang together, with their sum; what is known comes last."""
    count = scaled(level, 2, 7)
    while True:
        names = rng.sample(NAMES, count)
        known = [rng.randrange(6, 20)]
        clues = []
        for younger, older in pairwise(names):
            age, gap = known[-1], rng.randrange(2, 13)
            kind = rng.randrange(scaled(level, 2, 4))
            if kind == 0:
                known.append(age + gap)
                clues.append(f"{older} is {gap} years older than {younger}.")
            elif kind == 1:
                known.append(2 * age)
                clues.append(f"{older} is twice as old as {younger}.")
            elif kind == 2:
                known.append(2 * (age + gap) - gap)
                clues.append(f"In {gap} years {older} will be twice as old as {younger} will be then.")
            else:
                known.append(3 * (age - 2) + gap + 2)
                clues.append(f"Two years ago {older} was {gap} years older than three times the age of {younger} then.")
        if max(known) < 100:
            break
    rng.shuffle(clues)
    for who in rng.sample(names, scaled(level, 1, 4)):
        clues.insert(
            rng.randrange(len(clues) + 1),
            rng.choice(
                (
                    f"{who} lives at number {rng.randrange(3, 99)}.",
                    f"{who} has {rng.randrange(2, 30)} cousins.",
                    f"The cat of {who} is {rng.randrange(2, 15)} years old.",
                )
            ),
        )
    wanted = rng.randrange(count)
    later = rng.randrange(3, 20)
    those = names if level < 0.6 else sorted(rng.sample(names, count - 1))
    total = sum(age for name, age in zip(names, known, strict=True) if name in those)
    task = (
        f"{' '.join(clues)} Together {listed(those)} are {total} years old. How old will {names[wanted]} be in {later} "
        "years?"
    )
    return Question(asked(task, "the number of years"), str(known[wanted] + later), "number", steps=3 * count + 2)


def tank(rng: Random, level: float) -> Question:
    """A tank filled and drained by a timetable; it can run over and run dry."""
    size = 10 * rng.randrange(scaled(level, 20, 30), scaled(level, 30, 70))
    content = 10 * rng.randrange(2, 9)
    pipes = scaled(level, 1, 6)
    end = 10 * scaled(level, 2, 9)
    flows = []
    for place in range(pipes):
        begin = rng.randrange(0, end - 8)
        flows.append((begin, rng.randrange(begin + 4, end + 1), rng.randrange(3, 20) * (-1 if place % 2 else 1)))
    told = [
        f"{'A pump fills in' if rate > 0 else 'A drain takes out'} {abs(rate)} litres a minute from minute {begin} to "
        f"minute {stop}."
        for begin, stop, rate in flows
    ]
    asides = [
        f"The tank is {rng.randrange(2, 9)} metres high.",
        f"A second tank next to it holds {10 * rng.randrange(20, 60)} litres.",
        f"One of the pumps was bought {rng.randrange(3, 20)} years ago for {rng.randrange(100, 900)} crowns.",
    ]
    told += asides[: scaled(level, 1, 3)]
    rng.shuffle(told)
    minutes = sorted({0, end, *(edge for begin, stop, _ in flows for edge in (begin, stop))})
    start, lost = content, 0
    for low, high in pairwise(minutes):
        net = sum(rate for begin, stop, rate in flows if begin <= low < stop)
        content += net * (high - low)
        lost += max(0, content - size)
        content = max(0, min(size, content))
    task = (
        f"A tank of {size} litres holds {start} litres at minute 0. {' '.join(told)} What it cannot hold runs over and "
        "is lost, and when it is empty it stays so while no more flows in than out. All flows are steady. How many "
        f"litres are in the tank at minute {end}, and how many have run over by then?"
    )
    form = "the list of both numbers, such as [120, 0]"
    return Question(asked(task, form), str([content, lost]), "answer", steps=4 * (len(minutes) - 1))


MAKERS: tuple[Maker, ...] = (market, ages, tank)
