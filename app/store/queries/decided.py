"""What clients' calls decided, for those who train, learn and compare: streams of them, oldest first."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, distinct_on

from app.core.types import CallOutcome, Price, RankedModel
from app.store.database import Database
from app.store.queries.calls import EVERYTHING, CallFilter, conditions
from app.store.tables import attempts, calls, scores

_TEXTS = 500
"""Calls with their texts that are read at once."""

_is_attempt = sa.and_(attempts.c.call_started_at == calls.c.started_at, attempts.c.call_id == calls.c.id)
"""Joins calls with their attempts, partition by partition."""


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
    shipped_at: datetime
    """When it came to Postgres."""
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


async def stream_texts(database: Database, wanted: CallFilter = EVERYTHING) -> AsyncGenerator[TextCall]:
    """Clients' chats that were answered whole, oldest first, a page at a time: a week of texts may not fit in memory.

    Replays are left out: their prompts are a suite's already. No connection is held between pages. Raises
    `StoreUnavailable`.
    """
    mine = scores.c.call_id == calls.c.id
    mean = sa.func.coalesce(sa.func.avg(scores.c.value).filter(scores.c.name == "quality"), sa.func.avg(scores.c.value))
    simulated = sa.exists().where(_is_attempt, attempts.c.upstream == "simulated")
    stored = [calls.c[name] for name in TextCall.__struct_fields__ if name in calls.c]
    query = (
        sa.select(
            calls.c.started_at,
            *stored,
            simulated.label("simulated"),
            sa.select(mean).where(mine).correlate(calls).scalar_subquery().label("quality"),
        )
        .where(
            _among(wanted),
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
        .where(_is_attempt)
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
    database: Database, wanted: CallFilter = EVERYTHING, *, score: str = "quality"
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
        .where(_among(wanted), calls.c.source == "live", calls.c.router.is_not(None))
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
    """Scores named `score` of answered calls that `routers` decided, as they came to Postgres, a page at a time.

    `since`: only those that came then or later. Raises `StoreUnavailable`.
    """
    query = (
        sa.select(
            scores.c.id.label("score_id"),
            scores.c.call_id,
            scores.c.created_at,
            scores.c.shipped_at,
            scores.c.value,
            calls.c.router,
            calls.c.model,
            sa.func.coalesce(calls.c.decision["detail"], sa.literal({}, JSON)).label("detail"),
        )
        .join_from(scores, calls, scores.c.call_id == calls.c.id)
        .where(scores.c.name == score, calls.c.router.in_(routers), calls.c.model.is_not(None))
        .order_by(scores.c.shipped_at, scores.c.id)
        .limit(_TEXTS)
    )
    page = query if since is None else query.where(scores.c.shipped_at >= since)
    while True:
        async with database.begin() as connection:
            found = (await connection.execute(page)).all()
        for row in found:
            yield ScoredDecision(**row._mapping)
        if len(found) < _TEXTS:
            return
        last = sa.tuple_(sa.literal(found[-1].shipped_at), sa.literal(found[-1].score_id, scores.c.id.type))
        page = query.where(sa.tuple_(scores.c.shipped_at, scores.c.id) > last)


async def comparing_routers(database: Database, wanted: CallFilter = EVERYTHING) -> frozenset[str]:
    """Routers seen to answer with another model's reply although the model they put first had answered.

    Raises `StoreUnavailable`.
    """
    query = (
        sa.select(calls.c.router)
        .distinct()
        .join_from(calls, attempts, sa.and_(_is_attempt, attempts.c.number == 1))
        .where(
            _among(wanted),
            calls.c.source == "live",
            attempts.c.outcome.in_(("ok", "abandoned")),
            calls.c.model != calls.c.decision["ranking"][0]["model"].astext,
        )
    )
    async with database.begin() as connection:
        return frozenset((await connection.execute(query)).scalars())


async def usual_costs(database: Database, wanted: CallFilter = EVERYTHING) -> list[UsualCost]:
    """One for each model that the calls asked, in alphabetical order. Raises `StoreUnavailable`."""
    of_calls = sa.join(attempts, calls, _is_attempt)
    means = (
        sa.select(attempts.c.model, sa.func.avg(attempts.c.cost_usd).label("mean_cost"))
        .select_from(of_calls)
        .where(_among(wanted))
        .group_by(attempts.c.model)
        .order_by(attempts.c.model)
    )
    newest = (
        sa.select(attempts.c.model, attempts.c.price)
        .ext(distinct_on(attempts.c.model))
        .select_from(of_calls)
        .where(_among(wanted), attempts.c.price.is_not(None))
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


def _among(wanted: CallFilter) -> sa.ColumnElement[bool]:
    """The condition as SQLAlchemy has it: `:name` for `%(name)s`."""
    some, given = conditions(wanted)
    return sa.text(some % {name: f":{name}" for name in given}).bindparams(**given).self_group()  # type: ignore[return-value]
