"""Which training prompts a decision's neighbours are, where the suite that the router was trained on is still there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.api.pages.conversation import cut
from app.gateway.decide import RouterEntry
from app.store.database import Database
from app.store.queries.items import ItemRow, items_by_key
from routers.artifacts import TrainedOn, item_hash
from routers.base import last_text
from routers.explore import ExploreRouter


@dataclass(frozen=True)
class NamedItem:
    """A training prompt."""

    suite: str
    row: ItemRow
    text: str
    """How its prompt begins."""


async def named_items(
    database: Database, entry: RouterEntry | None, hashes: Iterable[str | None]
) -> dict[str, NamedItem]:
    """By hash; those of whom nothing is known are left out. Raises `StoreUnavailable`."""
    router = None if entry is None else entry.router()
    while isinstance(router, ExploreRouter):
        router = router.within
    trained = getattr(router, "trained_on", None)
    wanted = {one for one in hashes if one is not None}
    if not isinstance(trained, TrainedOn) or not wanted:
        return {}
    found = await items_by_key(database, trained.suite, item_hash, wanted)
    return {key: NamedItem(trained.suite, row, cut(last_text(row.messages), 300)) for key, row in found.items()}
