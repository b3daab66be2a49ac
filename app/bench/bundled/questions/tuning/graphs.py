"""Networks: routes, orders and choices in them; harder with more places and links."""

from __future__ import annotations

import heapq
from functools import cache
from itertools import combinations
from random import Random

from app.bench.bundled.questions.base import CITIES, NAMES, Maker, Question, asked, listed, scaled

LETTERS = "ABCDEFGHIJKLMNOP"


def routes(rng: Random, level: float) -> Question:
    """The shortest time from one town to another; some roads lead one way, and stops take time."""
    count = scaled(level, 4, 12)
    waiting = rng.randrange(2, 6) if level > 0.35 else 0
    while True:
        towns = LETTERS[:count]
        pairs = [pair for pair in combinations(towns, 2) if not {towns[0], towns[-1]} <= set(pair)]
        roads = {pair: rng.randrange(3, 40) for pair in rng.sample(pairs, min(len(pairs), scaled(level, 4, 23)))}
        oneway = {pair for pair in roads if level > 0.2 and rng.random() < 0.3}
        links: dict[str, list[tuple[str, int]]] = {town: [] for town in towns}
        for (left, right), minutes in roads.items():
            links[left].append((right, minutes))
            if (left, right) not in oneway:
                links[right].append((left, minutes))
        found = _quickest(links, towns[0], towns[-1], waiting)
        if found is not None and found[1] >= min(4, count - 1 - (level < 0.5)):
            break
    told = "; ".join(
        f"{left} {'→' if (left, right) in oneway else '–'} {right} {minutes}"
        for (left, right), minutes in roads.items()
    )
    arrow = " An arrow marks a road that can be driven in that direction only." if oneway else ""
    stop = f" In every town passed on the way {waiting} minutes are lost." if waiting else ""
    task = (
        f"Roads between towns, with driving times in minutes: {told}.{arrow}{stop} How many minutes does the quickest "
        f"way from {towns[0]} to {towns[-1]} take?"
    )
    return Question(asked(task, "the number of minutes"), str(found[0]), "number", steps=len(roads) + count)


def _quickest(links: dict[str, list[tuple[str, int]]], start: str, end: str, waiting: int) -> tuple[int, int] | None:
    """Minutes and number of roads of the quickest way (Dijkstra's algorithm); None where there is none."""
    queue, done = [(0, 0, start)], set()
    while queue:
        minutes, roads, town = heapq.heappop(queue)
        if town == end:
            return minutes - waiting, roads
        if town not in done:
            done.add(town)
            for other, more in links[town]:
                heapq.heappush(queue, (minutes + more + waiting, roads + 1, other))
    return None


def orders(rng: Random, level: float) -> Question:
    """In how many orders jobs can be done where some need others first."""
    count = scaled(level, 4, 11)
    while True:
        jobs = LETTERS[:count]
        hidden = rng.sample(jobs, count)
        pairs = [(hidden[low], hidden[high]) for low, high in combinations(range(count), 2)]
        needs = sorted(rng.sample(pairs, scaled(level, 2, 13)), key=lambda pair: (pair[1], pair[0]))

        @cache
        def ways(done: frozenset[str], jobs: str = jobs, needs: tuple[tuple[str, str], ...] = tuple(needs)) -> int:
            if len(done) == len(jobs):
                return 1
            ready = [job for job in jobs if job not in done and all(a in done for a, b in needs if b == job)]
            return sum(ways(done | {job}) for job in ready)

        number = ways(frozenset())
        if 3 <= number <= scaled(level, 12, 2500):
            break
    told = []
    for job in jobs:
        first = [before for before, after in needs if after == job]
        if first:
            told.append(f"{job} needs {listed(first)}")
    task = (
        f"The jobs {listed(jobs)} are done one after the other. A job can be done only after all jobs it needs: "
        f"{'; '.join(told)}. In how many different orders can all {count} be done?"
    )
    return Question(asked(task, "the number"), str(number), "number", steps=count * 2 + len(needs) * 2)


def stalls(rng: Random, level: float) -> Question:
    """The heaviest set of places no two of which are linked."""
    count = scaled(level, 5, 14)
    towns = sorted(rng.sample(CITIES if level < 0.5 else NAMES, count))
    weights = {town: rng.randrange(5, scaled(level, 30, 99)) for town in towns}
    clashes = sorted(rng.sample(list(combinations(towns, 2)), scaled(level, 4, 22)))
    best = 0
    for chosen in range(1 << count):
        picked = {town for place, town in enumerate(towns) if chosen >> place & 1}
        if not any(left in picked and right in picked for left, right in clashes):
            best = max(best, sum(weights[town] for town in picked))
    task = (
        f"Each of these may be invited to speak or not, for this many points: "
        f"{', '.join(f'{town} {points}' for town, points in weights.items())}. These pairs cannot both be invited: "
        f"{', '.join(f'{left}–{right}' for left, right in clashes)}. What is the highest total of points?"
    )
    return Question(asked(task, "the total"), str(best), "number", steps=count * 2 + len(clashes))


MAKERS: tuple[Maker, ...] = (routes, orders, stalls)
