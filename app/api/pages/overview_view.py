"""What the overview is asked for, and what is known of it: gathered once for all who look."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from starlette.exceptions import HTTPException

from app.api.pages.shown import Shown
from app.core.briefly import Briefly
from app.core.errors import StoreUnavailable
from app.core.types import Price
from app.gateway.standing import ModelStanding, standings
from app.store.journal import count
from app.store.queries.attempted import Attempted, recent_attempts
from app.store.queries.calls import CallFilter, CallRow, list_calls
from app.store.queries.choices import BestSingle, ExpectedQuality, best_single, expected_qualities
from app.store.queries.overview import FAILED, Overview, is_empty, last_called, overview
from app.store.queries.periods import StatsFilter
from app.store.queries.timeline import Timeline, timeline

PATIENCE = 2.0
"""Seconds that a page waits for Postgres before it shows what it knows without; it fills in what comes later."""
LATEST, ERRORS = 8, 6
"""Calls in the two lists."""

LONGEST_NAME = 200
Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
Period = Literal["1h", "24h", "7d", "30d", "all"]
PERIODS: dict[Period, tuple[str, timedelta | None, int]] = {
    "1h": ("1 h", timedelta(hours=1), 5),
    "24h": ("24 h", timedelta(hours=24), 10),
    "7d": ("7 d", timedelta(days=7), 30),
    "30d": ("30 d", timedelta(days=30), 60),
    "all": ("All", None, 60),
}
"""Period → its name, its length, and every how many seconds its charts are drawn again."""
SHOWS = {"calls": "Calls", "spend": "Spend", "share": "Share"}


@dataclass(frozen=True)
class Asked:
    """The parameters in the address."""

    period: Period = "24h"
    source: Literal["live", "replay", "all"] = "live"
    router: Name = ""
    against: Name = ""
    """The model to compare with."""
    show: Literal["calls", "spend", "share"] = "calls"

    @classmethod
    def read(cls, given: Mapping[str, str]) -> Asked:
        """Raises `HTTPException` 422 that names the parameter. Others than these are passed over."""
        try:
            return msgspec.convert(dict(given), cls)
        except msgspec.ValidationError as error:
            name = str(error).rpartition("`$.")[2].rstrip("`")
            wanted = get_type_hints(cls)[name]
            known = ", ".join(get_args(wanted)) if get_origin(wanted) is Literal else None
            fix = f"must be one of {known}" if known else f"must have {LONGEST_NAME} characters at most"
            raise HTTPException(422, f"{name}: {fix}.") from None

    def parameters(self) -> dict[str, str]:
        """Those that are not as they are without saying so."""
        given = {name: getattr(self, name) for name in ("period", "source", "router", "against", "show")}
        return {name: value for name, value in given.items() if value != getattr(Asked, name)}

    @property
    def wanted(self) -> StatsFilter:
        return StatsFilter(source=None if self.source == "all" else self.source, router=self.router or None)

    def since(self, now: datetime) -> datetime | None:
        length = PERIODS[self.period][1]
        return None if length is None else now - length


@dataclass(frozen=True)
class Found:
    """What the ledger says."""

    sums: Overview
    latest: Sequence[CallRow]
    errors: Sequence[CallRow]
    attempted: dict[str, Attempted]
    qualities: Sequence[ExpectedQuality]
    is_empty: bool
    """No call was ever recorded."""
    only_replays: bool
    """Live calls were asked for, and nobody but bench runs has ever called."""


@dataclass(frozen=True)
class Seen:
    """Everything that the page shows."""

    asked: Asked
    now: datetime
    found: Found | None
    problem: str | None
    """Why the ledger says nothing."""
    standings: Sequence[ModelStanding]
    prices: dict[str, Price]
    """Of the catalog's models whose price is known."""
    best: BestSingle | None
    inflight: int
    most_inflight: int
    waiting: tuple[int, int]
    """Rows and bytes in the journal, of all workers of this host."""

    @property
    def only_replays(self) -> bool:
        """Live calls were asked for, and nobody but bench runs has ever called."""
        return self.found is not None and self.found.only_replays

    @property
    def given(self) -> dict[str, str]:
        """The parameters of an address that shows the same again."""
        # Without one, the page shows replays where there is nothing else.
        return {**self.asked.parameters(), **({"source": self.asked.source} if self.only_replays else {})}


