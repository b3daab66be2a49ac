"""Calls one by one and by the page, as fast among ten million as among ten.

A page takes one condition to an index: the one that is rarest as a rule. The others are looked at row by row, in blocks
of the newest calls, until the page is full or a fraction of a second is over; then the page says how far back it has
looked, and its cursor goes on from there. So no filter, however rare what it seeks, holds up a page or Postgres.
"""

from __future__ import annotations

import base64
import binascii
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.errors import InvalidRequest
from app.core.types import Attempt, Call, CallOutcome, Score, Usage
from app.store.database import Database
from app.store.engine import driver
from app.store.partitions import bounds, days
from app.store.tables import attempts, calls, scores
from app.store.text import clean

MAX_PAGE = 1000
SEARCH_SECONDS = 0.12
"""How long a page looks for rows that no index finds, before it says how far it came."""
_DAYS_AT_ONCE = 8
"""Days in one statement: planning takes as long as there are partitions in it."""
_BLOCK, _TEXT_BLOCK, _LARGEST_BLOCK = 2_000, 200, 50_000
"""Calls looked at by the first statement of a search, that of a search in texts, and the most by one."""
_CLOCKS_APART = timedelta(days=1)
_USAGE = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_FIRST_ID, _LAST_ID = str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1))

is_attempt = sa.and_(attempts.c.call_started_at == calls.c.started_at, attempts.c.call_id == calls.c.id)
"""Joins calls with their attempts, partition by partition."""


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """A call in a list: all of `app.core.types.Call` but its decision, attempts and texts."""

    id: str
    started_at: datetime
    endpoint: str
    requested_model: str
    stream: bool
    outcome: CallOutcome
    status: int
    latency: float
    source: str
    overhead: float | None
    time_to_first_token: float | None
    model: str | None
    router: str | None
    router_version: str | None
    reason: str | None
    tradeoff: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    usage_estimated: bool | None
    cost_usd: Decimal | None
    run: str | None
    item: str | None
    session: str | None
    client_request_id: str | None
    error_type: str | None
    error_code: str | None
    error_message: str | None
    prompt_hash: str | None
    attempt_count: int
    """Calls to models that were made for it."""


class LoggedCall(msgspec.Struct, frozen=True):
    """A call as it was recorded, with the scores given to it since."""

    call: Call
    scores: tuple[Score, ...]


class CallFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls; None leaves a field open."""

    run: str | None = None
    model: str | None = None
    """The one that answered."""
    router: str | None = None
    outcome: CallOutcome | None = None
    session: str | None = None
    source: str | None = None
    """`live` or `replay`."""
    error_type: str | None = None
    min_attempts: int | None = None
    min_cost_usd: Decimal | float | None = None
    max_cost_usd: Decimal | float | None = None
    min_latency: float | None = None
    """Seconds."""
    max_latency: float | None = None
    text: str | None = None
    """In the request or the reply, where texts are stored, or in the error message; upper and lower case are one."""
    since: datetime | None = None
    """Started at this time or later."""
    until: datetime | None = None
    """Started before this time."""


class CallPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of calls, newest first."""

    rows: list[CallRow]
    older: str | None
    """Cursor of the page that follows; None at the end."""
    newer: str | None
    """Cursor of the page before it, which may be empty until a call arrives; None where there is no call at all."""
    searched_to: datetime | None = None
    """Set where the page is not full and there may be more: calls have been looked at up to this time. The cursor in
    the direction of the search goes on from there."""
    towards_newer: bool = False
    """The direction of the search."""
    beginnings: dict[str, str] = {}
    """How the requests begin, by the id of the call; only where asked for, and stored."""


EVERYTHING = CallFilter()
_Position = tuple[datetime, str]


