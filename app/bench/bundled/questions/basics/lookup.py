"""Questions about a table in the prompt; harder with more rows and columns."""

from __future__ import annotations

from random import Random

from app.bench.bundled.questions.base import CITIES, Maker, Question, distinct, listed, scaled, slips

COLUMNS = ("stock", "orders", "returns", "staff", "visits", "parcels", "bikes", "desks")

Table = dict[str, dict[str, int]]


def _table(rng: Random, level: float) -> Table:
    columns = rng.sample(COLUMNS, scaled(level, 2, 6))
    rows = rng.sample(CITIES, scaled(level, 4, 20))
    # One draw for the whole table: no two cells are alike, so a wrong cell is never right by chance.
    values = iter(rng.sample(range(11, 990), len(rows) * len(columns)))
    return {row: {column: next(values) for column in columns} for row in rows}


def _shown(rng: Random, table: Table) -> str:
    columns = list(next(iter(table.values())))
    style = rng.randrange(3)
    if style == 0:
        lines = [f"| city | {' | '.join(columns)} |", "|" + "---|" * (len(columns) + 1)]
        lines += [f"| {row} | {' | '.join(map(str, cells.values()))} |" for row, cells in table.items()]
    elif style == 1:
        lines = [",".join(("city", *columns))]
        lines += [",".join((row, *map(str, cells.values()))) for row, cells in table.items()]
    else:
        lines = [
            f"{row}: " + "; ".join(f"{column} {value}" for column, value in cells.items())
            for row, cells in table.items()
        ]
    return "\n".join(lines)


def cell(rng: Random, level: float) -> Question:
    table = _table(rng, level)
    row = rng.choice(list(table))
    column = rng.choice(list(table[row]))
    ask = rng.choice(
        (
            f"What is the value of {column} for {row}?",
            f"Look up {column} in the row of {row}.",
            f"Which number stands under {column} for {row}?",
        )
    )
    value = table[row][column]
    others = [table[other][column] for other in table if other != row][:2] + list(table[row].values())[:2]
    return Question(f"{_shown(rng, table)}\n\n{ask}", str(value), "number", slips(rng, value, *others))


def owner(rng: Random, level: float) -> Question:
    table = _table(rng, level)
    row = rng.choice(list(table))
    column = rng.choice(list(table[row]))
    ask = rng.choice(
        (
            f"Which city has {table[row][column]} as its {column}?",
            f"Find the city whose {column} is {table[row][column]}.",
            f"Name the city with {column} equal to {table[row][column]}.",
        )
    )
    return Question(f"{_shown(rng, table)}\n\n{ask}", row, "answer", distinct(rng.sample(list(table), len(table)), row))


def extreme(rng: Random, level: float) -> Question:
    table = _table(rng, level)
    column = rng.choice(list(next(iter(table.values()))))
    highest = rng.random() < 0.5
    ranked = sorted(table, key=lambda row: table[row][column], reverse=highest)
    which = "highest" if highest else "lowest"
    ask = rng.choice(
        (
            f"Which city has the {which} number of {column}?",
            f"In which row is {column} {which}? Name the city.",
            f"Name the city where {column} is the {which}.",
        )
    )
    return Question(f"{_shown(rng, table)}\n\n{ask}", ranked[0], "answer", tuple(ranked[1:5]))


def above(rng: Random, level: float) -> Question:
    table = _table(rng, level)
    column = rng.choice(list(next(iter(table.values()))))
    limit = 50 * rng.randrange(4, 16)
    count = sum(cells[column] > limit for cells in table.values())
    ask = rng.choice(
        (
            f"In how many rows is {column} above {limit}?",
            f"Count the cities whose {column} is greater than {limit}.",
            f"How many cities have more than {limit} {column}?",
        )
    )
    return Question(f"{_shown(rng, table)}\n\n{ask}", str(count), "number", slips(rng, count, len(table) - count))


def together(rng: Random, level: float) -> Question:
    table = _table(rng, level)
    rows = rng.sample(list(table), scaled(level, 2, 4))
    column = rng.choice(list(table[rows[0]]))
    total = sum(table[row][column] for row in rows)
    ask = rng.choice(
        (
            f"What do {listed(rows)} have together under {column}?",
            f"Add the {column} of {listed(rows)}.",
            f"Give the sum of {column} over {listed(rows)}.",
        )
    )
    return Question(
        f"{_shown(rng, table)}\n\n{ask}", str(total), "number", slips(rng, total, total - table[rows[0]][column])
    )


MAKERS: tuple[Maker, ...] = (cell, owner, extreme, above, together)
