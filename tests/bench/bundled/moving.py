"""Second solutions, from the prompt alone and by another way than the maker's: things that move, letters, programs."""

from __future__ import annotations

import contextlib
import io
import re
from collections import deque
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def found(pattern: str, text: str) -> re.Match[str]:
    match = re.search(pattern, text, re.DOTALL)
    assert match is not None, pattern
    return match


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", text)]


def cups(prompt: str) -> str:
    """Every cup is followed on its own: each sentence is a function from place to place."""
    names = found(r"on: ([A-Z ]+)\.", prompt)[1].split()
    sentences = re.findall(r"(?:Swap|Move|Reverse)[^.]+\.", prompt)
    order = [""] * len(names)
    for place, name in enumerate(names, 1):
        for sentence in sentences:
            place = moved(place, sentence, len(names))
        order[place - 1] = name
    return "".join(order)


def moved(place: int, sentence: str, count: int) -> int:
    if sentence.startswith("Swap"):
        one, two = numbers(sentence)
        return {one: two, two: one}.get(place, place)
    if sentence.startswith("Reverse"):
        low, high = numbers(sentence)
        return low + high - place if low <= place <= high else place
    source = numbers(sentence)[0] if "place" in sentence else count
    return 1 if place == source else place + (place < source)


def robot(prompt: str) -> str:
    """On the complex plane, with a wall of cells around the grid."""
    size, _, x, y = numbers(found(r"grid of .*? facing", prompt)[0])
    ahead = {"north": 1j, "east": 1, "south": -1j, "west": -1}[found(r"facing (\w+)", prompt)[1]]
    listed = numbers(found(r"Blocked cells: (.*?)\. ", prompt)[1])
    walls = {complex(*pair) for pair in zip(listed[::2], listed[1::2], strict=True)}
    walls |= {complex(a, b) for a in range(size + 2) for b in range(size + 2) if {a, b} & {0, size + 1}}
    at = complex(x, y)
    assert at not in walls
    bounces = "turns right instead" in prompt
    for command in found(r"Commands: (.*?)\. In which", prompt)[1].split(", "):
        if command in ("left", "right"):
            ahead *= 1j if command == "left" else -1j
            continue
        for _ in range(int(command.split()[1])):
            if at + ahead not in walls:
                at += ahead
            elif bounces:
                ahead *= -1j
    return f"({at.real:.0f}, {at.imag:.0f})"


def machine(prompt: str) -> str:
    """The stack with its top at the left, the queue with its front at the right."""
    stack = deque(reversed(numbers(found(r"The stack holds (\[.*?\])", prompt)[1])))
    queue = deque(reversed(numbers(found(r"the queue (\[.*?\])", prompt)[1])))

    def swap() -> None:
        one, two = stack.popleft(), stack.popleft()
        stack.extendleft((one, two))

    def turn() -> None:
        both = list(queue)[::-1]
        queue.clear()
        queue.extend(both)

    does: dict[str, Callable[[], object]] = {
        "send": lambda: queue.appendleft(stack.popleft()),
        "fetch": lambda: stack.appendleft(queue.pop()),
        "swap": swap,
        "add": lambda: stack.appendleft((stack.popleft() + stack.popleft()) % 10),
        "copy": lambda: stack.appendleft(stack[0]),
        "turn": turn,
        "sink": lambda: stack.rotate(-1),
    }
    for command in found(r"It runs: (.*?)\. What", prompt)[1].split(", "):
        if command.startswith("push"):
            stack.appendleft(numbers(command)[0])
        else:
            assert f"`{command}`" in prompt
            does[command]()
    return str([*reversed(stack), *reversed(queue)])


ROLLS = {
    "north": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "south": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "east": ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    "west": ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
}
"""Rotations of (east, north, up): up goes where the die is rolled."""


def dice(prompt: str) -> str:
    """Rolls are rotation matrices."""
    top, north, east = numbers(found(r"lies with .*? east side", prompt)[0])
    assert len({top, north, east, 7 - top, 7 - north, 7 - east}) == 6
    faces = {(1, 0, 0): east, (0, 1, 0): north, (0, 0, 1): top}
    faces |= {(-x, -y, -z): 7 - face for (x, y, z), face in faces.items()}
    turned = np.eye(3, dtype=int)
    total = top
    for roll in found(r"at a time: (.*?)\. \(", prompt)[1].split(", "):
        turned = np.array(ROLLS[roll]) @ turned
        total += faces[tuple((turned.T @ (0, 0, 1)).tolist())]
    sides = [faces[tuple((turned.T @ side).tolist())] for side in ((0, 0, 1), (0, 1, 0), (1, 0, 0))]
    return str([total, *sides])