async def list_calls(
    database: Database,
    wanted: CallFilter = EVERYTHING,
    *,
    limit: int = 100,
    cursor: str | None = None,
    letters: int = 0,
) -> CallPage:
    """A page of calls, from the newest on, or from a cursor in its direction, with so many `letters` of each request.

    A page stays right while calls arrive: it begins where the last one ended, not at a count. Raises `InvalidRequest`
    for a limit outside 1 to 1,000 or a cursor not given out here, `StoreUnavailable`.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"limit must be between 1 and {MAX_PAGE:,}, not {limit}.", param="limit")
    newer, start = (False, None) if cursor is None else _decode(cursor)
    async with database.begin() as connection:
        search = _Search(connection, wanted, newer=newer, need=limit + 1, letters=letters)
        found, reached = await search.run(start)
    more = len(found) > limit
    found = found[:limit]
    ends = [(row.started_at, row.id) for row in found]
    if newer:
        found.reverse()
        ends.reverse()
    # Where the search stopped early, it goes on from the last call looked at, not from the last one found.
    first = (reached if newer else None) or (ends[0] if ends else start)
    last = (None if newer else reached) or (ends[-1] if ends else start)
    if start is not None and not ends:
        # The way back from an empty page takes in the call that it began behind.
        first, last = (first, _beside(start, 1)) if newer else (_beside(start, -1), last)
    at_end = not newer and not more and reached is None
    return CallPage(
        rows=[CallRow(**{name: row._mapping[name] for name in CallRow.__struct_fields__}) for row in found],
        beginnings={row.id: row.beginning for row in found if row.beginning is not None},
        older=None if at_end or last is None else _encode(last, newer=False),
        newer=None if first is None else _encode(first, newer=True),
        searched_to=None if reached is None else reached[0],
        towards_newer=newer,
    )


class _Search:
    """One page's way through the days."""

    def __init__(
        self, connection: AsyncConnection, wanted: CallFilter, *, newer: bool, need: int, letters: int
    ) -> None:
        self._connection = connection
        self._wanted = wanted
        self._newer = newer
        self._need = need
        self._letters = letters
        self._indexed, self._rest = _split(wanted)
        self._found: list[sa.Row[Any]] = []
        self._position: _Position | None = None
        self._block = _BLOCK if wanted.text is None else _TEXT_BLOCK

    async def run(self, start: _Position | None) -> tuple[list[sa.Row[Any]], _Position | None]:
        """The rows in the order of the search, and the last call looked at where time was up; otherwise None."""
        deadline = time.monotonic() + SEARCH_SECONDS
        self._position = start
        existing = await days(await driver(self._connection))
        windows = list(self._windows(existing))
        for begin, end in windows:
            while not await self._look(begin, end, deadline):
                if time.monotonic() > deadline:
                    return self._found, self._position
            if len(self._found) >= self._need or (begin, end) == windows[-1]:
                break
            # The very end of the window, which no call that is left has for its place.
            self._position = (end, _FIRST_ID) if self._newer else (begin - timedelta(microseconds=1), _LAST_ID)
            if time.monotonic() > deadline:
                return self._found, self._position
        return self._found, None

    def _windows(self, existing: list[date]) -> Iterator[tuple[datetime, datetime]]:
        """Times that hold a few partitions each, in the order of the search."""
        wanted, at = self._wanted, None if self._position is None else self._position[0]
        since = max(filter(None, (wanted.since, at if self._newer else None)), default=None)
        until = min(filter(None, (wanted.until, None if self._newer else at)), default=None)
        kept = [
            day
            for day in existing
            if (since is None or bounds(day)[1] > since) and (until is None or bounds(day)[0] <= until)
        ]
        if self._newer:
            kept.reverse()
        for place in range(0, len(kept), _DAYS_AT_ONCE):
            some = kept[place : place + _DAYS_AT_ONCE]
            begin, end = bounds(min(some))[0], bounds(max(some))[1]
            yield max(begin, wanted.since or begin), min(end, wanted.until or end)

    async def _look(self, begin: datetime, end: datetime, deadline: float) -> bool:
        """Look at one block of a window; True once the window or the page is done."""
        need, begun = self._need - len(self._found), time.monotonic()
        at, key = (calls.c.started_at, calls.c.id), sa.tuple_(calls.c.started_at, calls.c.id)
        where = [*self._indexed]
        if self._position is not None:
            # The times come to the place as well: Postgres begins to read where a plain condition says, and would read
            # up to the place of a pair entry by entry.
            if self._newer:
                begin = max(begin, self._position[0])
            elif self._position[0] < end:
                end = self._position[0] + timedelta(microseconds=1)
            position = sa.tuple_(sa.literal(self._position[0]), sa.literal(self._position[1], calls.c.id.type))
            where.append(key > position if self._newer else key < position)
        where += [calls.c.started_at >= begin, calls.c.started_at < end]
        order = [column.asc() if self._newer else column.desc() for column in at]
        if not self._rest:
            query = sa.select(*self._listed(calls.c)).where(*where).order_by(*order).limit(need)
            self._found += (await self._connection.execute(query)).all()
            return True
        block = sa.select(calls).where(*where).order_by(*order).limit(self._block).subquery()
        listed = self._listed(block.c)
        order = [column.asc() if self._newer else column.desc() for column in (block.c.started_at, block.c.id)]
        query = sa.select(*listed).where(*_conditions(self._rest, block.c)).order_by(*order).limit(need)
        found = (await self._connection.execute(query)).all()
        self._found += found
        if len(found) == need:
            return True
        last = sa.select(*at).where(*where).order_by(*([c.asc() if self._newer else c.desc() for c in at]))
        reached = (await self._connection.execute(last.offset(self._block - 1).limit(1))).first()
        if reached is None:
            return True
        self._position = (reached.started_at, reached.id)
        now = time.monotonic()
        in_time = self._block * (deadline - now) / (now - begun)
        self._block = round(max(min(self._block * 2, _LARGEST_BLOCK, in_time), _TEXT_BLOCK))
        return False

    def _listed(self, columns: Any) -> list[sa.ColumnElement[Any]]:
        # Of a long text Postgres reads no more than is asked for.
        beginning = sa.func.left(columns.request_text, self._letters) if self._letters else sa.null()
        return [*(columns[name] for name in CallRow.__struct_fields__), beginning.label("beginning")]


