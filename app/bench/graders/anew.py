"""Grading recorded replies anew, and how far that agrees with the recording's own judge."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from app.bench.graders.base import Grader, GraderContext
from app.bench.graders.registry import check_grader, needs_target, reader
from app.bench.suite import Item, Recorded, Suite
from app.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One cell that the grader and the recording judge differently."""

    item: str
    model: str
    recorded: float
    graded: float
    target: str
    reply: str


def grade_recorded(
    suite: Suite, grader: str | None = None, context: GraderContext | None = None
) -> NDArray[np.float64]:
    """Quality of the recorded replies, shape (n, m) in [0, 1], graded anew; NaN where the outcome is missing.

    An item's own grader comes before `grader`, which comes before the suite's. Raises `ConfigError` where nothing is
    recorded, a grader, a target or the text of a reply is missing, or a grader has to ask a model; `GraderFailed`
    where a function from elsewhere fails.
    """
    recorded = _recorded(suite)
    judges = [_judge(suite, item, grader) for item in suite.items]
    readers = {name: reader(name, context) for name in set(judges)}
    quality = np.full(recorded.quality.shape, np.nan)
    slow: list[tuple[int, int, Grader]] = []
    for row, name in enumerate(judges):
        for column in np.flatnonzero(~np.isnan(recorded.quality[row])).tolist():
            reply = recorded.replies[row, column]
            if reply is None:
                _missing_text(suite, recorded)
            if readers[name].blocking:
                slow.append((row, column, readers[name]))
            else:
                quality[row, column] = readers[name].grade(suite.items[row], reply).value

    def settle(cell: tuple[int, int, Grader]) -> float:
        row, column, slow_reader = cell
        return slow_reader.grade(suite.items[row], recorded.replies[row, column]).value

    if slow:
        # They wait for other processes for the most part.
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for (row, column, _), value in zip(slow, pool.map(settle, slow), strict=True):
                quality[row, column] = value
    return quality


def agreement(suite: Suite, grader: str | None = None) -> tuple[float, list[Disagreement]]:
    """Share of the recorded cells in [0, 1] whose recorded quality is what grading anew gives, and the other cells.

    NaN where no cell is recorded. Raises what `grade_recorded` raises.
    """
    recorded = _recorded(suite)
    graded = grade_recorded(suite, grader)
    known = ~np.isnan(recorded.quality)
    differs = known & (graded != recorded.quality)
    share = 1 - differs.sum() / known.sum() if known.any() else float("nan")
    return float(share), [
        Disagreement(
            item=suite.items[row].id,
            model=recorded.models[column],
            recorded=float(recorded.quality[row, column]),
            graded=float(graded[row, column]),
            target=suite.items[row].target or "",
            reply=recorded.replies[row, column],
        )
        for row, column in np.argwhere(differs).tolist()
    ]


def _recorded(suite: Suite) -> Recorded:
    if suite.recorded is None:
        raise ConfigError(f"suite {suite.name!r} has no recorded replies to grade: import it with its outcomes")
    return suite.recorded


def _judge(suite: Suite, item: Item, grader: str | None) -> str:
    name = item.grader or grader or suite.grader
    if name is None:
        raise ConfigError(f"item {item.id!r} of suite {suite.name!r} has no grader: name one for the suite")
    check_grader(name)
    if item.target is None and needs_target(name):
        raise ConfigError(f"item {item.id!r} of suite {suite.name!r} has no target: import the suite with its items")
    return name


def _missing_text(suite: Suite, recorded: Recorded) -> NoReturn:
    cells = np.argwhere(~np.isnan(recorded.quality)).tolist()
    absent = [(row, column) for row, column in cells if recorded.replies[row, column] is None]
    row, column = absent[0]
    raise ConfigError(
        f"suite {suite.name!r} holds no text for {len(absent)} replies, first ({suite.items[row].id}, "
        f"{recorded.models[column]}): use the recorded quality instead"
    )
