"""Suites in Postgres: saved whole or not at all, loaded whole, both by COPY."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import psycopg
import sqlalchemy as sa
import uuid_utils
from numpy.typing import NDArray
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.errors import ConfigError, NotFound
from app.store import text
from app.store.database import Database
from app.store.tables import items, suites

# On the wire json is its text.
_ITEM_TYPES = ("uuid", "int4", "text", "text", "text", "text", "text")
_OUTCOME_TYPES = ("uuid", "int4", "int4", "float8", "float8", "int8", "int8", "text")


class StoredItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item; its place in the suite is its place in the list."""

    id: str
    category: str
    messages: list[dict[str, Any]]
    target: str | None = None
    grader: str | None = None


@dataclass(frozen=True)
class StoredOutcomes:
    """What m models did on n items, arrays of shape (n, m). A cell whose `quality` and `cost` are both NaN is missing:
    it takes no row, and its tokens and reply are not kept."""

    models: tuple[str, ...]
    quality: NDArray[np.float64]
    cost: NDArray[np.float64]
    """USD."""
    prompt_tokens: NDArray[np.int64]
    completion_tokens: NDArray[np.int64]
    replies: NDArray[np.object_]
    """str, or None."""


@dataclass(frozen=True)
class StoredSuite:
    """A suite as it is kept. NUL and lone surrogates come back as U+FFFD, everything else as it went in."""

    name: str
    digest: str
    items: tuple[StoredItem, ...]
    grader: str | None = None
    simulated: bool = False
    description: str = ""
    outcomes: StoredOutcomes | None = None


class SuiteRow(msgspec.Struct, frozen=True, kw_only=True):
    """A suite in a list."""

    id: str
    name: str
    digest: str
    grader: str | None
    simulated: bool
    description: str
    models: list[str] | None
    """None where nothing is recorded."""
    created_at: datetime
    items: int
    graded_items: int
    """Items that name a grader of their own."""
    categories: list[str]


async def save_suite(database: Database, suite: StoredSuite, *, replace: bool = False) -> str:
    """Store a suite, all of it or nothing, and return its id.

    Raises `ConfigError` where the name is taken and `replace` is False, `StoreUnavailable`.
    """
    suite_id = uuid.UUID(bytes=uuid_utils.uuid7().bytes)
    try:
        async with database.begin() as connection:
            await connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            if replace:
                await connection.execute(sa.delete(suites).where(suites.c.name == text.clean(suite.name)))
            await connection.execute(suites.insert().values(_suite_row(suite_id, suite)))
            await _copy(connection, "items", _ITEM_TYPES, _item_rows(suite_id, suite.items))
            if suite.outcomes is not None:
                await _copy(connection, "outcomes", _OUTCOME_TYPES, _outcome_rows(suite_id, suite.outcomes))
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) != psycopg.errors.UniqueViolation.sqlstate:
            raise
        raise ConfigError(
            f"There is a suite named {suite.name!r} already; replace it, or choose another name."
        ) from None
    except psycopg.errors.UniqueViolation:
        raise ConfigError(f"Two items of the suite {suite.name!r} have the same id.") from None
    return str(suite_id)


async def load_suite(database: Database, name: str) -> StoredSuite:
    """The suite with its items and outcomes. Raises `NotFound`, `StoreUnavailable`."""
    async with database.begin() as connection:
        # A large one takes as long as it takes, like saving it.
        await connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        found = (await connection.execute(sa.select(suites).where(suites.c.name == name))).one_or_none()
        if found is None:
            raise NotFound(f"There is no suite named {name!r}.", param="suite")
        rows = await connection.execute(
            sa.select(items.c.id, items.c.category, items.c.messages, items.c.target, items.c.grader)
            .where(items.c.suite_id == found.id)
            .order_by(items.c.position)
        )
        stored = tuple(
            StoredItem(id=row[0], category=row[1], messages=row[2], target=row[3], grader=row[4]) for row in rows
        )
        outcomes = None
        if found.models is not None:
            outcomes = await _load_outcomes(connection, found.id, tuple(found.models), len(stored))
    return StoredSuite(
        name=found.name,
        digest=found.digest,
        items=stored,
        grader=found.grader,
        simulated=found.simulated,
        description=found.description,
        outcomes=outcomes,
    )


