"""How the replies of a run are judged while it goes on: by graders that may take their time, and may cost money.

A reply that comes again to the same item, as it does where several routers pick one model, is not judged again by a
grader that is slow or asks a model: the first judgement stands for all, and its cost counts once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal

import aiohttp

from app.bench.graders import (
    AsyncGrader,
    Grader,
    GraderFailed,
    Judgement,
    JudgeProxy,
    grader_for,
    judged,
)
from app.bench.plan import Plan
from app.bench.replay import Grade
from app.bench.suite import Item

JUDGES_AT_ONCE = 32


@asynccontextmanager
async def grading(
    plan: Plan, *, recorded_models: bool, url: str, api_key: str | None = None, run: str | None = None
) -> AsyncIterator[Grade]:
    """The judge of a plan's replies, within an event loop. Judges are asked through the proxy at `url`, as part of
    `<run>/judge`. `recorded_models`: see `Plan.check_grading`, which should have passed."""
    if not plan.graded:
        look_up = plan.grade(recorded_models=recorded_models)

        async def recorded(item: Item, model: str, reply: str) -> Judgement:
            return Judgement(look_up(item, model, reply))

        yield recorded
        return
    # As patient as the proxy is: how long a model may take is its business.
    connector = aiohttp.TCPConnector(limit=JUDGES_AT_ONCE)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(None)) as session:
        context = replace(plan.context, proxy=JudgeProxy(url, session, run, api_key))
        graders = {name: grader_for(name, context) for name in plan.grader_names}
        found = _Graders(graders, {item.id: plan.grader_of(item) or "" for item in plan.items})
        try:
            yield found.grade
        finally:
            await found.close()


class _Graders:
    """The graders of a run, with what the slow ones have said so far."""

    def __init__(self, graders: Mapping[str, Grader | AsyncGrader], by_item: Mapping[str, str]) -> None:
        self._by_item = {item: graders[name] for item, name in by_item.items()}
        self._asked: dict[tuple[str, str], asyncio.Task[Judgement]] = {}

    async def grade(self, item: Item, _model: str, reply: str) -> Judgement:
        """Raises `GraderFailed`; the next reply like it is judged anew then."""
        grader = self._by_item[item.id]
        if isinstance(grader, Grader) and not grader.blocking:
            return grader.grade(item, reply)
        key = item.id, reply
        known = self._asked.get(key)
        task = known or asyncio.create_task(judged(grader, item, reply))
        self._asked[key] = task
        try:
            # One who gives up waiting does not take the judgement from the others.
            judgement = await asyncio.shield(task)
        except GraderFailed as failed:
            if self._asked.get(key) is task:
                del self._asked[key]
            if known is None:
                raise
            raise GraderFailed(failed.message) from None
        return judgement if known is None else replace(judgement, cost_usd=Decimal(0))

    async def close(self) -> None:
        """End what is still being judged."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
