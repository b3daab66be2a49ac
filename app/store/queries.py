"""Reading the ledger: every SELECT on calls, attempts and scores, as structs ready for JSON."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import AsyncGenerator, Container, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, distinct_on

from app.core.errors import InvalidRequest
from app.core.types import Attempt, Call, CallOutcome, Price, RankedModel, Score, Usage
from app.store.database import Database
from app.store.tables import attempts, calls, results, scores
from app.store.text import clean

MAX_PAGE = 1000
_TEXTS = 500
"""Calls with their texts that are read at once."""
_LONGEST = timedelta(minutes=15)
_USAGE = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


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


class LoggedCall(msgspec.Struct, frozen=True):
    """A call as it was recorded, with the scores given to it since."""

    call: Call
    scores: tuple[Score, ...]


class TextCall(msgspec.Struct, frozen=True, kw_only=True):
    """A client's answered call with what was asked and said."""

    id: str
    model: str
    """The model that answered."""
    cost_usd: Decimal | None
    prompt_tokens: int | None
    completion_tokens: int | None
    request_text: str | None
    """The request body; None where text is not stored."""
    reply_text: str | None
    simulated: bool
    """True where a simulated model answered."""
    quality: float | None
    """Mean of its scores named `quality`, else of all its scores; None where nobody judged it."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What the decision of a run's call foretold of the model that answered."""

    router: str
    tradeoff: float
    item: str
    quality: float | None
    cost: float | None
    """USD."""


class TaggedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a client tagged as part of a run, and that a router or the client decided."""

    id: str
    requested_model: str
    router: str
    """`none` where the client named a model."""
    tradeoff: float
    outcome: CallOutcome
    latency: float
    """Seconds."""
    overhead: float | None
    model: str | None
    """The model that answered."""
    upstream: str | None
    """Of the last attempt."""
    cost_usd: Decimal | None
    item: str | None
    prompt_hash: str | None
    reply_text: str | None
    error_message: str | None


class DecidedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A client's call with how it was decided and how its reply was judged."""

    id: str
    outcome: CallOutcome
    router: str
    """`none` where the client named a model."""
    tradeoff: float
    seed: int
    max_cost_usd: float | None
    session: str | None
    ranking: tuple[RankedModel, ...]
    replaced: bool
    """True where the router failed or was late, and the default was served."""
    cost_usd: Decimal | None
    request_text: str | None
    """The request body; None where text is not stored."""
    quality: float | None
    """Mean of its scores of the name asked for; None where nobody judged it."""


class ScoredDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A score with the decision that it judges."""

    score_id: str
    call_id: str
    created_at: datetime
    value: float
    router: str
    model: str
    """The one that answered."""
    detail: dict[str, Any]
    """What the router said of the decision."""


class UsualCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's attempts were billed at."""

    model: str
    price: Price | None
    """The latest rates; None where the upstream states the cost itself."""
    mean_cost: float | None
    """USD a call."""


class CallFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls; None leaves a field open."""

    run: str | None = None
    model: str | None = None
    router: str | None = None
    outcome: CallOutcome | None = None
    session: str | None = None
    since: datetime | None = None
    """Started at this time or later."""
    until: datetime | None = None
    """Started before this time."""


_EVERYTHING = CallFilter()
_LISTED = [calls.c[name] for name in CallRow.__struct_fields__]


async def list_calls(
    database: Database, wanted: CallFilter = _EVERYTHING, *, limit: int = 100, cursor: str | None = None
) -> tuple[list[CallRow], str | None]:
    """A page of calls, newest first, and the cursor of the next page, None at the end.

    A page stays right while calls arrive: it begins where the last one ended, not at a count. Raises `InvalidRequest`
    for a limit outside 1 to 1,000 or a cursor not given out here, `StoreUnavailable`.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"limit must be between 1 and {MAX_PAGE:,}, not {limit}.", param="limit")
    query = sa.select(*_LISTED).where(*_conditions(wanted))
    if cursor is not None:
        started_at, call_id = _decode(cursor)
        last = sa.tuple_(started_at, sa.literal(call_id, calls.c.id.type))
        query = query.where(sa.tuple_(calls.c.started_at, calls.c.id) < last)
    query = query.order_by(calls.c.started_at.desc(), calls.c.id.desc()).limit(limit + 1)
    async with database.begin() as connection:
        found = (await connection.execute(query)).all()
    rows = [CallRow(**row._mapping) for row in found[:limit]]
    more = len(found) > limit
    return rows, _encode(rows[-1].started_at, rows[-1].id) if more else None


