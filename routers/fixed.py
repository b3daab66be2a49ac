"""One model for everything: the baseline that any router has to beat at its own price."""

from __future__ import annotations

from typing import ClassVar

from routers.base import Choice, Decision, Query, Router


class FixedRouter(Router):
    """Always `model`; the others follow in the catalog's order, as fallbacks.

    Declines when `model` is not among the candidates (switched off, too small a window): a stand-in that nobody
    asked for would hide that. Source: the single-model points of RouterBench (Hu et al. 2024, arXiv:2403.12031).
    """

    name: ClassVar[str] = "fixed"
    fast: ClassVar[bool] = True

    def __init__(self, model: str) -> None:
        """`model`: a name in the catalog; raises `ValueError` when it is empty."""
        if not model:
            raise ValueError("'model' must name a model of the catalog")
        self.model = model

    def named_models(self) -> tuple[str, ...]:
        return (self.model,)

    def route(self, query: Query) -> Decision:
        others = [candidate.model for candidate in query.candidates if candidate.model != self.model]
        if len(others) == len(query.candidates):
            return Decision((), "model not available")
        first = Choice(self.model, probability=1.0)
        return Decision((first, *(Choice(model) for model in others)), "fixed")
