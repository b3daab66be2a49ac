"""A suite as it is looked at: its facts, its recorded models, and its items a page at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from app.store import text
from app.store.database import Database


class SuiteFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A suite without its items."""

    id: str
    name: str
    digest: str
    grader: str | None
    simulated: bool
    description: str
    models: list[str] | None
    """None where nothing is recorded."""
    created_at: datetime
    items: int
    categories: dict[str, int]
    """Items of each, by name."""
    graders: list[str]
    """That the items name, or else the suite."""


class RecordedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What one model did on a suite."""

    model: str
    items: int
    """With an outcome."""
    quality: float | None
    """Mean over the items that were judged."""
    cost: float | None
    """Mean USD of one call, over those whose cost is known."""
    replies: int
    """Kept texts."""


class ItemLine(msgspec.Struct, frozen=True, kw_only=True):
    """An item in a list."""

    position: int
    id: str
    category: str
    preview: str | None
    """Beginning of the last message."""
    target: str | None
    """Its beginning."""
    best: float | None
    """Highest recorded quality."""
    mean: float | None
    """Mean recorded quality."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one model did on one item."""

    model: str
    quality: float | None
    cost: float | None
    """USD."""
    prompt_tokens: int
    completion_tokens: int
    reply: str | None


class ItemWithOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """One item, whole."""

    position: int
    id: str
    category: str
    messages: list[dict[str, Any]]
    target: str | None
    grader: str | None
    outcomes: list[Outcome]


PREVIEW = "left(i.messages->-1->>'content', 400)"
_FACTS = """
SELECT s.id::text, s.name, s.digest, s.grader, s.simulated, s.description, s.models, s.created_at,
  coalesce(sum(c.items), 0)::bigint AS items, coalesce(sum(c.ungraded), 0)::bigint AS ungraded,
  coalesce(json_object_agg(c.category, c.items) FILTER (WHERE c.category IS NOT NULL), '{}') AS categories,
  ARRAY(SELECT DISTINCT grader FROM items WHERE suite_id = s.id AND grader IS NOT NULL ORDER BY 1) AS graders
FROM suites s LEFT JOIN LATERAL (
  SELECT category, count(*) AS items, count(*) FILTER (WHERE grader IS NULL) AS ungraded
  FROM items WHERE suite_id = s.id GROUP BY category
) c ON true
WHERE s.name = :name OR s.digest = :digest
GROUP BY s.id ORDER BY s.name = :name DESC, s.created_at DESC LIMIT 1
"""
_MODELS = """
SELECT s.models[o.model + 1] AS model, count(*) AS items,
  avg(o.quality) FILTER (WHERE o.quality <> 'NaN') AS quality, avg(o.cost) FILTER (WHERE o.cost <> 'NaN') AS cost,
  count(o.reply) AS replies
FROM outcomes o JOIN suites s ON s.id = o.suite_id
WHERE o.suite_id = :suite GROUP BY 1 ORDER BY 4 NULLS LAST, 1
"""
_LINES = f"""
WITH page AS (
  SELECT i.suite_id, i.position, i.id, i.category, {PREVIEW} AS preview, left(i.target, 200) AS target
  FROM items i WHERE i.suite_id = :suite {{also}} ORDER BY i.position LIMIT :limit OFFSET :offset
)
SELECT p.position, p.id, p.category, p.preview, p.target, o.best, o.mean
FROM page p LEFT JOIN LATERAL (
  SELECT max(quality) AS best, avg(quality) AS mean FROM outcomes
  WHERE suite_id = p.suite_id AND position = p.position AND quality <> 'NaN'
) o ON true ORDER BY p.position
"""  # noqa: S608 -- only constants of this package are put in
_TOTAL = "SELECT count(*) FROM items i WHERE i.suite_id = :suite {also}"
_ITEM = """
SELECT i.position, i.id, i.category, i.messages, i.target, i.grader FROM items i
WHERE i.suite_id = :suite AND i.position = :position
"""
_OUTCOMES = """
SELECT s.models[o.model + 1] AS model, nullif(o.quality, 'NaN') AS quality, nullif(o.cost, 'NaN') AS cost,
  o.prompt_tokens, o.completion_tokens, o.reply
FROM outcomes o JOIN suites s ON s.id = o.suite_id
WHERE o.suite_id = :suite AND o.position = :position ORDER BY 3 NULLS LAST, 1
"""


async def suite_facts(database: Database, *, name: str = "", digest: str = "") -> SuiteFacts | None:
    """The suite of this name, or else one of these items; None where there is none. Raises `StoreUnavailable`."""
    async with database.begin() as connection:
        row = (await connection.execute(sa.text(_FACTS), {"name": name, "digest": digest})).one_or_none()
    if row is None:
        return None
    found = dict(row._mapping)
    ungraded, graders = found.pop("ungraded"), found["graders"]
    if found["grader"] is not None and (ungraded or not graders):
        graders = sorted({*graders, found["grader"]})
    elif ungraded:
        graders = []  # a run has to name one: those without cannot be judged
    return SuiteFacts(**{**found, "graders": graders, "categories": dict(sorted(found["categories"].items()))})


async def recorded_models(database: Database, suite: str) -> list[RecordedModel]:
    """What each recorded model of the suite with this id did, ascending in cost. Raises `StoreUnavailable`."""
    async with database.begin() as connection:
        rows = await connection.execute(sa.text(_MODELS), {"suite": suite})
        return [RecordedModel(**row._mapping) for row in rows]


async def suite_items(
    database: Database, suite: str, *, category: str | None, search: str | None, limit: int, offset: int
) -> tuple[list[ItemLine], int]:
    """A page of items by position, and how many there are in all. Raises `StoreUnavailable`."""
    also, given = narrowed(category, search)
    given["suite"] = suite
    async with database.begin() as connection:
        total = await connection.execute(sa.text(_TOTAL.format(also=also)), given)
        rows = await connection.execute(sa.text(_LINES.format(also=also)), {**given, "limit": limit, "offset": offset})
        return [ItemLine(**row._mapping) for row in rows], int(total.scalar_one())


async def suite_item(database: Database, suite: str, position: int) -> ItemWithOutcomes | None:
    """One item with every recorded model's outcome; None where there is none. Raises `StoreUnavailable`."""
    place = {"suite": suite, "position": position}
    async with database.begin() as connection:
        item = (await connection.execute(sa.text(_ITEM), place)).one_or_none()
        if item is None:
            return None
        outcomes = await connection.execute(sa.text(_OUTCOMES), place)
        return ItemWithOutcomes(**item._mapping, outcomes=[Outcome(**row._mapping) for row in outcomes])


def narrowed(category: str | None, search: str | None) -> tuple[str, dict[str, Any]]:
    """Conditions on `items i`, as SQL that begins with AND or is empty, and their parameters. A text is looked for in
    id, messages and target, whatever its case."""
    also, given = "", dict[str, Any]()
    if category:
        also += " AND i.category = :category"
        given["category"] = text.clean(category)
    if search:
        also += " AND (i.id ILIKE :search OR i.target ILIKE :search OR i.messages::text ILIKE :quoted)"
        clean = text.clean(search)
        given["search"] = f"%{_literally(clean)}%"
        # As it stands within JSON.
        given["quoted"] = f"%{_literally(text.encode_text(clean)[1:-1])}%"
    return also, given


def _literally(pattern: str) -> str:
    for sign in ("\\", "%", "_"):
        pattern = pattern.replace(sign, f"\\{sign}")
    return pattern
