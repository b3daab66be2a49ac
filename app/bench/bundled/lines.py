"""The files of the bundled suites: where they lie and what one line of them holds."""

from __future__ import annotations

from pathlib import Path

import msgspec


def path_of(suite: str) -> Path:
    """The file of a bundled suite."""
    return Path(__file__).with_name(f"{suite}.jsonl")


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a file: an item, and what is known of how hard it is."""

    id: str
    category: str
    input: str
    target: str
    grader: str
    difficulty: float
    """In [0, 1]; what makes an item hard can be seen in its prompt (digits, steps, rows, letters)."""
    wrong: list[str] = []
    """Plausible wrong answers, where simulated models are to give them."""
    steps: int = 0
    """Lines of working that lead to the answer, about; 0 where nobody counted."""
