"""What a filter may be set to, and which model to compare with: read from sums, indexes and the newest calls."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

from app.store.database import Database
from app.store.partitions import bounds, days
from app.store.rollup import DAY

_RECENT_DAYS = 30
_RECENT_CALLS = 20_000
_MOST = 200
ENOUGH_SCORES = 30
"""Of a model, for its mean score to tell it from others."""


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What occurs in the ledger."""

    models: list[str]
    """That answered, ever, in alphabetical order; so are those that follow."""
    routers: list[str]
    outcomes: list[str]
    sources: list[str]
    error_types: list[str]
    """Of the last thirty days that have calls."""
    runs: list[str]
    """Tags of runs in these days, 200 at most."""
    sessions: list[str]
    """Of the newest 20,000 calls, the latest first, 200 at most."""


class ExpectedQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of how good a model is, from the newest decisions."""

    model: str
    predicted: float | None
    """Mean of what routers predicted of it; None where they predict no quality."""
    predictions: int
    """Decisions that rank it."""
    scored: float | None
    """Mean score (named `quality`) of the newest scored calls that it answered; None where nobody judged it."""
    scores: int


# An index read in leaps (a recursive query in place of SKIP SCAN, as PostgreSQL's wiki on "Loose indexscan" has it):
# as many probes as there are values, not as there are calls.
_LEAPS = """
WITH RECURSIVE found AS (
  (SELECT {column} AS value FROM calls WHERE {column} IS NOT NULL AND started_at >= %(since)s ORDER BY 1 LIMIT 1)
  UNION ALL
  SELECT (SELECT {column} FROM calls WHERE {column} > found.value AND started_at >= %(since)s ORDER BY 1 LIMIT 1)
  FROM found WHERE found.value IS NOT NULL
)
SELECT value FROM found WHERE value IS NOT NULL LIMIT %(most)s
"""
_VALUES = "SELECT DISTINCT {column} FROM call_stats WHERE seconds = %(day)s AND {column} <> '' ORDER BY 1"
_SUMMED = {"models": "model", "routers": "router", "outcomes": "outcome", "sources": "source"}
_INDEXED = {"error_types": "error_type", "runs": "run"}
_SESSIONS = """
SELECT session FROM (
  SELECT session, started_at FROM calls WHERE started_at >= %(since)s ORDER BY started_at DESC, id DESC LIMIT %(calls)s
) AS newest
WHERE session IS NOT NULL GROUP BY session ORDER BY max(started_at) DESC, session LIMIT %(most)s
"""
_QUALITIES = """
WITH looked_at AS (
  SELECT router, source, decision FROM calls ORDER BY started_at DESC, id DESC LIMIT %(looked_at)s
), decided AS (
  SELECT decision FROM looked_at
  WHERE router IS NOT NULL AND (CAST(%(source)s AS text) IS NULL OR source = %(source)s) LIMIT %(calls)s
), predicted AS (
  SELECT r.model, avg(r.quality) AS predicted, count(r.quality) AS predictions
  FROM decided CROSS JOIN LATERAL json_to_recordset(decision->'ranking') AS r(model text, quality double precision)
  GROUP BY r.model
), newest AS (
  SELECT call_id, value FROM scores WHERE name = 'quality' ORDER BY created_at DESC, id DESC LIMIT %(calls)s
), scored AS (
  SELECT c.model, avg(s.value) AS scored, count(*) AS scores
  FROM newest AS s JOIN calls AS c ON c.id = s.call_id WHERE c.model IS NOT NULL GROUP BY c.model
)
SELECT model, predicted, coalesce(predictions, 0) AS predictions, scored, coalesce(scores, 0) AS scores
FROM predicted FULL JOIN scored USING (model) ORDER BY model
"""


async def choices(database: Database) -> Choices:
    """What a filter may be set to. Raises `StoreUnavailable`."""
    found: dict[str, list[str]] = {}

    async def ask(statement: str, given: Mapping[str, object]) -> list[str]:
        return [value for (value,) in await reading.rows(statement, given)]

    async with database.reading() as reading:
        for name, column in _SUMMED.items():
            found[name] = await ask(_VALUES.format(column=column), {"day": DAY})
        some = (await days(reading.connection))[:_RECENT_DAYS]
        given: dict[str, object] = {"since": bounds(some[-1])[0] if some else datetime.now(UTC), "most": _MOST}
        for name, column in _INDEXED.items():
            found[name] = await ask(_LEAPS.format(column=column), given)
        found["sessions"] = await ask(_SESSIONS, {**given, "calls": _RECENT_CALLS})
    return Choices(**found)


async def expected_qualities(
    database: Database, source: str | None = "live", *, newest: int = 2000
) -> list[ExpectedQuality]:
    """Of each model that the `newest` decisions on calls of that source rank or that answered one of the `newest`
    scored calls, in alphabetical order: whoever is best of them is the best single model to compare with. Decisions are
    looked for among the newest 20,000 calls. Raises `StoreUnavailable`."""
    given = {"calls": newest, "source": source, "looked_at": _RECENT_CALLS}
    async with database.reading() as reading:
        return [ExpectedQuality(**row._asdict()) for row in await reading.rows(_QUALITIES, given)]


class BestSingle(msgspec.Struct, frozen=True):
    """The model that one would send everything to, and how that is known."""

    model: str
    quality: float
    """In [0, 1]: a mean of what routers predict, or of scores."""
    basis: Literal["predictions", "scores"]
    count: int
    """Scores or predictions that it is the mean of."""


def best_single(qualities: Iterable[ExpectedQuality], among: Collection[str]) -> BestSingle | None:
    """The best of `among`; None where nothing is known of at least two of them.

    By what routers predict, which they do of every candidate for the same requests. Only where they predict nothing, by
    scores, of models that have `ENOUGH_SCORES` each: those are of the requests that each model was given. Where routing
    works, small models are given the easy ones and look best by it.
    """
    known = [quality for quality in qualities if quality.model in among]
    scored = [
        BestSingle(one.model, one.scored, "scores", one.scores)
        for one in known
        if one.scored is not None and one.scores >= ENOUGH_SCORES
    ]
    predicted = [
        BestSingle(one.model, one.predicted, "predictions", one.predictions)
        for one in known
        if one.predicted is not None
    ]
    for found in (predicted, scored):
        if len(found) > 1:
            return max(found, key=lambda one: (one.quality, one.count))
    return None
