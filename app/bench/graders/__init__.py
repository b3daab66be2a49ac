"""Graders: functions that say how right a reply is.

A rule never raises: whatever a model writes is graded, and what it cannot read is worth 0. Names and targets are
checked beforehand, by `check_grader` and `check_target`. A function from elsewhere, or a model asked for its judgement,
may fail: that is a `GraderFailed` naming the grader, never a silent 0.
"""

from app.bench.graders.anew import Disagreement, agreement, grade_recorded
from app.bench.graders.base import AsyncGrader, Grader, GraderContext, GraderFailed, Judgement, JudgeProxy, judged
from app.bench.graders.registry import (
    asks,
    check_grader,
    check_target,
    grade,
    grader_for,
    names,
    needs_target,
    reader,
)
from app.bench.graders.rules import GRADERS

__all__ = [
    "GRADERS",
    "AsyncGrader",
    "Disagreement",
    "Grader",
    "GraderContext",
    "GraderFailed",
    "JudgeProxy",
    "Judgement",
    "agreement",
    "asks",
    "check_grader",
    "check_target",
    "grade",
    "grade_recorded",
    "grader_for",
    "judged",
    "names",
    "needs_target",
    "reader",
]
