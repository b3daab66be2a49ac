"""Graders: functions that say how right a reply is.

A grader never raises: whatever a model writes is graded, and what it cannot read is worth 0. Names and targets are
checked beforehand, by `check_grader` and `check_target`.
"""

from app.bench.graders.anew import Disagreement, agreement, grade_recorded
from app.bench.graders.rules import GRADERS, check_grader, check_target, grade

__all__ = ["GRADERS", "Disagreement", "agreement", "check_grader", "check_target", "grade", "grade_recorded"]
