"""Routing policies: pure, without I/O, CPU only.

A router sees a `Query` and answers with a `Decision`. The proxy, the scorer and a notebook call the same object,
so what is benchmarked is what serves. Nothing in here imports the application, a web framework or a database.

numpy is imported by the modules that compute with it alone: a proxy whose routers do without it does not load it.
"""

from typing import TYPE_CHECKING, Any

from routers.base import Candidate, Choice, Decision, LearningRouter, Query, Reply, Router, TrainableRouter

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    # When somebody asks for it, since it takes numpy.
    if name == "Outcomes":
        from routers.outcomes import Outcomes

        return Outcomes
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
