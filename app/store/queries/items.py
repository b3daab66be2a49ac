"""Single items of a suite, without loading it whole."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import Any

import msgspec

from app.store.database import Database

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
    async with database.reading() as reading:
        found = await reading.row("SELECT id, models FROM suites WHERE name = %(suite)s", {"suite": suite})
        if found is None:
            return {}
        # Read in pieces: between two of them calls are served.
        async with aclosing(reading.pieces(_IDS, {"suite": found.id}, _AT_ONCE)) as pieces:
            async for some in pieces:
                ids |= {made: row.position for row in some if (made := key(row.id)) in wanted}
                if len(ids) == len(set(wanted)):
                    break
        given = {"suite": found.id, "positions": list(ids.values())}
        stored = {row.position: row for row in await reading.rows(_ITEMS, given)}
        qualities: dict[int, dict[int, float]] = {}
        for row in await reading.rows(_QUALITIES, given):
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


_IDS = "SELECT id, position FROM items WHERE suite_id = %(suite)s ORDER BY position"
_ITEMS = """
SELECT id, category, messages, position FROM items WHERE suite_id = %(suite)s AND position = ANY(%(positions)s)
"""
_QUALITIES = """
SELECT position, model, quality FROM outcomes
WHERE suite_id = %(suite)s AND position = ANY(%(positions)s) AND quality <> 'NaN' ORDER BY model
"""
