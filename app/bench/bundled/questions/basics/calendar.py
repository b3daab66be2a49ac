"""Days, dates and clock times; harder over longer spans."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from random import Random

from app.bench.bundled.questions.base import Maker, Question, distinct, scaled, slips

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def weekday(rng: Random, level: float) -> Question:
    start, span = rng.randrange(7), rng.randrange(2, 7) + scaled(level, 0, 900)
    back = level > 0.5 and rng.random() < 0.5
    target = DAYS[(start + (-span if back else span)) % 7]
    when = f"was it {span} days ago" if back else f"is it in {span} days"
    prompt = rng.choice(
        (
            f"Today is {DAYS[start]}. Which day of the week {when}?",
            f"If a {DAYS[start]} is day 0, which weekday is day {'-' * back}{span}?",
            f"Name the day of the week {span} days {'before' if back else 'after'} a {DAYS[start]}.",
        )
    )
    near = (DAYS[DAYS.index(target) - 1], DAYS[(DAYS.index(target) + 1) % 7], DAYS[start])
    return Question(prompt, target, "answer", distinct(near, target))


def between(rng: Random, level: float) -> Question:
    start = date(rng.randrange(1950, 2080), rng.randrange(1, 13), rng.randrange(1, 29))
    span = rng.randrange(5, 25) + scaled(level, 0, 700)
    end = start + timedelta(days=span)
    prompt = rng.choice(
        (
            f"How many days is it from {start} to {end}?",
            f"Count the days that pass from {start} until {end}.",
            f"{end} is how many days later than {start}?",
        )
    )
    return Question(prompt, str(span), "number", slips(rng, span, span + 1, span - 1))


def clock(rng: Random, level: float) -> Question:
    start = datetime(2001, 1, 1, rng.randrange(24), 5 * rng.randrange(12))  # noqa: DTZ001 – a clock face, no moment
    hops = [rng.randrange(15, 60) + scaled(level, 0, 400) for _ in range(scaled(level, 1, 4))]
    end = start + timedelta(minutes=sum(hops))
    hours = timedelta(hours=1)
    spans = ", then ".join(f"{hop} minutes" for hop in hops)
    prompt = rng.choice(
        (
            f"It is {start:%H:%M}. What does a 24-hour clock show after {spans}?",
            f"A shift starts at {start:%H:%M} and lasts {spans}. When does it end (24-hour clock)?",
            f"Add {spans} to {start:%H:%M} and give the time as HH:MM.",
        )
    )
    mistakes = [f"{end + change:%H:%M}" for change in (hours, -hours, timedelta(minutes=5), timedelta(minutes=-10))]
    return Question(prompt, f"{end:%H:%M}", "answer", distinct(mistakes, f"{end:%H:%M}"))


def shifted(rng: Random, level: float) -> Question:
    start = date(rng.randrange(1950, 2080), rng.randrange(1, 13), rng.randrange(1, 29))
    span = rng.randrange(3, 20) + scaled(level, 0, 500)
    back = level > 0.4 and rng.random() < 0.5
    end = start + timedelta(days=-span if back else span)
    prompt = rng.choice(
        (
            f"Which date is {span} days {'before' if back else 'after'} {start}? Give it as YYYY-MM-DD.",
            f"Go {span} days {'back' if back else 'forward'} from {start}. Which date is that (YYYY-MM-DD)?",
            f"A deadline lies {span} days {'before' if back else 'after'} {start}. State it as YYYY-MM-DD.",
        )
    )
    mistakes = [str(end + timedelta(days=change)) for change in (1, -1, 2, 30)]
    return Question(prompt, str(end), "answer", distinct(mistakes, str(end)))


MAKERS: tuple[Maker, ...] = (weekday, between, clock, shifted)
