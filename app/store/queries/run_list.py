"""Runs in a list, each with what its report comes to."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from app.store.database import Database
from app.store.runs import RunRow


class RouterLine(msgspec.Struct, frozen=True, kw_only=True):
    """A router of a finished run."""

    router: str
    aiq: float | None
    value: float | None
    """ΔAIQ, and its 95 % interval."""
    low: float | None
    high: float | None
    p_holm: float | None
    cost_per_1k: float
    """USD, added up over its tradeoffs."""


class RunLine(msgspec.Struct, frozen=True, kw_only=True):
    """A run, and what its report says in short; all of that is None or empty until it is done."""

    run: RunRow
    n: int | None
    """Items that were scored."""
    headline: str | None
    routers: tuple[RouterLine, ...]


# Reports hold prompts and replies: what is shown of them is taken out where they lie.
_ROUTERS = """
SELECT json_agg(json_build_object(
  'router', e->'router', 'aiq', e->'aiq', 'value', e->'delta_aiq'->'value', 'low', e->'delta_aiq'->'low',
  'high', e->'delta_aiq'->'high', 'p_holm', e->'delta_p_holm',
  'cost_per_1k', (SELECT coalesce(sum((p->>'cost_per_1k')::float8), 0) FROM json_array_elements(e->'points') p)))
FROM json_array_elements(r.report->'routers') e
"""
_LINES = f"""
SELECT r.id::text, r.suite, r.suite_id::text, r.suite_digest, r.status, r.spec, r.created_at, r.finished_at,
  (r.report->>'n')::int AS n, r.report->>'headline' AS headline,
  CASE WHEN json_typeof(r.report->'routers') = 'array' THEN ({_ROUTERS}) END AS routers
FROM (
  SELECT * FROM runs WHERE (CAST(:digest AS text) IS NULL OR suite_digest = :digest)
  ORDER BY created_at DESC, id DESC LIMIT :limit OFFSET :offset
) r ORDER BY r.created_at DESC, r.id DESC
"""  # noqa: S608 -- only constants of this package are put in


async def run_lines(
    database: Database, *, limit: int, offset: int = 0, digest: str | None = None
) -> tuple[list[RunLine], int]:
    """The newest runs first, and how many there are in all; `digest`: only those of these items. Raises
    `StoreUnavailable`."""
    given = {"digest": digest, "limit": limit, "offset": offset}
    counted = sa.text("SELECT count(*) FROM runs WHERE (CAST(:digest AS text) IS NULL OR suite_digest = :digest)")
    async with database.begin() as connection:
        total = int((await connection.execute(counted, {"digest": digest})).scalar_one())
        rows = (await connection.execute(sa.text(_LINES), given)).all()
    return [_line(dict(row._mapping)) for row in rows], total


def _line(row: dict[str, object]) -> RunLine:
    routers = msgspec.convert(row["routers"] or [], tuple[RouterLine, ...])
    run = RunRow(**{name: row[name] for name in RunRow.__struct_fields__})  # type: ignore[arg-type]
    return RunLine(run=run, n=row["n"], headline=row["headline"], routers=routers)  # type: ignore[arg-type]