async def calls_beside(
    database: Database, call: Call | CallRow, wanted: CallFilter = EVERYTHING
) -> tuple[str | None, str | None]:
    """Ids of the next newer and the next older call of those `wanted`, by when they started; None where there is none,
    or where none was found in the time that a page may take. Raises `StoreUnavailable`."""
    newer, older = [
        await list_calls(database, wanted, limit=1, cursor=_encode((call.started_at, call.id), newer=newer))
        for newer in (True, False)
    ]
    return next((row.id for row in newer.rows), None), next((row.id for row in older.rows), None)


async def count_calls(database: Database, wanted: CallFilter = EVERYTHING) -> int:
    """Number of calls, counted one by one; `app.store.queries.overview` knows of many at once. Raises
    `StoreUnavailable`."""
    async with database.begin() as connection:
        found = await connection.execute(sa.select(sa.func.count()).select_from(calls).where(*conditions(wanted)))
        return int(found.scalar_one())


async def call_exists(database: Database, call_id: str) -> bool:
    """True where the call is in Postgres; False too for what is no UUID. Raises `StoreUnavailable`."""
    if not is_id(call_id):
        return False
    async with database.begin() as connection:
        return await _find(connection, sa.literal(1), call_id) is not None


async def get_call(database: Database, call_id: str) -> LoggedCall | None:
    """A call with its decision, attempts and scores; None where there is none. Raises `StoreUnavailable`."""
    if not is_id(call_id):
        return None
    async with database.begin() as connection:
        found = await _find(connection, calls, call_id)
        if found is None:
            return None
        mine = (attempts.c.call_started_at == found.started_at, attempts.c.call_id == call_id)
        attempt_rows = (await connection.execute(sa.select(attempts).where(*mine).order_by(attempts.c.number))).all()
        judged = sa.select(*(scores.c[name] for name in Score.__struct_fields__)).where(scores.c.call_id == call_id)
        judged = judged.order_by(scores.c.created_at, scores.c.id)
        score_rows = (await connection.execute(judged)).all()
    fields = _fields(found)
    fields["usage"] = _usage(fields)
    fields["attempts"] = [_attempt(_fields(row)) for row in attempt_rows]
    return LoggedCall(msgspec.convert(fields, Call, strict=False), tuple(Score(**row._mapping) for row in score_rows))


async def _find(connection: AsyncConnection, what: Any, call_id: str) -> sa.Row[Any] | None:
    """`what` of a call. Looked for in the days around the time that its id holds before it is in all."""
    query = sa.select(what).select_from(calls).where(calls.c.id == call_id)
    made = _made_at(call_id)
    if made is not None:
        near = calls.c.started_at.between(made - _CLOCKS_APART, made + _CLOCKS_APART)
        found = (await connection.execute(query.where(near))).first()
        if found is not None:
            return found
    return (await connection.execute(query)).first()


