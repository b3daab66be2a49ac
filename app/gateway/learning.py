"""Routers that learn while they serve: every score of a call they decided is folded in, once.

The ledger is the truth. Each worker reads the scored decisions from it, its own and the other workers', so all of them
end with the same sums, and a restart loses nothing: it reads everything again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from app.core.errors import HullspeedError
from app.store.database import Database
from app.store.queries.decided import ScoredDecision, scored_decisions
from routers import Router
from routers.base import LearningRouter

log = logging.getLogger("hullspeed.learning")

PAUSE = 2.0
"""Seconds between two looks at the ledger."""
LATE = timedelta(minutes=10)
"""A score may reach Postgres so much later than it was given, because journals ship by themselves. What comes later
still is learned at the next start."""


class Learning:
    """Reads new scores in the background for the routers that learn from them."""

    def __init__(self, database: Database, routers: Mapping[str, Router], pause: float = PAUSE) -> None:
        """`routers`: by the name of their entry, which is what a logged decision bears."""
        found = {name: router.learner() for name, router in routers.items()}
        self.learners: dict[str, LearningRouter] = {name: one for name, one in found.items() if one is not None}
        for learner in self.learners.values():
            # What an artifact was saved with stands in the ledger too, and must not count twice.
            learner.restore({})
        self.learned = 0
        """Scores folded in so far."""
        self._database = database
        self._pause = pause
        self._since: datetime | None = None
        self._seen: dict[str, datetime] = {}
        self._judged: dict[str, ScoredDecision] = {}
        """The newest score of each call judged lately."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, where anybody learns."""
        if self.learners:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                await self.catch_up()
            except HullspeedError as error:
                log.debug("scores cannot be read: %s", error.message)
            except Exception:
                log.exception("learning from scores failed; it is tried again")
            await asyncio.sleep(self._pause)

    async def catch_up(self) -> int:
        """Fold in the scores that came since the last time; gives their number."""
        since = None if self._since is None else self._since - LATE
        new = 0
        async for scored in scored_decisions(self._database, list(self.learners), since):
            if scored.score_id in self._seen:
                continue
            self._seen[scored.score_id] = scored.created_at
            self._since = max(scored.created_at, self._since or scored.created_at)
            new += self._learn(scored)
        if self._since is not None:
            kept = self._since - 2 * LATE
            self._seen = {score: when for score, when in self._seen.items() if when >= kept}
            self._judged = {call: one for call, one in self._judged.items() if one.created_at >= kept}
        self.learned += new
        return new

    def _learn(self, scored: ScoredDecision) -> bool:
        """Fold a score in; an earlier one of the same call is taken back, since the newest word counts."""
        learner = self.learners[scored.router]
        earlier = self._judged.get(scored.call_id)
        try:
            if earlier is not None:
                learner.update(earlier.detail, earlier.model, earlier.value, weight=-1.0)
            learner.update(scored.detail, scored.model, scored.value)
        except ValueError as error:
            # A decision of the router as it was before it was trained anew: its contexts mean something else.
            log.debug("score %s teaches `%s` nothing: %s", scored.score_id, scored.router, error)
            return False
        self._judged[scored.call_id] = scored
        return True
