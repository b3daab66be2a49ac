"""What the ledger knows of a run's calls, and the scores given to calls."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from app.core.types import Price, Score
from app.store.database import Database
from app.store.queries.calls import is_id
from app.store.tables import calls, results, scores


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What the decision of a run's call foretold of the model that answered."""

    router: str
    tradeoff: float
    item: str
    quality: float | None
    cost: float | None
    """USD."""


_PREDICTIONS = sa.text("""
SELECT r.router, r.tradeoff, r.item, (ranked->>'quality')::double precision AS quality,
  (ranked->>'cost')::double precision AS cost
FROM results AS r JOIN calls AS c ON c.id = r.call_id
LEFT JOIN LATERAL (
  SELECT entry AS ranked FROM json_array_elements(c.decision->'ranking') AS entry
  WHERE entry->>'model' = r.model LIMIT 1
) AS picked ON true
WHERE r.run = CAST(:run AS uuid) AND r.answered
""")
_PRICES = sa.text("""
SELECT DISTINCT ON (a.model) a.model, a.price
FROM calls AS c JOIN attempts AS a ON a.call_started_at = c.started_at AND a.call_id = c.id
WHERE c.run = :run AND a.price IS NOT NULL
ORDER BY a.model, c.started_at DESC, c.id DESC
""")


async def count_logged_results(database: Database, run: str) -> int:
    """Number of a run's results whose call is in the ledger. Raises `StoreUnavailable`."""
    query = sa.select(sa.func.count()).join_from(results, calls, calls.c.id == results.c.call_id)
    async with database.begin() as connection:
        return int((await connection.execute(query.where(results.c.run == run))).scalar_one())


async def run_predictions(database: Database, run: str) -> list[Prediction]:
    """One for each answered call of a run that is in the ledger. Raises `StoreUnavailable`."""
    async with database.begin() as connection:
        return [Prediction(**row._mapping) for row in await connection.execute(_PREDICTIONS, {"run": run})]


async def run_prices(database: Database, run: str) -> dict[str, Price]:
    """The latest rates that each model's calls of a run were billed at, by model, in alphabetical order; without the
    models whose cost was recorded or stated by the upstream. Raises `StoreUnavailable`."""
    async with database.begin() as connection:
        found = (await connection.execute(_PRICES, {"run": run})).all()
    return {row.model: msgspec.convert(row.price, Price, strict=False) for row in found}


async def scores_of(database: Database, call_ids: Sequence[str]) -> dict[str, list[Score]]:
    """Scores of the calls that have any, each call's oldest first. Raises `StoreUnavailable`."""
    query = sa.select(scores).where(scores.c.call_id.in_([key for key in call_ids if is_id(key)]))
    found: dict[str, list[Score]] = {}
    async with database.begin() as connection:
        for row in await connection.execute(query.order_by(scores.c.created_at, scores.c.id)):
            found.setdefault(row.call_id, []).append(Score(**row._mapping))
    return found
