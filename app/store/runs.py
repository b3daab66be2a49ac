"""Runs and their results. A run that was cut off is found again by its spec and goes on where it stopped."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
import uuid_utils
from sqlalchemy.dialects.postgresql import JSONB

from app.core.errors import ConfigError, InvalidRequest, NotFound, StoreUnavailable
from app.core.types import Score
from app.store import text
from app.store.database import Database
from app.store.tables import results, runs, suites

RunStatus = Literal["running", "done", "failed"]

_BATCH = 1000

# Seconds until letting go of a run is given up; where Postgres stands still, the driver takes ten more to hang up.
_LETTING_GO = 5.0
_ADD = """
INSERT INTO results (run, router, tradeoff, item, call_id, model, quality, cost_usd, answered, latency, overhead, error,
  reply, prompt_tokens, completion_tokens, judge_cost_usd)
SELECT %s::uuid, router, tradeoff, item, call_id, model, quality, cost_usd, answered, latency, overhead, error,
  reply, prompt_tokens, completion_tokens, judge_cost_usd
FROM json_to_recordset(%s::json) AS r(
  router text, tradeoff double precision, item text, call_id uuid, model text, quality double precision,
  cost_usd numeric, answered boolean, latency double precision, overhead double precision, error text,
  reply text, prompt_tokens bigint, completion_tokens bigint, judge_cost_usd numeric)
ON CONFLICT (run, router, tradeoff, item) DO NOTHING
"""
_ADD_SCORES = """
INSERT INTO scores (id, call_id, name, value, source, comment, created_at)
SELECT id, call_id, name, value, source, comment, created_at
FROM json_to_recordset(%s::json) AS s(
  id uuid, call_id uuid, name text, value double precision, source text, comment text, created_at timestamptz)
