"""Things that change many times; harder with more changes and more kinds of them."""

from __future__ import annotations

from random import Random

from app.bench.bundled.questions.base import Maker, Question, asked, scaled

LETTERS = "ABCDEFGHIJKLMNOP"
FACING = "NESW"
STEP = {"N": (0, 1), "E": (1, 0), "S": (0, -1), "W": (-1, 0)}


def cups(rng: Random, level: float) -> Question:
    """Permutations by place."""
    count, moves = scaled(level, 4, 10), scaled(level, 3, 40)
    row = list(LETTERS[:count])
    told = []
    for _ in range(moves):
        low, high = sorted(rng.sample(range(count), 2))
        kind = rng.choice(("swap", "front", "reverse", "shift")[: scaled(level, 1, 4)])
        if kind == "swap":
            row[low], row[high] = row[high], row[low]
            told.append(f"Swap places {low + 1} and {high + 1}.")
        elif kind == "front":
            row.insert(0, row.pop(high))
            told.append(f"Move the cup in place {high + 1} to the front.")
        elif kind == "reverse":
            row[low : high + 1] = row[low : high + 1][::-1]
            told.append(f"Reverse places {low + 1} to {high + 1}.")
        else:
            row.insert(0, row.pop())
            told.append("Move the last cup to the front.")
    task = (
        f"Cups stand in a row, from place 1 on: {' '.join(LETTERS[:count])}. Places stay where they are, cups move. "
        f"{' '.join(told)} In which order do the cups stand now?"
    )
    return Question(asked(task, "the letters from place 1 on, such as CAB"), "".join(row), "answer", steps=moves)


def robot(rng: Random, level: float) -> Question:
    """A walk on a grid with blocked cells."""
    size = scaled(level, 5, 8)
    cells = [(x, y) for x in range(1, size + 1) for y in range(1, size + 1)]
    blocked = set(rng.sample(cells, scaled(level, 1, size * size // 5)))
    x, y = rng.choice([cell for cell in cells if cell not in blocked])
    facing = rng.randrange(4)
    start = f"({x}, {y}), facing {('north', 'east', 'south', 'west')[facing]}"
    bounces = level > 0.45
    commands, steps = [], 0
    for _ in range(scaled(level, 4, 26)):
        if rng.random() < 0.4:
            turn = rng.choice((1, -1))
            facing = (facing + turn) % 4
            commands.append("right" if turn == 1 else "left")
            steps += 1
            continue
        length = rng.randrange(1, 5)
        commands.append(f"go {length}")
        for _ in range(length):
            steps += 1
            dx, dy = STEP[FACING[facing]]
            if (x + dx, y + dy) in blocked or (x + dx, y + dy) not in cells:
                # The step is lost.
                facing = (facing + bounces) % 4
            else:
                x, y = x + dx, y + dy
    task = (
        f"A robot stands on a grid of {size} by {size} cells at {start}. Cell (1, 1) is the south-west corner, x grows "
        f"to the east and y to the north. Blocked cells: {', '.join(map(str, sorted(blocked)))}. `left` and `right` "
        "turn it on the spot, `go n` makes n single steps ahead. A step into a blocked cell or off the grid is lost: "
        + (
            "the robot stays where it is and turns right instead, and goes on with the steps left in the new direction."
            if bounces
            else "the robot stays where it is, and the next step is tried all the same."
        )
        + f" Commands: {', '.join(commands)}. In which cell does it end?"
    )
    return Question(asked(task, "the cell, such as (2, 7)"), f"({x}, {y})", "answer", steps=steps)


RULES = {
    "push": "`push d` puts the digit d on the stack",
    "send": "`send` takes the top of the stack to the back of the queue",
    "fetch": "`fetch` takes the front of the queue to the top of the stack",
    "swap": "`swap` exchanges the two top digits of the stack",
    "add": "`add` replaces the two top digits of the stack with the last digit of their sum",
    "copy": "`copy` puts a second copy of the top of the stack on it",
    "turn": "`turn` reverses the order of the queue",
    "sink": "`sink` moves the top of the stack to its bottom",
}


def machine(rng: Random, level: float) -> Question:
    """A stack and a queue of digits."""
    kinds = list(RULES)[: scaled(level, 3, 8)]
    stack, queue = [rng.randrange(1, 10) for _ in range(3)], [rng.randrange(1, 10) for _ in range(2)]
    start = f"The stack holds {stack} (bottom to top), the queue {queue} (front to back)."
    program = []
    for _ in range(scaled(level, 4, 40)):
        # None that has nothing to work on, and not so many digits that the rest is copying them out.
        full = len(stack) + len(queue) > 9
        usable = [
            kind
            for kind in kinds
            if {"push": not full, "copy": not full and stack, "fetch": queue, "turn": len(queue) > 1}.get(
                kind, len(stack) > (kind != "send")
            )
        ]
        kind = rng.choice(usable)
        digit = rng.randrange(1, 10)
        program.append(f"push {digit}" if kind == "push" else kind)
        if kind == "push":
            stack.append(digit)
        elif kind == "send":
            queue.append(stack.pop())
        elif kind == "fetch":
            stack.append(queue.pop(0))
        elif kind == "swap":
            stack[-2:] = stack[:-3:-1]
        elif kind == "add":
            stack[-2:] = [sum(stack[-2:]) % 10]
        elif kind == "copy":
            stack.append(stack[-1])
        elif kind == "turn":
            queue.reverse()
        else:
            stack.insert(0, stack.pop())
    rules = "; ".join(RULES[kind] for kind in kinds)
    task = (
        f"A machine has a stack and a queue of digits. {rules}. {start} It runs: {', '.join(program)}. What do they "
        "hold then?"
    )
    form = "one list, the stack from bottom to top and after it the queue from front to back, such as [4, 0, 7]"
    return Question(asked(task, form), str(stack + queue), "answer", steps=len(program))


MAKERS: tuple[Maker, ...] = (cups, robot, machine)
