"""Single items of a suite, without loading it whole."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec
import sqlalchemy as sa

from app.store.database import Database
from app.store.tables import items, outcomes, suites

_AT_ONCE = 500


class ItemRow(msgspec.Struct, frozen=True, kw_only=True):
    """An item, and how good each recorded model was at it."""

    id: str
    category: str
    messages: list[dict[str, Any]]
    qualities: dict[str, float]
    """By model, in the order recorded."""


async def items_by_key(
    database: Database, suite: str, key: Callable[[str], str], wanted: Collection[str]
) -> dict[str, ItemRow]:
    """The items of a suite whose `key`, of their id, is wanted; by key. Those that are not there, or a suite that is
    not there, are left out. Raises `StoreUnavailable`."""
    ids: dict[str, int] = {}
    async with database.begin() as connection:
        found = (
            await connection.execute(sa.select(suites.c.id, suites.c.models).where(suites.c.name == suite))
        ).first()
        if found is None:
            return {}
        every = sa.select(items.c.id, items.c.position).where(items.c.suite_id == found.id).order_by(items.c.position)
        # Read in pieces: between two of them calls are served.
        async with connection.stream(every, execution_options={"yield_per": _AT_ONCE}) as rows:
            async for some in rows.partitions():
                ids |= {made: row.position for row in some if (made := key(row.id)) in wanted}
                if len(ids) == len(set(wanted)):
                    break
        mine = (items.c.suite_id == found.id, items.c.position.in_(ids.values()))
        stored = {row.position: row for row in await connection.execute(sa.select(items).where(*mine))}
        judged = sa.select(outcomes.c.position, outcomes.c.model, outcomes.c.quality).where(
            outcomes.c.suite_id == found.id,
            outcomes.c.position.in_(ids.values()),
            outcomes.c.quality != sa.literal("NaN", sa.Double),
        )
        qualities: dict[int, dict[int, float]] = {}
        for row in await connection.execute(judged.order_by(outcomes.c.model)):
            qualities.setdefault(row.position, {})[row.model] = row.quality
    models = found.models or []
    return {
        made: ItemRow(
            id=stored[position].id,
            category=stored[position].category,
            messages=stored[position].messages,
            qualities={models[place]: value for place, value in qualities.get(position, {}).items()},
        )
        for made, position in ids.items()
    }
