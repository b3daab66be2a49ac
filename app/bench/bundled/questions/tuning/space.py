"""Things turned, rolled and moved on boards; harder with more moves and larger boards."""

from __future__ import annotations

from random import Random

from app.bench.bundled.questions.base import Maker, Question, asked, scaled

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
JUMPS = ((1, 2), (2, 1), (2, -1), (1, -2), (-1, -2), (-2, -1), (-2, 1), (-1, 2))


def dice(rng: Random, level: float) -> Question:
    """A die rolled over its edges."""
    top = rng.randrange(1, 7)
    north = rng.choice([face for face in range(1, 7) if face not in (top, 7 - top)])
    east = rng.choice([face for face in range(1, 7) if face not in (top, 7 - top, north, 7 - north)])
    start = f"{top} on top, {north} on the north side and {east} on the east side"
    rolls = rng.choices(("north", "east", "south", "west"), k=scaled(level, 3, 36))
    total = top
    for roll in rolls:
        if roll == "north":
            top, north = 7 - north, top
        elif roll == "south":
            top, north = north, 7 - top
        elif roll == "east":
            top, east = 7 - east, top
        else:
            top, east = east, 7 - top
        total += top
    task = (
        f"A die, whose opposite faces add up to 7, lies with {start}. It is rolled over its edges, one cell at a time: "
        f"{', '.join(rolls)}. (Rolled to the north, its top face comes to lie on the north side.) Add up the numbers "
        "that were on top, before the first roll and after each. What is the sum, and what lies on top, on the north "
        "side and on the east side at the end?"
    )
    form = "the list of the sum, the top, the north and the east face, such as [31, 5, 1, 3]"
    return Question(asked(task, form), str([total, top, north, east]), "answer", steps=len(rolls))


Grid = list[str]


def turning(rng: Random, level: float) -> Question:
    """A square of letters under turns, flips and shifts."""
    size = scaled(level, 3, 5)
    letters = "".join(rng.sample(LETTERS, size * size))
    grid = [letters[place : place + size] for place in range(0, size * size, size)]
    start = "\n".join(grid)
    told = []
    for _ in range(scaled(level, 2, 9)):
        text, grid = _turned(rng, grid, level)
        told.append(text)
    moves = "\n".join(f"{number}. {text}" for number, text in enumerate(told, 1))
    task = (
        f"A square of letters:\n{start}\nIt is changed in order, rows counted from the top and columns from the left:\n"
        f"{moves}\nWhich letters does it hold then?"
    )
    form = f"all {size * size} letters row by row without spaces"
    return Question(asked(task, form), "".join(grid), "answer", steps=len(told) * size)


def _turned(rng: Random, grid: Grid, level: float) -> tuple[str, Grid]:
    size = len(grid)
    one, two = sorted(rng.sample(range(size), 2))
    kind = rng.randrange(scaled(level, 4, 8))
    if kind == 0:
        return "Turn it by 90 degrees clockwise.", ["".join(row) for row in zip(*grid[::-1], strict=True)]
    if kind == 1:
        return "Mirror it left to right.", [row[::-1] for row in grid]
    if kind == 2:
        return "Mirror it top to bottom.", grid[::-1]
    if kind == 3:
        return f"Exchange rows {one + 1} and {two + 1}.", _exchanged(grid, one, two)
    if kind == 4:
        columns = _exchanged(["".join(row) for row in zip(*grid, strict=True)], one, two)
        return f"Exchange columns {one + 1} and {two + 1}.", ["".join(row) for row in zip(*columns, strict=True)]
    if kind == 5:
        shifted = [row[-1] + row[:-1] if place == one else row for place, row in enumerate(grid)]
        return f"Shift row {one + 1} one place to the right; its last letter comes to its front.", shifted
    if kind == 6:
        return (
            "Mirror it at the diagonal from top left to bottom right.",
            ["".join(row) for row in zip(*grid, strict=True)],
        )
    return "Turn it by 90 degrees counterclockwise.", ["".join(row) for row in zip(*grid, strict=True)][::-1]


def _exchanged(grid: Grid, one: int, two: int) -> Grid:
    grid = list(grid)
    grid[one], grid[two] = grid[two], grid[one]
    return grid


def knights(rng: Random, level: float) -> Question:
    """Where a knight can be after some jumps, and in how many ways it gets to a square."""
    size, jumps = scaled(level, 4, 6), scaled(level, 1, 4)
    squares = [(x, y) for x in range(1, size + 1) for y in range(1, size + 1)]
    while True:
        barred = sorted(rng.sample(squares, scaled(level, 1, 6)))
        start = rng.choice([square for square in squares if square not in barred])
        ways = {start: 1}
        steps = 1
        for _ in range(jumps):
            reached: dict[tuple[int, int], int] = {}
            for (x, y), count in ways.items():
                for dx, dy in JUMPS:
                    square = (x + dx, y + dy)
                    if square in squares and square not in barred:
                        reached[square] = reached.get(square, 0) + count
            ways = reached
            steps += len(ways)
        if len(ways) > 1:
            break
    named = ", ".join(_square(*square) for square in barred)
    times = "1 jump" if jumps == 1 else f"{jumps} jumps"
    task = (
        f"A knight stands on {_square(*start)} of a board of {size} by {size} squares (columns from a, rows from 1). "
        f"It may not land on {named}. It makes exactly {times} and may come back to squares. On how many different "
        "squares can it end, and how many different sequences of jumps are there in all?"
    )
    form = "the list of the two numbers, such as [5, 12]"
    return Question(asked(task, form), str([len(ways), sum(ways.values())]), "answer", steps=steps)


def _square(x: int, y: int) -> str:
    return f"{'abcdefgh'[x - 1]}{y}"


MAKERS: tuple[Maker, ...] = (dice, turning, knights)
