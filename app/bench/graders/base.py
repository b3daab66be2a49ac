"""What a grader is: one that reads, and one that asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from app.bench.suite import Item
from app.core.errors import HullspeedError

if TYPE_CHECKING:
    import aiohttp


class GraderFailed(HullspeedError):
    """A grader did not come to a judgement. Never a silent 0: the models would be blamed for the grader's fault."""

    code = "grader_failed"

    def __init__(self, message: str, *, cost_usd: Decimal | None = Decimal(0)) -> None:
        super().__init__(message)
        self.cost_usd = cost_usd
        """What was spent on the way there; None where the proxy does not know the price."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a grader says of one reply."""

    value: float
    """Quality in [0, 1]."""
    cost_usd: Decimal | None = Decimal(0)
    """Spent on judging, not on answering; None where the proxy does not know the price."""
    call_id: str | None = None
    """The judge's call, the first where it took several."""
    comment: str | None = None
    """Why, where the grader says."""


@dataclass(frozen=True, slots=True)
class Grader:
    """A grader that reads the reply and asks nobody."""

    name: str
    function: Callable[[Item, str], Judgement]
    blocking: bool = False
    """True where it takes so long that an event loop should run it in a thread."""
    needs_target: bool = True

    def grade(self, item: Item, reply: str) -> Judgement:
        """Raises `GraderFailed` naming the grader and the item."""
        if self.needs_target and item.target is None:
            raise GraderFailed(f"grader `{self.name}` on item `{item.id}`: the item has no target")
        return self.function(item, reply)


class AsyncGrader(Protocol):
    """A grader that asks somebody: a model, through the proxy."""

    @property
    def name(self) -> str: ...

    async def grade(self, item: Item, reply: str) -> Judgement:
        """Raises `GraderFailed` naming the grader and the item."""
        ...


@dataclass(frozen=True)
class JudgeProxy:
    """The proxy that judges are asked through."""

    url: str
    session: aiohttp.ClientSession
    """Its connections; whoever opened it closes it."""
    run: str | None = None
    """The run that is graded. A judge's calls are tagged `<run>/judge`, so that they are no calls of the run."""
    api_key: str | None = None
    backoff: float = 1.0
    """Seconds before a judge that failed for a passing reason is asked again, the second time twice as long."""


@dataclass(frozen=True, kw_only=True)
class GraderContext:
    """What graders may need beside the reply."""

    allow_code: bool = False
    """Whether code that came with a suite or a reply may be run."""
    named: str | None = None
    """The grader that the user named, in place of the suite's: a file named so is the user's own."""
    proxy: JudgeProxy | None = None
    """None while nobody is to be asked yet."""


async def judged(grader: Grader | AsyncGrader, item: Item, reply: str) -> Judgement:
    """A judgement of either kind of grader, from within an event loop."""
    if not isinstance(grader, Grader):
        return await grader.grade(item, reply)
    if grader.blocking:
        return await asyncio.to_thread(grader.grade, item, reply)
    return grader.grade(item, reply)
