"""Results of runs as they are looked at: how far a run is, its items one by one, and two runs' side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import msgspec
import sqlalchemy as sa

from app.store.database import Database
from app.store.queries.suites import PREVIEW, narrowed

LATE = timedelta(seconds=3)
"""How long calls may be on their way to Postgres."""

Show = Literal["all", "regressions", "improvements", "models"]
"""Which pairs: all; those whose quality is lower or higher in the second; those that other models answered."""
Only = Literal["all", "wrong", "failed"]
"""Which results: all; those of quality below 0.5; those without an answer, or without a judgement."""


class SettingProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far one router at one tradeoff is."""

    router: str
    tradeoff: float
    done: int
    failed: int
    """Calls that were not answered."""
    ungraded: int
    """Replies that could not be judged."""
    quality: float | None
    """Mean so far; failed calls count as 0."""
    cost_usd: float
    judge_cost_usd: float


class Setting(NamedTuple):
    """A router at a tradeoff in a run."""

    run: str
    router: str
    tradeoff: float


class ResultLine(msgspec.Struct, frozen=True, kw_only=True):
    """One item of one setting."""

    item: str
    position: int | None
    """In the suite; None where the suite is gone."""
    category: str | None
    preview: str | None
    model: str | None
    quality: float | None
    cost_usd: float | None
    latency: float | None
    error: str | None
    call_id: str | None


class PairLine(msgspec.Struct, frozen=True, kw_only=True):
    """One item in two settings."""

    item: str
    position: int | None
    category: str | None
    preview: str | None
    model_a: str | None
    model_b: str | None
    quality_a: float
    quality_b: float
    cost_a: float | None
    cost_b: float | None
    """USD."""


class PairCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Of the pairs that a category and a text leave."""

    all: int
    regressions: int
    improvements: int
    models: int
    """Pairs that other models answered."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one item in one setting, with the reply's text where any is kept."""

    model: str | None
    answered: bool
    quality: float | None
    cost_usd: float | None
    latency: float | None
    error: str | None
    call_id: str | None
    reply: str | None


_PROGRESS = """
SELECT router, tradeoff, count(*) AS done, count(*) FILTER (WHERE NOT answered) AS failed,
  count(*) FILTER (WHERE answered AND quality IS NULL) AS ungraded, avg(quality) AS quality,
  coalesce(sum(cost_usd), 0)::float8 AS cost_usd, coalesce(sum(judge_cost_usd), 0)::float8 AS judge_cost_usd
FROM results WHERE run = :run GROUP BY router, tradeoff
"""
_PACE = "SELECT count(*), min(started_at), max(started_at) FROM calls WHERE run = :run AND started_at > :since"
_RESULTS = f"""
WITH found AS (
  SELECT r.item, i.position, r.model, r.quality, r.cost_usd::float8 AS cost_usd, r.latency, r.error,
    r.call_id::text AS call_id, i.category, count(*) OVER () AS total
  FROM results r LEFT JOIN items i ON i.suite_id = CAST(:suite AS uuid) AND i.id = r.item
  WHERE r.run = CAST(:run AS uuid) AND r.router = :router AND r.tradeoff = :tradeoff {{also}}
  ORDER BY i.position, r.item LIMIT :limit OFFSET :offset
)
SELECT f.*, {PREVIEW} AS preview
FROM found f LEFT JOIN items i ON i.suite_id = CAST(:suite AS uuid) AND i.position = f.position
ORDER BY f.position, f.item
"""  # noqa: S608 -- only constants of this package are put in
_ONLY = {
    "all": "",
    "wrong": " AND coalesce(r.quality, 0) < 0.5",
    "failed": " AND (NOT r.answered OR r.quality IS NULL)",
}
# As `app.bench.compare` takes them: a call that failed counts as quality 0, what was not judged is left out.
_PAIRS = """
SELECT a.item, i.position, i.category, a.model AS model_a, b.model AS model_b,
  CASE WHEN a.answered THEN a.quality ELSE 0 END AS quality_a,
  CASE WHEN b.answered THEN b.quality ELSE 0 END AS quality_b,
  a.cost_usd::float8 AS cost_a, b.cost_usd::float8 AS cost_b
FROM results a
JOIN results b ON b.run = CAST(:run_b AS uuid) AND b.router = :router_b AND b.tradeoff = :tradeoff_b AND b.item = a.item
LEFT JOIN items i ON i.suite_id = CAST(:suite AS uuid) AND i.id = a.item
WHERE a.run = CAST(:run_a AS uuid) AND a.router = :router_a AND a.tradeoff = :tradeoff_a
  AND (a.quality IS NOT NULL OR NOT a.answered) AND (b.quality IS NOT NULL OR NOT b.answered) {also}
"""
_SHOW = {
    "all": "true",
    "regressions": "quality_b < quality_a - 1e-9",
    "improvements": "quality_b > quality_a + 1e-9",
    "models": "model_a IS DISTINCT FROM model_b",
}
_COUNTS = "SELECT {counts} FROM ({{pairs}}) p".format(  # noqa: S608 -- only constants of this module are put in
    counts=", ".join(f'count(*) FILTER (WHERE {condition}) AS "{name}"' for name, condition in _SHOW.items())
)
_PAGE = """
WITH page AS (
  SELECT * FROM ({pairs}) p WHERE {condition}
  ORDER BY {order}, cost_b - cost_a DESC NULLS LAST, position, item LIMIT :limit OFFSET :offset
)
SELECT p.*, {preview} AS preview
FROM page p LEFT JOIN items i ON i.suite_id = CAST(:suite AS uuid) AND i.position = p.position
ORDER BY {order}, cost_b - cost_a DESC NULLS LAST, p.position, item
""".replace("{preview}", PREVIEW)
_TOLD = """
SELECT r.model, r.answered, r.quality, r.cost_usd::float8 AS cost_usd, r.latency, r.error, r.call_id::text AS call_id,
  coalesce(r.reply, c.reply_text, CASE WHEN :recorded THEN o.reply END) AS reply
FROM results r LEFT JOIN calls c ON c.id = r.call_id
LEFT JOIN items i ON i.suite_id = CAST(:suite AS uuid) AND i.id = r.item
LEFT JOIN suites s ON s.id = i.suite_id
LEFT JOIN outcomes o ON o.suite_id = s.id AND o.position = i.position
  AND o.model = array_position(s.models, r.model) - 1
WHERE r.run = CAST(:run AS uuid) AND r.router = :router AND r.tradeoff = :tradeoff AND r.item = :item
LIMIT 1
"""