class Watching:
    """Looks at a serving proxy for whoever looks at the overview."""

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self._found = Briefly[Found]()
        self._timelines = Briefly[Timeline]()
        self._attempted = Briefly[dict[str, Attempted]](5.0)
        self._qualities = Briefly[list[ExpectedQuality]](60.0)
        self._waiting = Briefly[tuple[int, int]](2.0)

    async def look(self, asked: Asked) -> Seen:
        """Everything; without the ledger where that does not answer soon."""
        shown = self.shown
        found, problem = None, None
        try:
            found = await self._patiently(self._found.get((asked.period, asked.wanted), lambda: self._find(asked)))
            if found.is_empty and not await is_empty(shown.database):
                # The first call has come since: nobody is to be told again how to make it.
                found = await self._patiently(self._find(asked))
        except StoreUnavailable as error:
            problem = error.message
        catalog = shown.decider.catalog
        return Seen(
            asked=asked,
            now=datetime.now(UTC),
            found=found,
            problem=problem,
            standings=standings(shown.decider.fleet),
            prices={name: model.price for name, model in catalog.items() if model.price is not None},
            best=None if found is None else best_single(found.qualities, catalog.keys()),
            inflight=shown.admission.inflight,
            most_inflight=shown.admission.limit,
            waiting=await self._waiting.get((), lambda: asyncio.to_thread(count, shown.settings.data_dir / "journal")),
        )

    async def timeline(self, asked: Asked) -> Timeline:
        """The period in steps. Raises `StoreUnavailable`."""
        return await self._timelines.get((asked.period, asked.wanted), lambda: self._timeline(asked))

    def begin_timeline(self, seen: Seen) -> None:
        """Look for what the charts of a page will ask for as soon as a browser has read it."""
        asked = seen.asked
        if seen.found is not None and not seen.found.is_empty:
            self._timelines.begin((asked.period, asked.wanted), lambda: self._timeline(asked))

    async def is_empty(self) -> bool:
        """Whether no call was ever recorded. Raises `StoreUnavailable`."""
        await self._ready()
        return await is_empty(self.shown.database)

    async def _patiently(self, finding: Any) -> Found:
        try:
            found: Found = await asyncio.wait_for(finding, PATIENCE)
        except TimeoutError:
            raise StoreUnavailable(f"The ledger has not answered within {PATIENCE:g} seconds.") from None
        return found

    async def _timeline(self, asked: Asked) -> Timeline:
        now = datetime.now(UTC)
        return await timeline(self.shown.database, asked.since(now), now, asked.wanted)

    async def _latest(self, some: CallFilter, wanted: StatsFilter) -> Sequence[CallRow]:
        database = self.shown.database
        found = await list_calls(database, some, limit=LATEST)
        if not found.rows and found.searched_to is not None:
            # So many others have called since that the search ended among them: as after a long bench run.
            until = await last_called(database, wanted)
            found = await list_calls(database, msgspec.structs.replace(some, until=until), limit=LATEST)
        return found.rows

    async def _ready(self) -> None:
        if not await self.shown.ledger.ready(PATIENCE):
            raise StoreUnavailable(f"The ledger is not ready yet ({self.shown.database.describe()}).")

    async def _find(self, asked: Asked) -> Found:
        await self._ready()
        # One question after the other: pages take one connection of the pool, whoever looks.
        database, now, wanted = self.shown.database, datetime.now(UTC), asked.wanted
        sums = await overview(database, asked.since(now), now, wanted)
        some = CallFilter(source=wanted.source, router=wanted.router)
        latest = await self._latest(some, wanted)
        errors: list[CallRow] = []
        for outcome in FAILED:
            failed = CallFilter(source=wanted.source, router=wanted.router, outcome=outcome)
            errors += (await list_calls(database, failed, limit=ERRORS)).rows
        nothing = not sums.total.calls and not latest
        none_at_all = nothing and await is_empty(database)
        errors.sort(key=lambda call: call.started_at, reverse=True)
        return Found(
            sums=sums,
            latest=latest,
            errors=errors[:ERRORS],
            attempted=await self._attempted.get(wanted, lambda: recent_attempts(database, wanted)),
            qualities=[]
            if nothing
            else await self._qualities.get(wanted.source, lambda: expected_qualities(database, wanted.source)),
            is_empty=none_at_all,
            only_replays=nothing and not none_at_all and asked.source == "live" and await is_empty(database, "live"),
        )
