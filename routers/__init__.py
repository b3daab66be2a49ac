"""Routing policies: pure, without I/O, CPU only.

A router sees a `Query` and answers with a `Decision`. The proxy, the scorer and a notebook call the same object,
so what is benchmarked is what serves. Nothing in here imports the application, a web framework or a database.
"""

from routers.base import Candidate, Choice, Decision, LearningRouter, Query, Reply, Router, TrainableRouter
from routers.outcomes import Outcomes

__all__ = [
    "Candidate",
    "Choice",
    "Decision",
    "LearningRouter",
    "Outcomes",
    "Query",
    "Reply",
    "Router",
    "TrainableRouter",
]
