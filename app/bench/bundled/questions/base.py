"""What every kind of question shares: its shape, and how plausible mistakes are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

WRONG = 4
"""Wrong answers a question comes with, at most."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its answer, computed and not written down."""

    prompt: str
    target: str
    grader: str
    wrong: tuple[str, ...] = ()
    """Answers that somebody who slips would give; never the target. Simulated models need them, real ones do not."""
    steps: int = 0
    """Lines of working that lead to the answer, about; 0 where nobody counted."""


Maker = Callable[[Random, float], Question]
"""Makes a question of a level in [0, 1]: the higher, the more digits, steps, rows or letters it has."""


def asked(task: str, answer: str) -> str:
    """The prompt of a task with one short answer, whose form is said, so that no right answer is missed."""
    return (
        f'{task}\n\nThink first if you want, in few words. End with one line: "Answer:", then {answer}, nothing else.'
    )


def scaled(level: float, low: int, high: int) -> int:
    """The whole number that lies as far between `low` and `high` as `level` between 0 and 1."""
    return round(low + level * (high - low))


def digits(rng: Random, count: int) -> int:
    """A number of `count` digits, not round."""
    while True:
        number = rng.randrange(10 ** (count - 1) + (count == 1), 10**count)
        if number % 10:
            return number


def slips(rng: Random, value: int, *mistakes: int) -> tuple[str, ...]:
    """Wrong numbers: what typical `mistakes` give, then a carry lost, one off and two digits exchanged."""
    text = str(abs(value))
    swapped = text
    if len(text) > 1:
        place = rng.randrange(len(text) - 1)
        swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    sign = -1 if value < 0 else 1
    candidates = [*mistakes, value + rng.choice((-10, 10)), value + rng.choice((-1, 1)), sign * int(swapped), value + 2]
    # A negative number is no plausible slip where a count is asked for.
    return distinct([str(number) for number in candidates if value < 0 or number >= 0], str(value))


def misspelt(rng: Random, text: str) -> tuple[str, ...]:
    """Wrong texts: two neighbours exchanged, one letter lost, one doubled."""
    candidates = []
    for _ in range(8):
        place = rng.randrange(max(1, len(text) - 1))
        candidates.append(text[:place] + text[place + 1 : place + 2] + text[place] + text[place + 2 :])
        candidates.append(text[:place] + text[place + 1 :])
        candidates.append(text[:place] + text[place] + text[place:])
    return distinct(candidates, text)


def distinct(candidates: Iterable[str], target: str) -> tuple[str, ...]:
    """The first few candidates that differ from the target and from each other, case aside."""
    seen = {target.casefold(), ""}
    kept = []
    for candidate in candidates:
        if candidate.casefold() not in seen:
            seen.add(candidate.casefold())
            kept.append(candidate)
    return tuple(kept[:WRONG])


def listed(words: Sequence[object]) -> str:
    """`a, b and c`."""
    texts = [str(word) for word in words]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


NAMES = (
    "Ada", "Bruno", "Chidi", "Daria", "Emil", "Farah", "Goran", "Hana", "Ines", "Jonas", "Kira", "Luis", "Mona",
    "Nils", "Olga", "Pavel", "Quentin", "Rosa", "Samir", "Tilda", "Umar", "Vera", "Wanda", "Yusuf", "Zoe",
)  # fmt: skip
CITIES = (
    "Bergen", "Porto", "Gdansk", "Lyon", "Graz", "Tartu", "Malmo", "Ghent", "Siena", "Varna", "Split", "Brno",
    "Cork", "Turku", "Basel", "Vigo", "Leeds", "Bremen", "Lodz", "Patras", "Aarhus", "Kaunas", "Maribor", "Nantes",
)  # fmt: skip
