"""What Python programs print that share state in ways easily overlooked; harder with more calls and statements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

from app.bench.bundled.questions.base import Maker, Question, asked, scaled


def _printed(lines: list[str], target: object, steps: int) -> Question:
    task = "What does this Python program print?\n```python\n" + "\n".join(lines) + "\n```"
    return Question(asked(task, "the printed list, such as [1, 2]"), str(target), "answer", steps=steps)


def closures(rng: Random, level: float) -> Question:
    """Functions that keep and share what they were made with."""
    width, modulus = rng.randrange(3, 6), rng.randrange(5, 12)
    lines = [
        "def make(n):",
        "    calls = 0",
        "    def step(x):",
        "        nonlocal n, calls",
        "        calls += 1",
        f"        n = (n + x * calls) % {modulus}",
        "        return n",
        "    return step",
        "",
    ]
    starts = [rng.randrange(1, modulus) for _ in range(2)]
    lines.append(f"a, b = make({starts[0]}), make({starts[1]})")
    late, total, steps = level > 0.3, 0, 0
    if late:
        lines += [
            f"late = [lambda x: x + i for i in range({width})]",
            f"early = [lambda x, i=i: x + i for i in range({width})]",
        ]
    lines.append("t = 0")
    kept = {name: [start, 0] for name, start in zip("ab", starts, strict=True)}

    def step(name: str, x: int) -> int:
        cell = kept[name]
        cell[1] += 1
        cell[0] = (cell[0] + x * cell[1]) % modulus
        return cell[0]

    while steps < scaled(level, 3, 26):
        name, number, place = rng.choice("ab"), rng.randrange(1, 9), rng.randrange(width)
        other = "b" if name == "a" else "a"
        kind = rng.choice(("plain", "minus", "nested", "late", "early", "exchange")[: 6 if late else 3])
        if kind == "plain":
            lines.append(f"t += {name}({number})")
            total += step(name, number)
        elif kind == "minus":
            lines.append(f"t -= {name}({number})")
            total -= step(name, number)
        elif kind == "nested":
            lines.append(f"t += {name}({other}({number}))")
            total += step(name, step(other, number))
            steps += 1
        elif kind == "exchange":
            lines.append("a, b = b, a")
            kept["a"], kept["b"] = kept["b"], kept["a"]
        else:
            lines.append(f"t += {name}({kind}[{place}]({number}))")
            total += step(name, number + (width - 1 if kind == "late" else place))
            steps += 1
        steps += 1
    lines.append("print([t, a(0), b(0)])")
    return _printed(lines, [total, step("a", 0), step("b", 0)], steps)


def aliasing(rng: Random, level: float) -> Question:
    """Lists under several names, some of them copies."""
    names = "abcd"[: scaled(level, 2, 4)]
    lists: dict[str, list[int]] = {}
    lines = []
    for name in names:
        lists[name] = [rng.randrange(1, 10) for _ in range(2)]
        lines.append(f"{name} = {lists[name]}")
    if level > 0.5:
        lines = ["def keep(x, seen=[]):", "    seen.append(x)", "    return seen", "", *lines]
    kinds = ("alias", "append", "copy", "set", "extend", "join", "pop", "cross", "keep")[: scaled(level, 4, 9)]
    seen: list[int] = []
    count = scaled(level, 3, 24)
    for _ in range(count):
        name, other = rng.sample(names, 2)
        kind = rng.choice(kinds)
        longest = max(len(lists[name]), len(seen) if kind == "keep" else 0)
        if (kind in GROWING and longest > 4) or (kind == "pop" and len(lists[name]) < 2):
            kind = rng.choice(("set", "alias"))
        lines.append(_statement(kind, lists, name, other, rng.randrange(1, 10), seen))
    lines.append(f"print({' + '.join(names)})")
    return _printed(lines, [number for name in names for number in lists[name]], count + len(names))


GROWING = ("append", "extend", "join", "cross", "keep")


def _statement(kind: str, lists: dict[str, list[int]], name: str, other: str, number: int, seen: list[int]) -> str:
    """One statement, after it was done to `lists`; `seen` is what the function `keep` keeps."""
    own = lists[name]
    if kind == "alias":
        lists[name] = lists[other]
        return f"{name} = {other}"
    if kind == "append":
        own.append(number)
        return f"{name}.append({number})"
    if kind == "copy":
        lists[name] = list(lists[other])
        return f"{name} = {other}[:]"
    if kind == "set":
        own[0] = number
        return f"{name}[0] = {number}"
    if kind == "extend":
        own.append(number)
        return f"{name} += [{number}]"
    if kind == "join":
        lists[name] = [*own, number]
        return f"{name} = {name} + [{number}]"
    if kind == "pop":
        own.pop(0)
        return f"{name}.pop(0)"
    if kind == "cross":
        own.append(lists[other][-1])
        return f"{name}.append({other}[-1])"
    seen.append(number)
    lists[name] = seen
    return f"{name} = keep({number})"


@dataclass(frozen=True, slots=True)
class Recursion:
    """The figures of a function that calls itself in up to two places."""

    least: int
    factor: int
    split: int
    down: int
    part: int

    def values(self, n: int, calls: Iterator[int]) -> list[int]:
        """What it gives in order; `calls` numbers its calls."""
        call = next(calls)
        if n < self.least:
            return [n * self.factor + call]
        if n % self.split:
            return [*self.values(n - self.down, calls), n]
        return [n - call, *self.values(n // self.part, calls), *self.values(n - self.down - 1, calls)]


def recursing(rng: Random, level: float) -> Question:
    """Recursion with a counter beside it, as a generator or with a list outside."""
    wanted, calls = scaled(level, 4, 40), 0
    while not wanted <= calls <= wanted + 2 + wanted // 4:
        top, own = (
            rng.randrange(4, 40),
            Recursion(
                least=rng.randrange(2, 5),
                factor=rng.randrange(2, 6),
                split=rng.randrange(2, 4),
                down=rng.randrange(2, 5),
                part=rng.randrange(2, 4),
            ),
        )
        numbers = count(1)
        values = own.values(top, numbers)
        calls = next(numbers) - 1
    yielding = rng.random() < 0.5
    give = "yield {}" if yielding else "out.append({})"
    again = "yield from f({})" if yielding else "f({})"
    lines = [
        "calls = 0",
        *([] if yielding else ["out = []"]),
        "def f(n):",
        "    global calls",
        "    calls += 1",
        f"    if n < {own.least}:",
        f"        {give.format(f'n * {own.factor} + calls')}",
        f"    elif n % {own.split}:",
        f"        {again.format(f'n - {own.down}')}",
        f"        {give.format('n')}",
        "    else:",
        f"        {give.format('n - calls')}",
        f"        {again.format(f'n // {own.part}')}",
        f"        {again.format(f'n - {own.down + 1}')}",
        "",
        f"out = list(f({top}))" if yielding else f"f({top})",
        "print([calls, sum(out), out[-1], max(out)])",
    ]
    return _printed(lines, [calls, sum(values), values[-1], max(values)], calls)


MAKERS: tuple[Maker, ...] = (closures, aliasing, recursing)