async def arrived_calls(
    database: Database, wanted: CallFilter = _EVERYTHING, *, since: datetime, known: Container[str] = ()
) -> list[CallRow]:
    """Calls that ended after `since` and are not `known` by id, in the order in which they ended, 1,000 at most.

    To follow the ledger: a call comes into it when it has ended, so the newest by start may not be the newest there.
    Calls that took longer than a quarter of an hour are not found. Raises `StoreUnavailable`.
    """
    ended = calls.c.started_at + sa.func.make_interval(0, 0, 0, 0, 0, 0, calls.c.latency)
    # The index is on the start; this bounds what is looked through.
    recent = calls.c.started_at > since - _LONGEST
    ids = sa.select(calls.c.id).where(recent, ended > since, *_conditions(wanted)).order_by(ended, calls.c.id)
    async with database.begin() as connection:
        fresh = [key for key in (await connection.execute(ids)).scalars() if key not in known][:MAX_PAGE]
        if not fresh:
            return []
        rows = sa.select(*_LISTED).where(calls.c.id.in_(fresh), recent).order_by(ended, calls.c.id)
        return [CallRow(**row._mapping) for row in await connection.execute(rows)]


async def count_calls(database: Database, wanted: CallFilter = _EVERYTHING) -> int:
    """Number of calls. Raises `StoreUnavailable`."""
    async with database.begin() as connection:
        found = await connection.execute(sa.select(sa.func.count()).select_from(calls).where(*_conditions(wanted)))
        return int(found.scalar_one())


async def count_logged_results(database: Database, run: str) -> int:
    """Number of a run's results whose call is in the ledger. Raises `StoreUnavailable`."""
    query = sa.select(sa.func.count()).join_from(results, calls, calls.c.id == results.c.call_id)
    async with database.begin() as connection:
        return int((await connection.execute(query.where(results.c.run == run))).scalar_one())


async def call_exists(database: Database, call_id: str) -> bool:
    """True where the call is in Postgres; False too for what is no UUID. Raises `StoreUnavailable`."""
    if not is_id(call_id):
        return False
    async with database.begin() as connection:
        return (await connection.execute(sa.select(sa.exists().where(calls.c.id == call_id)))).scalar_one() is True


async def get_call(database: Database, call_id: str) -> LoggedCall | None:
    """A call with its decision, attempts and scores; None where there is none. Raises `StoreUnavailable`."""
    if not is_id(call_id):
        return None
    async with database.begin() as connection:
        found = (await connection.execute(sa.select(calls).where(calls.c.id == call_id))).one_or_none()
        if found is None:
            return None
        tried = sa.select(attempts).where(attempts.c.call_id == call_id).order_by(attempts.c.number)
        attempt_rows = (await connection.execute(tried)).all()
        judged = sa.select(scores).where(scores.c.call_id == call_id).order_by(scores.c.created_at, scores.c.id)
        score_rows = (await connection.execute(judged)).all()
    fields = _fields(found)
    fields["usage"] = _usage(fields)
    fields["attempts"] = [_attempt(_fields(row)) for row in attempt_rows]
    return LoggedCall(msgspec.convert(fields, Call, strict=False), tuple(Score(**row._mapping) for row in score_rows))


async def stream_texts(database: Database, wanted: CallFilter = _EVERYTHING) -> AsyncGenerator[TextCall]:
    """Clients' chats that were answered whole, oldest first, a page at a time: a week of texts may not fit in memory.

    Replays are left out: their prompts are a suite's already. No connection is held between pages. Raises
    `StoreUnavailable`.
    """
    mine = scores.c.call_id == calls.c.id
    mean = sa.func.coalesce(sa.func.avg(scores.c.value).filter(scores.c.name == "quality"), sa.func.avg(scores.c.value))
    simulated = sa.exists().where(attempts.c.call_id == calls.c.id, attempts.c.upstream == "simulated")
    stored = [calls.c[name] for name in TextCall.__struct_fields__ if name in calls.c]
    query = (
        sa.select(
            calls.c.started_at,
            *stored,
            simulated.label("simulated"),
            sa.select(mean).where(mine).correlate(calls).scalar_subquery().label("quality"),
        )
        .where(
            *_conditions(wanted),
            calls.c.outcome == "ok",
            calls.c.source == "live",
            calls.c.model.is_not(None),
        )
        .order_by(calls.c.started_at, calls.c.id)
        .limit(_TEXTS)
    )
    page = query
    while True:
        async with database.begin() as connection:
            found = (await connection.execute(page)).all()
        for row in found:
            yield TextCall(**{name: getattr(row, name) for name in TextCall.__struct_fields__})
        if len(found) < _TEXTS:
            return
        last = sa.tuple_(sa.literal(found[-1].started_at), sa.literal(found[-1].id, calls.c.id.type))
        page = query.where(sa.tuple_(calls.c.started_at, calls.c.id) > last)