async def run_progress(database: Database, run: str) -> dict[tuple[str, float], SettingProgress]:
    """How far each router and tradeoff of a run is. Raises `StoreUnavailable`."""
    async with database.begin() as connection:
        rows = await connection.execute(sa.text(_PROGRESS), {"run": run})
        return {(row.router, row.tradeoff): SettingProgress(**row._mapping) for row in rows}


async def run_pace(database: Database, run: str, now: datetime, window: timedelta) -> float | None:
    """Calls a second of a run over the last `window`; None where the ledger has fewer than two of them. Raises
    `StoreUnavailable`."""
    async with database.begin() as connection:
        row = (await connection.execute(sa.text(_PACE), {"run": run, "since": now - window})).one()
    if row[0] < 2:
        return None
    # Calls come to Postgres a moment late: of that moment nothing is known, unless it has become too long.
    end = row[2] if now - row[2] < LATE else now
    return float((row[0] - 1) / max((end - row[1]).total_seconds(), 0.1))


async def run_items(
    database: Database,
    setting: Setting,
    suite: str | None,
    *,
    only: Only,
    category: str | None,
    search: str | None,
    limit: int,
    offset: int,
) -> tuple[list[ResultLine], int]:
    """A page of one setting's results in the suite's order, and how many there are in all (0 beyond the end); `suite`:
    the id of the one that has the items. Raises `StoreUnavailable`."""
    also, given = narrowed(category, search)
    given |= {**setting._asdict(), "suite": suite, "limit": limit, "offset": offset}
    async with database.begin() as connection:
        rows = (await connection.execute(sa.text(_RESULTS.format(also=also + _ONLY[only])), given)).all()
    lines = [ResultLine(**{name: row._mapping[name] for name in ResultLine.__struct_fields__}) for row in rows]
    return lines, rows[0].total if rows else 0


async def paired_items(
    database: Database,
    first: Setting,
    second: Setting,
    suite: str | None,
    *,
    show: Show,
    category: str | None,
    search: str | None,
    limit: int,
    offset: int,
) -> tuple[list[PairLine], PairCounts]:
    """A page of the items that both settings were asked, the greatest losses of the second first (of improvements the
    greatest gains), and how many there are of each kind. Raises `StoreUnavailable`."""
    also, given = narrowed(category, search)
    for side, setting in (("a", first), ("b", second)):
        given |= {f"{name}_{side}": value for name, value in setting._asdict().items()}
    given |= {"suite": suite, "limit": limit, "offset": offset}
    pairs = _PAIRS.format(also=also)
    order = "quality_b - quality_a DESC" if show == "improvements" else "quality_b - quality_a"
    page = _PAGE.format(pairs=pairs, condition=_SHOW[show], order=order)
    async with database.begin() as connection:
        found = (await connection.execute(sa.text(_COUNTS.format(pairs=pairs)), given)).one()
        rows = await connection.execute(sa.text(page), given)
        return [PairLine(**row._mapping) for row in rows], PairCounts(**found._mapping)


async def told(
    database: Database, settings: Sequence[tuple[Setting, bool]], suite: str | None, item: str
) -> list[Told | None]:
    """What came of one item in each of some settings; with a setting stands whether the suite's recorded models
    answered it. Raises `StoreUnavailable`."""
    found: list[Told | None] = []
    async with database.begin() as connection:
        for setting, recorded in settings:
            given: dict[str, Any] = {**setting._asdict(), "suite": suite, "item": item, "recorded": recorded}
            row = (await connection.execute(sa.text(_TOLD), given)).one_or_none()
            found.append(None if row is None else Told(**row._mapping))
    return found
