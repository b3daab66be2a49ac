"""Calls one by one and by the page, as fast among ten million as among ten.

A page takes one condition to an index: the one that is rarest as a rule. The others are looked at row by row, in blocks
of the newest calls, until the page is full or a fraction of a second is over; then the page says how far back it has
looked, and its cursor goes on from there. So no filter, however rare what it seeks, holds up a page or Postgres.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from app.core.errors import InvalidRequest
from app.core.types import Attempt, Call, CallOutcome, Score, Usage
from app.store.database import Database
from app.store.partitions import bounds, days
from app.store.sessions import Reading
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
    async with database.reading() as reading:
        search = _Search(reading, wanted, newer=newer, need=limit + 1, letters=letters)
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
        rows=[CallRow(**{name: getattr(row, name) for name in CallRow.__struct_fields__}) for row in found],
        beginnings={row.id: row.beginning for row in found if row.beginning is not None},
        older=None if at_end or last is None else _encode(last, newer=False),
        newer=None if first is None else _encode(first, newer=True),
        searched_to=None if reached is None else reached[0],
        towards_newer=newer,
    )


class _Search:
    """One page's way through the days."""

    def __init__(self, reading: Reading, wanted: CallFilter, *, newer: bool, need: int, letters: int) -> None:
        self._reading = reading
        self._wanted = wanted
        self._newer = newer
        self._need = need
        self._order = "ASC" if newer else "DESC"
        self._beginning = "left({table}.request_text, %(letters)s)" if letters else "NULL::text"
        self._indexed, self._rest = _split(wanted)
        self._given = {**_values(wanted), "letters": letters}
        self._found: list[Any] = []
        self._position: _Position | None = None
        self._block = _BLOCK if wanted.text is None else _TEXT_BLOCK

    async def run(self, start: _Position | None) -> tuple[list[Any], _Position | None]:
        """The rows in the order of the search, and the last call looked at where time was up; otherwise None."""
        deadline = time.monotonic() + SEARCH_SECONDS
        self._position = start
        existing = await days(self._reading.connection)
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
        where, given = [*self._indexed], {**self._given, "need": need, "block": self._block}
        if self._position is not None:
            # The times come to the place as well: Postgres begins to read where a plain condition says, and would read
            # up to the place of a pair entry by entry.
            if self._newer:
                begin = max(begin, self._position[0])
            elif self._position[0] < end:
                end = self._position[0] + timedelta(microseconds=1)
            where.append(f"(calls.started_at, calls.id) {'>' if self._newer else '<'} (%(at)s, %(id)s::uuid)")
            given["at"], given["id"] = self._position
        where += ["calls.started_at >= %(begin)s", "calls.started_at < %(end)s"]
        given |= {"begin": begin, "end": end}
        some = f"FROM calls WHERE {' AND '.join(where)} ORDER BY {self._ordered('calls')}"
        if not self._rest:
            self._found += await self._reading.rows(f"SELECT {self._listed('calls')} {some} LIMIT %(need)s", given)
            return True
        rest = " AND ".join(_condition(name, "block") for name in self._rest)
        found = await self._reading.rows(
            f"SELECT {self._listed('block')} FROM (SELECT * {some} LIMIT %(block)s) AS block "  # noqa: S608 -- words of our own
            f"WHERE {rest} ORDER BY {self._ordered('block')} LIMIT %(need)s",
            given,
        )
        self._found += found
        if len(found) == need:
            return True
        last = f"SELECT started_at, id::text {some} OFFSET %(block)s - 1 LIMIT 1"
        reached = await self._reading.row(last, given)
        if reached is None:
            return True
        self._position = (reached.started_at, reached.id)
        now = time.monotonic()
        in_time = self._block * (deadline - now) / (now - begun)
        self._block = round(max(min(self._block * 2, _LARGEST_BLOCK, in_time), _TEXT_BLOCK))
        return False

    def _ordered(self, table: str) -> str:
        # With the table's name: the id of a row that is given is text, by which there is no index.
        return f"{table}.started_at {self._order}, {table}.id {self._order}"

    def _listed(self, table: str) -> str:
        # Of a long text Postgres reads no more than is asked for.
        return f"{columns(table)}, {self._beginning.format(table=table)} AS beginning"


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
    some, given = conditions(wanted)
    async with database.reading() as reading:
        return int(await reading.value(f"SELECT count(*) FROM calls WHERE {some}", given))  # noqa: S608 -- as above


async def call_exists(database: Database, call_id: str) -> bool:
    """True where the call is in Postgres; False too for what is no UUID. Raises `StoreUnavailable`."""
    if not is_id(call_id):
        return False
    async with database.reading() as reading:
        return await _find(reading, "1", call_id) is not None


