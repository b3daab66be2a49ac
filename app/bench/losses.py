"""Where a router lost most: the items on which another model would have done better, with what both said.

A mean says how much is lost; reading the prompts says why. The best choice is the oracle's: highest quality, ties to
the cheapest. So no figure here depends on a price of quality.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.bench.baselines import ScoredPool
from app.bench.figures import Loss, Losses
from app.bench.results import Setting
from app.bench.suite import Item, Suite
from routers.base import message_text

MOST = 20
"""Items that are listed of a router."""
LONGEST = 4000
"""Signs of a prompt or reply that are kept: a report is read, stored and mailed whole."""
SAME = 1e-12
"""Qualities and costs (USD) that differ by less are the same."""


def losses_of(setting: Setting, suite: Suite, rows: NDArray[np.int64], pool: ScoredPool) -> Losses:
    """The losses of one router at one setting on the items at `rows`; `pool` is of the same items in the same order.

    A failed call loses what the best model would have scored. Replies are the suite's recorded ones, None where it has
    none of that model.
    """
    best = pool.oracle
    worse = best.quality - setting.quality
    dearer = setting.cost - best.cost
    lost = (worse > SAME) | ((np.abs(worse) <= SAME) & (dearer > SAME))
    order = np.lexsort((-dearer, -worse))
    kept = [int(place) for place in order if lost[place]][:MOST]
    told = _Told(suite)
    return Losses(
        tradeoff=float(setting.tradeoff),
        worse=int((worse > SAME).sum()),
        dearer=int((lost & (worse <= SAME)).sum()),
        items=tuple(_loss(setting, pool, told, suite.items[rows[place]], place) for place in kept),
    )


def _loss(setting: Setting, pool: ScoredPool, told: _Told, item: Item, place: int) -> Loss:
    best = pool.oracle
    model, best_model = setting.model[place], pool.models[int(best.index[place])]
    return Loss(
        item=item.id,
        category=item.category,
        prompt=shortened(chat_text(item)),
        quality_lost=max(float(best.quality[place] - setting.quality[place]), 0.0),
        cost_lost_usd=float(setting.cost[place] - best.cost[place]),
        model=model,
        quality=float(setting.quality[place]),
        cost_usd=float(setting.cost[place]),
        reply=told.reply(item.id, model),
        best_model=best_model,
        best_quality=float(best.quality[place]),
        best_cost_usd=float(best.cost[place]),
        best_reply=told.reply(item.id, best_model),
    )


class _Told:
    """What the recorded models said."""

    def __init__(self, suite: Suite) -> None:
        self._recorded = suite.recorded
        self._row = {item.id: row for row, item in enumerate(suite.items)}

    def reply(self, item: str, model: str | None) -> str | None:
        """The reply, shortened; None where no text was kept."""
        recorded = self._recorded
        if recorded is None or model not in recorded.models:
            return None
        text = recorded.replies[self._row[item], recorded.models.index(model)]
        return shortened(text) if isinstance(text, str) else None


def chat_text(item: Item) -> str:
    """The chat as one text; who speaks is said where there is more than one message."""
    if len(item.messages) == 1:
        return message_text(item.messages[0])
    return "\n\n".join(f"{message.get('role', '')}: {message_text(message)}" for message in item.messages)


def shortened(text: str, most: int = LONGEST) -> str:
    """At most `most` signs of `text`, and how many more there are."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more signs)"
