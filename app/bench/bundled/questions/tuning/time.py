"""Dates, zones and spans; harder over more legs, days off and intervals."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from random import Random

from app.bench.bundled.questions.base import CITIES, Maker, Question, asked, scaled

OFFSETS = (-600, -570, -480, -420, -300, -210, -180, -60, 0, 60, 120, 210, 270, 330, 345, 390, 480, 540, 570, 630, 765)
"""Minutes before or after UTC that are in use somewhere."""
STAMP = "%Y-%m-%d %H:%M"


def zones(rng: Random, level: float) -> Question:
    """A journey through zones."""
    legs = scaled(level, 1, 6)
    cities = rng.sample(CITIES, legs + 1)
    known = [offset for offset in OFFSETS if offset % 60 == 0] if level < 0.3 else list(OFFSETS)
    offsets = {city: rng.choice(known) for city in cities}
    month = rng.choice((2, 4, 6, 9, 12)) if level > 0.4 else rng.randrange(1, 13)
    day = rng.randrange(26, 30) if level > 0.4 else rng.randrange(3, 20)
    start = datetime(rng.randrange(2023, 2033), month, 1) + timedelta(  # noqa: DTZ001 – the zone is part of the task
        days=day - 1, minutes=5 * rng.randrange(288)
    )
    spent, told = timedelta(), []
    for place, city in enumerate(cities[1:]):
        flight = timedelta(minutes=rng.randrange(70, 800))
        spent += flight
        told.append(f"fly {_span(flight)} to {city}")
        if place < legs - 1:
            stay = timedelta(minutes=rng.randrange(45, scaled(level, 200, 1800)))
            spent += stay
            told.append(f"wait {_span(stay)}")
    first, last = cities[0], cities[-1]
    end = start + spent + timedelta(minutes=offsets[last] - offsets[first])
    clocks = ", ".join(f"{city} {_offset(minutes)}" for city, minutes in sorted(offsets.items()))
    task = (
        f"Take these offsets from UTC as given: {clocks}. You leave {first} on {start:{STAMP}} local time, "
        f"{', '.join(told)}. What are date and time in {last} when you arrive there?"
    )
    steps = 2 * len(told) + 2 + 2 * (offsets[last] % 60 > 0)
    return Question(asked(task, "the local date and time as YYYY-MM-DD HH:MM"), f"{end:{STAMP}}", "answer", steps=steps)


def _span(span: timedelta) -> str:
    hours, minutes = divmod(span // timedelta(minutes=1), 60)
    return f"{hours} h {minutes} min"


def _offset(minutes: int) -> str:
    return f"UTC{'−' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def workdays(rng: Random, level: float) -> Question:
    """The last day of a job, over weekends and days off."""
    start = date(rng.randrange(2024, 2033), rng.randrange(1, 13), rng.randrange(1, 29))
    while start.weekday() > 4:
        start += timedelta(days=1)
    length = scaled(level, 4, 42)
    spread = [start + timedelta(days=days) for days in range(1, 2 * length + 4)]
    off = sorted(rng.sample(spread, scaled(level, 0, 7)))
    # A rule for a day of the week, with a rhythm, needs the calendar and not only the weekends.
    weekday = rng.randrange(1, 4) if level > 0.5 else None
    day, left, seen = start, length, 0
    while True:
        closed = day.weekday() > 4 or day in off
        if weekday is not None and day.weekday() == weekday:
            seen += 1
            closed = closed or seen % 2 == 0
        left -= not closed
        if not left:
            break
        day += timedelta(days=1)
    rules = ["Saturdays and Sundays are off"]
    if off:
        rules.append(f"so are {', '.join(map(str, off))}")
    if weekday is not None:
        name = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")[weekday]
        rules.append(
            f"and so is every second {name}: counting from the start date on, the 2nd, the 4th, the 6th {name} and so "
            "on, also where one of them is a day off anyway"
        )
    task = (
        f"A job starts on {start:%A}, {start}, and takes {length} working days; the start date is the first of them. "
        f"{'; '.join(rules)}. On which date is its last working day?"
    )
    steps = length // 2 + 2 * len(off) + 3 * (weekday is not None)
    return Question(asked(task, "the date as YYYY-MM-DD"), str(day), "answer", steps=steps)


def overlaps(rng: Random, level: float) -> Question:
    """Minutes in which several bookings run at once."""
    count, least = scaled(level, 3, 13), 2 if level < 0.6 else 3
    while True:
        bookings = []
        for _ in range(count):
            begin = rng.randrange(480, 1140)
            bookings.append((begin, begin + rng.randrange(20, scaled(level, 200, 240))))
        edges = sorted([(begin, 1) for begin, _ in bookings] + [(end, -1) for _, end in bookings])
        total = running = since = 0
        for minute, change in edges:
            if running >= least:
                total += minute - since
            running, since = running + change, minute
        if total:
            break
    told = ", ".join(f"{_clock(begin)}–{_clock(end)}" for begin, end in bookings)
    task = (
        f"Bookings of the rooms of a house on one day: {told}. For how many minutes of that day are at least {least} "
        "rooms in use at once? Each booking is a room of its own."
    )
    return Question(asked(task, "the number of minutes"), str(total), "number", steps=4 * count)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


MAKERS: tuple[Maker, ...] = (zones, workdays, overlaps)