async def list_suites(database: Database) -> list[SuiteRow]:
    """All suites by name. Raises `StoreUnavailable`."""
    sizes = (
        sa.select(
            items.c.suite_id,
            sa.func.count().label("items"),
            sa.func.count(items.c.grader).label("graded_items"),
            sa.func.array_agg(sa.distinct(items.c.category)).label("categories"),
        )
        .group_by(items.c.suite_id)
        .subquery()
    )
    query = (
        sa.select(
            suites,
            sa.func.coalesce(sizes.c["items"], 0).label("items"),
            sa.func.coalesce(sizes.c.graded_items, 0).label("graded_items"),
            sizes.c.categories,
        )
        .outerjoin_from(suites, sizes, sizes.c.suite_id == suites.c.id)
        .order_by(suites.c.name)
    )
    async with database.begin() as connection:
        rows = (await connection.execute(query)).all()
    return [SuiteRow(**{**row._mapping, "categories": sorted(row.categories or [])}) for row in rows]


async def delete_suite(database: Database, name: str) -> None:
    """Delete a suite with its items and outcomes; runs made on it stay. Raises `NotFound`, `StoreUnavailable`."""
    async with database.begin() as connection:
        if (await connection.execute(sa.delete(suites).where(suites.c.name == name))).rowcount == 0:
            raise NotFound(f"There is no suite named {name!r}.", param="suite")


def _suite_row(suite_id: uuid.UUID, suite: StoredSuite) -> dict[str, Any]:
    return {
        "id": str(suite_id),
        "name": text.clean(suite.name),
        "digest": suite.digest,
        "grader": text.clean(suite.grader),
        "simulated": suite.simulated,
        "description": text.clean(suite.description),
        "models": None if suite.outcomes is None else text.clean(suite.outcomes.models),
        "created_at": datetime.now(UTC),
    }


def _item_rows(suite_id: uuid.UUID, stored: Sequence[StoredItem]) -> Iterator[tuple[Any, ...]]:
    for position, item in enumerate(stored):
        yield (
            suite_id,
            position,
            text.clean(item.id),
            text.clean(item.category),
            text.encode_text(item.messages),
            text.clean(item.target),
            text.clean(item.grader),
        )


def _outcome_rows(suite_id: uuid.UUID, outcomes: StoredOutcomes) -> Iterator[tuple[Any, ...]]:
    present = ~(np.isnan(outcomes.quality) & np.isnan(outcomes.cost))
    positions, models = np.nonzero(present)
    columns = (outcomes.quality, outcomes.cost, outcomes.prompt_tokens, outcomes.completion_tokens, outcomes.replies)
    cells = zip(positions.tolist(), models.tolist(), *(column[present].tolist() for column in columns), strict=True)
    for *numbers, reply in cells:
        yield (suite_id, *numbers, text.clean(reply))


async def _copy(connection: AsyncConnection, table: str, types: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
    raw = (await connection.get_raw_connection()).driver_connection
    assert isinstance(raw, psycopg.AsyncConnection)
    async with raw.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)".encode()) as copy:
        copy.set_types(types)
        for row in rows:
            await copy.write_row(row)


async def _load_outcomes(
    connection: AsyncConnection, suite_id: str, models: tuple[str, ...], length: int
) -> StoredOutcomes:
    raw = (await connection.get_raw_connection()).driver_connection
    assert isinstance(raw, psycopg.AsyncConnection)
    shape = (length, len(models))
    outcomes = StoredOutcomes(
        models=models,
        quality=np.full(shape, np.nan),
        cost=np.full(shape, np.nan),
        prompt_tokens=np.zeros(shape, dtype=np.int64),
        completion_tokens=np.zeros(shape, dtype=np.int64),
        replies=np.full(shape, None, dtype=object),
    )
    async with raw.cursor(binary=True) as cursor:
        await cursor.execute(
            "SELECT position, model, quality, cost, prompt_tokens, completion_tokens, reply FROM outcomes "
            "WHERE suite_id = %s",
            (suite_id,),
        )
        while rows := await cursor.fetchmany(10_000):
            position, model, quality, cost, prompt_tokens, completion_tokens, replies = zip(*rows, strict=True)
            cells = (np.array(position), np.array(model))
            outcomes.quality[cells] = quality
            outcomes.cost[cells] = cost
            outcomes.prompt_tokens[cells] = prompt_tokens
            outcomes.completion_tokens[cells] = completion_tokens
            outcomes.replies[cells] = replies
    return outcomes