async def get_call(database: Database, call_id: str) -> LoggedCall | None:
    """A call with its decision, attempts and scores; None where there is none. Raises `StoreUnavailable`."""
    if not is_id(call_id):
        return None
    async with database.reading() as reading:
        found = await _find(reading, "*", call_id)
        if found is None:
            return None
        given = {"at": found.started_at, "id": call_id}
        attempt_rows = await reading.rows(_ATTEMPTS, given)
        score_rows = await reading.rows(_SCORES, given)
    fields = {**found._asdict(), "id": str(found.id)}
    fields["usage"] = _usage(fields)
    fields["attempts"] = [_attempt(row._asdict()) for row in attempt_rows]
    return LoggedCall(msgspec.convert(fields, Call, strict=False), tuple(Score(**row._asdict()) for row in score_rows))


_ATTEMPTS = "SELECT * FROM attempts WHERE call_started_at = %(at)s AND call_id = %(id)s ORDER BY number"
_SCORES = """
SELECT id::text, call_id::text, name, value, source, comment, created_at FROM scores AS s
WHERE s.call_id = %(id)s ORDER BY s.created_at, s.id
"""


async def _find(reading: Reading, what: str, call_id: str) -> Any:
    """`what` of a call. Looked for in the days around the time that its id holds before it is in all."""
    query = f"SELECT {what} FROM calls WHERE id = %(id)s"  # noqa: S608 -- as above
    made = _made_at(call_id)
    if made is not None:
        near = {"id": call_id, "from": made - _CLOCKS_APART, "to": made + _CLOCKS_APART}
        found = await reading.row(f"{query} AND started_at BETWEEN %(from)s AND %(to)s", near)
        if found is not None:
            return found
    return await reading.row(query, {"id": call_id})


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


def conditions(wanted: CallFilter) -> tuple[str, dict[str, Any]]:
    """A filter as a condition on the table `calls`, and its parameters."""
    times = {"since": "calls.started_at >= %(since)s", "until": "calls.started_at < %(until)s"}
    some = [sql for name, sql in times.items() if getattr(wanted, name) is not None]
    given = _given(wanted)
    some += [_condition(name, "calls") for name in given]
    return " AND ".join(some) or "true", _values(wanted)


def columns(table: str) -> str:
    """What a list of calls is read from: the columns of `CallRow`, as it has them."""
    return ", ".join(f"{table}.{name}{'::text' if name == 'id' else ''}" for name in CallRow.__struct_fields__)


def _given(wanted: CallFilter) -> dict[str, Any]:
    """The conditions that are set, but for the times."""
    given = {name: getattr(wanted, name) for name in wanted.__struct_fields__ if name not in ("since", "until")}
    return {name: value for name, value in given.items() if value is not None}


def _values(wanted: CallFilter) -> dict[str, Any]:
    """What a filter's conditions name. Cleaned as what is stored was: Postgres refuses the rest in a question too."""
    values = {name: clean(value) for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
    if "text" in values:
        # Nothing in it stands for something else.
        values["text"] = re.sub(r"([%_/])", r"/\1", values["text"])
    return values


# Rarest first: a page takes the first of these that is asked for to its index. Written out where an index holds part of
# the rows, because Postgres has to see that the condition implies it before it knows the value.
_INDEXES: dict[str, tuple[str, ...]] = {
    "session": (),
    "run": (),
    "error_type": (),
    "outcome": ("calls.outcome <> 'ok'",),
    "min_attempts": ("calls.attempt_count > 1",),
    "model": (),
    "router": (),
}


def _split(wanted: CallFilter) -> tuple[list[str], list[str]]:
    """The conditions that an index serves, and the names of the others."""
    given = _given(wanted)
    if given.get("min_attempts", 2) < 2:
        del given["min_attempts"]
    for name, implied in _INDEXES.items():
        if name in given and (name, given[name]) != ("outcome", "ok"):
            return [_condition(name, "calls"), *implied], [other for other in given if other != name]
    return [], list(given)


def _condition(name: str, table: str) -> str:
    if name == "text":
        places = [f"{table}.{place}" for place in ("request_text", "reply_text", "error_message")]
        found = " OR ".join(f"lower({place}) LIKE '%%' || lower(%(text)s) || '%%' ESCAPE '/'" for place in places)
        return f"({found})"
    if name == "min_attempts":
        return f"{table}.attempt_count >= %(min_attempts)s"
    if name.startswith(("min_", "max_")):
        kind = "numeric" if name.endswith("cost_usd") else "double precision"
        # Not `::`, which SQLAlchemy does not read behind a parameter.
        return f"{table}.{name[4:]} {'>=' if name.startswith('min_') else '<='} CAST(%({name})s AS {kind})"
    return f"{table}.{name} = %({name})s"


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
