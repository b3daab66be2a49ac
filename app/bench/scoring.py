"""Score a router on recorded outcomes without calling anything: the same decisions as a replay, minus the wire.

A replay through the proxy against the recorded upstream asks the same router with the same candidates, seed and
tradeoff, so both give the same numbers; a test holds them together. What this cannot see is what only serving shows:
latency, overhead, retries, errors of an upstream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.bench.results import RouterResult, Setting
from app.bench.suite import Item, Suite
from routers import Candidate, Choice, Outcomes, Query, Router
from routers.base import seed_for


def score_router(
    router: Router,
    suite: Suite,
    outcomes: Outcomes,
    rows: NDArray[np.int64],
    tradeoffs: Sequence[float],
    seed: int,
    *,
    name: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> RouterResult:
    """What `router` would have done on the items at `rows`, once per tradeoff.

    `outcomes` holds all items of the suite, in its order: it gives the candidates (every model with its mean cost over
    the whole suite, as the proxy's catalog has it) and the quality and cost of each pick. Each item is seeded with
    `seed_for(seed, item id)`. A router that declines gets the first candidate, the proxy's default; a pick without an
    outcome counts as a failed call: quality 0, cost 0, not answered. What the router foretold of each pick is kept
    with it, so that its calibration can be judged. `name` (default: the router's own) and `params` only label the
    result. Raises `ValueError` where the outcomes are not of this suite.
    """
    if outcomes.items != tuple(item.id for item in suite.items):
        raise ValueError(f"outcomes: not of the same items as suite {suite.name!r}, or in another order")
    settings = [
        as_setting(outcomes, rows, choices(router, suite, outcomes, rows, tradeoff, seed), tradeoff)
        for tradeoff in tradeoffs
    ]
    return RouterResult(name or router.name, tuple(settings), dict(params or {}))


def choices(
    router: Router, suite: Suite, outcomes: Outcomes, rows: NDArray[np.int64], tradeoff: float, seed: int
) -> list[Choice]:
    """What `router` puts first for the item at each of `rows`; arguments and declining as in `score_router`."""
    candidates = outcomes.candidates()
    return [_choice(router, suite.items[row], candidates, tradeoff, seed) for row in rows]


def _choice(router: Router, item: Item, candidates: tuple[Candidate, ...], tradeoff: float, seed: int) -> Choice:
    query = Query(item.messages, candidates, tradeoff=tradeoff, seed=seed_for(seed, item.id))
    ranking = router.route(query).ranking
    return ranking[0] if ranking else Choice(candidates[0].model)


def as_setting(outcomes: Outcomes, rows: NDArray[np.int64], chosen: Sequence[Choice], tradeoff: float) -> Setting:
    """What came of the choices for the items at `rows`, n of both, with what was foretold of them."""
    column = {model: place for place, model in enumerate(outcomes.models)}
    picked = np.array([column[choice.model] for choice in chosen], dtype=np.int64)
    quality, cost = _known(choice.quality for choice in chosen), _known(choice.cost for choice in chosen)
    return replace(look_up(outcomes, rows, picked, tradeoff), predicted_quality=quality, predicted_cost=cost)


def _known(predictions: Iterable[float | None]) -> NDArray[np.float64] | None:
    """Predictions with NaN where there is none; None where there is none at all."""
    values = np.array([np.nan if value is None else value for value in predictions], dtype=np.float64)
    return None if np.isnan(values).all() else values


def look_up(outcomes: Outcomes, rows: NDArray[np.int64], picked: NDArray[np.int64], tradeoff: float) -> Setting:
    """What came of picking model `picked[i]` for the item at `rows[i]`, both of shape (n,)."""
    quality, cost = outcomes.quality[rows, picked], outcomes.cost[rows, picked]
    answered = ~(np.isnan(quality) | np.isnan(cost))
    return Setting(
        tradeoff=tradeoff,
        model=tuple(outcomes.models[m] if known else None for m, known in zip(picked, answered, strict=True)),
        quality=np.where(answered, quality, 0.0),
        cost=np.where(answered, cost, 0.0),
        answered=answered,
    )