"""

# The halves of the key of an advisory lock, as postgresql.org/docs/current/view-pg-locks.html has them.
_HELD = sa.text("""
SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run without its report."""

    id: str
    suite: str
    """Name of the suite."""
    suite_id: str | None
    """None once the suite is deleted or replaced."""
    suite_digest: str
    status: RunStatus
    spec: dict[str, Any]
    created_at: datetime
    finished_at: datetime | None


class ResultRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one router did with one item at one tradeoff."""

    router: str
    tradeoff: float
    item: str
    answered: bool
    """False where the call failed."""
    call_id: str | None = None
    model: str | None = None
    """The model that answered."""
    quality: float | None = None
    """In [0, 1]; None where there was nothing to grade."""
    cost_usd: Decimal | None = None
    latency: float | None = None
    """Seconds."""
    overhead: float | None = None
    """Seconds of `latency` not spent waiting for an upstream."""
    error: str | None = None
    reply: str | None = None
    """Text of the reply; kept by a recording alone."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    judge_cost_usd: Decimal | None = None
    """What judging cost, apart from `cost_usd`; None where no model judged, or at an unknown price."""

    @property
    def ungraded(self) -> bool:
        """True where there is a reply, and `error` says why it could not be graded."""
        return self.answered and self.quality is None


_ROW = [runs.c[name] for name in RunRow.__struct_fields__]


async def create_run(database: Database, *, suite: str, suite_digest: str, spec: dict[str, Any]) -> RunRow:
    """A new run, `running`, on the stored suite named `suite`. Raises `NotFound`, `StoreUnavailable`."""
    async with database.begin() as connection:
        suite_id = (await connection.execute(sa.select(suites.c.id).where(suites.c.name == suite))).scalar_one_or_none()
        if suite_id is None:
            raise NotFound(f"There is no suite named {suite!r}.", param="suite")
        values = {
            "id": str(uuid_utils.uuid7()),
            "suite": suite,
            "suite_id": suite_id,
            "suite_digest": suite_digest,
            "status": "running",
            "spec": spec,
            "created_at": datetime.now(UTC),
        }
        created = await connection.execute(runs.insert().values(values).returning(*_ROW))
        return RunRow(**created.one()._mapping)


async def find_unfinished(database: Database, *, suite_digest: str, spec: dict[str, Any]) -> RunRow | None:
    """The newest run not done, of the same items and an equal spec; None where there is none.

    Equal as JSON: the order of keys does not matter. Raises `StoreUnavailable`.
    """
    query = (
        sa.select(*_ROW)
        .where(runs.c.status != "done", runs.c.suite_digest == suite_digest)
        # How many items there are follows from the rest; runs of before do not say it.
        .where(runs.c.spec.op("-")("items") == sa.cast(spec, JSONB).op("-")("items"))
        .order_by(runs.c.created_at.desc(), runs.c.id.desc())
        .limit(1)
    )
    async with database.begin() as connection:
        found = (await connection.execute(query)).one_or_none()
    return None if found is None else RunRow(**found._mapping)


@asynccontextmanager
async def claim(database: Database, run: str) -> AsyncIterator[None]:
    """Hold a run for this process, on a connection of its own; let go at the end of the block or with the process.

    Raises `ConfigError` where another process has it, `StoreUnavailable`. Should the connection break, the claim is
    gone; results stay right then, since a result counts once.
    """
    async with database.hold() as connection:
        with database.explained():
            taken = await connection.execute(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": _lock(run)})
        if taken.scalar_one() is not True:
            raise ConfigError(f"Another process is replaying run {run}; wait for it, or stop it first.")
        try:
            yield
        finally:
            # Let go in words: of a connection that is closed, Postgres hears a little later, and who goes on with the
            # run at once would be told that another process has it.
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(_LETTING_GO):
                    with database.explained():
                        await connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _lock(run)})


async def claimed(database: Database, keys: Sequence[str]) -> set[str]:
    """Those of some runs that a process holds now, on this host or another. Raises `StoreUnavailable`."""
    async with database.begin() as connection:
        held = {row[0] for row in await connection.execute(_HELD)}
    return {key for key in keys if _lock(key) in held}


def _lock(run: str) -> int:
    return uuid.UUID(run).int & (2**63 - 1)


async def add_results(
    database: Database, run: str, rows: Sequence[ResultRow], judgements: Sequence[Score] = ()
) -> None:
    """Add results with the scores given to their calls, all of them or none; a result that is there already stays as
    it is. Raises `StoreUnavailable`."""
    async with database.begin() as connection:
        for start in range(0, len(rows), _BATCH):
            document = text.encode_text(rows[start : start + _BATCH])
            await connection.exec_driver_sql(_ADD, (run, document))
        for start in range(0, len(judgements), _BATCH):
            document = text.encode_text(judgements[start : start + _BATCH])
            await connection.exec_driver_sql(_ADD_SCORES, (document,))


async def load_results(database: Database, run: str) -> list[ResultRow]:
    """All results of a run, by router, tradeoff and item. Raises `StoreUnavailable`."""
    columns = [results.c[name] for name in ResultRow.__struct_fields__]
    query = (
        sa.select(*columns).where(results.c.run == run).order_by(results.c.router, results.c.tradeoff, results.c.item)
    )
    async with database.begin() as connection:
        return [ResultRow(**row._mapping) for row in await connection.execute(query)]


async def drop_ungraded(database: Database, run: str) -> None:
    """Remove the results that could not be graded, so that they can be had anew. Raises `StoreUnavailable`."""
    ungraded = results.c.answered & results.c.quality.is_(None)
    async with database.begin() as connection:
        await connection.execute(sa.delete(results).where(results.c.run == run, ungraded))


async def finish_run(
    database: Database, run: str, status: Literal["done", "failed"], report: dict[str, Any] | None = None
) -> None:
    """Close a run. A failed one may be resumed. Raises `NotFound`, `StoreUnavailable`."""
    change = sa.update(runs).where(runs.c.id == run)
    async with database.begin() as connection:
        done = await connection.execute(change.values(status=status, report=report, finished_at=datetime.now(UTC)))
        if done.rowcount == 0:
            raise NotFound(f"There is no run {run}.", param="run")


async def resume_run(database: Database, run: str) -> None:
    """Put a failed run back to `running`. Raises `StoreUnavailable`."""
    async with database.begin() as connection:
        await connection.execute(
            sa.update(runs)
            .where(runs.c.id == run, runs.c.status == "failed")
            .values(status="running", finished_at=None)
        )


async def list_runs(database: Database, *, limit: int = 100) -> list[RunRow]:
    """The newest runs first. Raises `StoreUnavailable`."""
    query = sa.select(*_ROW).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(limit)
    async with database.begin() as connection:
        return [RunRow(**row._mapping) for row in await connection.execute(query)]


async def get_run(database: Database, key: str) -> tuple[RunRow, dict[str, Any] | None]:
    """A run by its id or the beginning of it, and its report, None until it is done.

    Raises `NotFound`, `InvalidRequest` where several ids begin so, `StoreUnavailable`.
    """
    column = sa.cast(runs.c.id, sa.Text)
    query = sa.select(*_ROW, runs.c.report).where(column.startswith(key.lower(), autoescape=True)).limit(2)
    async with database.begin() as connection:
        found = (await connection.execute(query)).all() if key else []
    if not found:
        raise NotFound(f"There is no run {key!r}.", param="run")
    if len(found) > 1:
        raise InvalidRequest(f"Several runs begin with {key!r}; give more of the id.", param="run")
    fields = dict(found[0]._mapping)
    report = fields.pop("report")
    return RunRow(**fields), report
