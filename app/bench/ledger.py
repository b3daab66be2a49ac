"""What the ledger knows of a run's calls: what each decision foretold, and what the calls were billed at.

A replay is a client and sees neither. The proxy's ledger reaches Postgres a moment after the reply, so reading waits
for it; a proxy with a database of its own never brings it here, and the report says what is missing then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np

from app.bench.figures import ModelPrice
from app.bench.results import RouterResult, Setting
from app.bench.suite import Item
from app.store.database import Database
from app.store.queries.runs import Prediction, count_logged_results, run_predictions, run_prices
from app.store.runs import ResultRow

PATIENCE = 5.0
"""Seconds without a further call of the run in the ledger after which no more is expected."""
PAUSE = 0.1
"""Seconds between two looks; the ledger ships every fifth of a second."""

Cell = tuple[str, float, str]
"""Router, tradeoff, item."""


@dataclass(frozen=True)
class Kept:
    """What was found."""

    predictions: Mapping[Cell, Prediction]
    prices: tuple[ModelPrice, ...]
    notes: tuple[str, ...]
    """What is missing, in words."""

    def foretold(self, results: Sequence[RouterResult], items: Sequence[Item]) -> list[RouterResult]:
        """`results`, which are about `items`, with the predictions of their calls."""
        return [
            replace(result, settings=tuple(self._foretold(result.router, one, items) for one in result.settings))
            for result in results
        ]

    def _foretold(self, router: str, setting: Setting, items: Sequence[Item]) -> Setting:
        found = [self.predictions.get((router, setting.tradeoff, item.id)) for item in items]
        quality = np.array([np.nan if one is None or one.quality is None else one.quality for one in found])
        cost = np.array([np.nan if one is None or one.cost is None else one.cost for one in found])
        return replace(
            setting,
            predicted_quality=None if np.isnan(quality).all() else quality,
            predicted_cost=None if np.isnan(cost).all() else cost,
        )


async def read(database: Database, run: str, rows: Sequence[ResultRow], *, patience: float = PATIENCE) -> Kept:
    """What the ledger has of the calls of `rows`, all results of the run, once it has them all or no more come.

    `patience`: seconds to wait for the next one. Raises `StoreUnavailable`.
    """
    called = sum(row.call_id is not None for row in rows)
    await _settled(database, run, called, patience)
    answered = sum(row.answered for row in rows)
    predictions = {(one.router, one.tradeoff, one.item): one for one in await run_predictions(database, run)}
    prices = tuple(
        ModelPrice(
            model=model,
            input_per_1m=float(price.input * 1_000_000),
            output_per_1m=float(price.output * 1_000_000),
            source=price.source,
        )
        for model, price in (await run_prices(database, run)).items()
    )
    gone = answered - len(predictions)
    note = f"{gone:,} of {answered:,} answered calls are not in this ledger: calibration and prices leave them out."
    return Kept(predictions, prices, (note,) if gone > 0 else ())


async def _settled(database: Database, run: str, called: int, patience: float) -> None:
    # Not the calls of the run: one that was killed and taken up again has made some that no result came of.
    seen, since = -1, monotonic()
    while (count := await count_logged_results(database, run)) < called:
        if count > seen:
            seen, since = count, monotonic()
        elif monotonic() - since >= patience:
            return
        await asyncio.sleep(PAUSE)