async def tagged_calls(database: Database, run: str) -> tuple[list[TaggedCall], int]:
    """The calls tagged as part of `run`, oldest first, and how many more were refused before anything was decided.

    Raises `StoreUnavailable`.
    """
    last = (
        sa.select(attempts.c.upstream)
        .where(attempts.c.call_id == calls.c.id)
        .order_by(attempts.c.number.desc())
        .limit(1)
        .correlate(calls)
        .scalar_subquery()
    )
    stored = [calls.c[name] for name in TaggedCall.__struct_fields__ if name in calls.c]
    query = sa.select(*stored, last.label("upstream")).where(calls.c.run == run)
    async with database.begin() as connection:
        found = (await connection.execute(query.order_by(calls.c.started_at, calls.c.id))).all()
    decided = [TaggedCall(**row._mapping) for row in found if row.router is not None]
    return decided, len(found) - len(decided)


async def stream_decided(
    database: Database, wanted: CallFilter = _EVERYTHING, *, score: str = "quality"
) -> AsyncGenerator[DecidedCall]:
    """Clients' chats with their decisions, oldest first, a page at a time; replays are left out.

    `score`: name of the scores that count. Raises `StoreUnavailable`.
    """
    judged = sa.select(sa.func.avg(scores.c.value)).where(scores.c.call_id == calls.c.id, scores.c.name == score)
    decision = calls.c.decision
    stored = [calls.c[name] for name in DecidedCall.__struct_fields__ if name in calls.c]
    query = (
        sa.select(
            calls.c.started_at,
            *stored,
            decision["seed"].label("seed"),
            decision["max_cost_usd"].label("max_cost_usd"),
            decision["ranking"].label("ranking"),
            decision["problem"].astext.is_not(None).label("replaced"),
            judged.correlate(calls).scalar_subquery().label("quality"),
        )
        .where(*_conditions(wanted), calls.c.source == "live", calls.c.router.is_not(None))
        .order_by(calls.c.started_at, calls.c.id)
        .limit(_TEXTS)
    )
    page = query
    while True:
        async with database.begin() as connection:
            found = (await connection.execute(page)).all()
        for row in found:
            fields = {name: getattr(row, name) for name in DecidedCall.__struct_fields__}
            yield msgspec.convert(fields, DecidedCall, strict=False)
        if len(found) < _TEXTS:
            return
        last = sa.tuple_(sa.literal(found[-1].started_at), sa.literal(found[-1].id, calls.c.id.type))
        page = query.where(sa.tuple_(calls.c.started_at, calls.c.id) > last)


async def scored_decisions(
    database: Database, routers: Sequence[str], since: datetime | None = None, *, score: str = "quality"
) -> AsyncGenerator[ScoredDecision]:
    """Scores named `score` of answered calls that `routers` decided, oldest first, a page at a time.

    `since`: only those given then or later. Raises `StoreUnavailable`.
    """
    query = (
        sa.select(
            scores.c.id.label("score_id"),
            scores.c.call_id,
            scores.c.created_at,
            scores.c.value,
            calls.c.router,
            calls.c.model,
            sa.func.coalesce(calls.c.decision["detail"], sa.literal({}, JSONB)).label("detail"),
        )
        .join_from(scores, calls, scores.c.call_id == calls.c.id)
        .where(scores.c.name == score, calls.c.router.in_(routers), calls.c.model.is_not(None))
        .order_by(scores.c.created_at, scores.c.id)
        .limit(_TEXTS)
    )
    page = query if since is None else query.where(scores.c.created_at >= since)
    while True:
        async with database.begin() as connection:
            found = (await connection.execute(page)).all()
        for row in found:
            yield ScoredDecision(**row._mapping)
        if len(found) < _TEXTS:
            return
        last = sa.tuple_(sa.literal(found[-1].created_at), sa.literal(found[-1].score_id, scores.c.id.type))
        page = query.where(sa.tuple_(scores.c.created_at, scores.c.id) > last)


async def comparing_routers(database: Database, wanted: CallFilter = _EVERYTHING) -> frozenset[str]:
    """Routers seen to answer with another model's reply although the model they put first had answered.

    Raises `StoreUnavailable`.
    """
    query = (
        sa.select(calls.c.router)
        .distinct()
        .join_from(calls, attempts, sa.and_(attempts.c.call_id == calls.c.id, attempts.c.number == 1))
        .where(
            *_conditions(wanted),
            calls.c.source == "live",
            attempts.c.outcome.in_(("ok", "abandoned")),
            calls.c.model != calls.c.decision["ranking"][0]["model"].astext,
        )
    )
    async with database.begin() as connection:
        return frozenset((await connection.execute(query)).scalars())


