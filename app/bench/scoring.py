"""Score a router on recorded outcomes without calling anything: the same decisions as a replay, minus the wire.

A replay through the proxy against the recorded upstream asks the same router with the same candidates, seed and
tradeoff, so both give the same numbers; a test holds them together. What this cannot see is what only serving shows:
latency, overhead, retries, errors of an upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.bench.results import RouterResult, Setting
from app.bench.suite import Suite
from routers import Choice, Outcomes, Query, Reply, Router
from routers.base import seed_for
from routers.walk import Walk, follow


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
    the whole suite, as the proxy's catalog has it), the replies a review sees, and the quality and cost of each pick.
    Each item is seeded with `seed_for(seed, item id)`. A router that declines gets the first candidate, the proxy's
    default; a pick without an outcome counts as a failed call: quality 0, cost 0, not answered. Where a router sees
    replies, the answer has the quality of the model whose reply is returned and the cost of all that were called; a
    call without an outcome, or without a recorded text, is a reply without text. What the router foretold of each pick
    is kept with it, so that its calibration can be judged. `name` (default: the router's own) and `params` only label
    the result. Raises `ValueError` where the outcomes are not of this suite, or a review asks for what cannot be done.
    """
    if outcomes.items != tuple(item.id for item in suite.items):
        raise ValueError(f"outcomes: not of the same items as suite {suite.name!r}, or in another order")
    settings = [
        _as_walked(outcomes, rows, _walks(router, suite, outcomes, rows, tradeoff, seed), tradeoff)
        for tradeoff in tradeoffs
    ]
    return RouterResult(name or router.name, tuple(settings), dict(params or {}))


def choices(
    router: Router, suite: Suite, outcomes: Outcomes, rows: NDArray[np.int64], tradeoff: float, seed: int
) -> list[Choice]:
    """What answers the item at each of `rows`; arguments and declining as in `score_router`."""
    return [walk.answer for walk in _walks(router, suite, outcomes, rows, tradeoff, seed)]


def _walks(
    router: Router, suite: Suite, outcomes: Outcomes, rows: NDArray[np.int64], tradeoff: float, seed: int
) -> list[Walk]:
    """How `router` came to its answer for the item at each of `rows`."""
    candidates = outcomes.candidates()
    walks = []
    for row in rows.tolist():
        item = suite.items[row]
        query = Query(
            item.messages,
            candidates,
            tradeoff=tradeoff,
            seed=seed_for(seed, item.id),
            embedding=None if outcomes.embeddings is None else outcomes.embeddings[row],
        )
        decision = router.route(query)
        if decision.review is not None:
            walks.append(follow(decision, query, recorded(outcomes, row)))
        else:
            answer = decision.ranking[0] if decision.ranking else Choice(candidates[0].model)
            walks.append(Walk(answer, (answer.model,), decision))
    return walks


def recorded(outcomes: Outcomes, row: int) -> Callable[[str], Reply]:
    """Who gives the recorded reply of a model to the item at `row`; without text where there is no outcome."""
    column = {model: place for place, model in enumerate(outcomes.models)}

    def ask(model: str) -> Reply:
        place = column[model]
        quality, cost = outcomes.quality[row, place], outcomes.cost[row, place]
        if np.isnan(quality) or np.isnan(cost):
            return Reply(model, None)
        return Reply(model, None if outcomes.replies is None else outcomes.replies[row, place], float(cost))

    return ask


def _as_walked(outcomes: Outcomes, rows: NDArray[np.int64], walks: Sequence[Walk], tradeoff: float) -> Setting:
    """What came of the walks for the items at `rows`, n of both."""
    setting = as_setting(outcomes, rows, [walk.answer for walk in walks], tradeoff)
    calls = np.array([len(walk.called) for walk in walks], dtype=np.int64)
    if (calls == 1).all():
        return replace(setting, calls=calls)
    column = {model: place for place, model in enumerate(outcomes.models)}
    place = np.repeat(np.arange(len(rows)), calls)
    called = np.array([column[model] for walk in walks for model in walk.called], dtype=np.int64)
    cell = (rows[place], called)
    billed = np.where(np.isnan(outcomes.quality[cell]), 0.0, np.nan_to_num(outcomes.cost[cell], nan=0.0))
    # What was foretold of one model is no forecast of an answer that several were asked for.
    alone = calls == 1
    return replace(
        setting,
        cost=np.bincount(place, weights=billed, minlength=len(rows)).astype(np.float64),
        predicted_quality=_only(setting.predicted_quality, alone),
        predicted_cost=_only(setting.predicted_cost, alone),
        calls=calls,
    )


def _only(predictions: NDArray[np.float64] | None, kept: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Predictions where `kept`, NaN elsewhere; None where none is left."""
    if predictions is None:
        return None
    left = np.where(kept, predictions, np.nan)
    return None if np.isnan(left).all() else left


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
