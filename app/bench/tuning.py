"""Choosing a router for somebody's own models: several are fitted and scored on the same outcomes, the best is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from app.bench.plan import Plan, RouterSpec
from app.bench.report import Report
from app.bench.run import score
from app.bench.suite import Suite
from app.bench.training import TRADEOFFS, train
from app.core.errors import ConfigError
from routers import TrainableRouter, registry

ROUTERS = ("ladder", "knn", "ridge", "kmeans")
"""Tried where nothing else is asked for: they need no extra, and fit in seconds."""
LEAST_ITEMS = 40
"""Items with an outcome of every model below which nothing is tuned."""


@dataclass(frozen=True)
class Tuned:
    """The router that did best, fitted to everything, and how all of them did."""

    router: TrainableRouter
    tradeoff: float
    """The cheapest setting that kept the quality of the best single model on items held out, else of the most."""
    report: Report
    """Of all routers on the test part, fitted to the train part."""
    helps: bool
    """Whether the interval of its ΔAIQ lies above 0."""


def complete(suite: Suite, models: Sequence[str]) -> Suite:
    """The items of `suite` with an outcome of every one of `models`, and those models alone.

    Raises `ConfigError` where a model has none, or too few items are left.
    """
    recorded = suite.recorded
    missing = [model for model in models if recorded is None or model not in recorded.models]
    if recorded is None or missing:
        raise ConfigError(f"suite `{suite.name}` has no outcomes of {', '.join(missing)}", param="models")
    kept = suite.only_models(np.array([recorded.models.index(model) for model in models], dtype=np.int64))
    assert kept.recorded is not None
    known = ~(np.isnan(kept.recorded.quality) | np.isnan(kept.recorded.cost))
    rows = np.flatnonzero(known.all(axis=1))
    if len(rows) < LEAST_ITEMS:
        raise ConfigError(
            f"only {len(rows)} items of suite `{suite.name}` have a graded reply and a cost of every model; "
            f"{LEAST_ITEMS} are needed: look at the missing cells above, or leave a model out"
        )
    return kept.take(rows)


def tune(
    suite: Suite,
    routers: Sequence[str],
    *,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda _step: None,
) -> Tuned:
    """Fit and score `routers` (names, with parameters if need be) on a suite with complete outcomes.

    The best is the one of the largest ΔAIQ on the test part; it is then fitted to all items. Raises `ConfigError`
    naming a router that cannot be trained, `ValueError` as `fit` does.
    """
    specs = tuple(RouterSpec.parse(text) for text in routers)
    for spec in specs:
        spec.check()
        cls = spec.find()
        if cls is None or not registry.is_trainable(cls) or cls.bench_only:
            raise ConfigError(f"router `{spec.text}` cannot be trained", param="router")
    on_step(f"fitting and scoring {', '.join(spec.text for spec in specs)}")
    # What was graded when it was recorded is the quality in use: a judge is not asked twice.
    report = score(Plan(suite, specs, TRADEOFFS, split="test", seed=seed, grader="recorded"))
    gains = {
        router.router: router.delta_aiq.value if router.delta_aiq is not None else -np.inf for router in report.routers
    }
    best = max(specs, key=lambda spec: gains[spec.text])
    cls = best.find()
    assert cls is not None
    assert registry.is_trainable(cls)
    everything = Plan(suite, (best,), split="all", seed=seed, grader="recorded")
    router = train(cls, everything, best.params, on_step=on_step)
    delta = next(one.delta_aiq for one in report.routers if one.router == best.text)
    return Tuned(
        router=router,
        tradeoff=0.0 if router.card is None else router.card.tradeoff_for_quality(1.0),
        report=report,
        helps=delta is not None and delta.low > 0,
    )