async def usual_costs(database: Database, wanted: CallFilter = _EVERYTHING) -> list[UsualCost]:
    """One for each model that the calls asked, in alphabetical order. Raises `StoreUnavailable`."""
    of_calls = sa.join(attempts, calls, attempts.c.call_id == calls.c.id)
    means = (
        sa.select(attempts.c.model, sa.func.avg(attempts.c.cost_usd).label("mean_cost"))
        .select_from(of_calls)
        .where(*_conditions(wanted))
        .group_by(attempts.c.model)
        .order_by(attempts.c.model)
    )
    newest = (
        sa.select(attempts.c.model, attempts.c.price)
        .ext(distinct_on(attempts.c.model))
        .select_from(of_calls)
        .where(*_conditions(wanted), attempts.c.price.is_not(None))
        .order_by(attempts.c.model, calls.c.started_at.desc(), calls.c.id.desc())
    )
    async with database.begin() as connection:
        found = (await connection.execute(means)).all()
        prices = {row.model: row.price for row in await connection.execute(newest)}
    return [
        UsualCost(
            model=row.model,
            price=msgspec.convert(prices[row.model], Price, strict=False) if row.model in prices else None,
            mean_cost=None if row.mean_cost is None else float(row.mean_cost),
        )
        for row in found
    ]


async def scores_of(database: Database, call_ids: Sequence[str]) -> dict[str, list[Score]]:
    """Scores of the calls that have any, each call's oldest first. Raises `StoreUnavailable`."""
    query = sa.select(scores).where(scores.c.call_id.in_([key for key in call_ids if is_id(key)]))
    found: dict[str, list[Score]] = {}
    async with database.begin() as connection:
        for row in await connection.execute(query.order_by(scores.c.created_at, scores.c.id)):
            found.setdefault(row.call_id, []).append(Score(**row._mapping))
    return found


_PREDICTIONS = sa.text("""
SELECT r.router, r.tradeoff, r.item, (ranked->>'quality')::double precision AS quality,
  (ranked->>'cost')::double precision AS cost
FROM results AS r JOIN calls AS c ON c.id = r.call_id
LEFT JOIN LATERAL (
  SELECT entry AS ranked FROM jsonb_array_elements(c.decision->'ranking') AS entry
  WHERE entry->>'model' = r.model LIMIT 1
) AS picked ON true
WHERE r.run = CAST(:run AS uuid) AND r.answered
""")
_PRICES = sa.text("""
SELECT DISTINCT ON (a.model) a.model, a.price
FROM calls AS c JOIN attempts AS a ON a.call_id = c.id
WHERE c.run = :run AND a.price IS NOT NULL
ORDER BY a.model, c.started_at DESC, c.id DESC
""")


async def run_predictions(database: Database, run: str) -> list[Prediction]:
    """One for each answered call of a run that is in the ledger. Raises `StoreUnavailable`."""
    async with database.begin() as connection:
        return [Prediction(**row._mapping) for row in await connection.execute(_PREDICTIONS, {"run": run})]


async def run_prices(database: Database, run: str) -> dict[str, Price]:
    """The latest rates that each model's calls of a run were billed at, by model, in alphabetical order; without the
    models whose cost was recorded or stated by the upstream. Raises `StoreUnavailable`."""
    async with database.begin() as connection:
        found = (await connection.execute(_PRICES, {"run": run})).all()
    return {row.model: msgspec.convert(row.price, Price, strict=False) for row in found}


def is_id(value: str) -> bool:
    """True where `value` is a UUID as Hullspeed writes one."""
    try:
        return str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def _conditions(wanted: CallFilter) -> list[sa.ColumnElement[bool]]:
    # Cleaned as what is stored was: Postgres refuses the rest in a question too.
    conditions = [
        calls.c[name] == clean(value)
        for name in ("run", "model", "router", "outcome", "session")
        if (value := getattr(wanted, name)) is not None
    ]
    if wanted.since is not None:
        conditions.append(calls.c.started_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(calls.c.started_at < wanted.until)
    return conditions


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


def _encode(started_at: datetime, call_id: str) -> str:
    return base64.urlsafe_b64encode(f"{started_at.isoformat()} {call_id}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[datetime, str]:
    try:
        plain = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        time, _, call_id = plain.partition(" ")
        return datetime.fromisoformat(time), str(uuid.UUID(call_id))
    except (ValueError, binascii.Error):
        raise InvalidRequest("cursor is not one that a page of calls gave out.", param="cursor") from None
