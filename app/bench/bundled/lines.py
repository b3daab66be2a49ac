"""The file of the bundled suite: where it lies and what one line of it holds."""

from __future__ import annotations

from pathlib import Path

import msgspec

PATH = Path(__file__).with_name("basics.jsonl")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the file: an item, and what the simulated models need to know of it."""

    id: str
    category: str
    input: str
    target: str
    grader: str
    difficulty: float
    """In [0, 1]; what makes an item hard can be seen in its prompt (digits, steps, rows, letters)."""
    wrong: list[str]
    """Plausible wrong answers."""
