"""Routers that learn while they serve: every score of a call they decided is folded in, once.

The ledger is the truth. Each worker reads the scored decisions from it, its own and the other workers', so all of them
end with the same sums, and a restart loses nothing: it reads everything again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING

from app.core.errors import HullspeedError
from app.store.database import Database
from routers import Router
from routers.base import LearningRouter

if TYPE_CHECKING:
    from app.store.queries.decided import ScoredDecision

log = logging.getLogger("hullspeed.learning")

PAUSE = 2.0
"""Seconds between two looks at the ledger."""
LATE = timedelta(minutes=10)
"""A score may be seen so much later than it came to Postgres: rows that others write are seen once all of their
batch is written. However late it came, it is learned."""


class Learning:
    """Reads new scores in the background for the routers that learn from them."""

    def __init__(self, database: Database, made: Callable[[], Mapping[str, Router]], pause: float = PAUSE) -> None:
        """`made`: gives the routers that there are by now, by the name of their entry, which is what a logged decision
        bears."""
        self._database = database
        self._made = made
        self._pause = pause
        self._pupils: dict[str, _Pupil] = {}
        self._task: asyncio.Task[None] | None = None
        self._look()

    @property
    def has_learners(self) -> bool:
        """Whether anybody learns, so far."""
        return bool(self._pupils)

    @property
    def learned(self) -> int:
        """Scores folded in so far."""
        return sum(pupil.learned for pupil in self._pupils.values())

    def start(self) -> None:
        """Begin."""
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
        self._look()
        if not self._pupils:
            return 0
        # Who does not learn does without SQLAlchemy.
        scored_decisions = (await asyncio.to_thread(import_module, "app.store.queries.decided")).scored_decisions
        before = self.learned
        for pupil in self._pupils.values():
            async for scored in scored_decisions(self._database, [pupil.name], pupil.since):
                pupil.take(scored)
            pupil.forget()
        return self.learned - before

    def _look(self) -> None:
        """Take in the routers that were made since the last time."""
        for name, router in self._made().items():
            if name not in self._pupils and (learner := router.learner()) is not None:
                self._pupils[name] = _Pupil(name, learner)


class _Pupil:
    """One router that learns, and what it has heard."""

    def __init__(self, name: str, learner: LearningRouter) -> None:
        self.name = name
        self.learned = 0
        self._learner = learner
        self._newest: datetime | None = None
        self._seen: dict[str, datetime] = {}
        self._judged: dict[str, ScoredDecision] = {}
        """The newest score of each call judged lately."""
        # What an artifact was saved with stands in the ledger too, and must not count twice.
        learner.restore({})

    @property
    def since(self) -> datetime | None:
        """From when on scores may be new."""
        return None if self._newest is None else self._newest - LATE

    def take(self, scored: ScoredDecision) -> None:
        """Fold a score in, unless it was before."""
        if scored.score_id in self._seen:
            return
        self._seen[scored.score_id] = scored.shipped_at
        self._newest = max(scored.shipped_at, self._newest or scored.shipped_at)
        self.learned += self._learn(scored)

    def forget(self) -> None:
        """Let go of what cannot come again."""
        if self._newest is not None:
            kept = self._newest - 2 * LATE
            self._seen = {score: when for score, when in self._seen.items() if when >= kept}
            self._judged = {call: one for call, one in self._judged.items() if one.shipped_at >= kept}

    def _learn(self, scored: ScoredDecision) -> bool:
        """An earlier score of the same call is taken back, since the newest word counts."""
        learner = self._learner
        earlier = self._judged.get(scored.call_id)
        if earlier is not None and earlier.created_at > scored.created_at:
            return False
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
