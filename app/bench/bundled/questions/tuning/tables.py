"""Questions of one or two tables: joins, filters, groups and ties; harder with more rows and conditions."""

from __future__ import annotations

from random import Random
from statistics import median_low

from app.bench.bundled.questions.base import CITIES, NAMES, Maker, Question, asked, scaled

PRODUCTS = ("lamp", "desk", "mug", "chair", "rug", "clock", "vase", "stool", "shelf", "pot")
KINDS = ("home", "office", "garden")
Row = tuple[object, ...]


def _csv(title: str, columns: str, rows: list[Row]) -> str:
    return "\n".join([f"{title}:", columns, *(",".join(map(str, row)) for row in rows)])


def joined(rng: Random, level: float) -> Question:
    """A total over two or three tables."""
    products = [
        (name, rng.choice(KINDS[: scaled(level, 2, 3)]), rng.randrange(3, scaled(level, 20, 60)))
        for name in rng.sample(PRODUCTS, scaled(level, 3, 7))
    ]
    customers = [(name, city) for name in rng.sample(NAMES, scaled(level, 3, 7)) for city in [rng.choice(CITIES[:3])]]
    while True:
        orders = [
            (number, rng.choice(customers)[0], rng.choice(products)[0], rng.randrange(1, 9))
            for number in range(1, scaled(level, 5, 20) + 1)
        ]
        kind, city = rng.choice(KINDS[:2]), rng.choice(CITIES[:3])
        bulk = rng.randrange(4, 7) if level > 0.4 else None
        price = {name: (its, cost) for name, its, cost in products}
        home = dict(customers)
        hits = [
            count * (price[name][1] - 2 * (bulk is not None and count >= bulk))
            for _, customer, name, count in orders
            if price[name][0] == kind and (level < 0.3 or home[customer] != city)
        ]
        if len(hits) > 1:
            break
    where = "" if level < 0.3 else f" by customers who do not live in {city}"
    less = "" if bulk is None else f" In an order of {bulk} pieces or more each piece costs 2 less."
    tables = [
        _csv("products", "product,kind,price", list(products)),
        _csv("orders", "order,customer,product,pieces", list(orders)),
    ]
    if where:
        tables.insert(1, _csv("customers", "customer,city", list(customers)))
    task = "\n".join(tables) + f"\n\nWhat do all orders of products of kind {kind}{where} cost together?{less}"
    steps = 2 * len(orders) + len(hits)
    return Question(asked(task, "the total"), str(sum(hits)), "number", steps=steps)


def ranked(rng: Random, level: float) -> Question:
    """The first few by a sum, with rules for ties."""
    people = sorted(rng.sample(NAMES, scaled(level, 3, 7)))
    top = min(len(people), scaled(level, 3, 5))
    while True:
        games = [
            (number, rng.choice(people), rng.randrange(1, 8), rng.randrange(0, 4))
            for number in range(1, scaled(level, 6, 26) + 1)
        ]
        sums = {name: sum(points for _, own, points, _ in games if own == name) for name in people}
        fouls = {name: sum(bad for _, own, _, bad in games if own == name) for name in people}
        # Ties are the point, but a tie in everything would be a question of the alphabet alone.
        if level < 0.3 or len(set(sums.values())) < len(people):
            break
    net = level > 0.5
    if net:
        sums = {name: sum(points for _, own, points, bad in games if own == name and bad < 3) for name in people}
    order = sorted(people, key=lambda name: (-sums[name], fouls[name], name))
    told = " Games with 3 fouls give no points, but their fouls count." if net else ""
    rows = _csv("games", "game,player,points,fouls", list(games))
    task = (
        f"{rows}\n\nPlayers are ranked by their total of points, the highest first; on equal points the one with fewer "
        f"fouls in all comes first, and on equal fouls too the alphabet decides.{told} Players: {', '.join(people)}; "
        f"who has no game has no points and no fouls. Who are the first {top}?"
    )
    form = f"the {top} names in order, joined by hyphens"
    return Question(asked(task, form), "-".join(order[:top]), "answer", steps=len(games) + 2 * len(people))


def grouped(rng: Random, level: float) -> Question:
    """A sum over groups of something that has to be found within each."""
    cities = rng.sample(CITIES, scaled(level, 2, 5))
    least = 2 + (level > 0.5)
    while True:
        rows = [
            (number, rng.choice(cities), rng.randrange(10, 99), rng.choice(("yes", "no")))
            for number in range(1, scaled(level, 5, 24) + 1)
        ]
        counted = [row for row in rows if level < 0.35 or row[3] == "yes"]
        values = {city: [value for _, own, value, _ in counted if own == city] for city in cities}
        kept = [own for own in values.values() if len(own) >= least]
        if kept and (level < 0.5 or len(kept) < len(values)):
            break
    middle = level > 0.65
    total = sum(median_low(own) if middle else max(own) - min(own) for own in kept)
    which = "all rows" if level < 0.35 else "rows with valid = yes only"
    what = (
        "the lower median of value (the one in the middle, or with an even number of rows the smaller of those two)"
        if middle
        else "the highest value minus the lowest"
    )
    task = (
        _csv("readings", "id,city,value,valid", list(rows))
        + f"\n\nConsider {which}, and of these only cities with at least {least}. For each of these cities "
        f"take {what}. What is the sum of that over the cities?"
    )
    return Question(asked(task, "the sum"), str(total), "number", steps=len(rows) + 2 * len(counted))


MAKERS: tuple[Maker, ...] = (joined, ranked, grouped)
