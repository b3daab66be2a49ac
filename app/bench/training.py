"""Training a router so that somebody can rely on it: fitted to a part, validated on the rest, then fitted to all.

The figures of the validation, with their intervals and the table of settings, become the artifact's model card.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.bench.plan import Plan
from app.bench.report import build_report
from app.bench.scoring import score_router
from app.bench.suite import Suite
from routers import Outcomes, TrainableRouter
from routers.card import Card, CardModel, CardPoint
from routers.pool import known_cells

TRADEOFFS = (0.0, *np.round(np.geomspace(0.002, 0.9, 23), 4).tolist(), 1.0)
"""Settings of the card's table: denser near 0, where most of the way from the dearest models downwards lies."""
LEAST_HELD_OUT = 20
"""Items below which a validation says nothing."""
DRAWS = 1000
"""Of the bootstrap."""


def train(
    cls: type[TrainableRouter],
    plan: Plan,
    params: Mapping[str, Any],
    *,
    on_step: Callable[[str], None] = lambda _step: None,
) -> TrainableRouter:
    """A router fitted to all items of `plan`, with the card of a fit that held 30 % of them out.

    The card is None where there are too few items for that. `on_step` is told what is being done. Raises `ValueError`
    as `fit` does, or where nothing is recorded.
    """
    if plan.outcomes is None:
        raise ValueError(f"suite `{plan.suite.name}` has no recorded outcomes to fit to")
    suite, outcomes = plan.suite.take(plan.rows), plan.outcomes.take(plan.rows)
    part, held_out = suite.rows("train", plan.seed), suite.rows("test", plan.seed)
    # A pick without an outcome would count as a failure of the router: logged calls know of one model each.
    held_out = held_out[known_cells(outcomes)[held_out].all(axis=1)]
    card = None
    if len(held_out) >= LEAST_HELD_OUT and len(part):
        on_step(f"fitting to {len(part):,} items")
        try:
            fitted = cls.fit(outcomes.take(part), **params)
        except ValueError:
            # A model without an outcome in the part, say: then the whole may still do.
            fitted = None
        if fitted is not None:
            on_step(f"validating on {len(held_out):,} items")
            card = validated(fitted, suite, outcomes, held_out, len(part), plan.seed, plan.quality_source)
    on_step(f"fitting to all {len(outcomes.items):,} items")
    router = cls.fit(outcomes, **params)
    router.card = card
    return router


def validated(
    fitted: TrainableRouter,
    suite: Suite,
    outcomes: Outcomes,
    held_out: NDArray[np.int64],
    fitted_to: int,
    seed: int,
    quality_source: str,
) -> Card | None:
    """The card of `fitted`, a fit to `fitted_to` items, on those at `held_out`; None where nothing stands beside it."""
    result = score_router(fitted, suite, outcomes, held_out, TRADEOFFS, seed)
    report = build_report(
        suite=suite,
        rows=held_out,
        split="test",
        seed=seed,
        results=[result],
        outcomes=outcomes,
        quality_source=quality_source,
        tradeoffs=TRADEOFFS,
        kind="score",
        draws=DRAWS,
    )
    found = report.routers[0]
    if report.baselines is None or found.aiq is None or found.aiq_interval is None or found.delta_aiq is None:
        return None
    best = report.baselines.best_single
    return Card(
        fitted=fitted_to,
        held_out=len(held_out),
        seed=seed,
        quality_source=quality_source,
        best_single=best.model,
        best_quality=best.quality,
        best_cost=best.cost_per_1k / 1000,
        aiq=found.aiq,
        aiq_low=found.aiq_interval.low,
        aiq_high=found.aiq_interval.high,
        delta_aiq=found.delta_aiq.value,
        delta_low=found.delta_aiq.low,
        delta_high=found.delta_aiq.high,
        points=tuple(
            CardPoint(setting.tradeoff, float(setting.quality.mean()), float(setting.cost.mean()))
            for setting in result.settings
        ),
        singles=tuple(
            CardModel(single.model, single.quality, single.cost_per_1k / 1000)
            for single in sorted(report.pool, key=lambda single: (single.cost_per_1k, single.model))
        ),
    )