def turning(prompt: str) -> str:
    rows = found(r"square of letters:\n([A-Z\n]+)\nIt is", prompt)[1].split()
    grid = np.array([list(row) for row in rows])
    for edit in re.findall(r"^\d+\. (.*)$", prompt, re.MULTILINE):
        places = [number - 1 for number in numbers(edit)]
        if edit.startswith("Turn"):
            grid = np.rot90(grid, 1 if "counterclockwise" in edit else -1)
        elif edit.startswith("Mirror"):
            grid = grid.T if "diagonal" in edit else np.flip(grid, 1 if "left" in edit else 0)
        elif edit.startswith("Exchange"):
            order = np.arange(len(grid))
            order[places] = places[::-1]
            grid = grid[order] if "rows" in edit else grid[:, order]
        else:
            grid = grid.copy()
            grid[places[0]] = np.roll(grid[places[0]], 1)
    return "".join(grid.ravel())


def knights(prompt: str) -> str:
    """Powers of the matrix of jumps."""
    size, jumps = int(found(r"board of (\d)", prompt)[1]), int(found(r"exactly (\d)", prompt)[1])
    at = {f"{'abcdefgh'[x]}{y + 1}": x * size + y for x in range(size) for y in range(size)}
    x, y = np.divmod(np.arange(size * size), size)
    links = (abs(x[:, None] - x) * abs(y[:, None] - y) == 2).astype(int)
    barred = [at[square] for square in found(r"land on (.*?)\.", prompt)[1].split(", ")]
    links[:, barred] = 0
    ways = np.linalg.matrix_power(links, jumps)[at[found(r"stands on (\w\d)", prompt)[1]]]
    return str([int((ways > 0).sum()), int(ways.sum())])


def surgery(prompt: str) -> str:
    text = found(r"the text ([a-z]+)", prompt)[1]
    for edit in re.findall(r"^\d+\. (.*)$", prompt, re.MULTILINE):
        text = edited(text, edit)
    return text


def edited(text: str, edit: str) -> str:
    counts = numbers(edit)
    if edit.startswith("Reverse"):
        return "".join(reversed(text))
    if edit.startswith("Move"):
        signs = deque(text)
        signs.rotate(-counts[0])
        return "".join(signs)
    if edit.startswith("Replace every letter"):
        return "".join(chr((ord(sign) - 97 + counts[0]) % 26 + 97) for sign in text)
    if edit.startswith("Replace"):
        old, new = found(r"every (\w) by (\w+)", edit).groups()
        return re.sub(old, new, text)
    if edit.startswith("Turn"):
        one, two = found(r"every (\w) into (\w) and", edit).groups()
        return text.replace(one, "#").replace(two, one).replace("#", two)
    if edit.startswith("Delete"):
        left = list(text)
        del left[counts[0] - 1 :: counts[0]]
        return "".join(left)
    if edit.startswith("Of every"):
        return "".join(sign for place, sign in enumerate(text) if sign not in text[:place])
    if edit.startswith("Write"):
        return "".join(sorted(text[: counts[0]]) + list(text[counts[0] :]))
    assert edit.startswith("Exchange the first half")
    cut = len(text) / 2
    return text[int(cut + 0.5) :] + text[int(cut) : int(cut + 0.5)] + text[: int(cut)]


def matches(prompt: str) -> str:
    """By RE2, which marks what it finds."""
    text, pattern = found(r"the text (\w+) for the regular expression (\S+) from", prompt).groups()
    marked = pc.replace_substring_regex(pa.array([text]), pattern=f"({pattern})", replacement=r"<\1")[0].as_py()
    return str([match.start() - before for before, match in enumerate(re.finditer("<", marked))])


def ciphers(prompt: str) -> str:
    secret = found(r"That gave (\w+)", prompt)[1]
    if columns := re.search(r"rows of (\d) letters", prompt):
        width = int(columns[1])
        order = [number - 1 for number in numbers(found(r"in the order ([\d, ]+)", prompt)[1])]
        # Numbers written as the text was show where each letter came from.
        places = [place for column in order for place in range(column, len(secret), width)]
        secret = "".join(secret[places.index(place)] for place in range(len(secret)))
    shift = re.search(r"alphabet by (\d+) places", prompt)
    key = chr(97 + int(shift[1])) if shift else found(r"the key (\w+)", prompt)[1]
    return "".join(chr((ord(sign) - ord(by)) % 26 + 97) for sign, by in zip(secret, key * len(secret), strict=False))


def printed(prompt: str) -> str:
    """By running it."""
    source, said = found(r"```python\n(.*?)\n```", prompt)[1], io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(source, {})
    return said.getvalue().rstrip("\n")


SOLVERS: dict[str, Callable[[str], str]] = {
    "cups": cups,
    "robot": robot,
    "machine": machine,
    "dice": dice,
    "turning": turning,
    "knights": knights,
    "surgery": surgery,
    "matches": matches,
    "ciphers": ciphers,
    "closures": printed,
    "aliasing": printed,
    "recursing": printed,
}