def _made_at(call_id: str) -> datetime | None:
    """The time in a UUIDv7 (RFC 9562, section 5.7); None where it holds none that a call could have."""
    key = uuid.UUID(call_id)
    seconds = (key.int >> 80) / 1000
    return datetime.fromtimestamp(seconds, UTC) if key.version == 7 and seconds < 2**35 else None


def is_id(value: str) -> bool:
    """True where `value` is a UUID as Hullspeed writes one."""
    try:
        return str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def conditions(wanted: CallFilter) -> list[sa.ColumnElement[bool]]:
    """A filter as conditions on the table of calls."""
    times = []
    if wanted.since is not None:
        times.append(calls.c.started_at >= wanted.since)
    if wanted.until is not None:
        times.append(calls.c.started_at < wanted.until)
    return [*times, *_conditions(_given(wanted), calls.c)]


def _given(wanted: CallFilter) -> dict[str, Any]:
    """The conditions that are set, but for the times."""
    given = {name: getattr(wanted, name) for name in wanted.__struct_fields__ if name not in ("since", "until")}
    return {name: value for name, value in given.items() if value is not None}


# Rarest first: a page takes the first of these that is asked for to its index. Written out where an index holds part of
# the rows, because Postgres has to see that the condition implies it before it knows the value.
_INDEXES: dict[str, tuple[str, ...]] = {
    "session": (),
    "run": (),
    "error_type": (),
    "outcome": ("outcome <> 'ok'",),
    "min_attempts": ("attempt_count > 1",),
    "model": (),
    "router": (),
}


def _split(wanted: CallFilter) -> tuple[list[sa.ColumnElement[bool]], dict[str, Any]]:
    """The conditions that an index serves, and the others by name."""
    given = _given(wanted)
    if given.get("min_attempts", 2) < 2:
        del given["min_attempts"]
    for name, implied in _INDEXES.items():
        if name in given and (name, given[name]) != ("outcome", "ok"):
            served = {name: given.pop(name)}
            written_out = [sa.literal_column(f"({sql})", sa.Boolean) for sql in implied]
            return [*_conditions(served, calls.c), *written_out], given
    return [], given


def _conditions(given: dict[str, Any], columns: Any) -> list[sa.ColumnElement[bool]]:
    return [_condition(name, value, columns) for name, value in given.items()]


def _condition(name: str, value: Any, columns: Any) -> sa.ColumnElement[bool]:
    made: sa.ColumnElement[bool]
    if name == "text":
        places = (columns.request_text, columns.reply_text, columns.error_message)
        made = sa.or_(*(place.icontains(clean(value), autoescape=True) for place in places))
    elif name == "min_attempts":
        made = columns.attempt_count >= value
    elif name.startswith("min_"):
        made = columns[name[4:]] >= value
    elif name.startswith("max_"):
        made = columns[name[4:]] <= value
    else:
        # Cleaned as what is stored was: Postgres refuses the rest in a question too.
        made = columns[name] == clean(value)
    return made


def _fields(row: sa.Row[Any]) -> dict[str, Any]:
    # SQLAlchemy's keys are a subclass of str, which msgspec does not take for str.
    return {str(key): value for key, value in row._mapping.items()}


def _attempt(fields: dict[str, Any]) -> Attempt:
    fields["offset"] = fields.pop("start_offset")
    fields["usage"] = _usage(fields)
    return msgspec.convert(fields, Attempt, strict=False)


def _usage(row: dict[str, Any]) -> Usage | None:
    if row["usage_estimated"] is None:
        return None
    return Usage(**{name: row[name] for name in _USAGE}, estimated=row["usage_estimated"])


def _beside(position: _Position, step: int) -> _Position:
    """The place next to a call's, where no other call is."""
    at, key = position[0], uuid.UUID(position[1]).int + step
    if 0 <= key < 2**128:
        return at, str(uuid.UUID(int=key))
    return at + timedelta(microseconds=step), _FIRST_ID if step > 0 else _LAST_ID


def _encode(position: _Position, *, newer: bool) -> str:
    plain = f"{'>' if newer else '<'}{position[0].isoformat()} {position[1]}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[bool, _Position]:
    try:
        plain = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, _, call_id = plain[1:].partition(" ")
        if plain[0] not in "<>":
            raise ValueError(plain)
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError(plain)
        return plain[0] == ">", (moment, str(uuid.UUID(call_id)))
    except (ValueError, IndexError, binascii.Error):
        raise InvalidRequest("cursor is not one that a page of calls gave out.", param="cursor") from None
