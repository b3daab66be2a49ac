"""Carrying a plan out: by replay through a running proxy, or by pure scoring. Both end in the same report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import uuid_utils.compat as uuid

from app.bench.plan import RECORDED, Plan
from app.bench.replay import Progress, Replay, ReplayFailed, Result, Task
from app.bench.report import Report, build_report
from app.bench.results import RouterResult, Setting
from app.bench.scoring import score_router
from app.core.errors import ConfigError
from app.core.types import Score
from app.store import runs
from app.store.database import Database
from app.store.runs import ResultRow, RunRow
from routers import Router


@dataclass(frozen=True)
class Target:
    """The proxy a run goes to."""

    url: str
    upstream: str
    """`recorded`, `simulated` or `live`, as the report names it."""
    known_pool: bool
    """True where its models are the suite's recorded ones, so that baselines can stand beside the routers."""
    api_key: str | None = None


def score(plan: Plan) -> Report:
    """Score without calling anything. Raises `ConfigError` where nothing is recorded."""
    outcomes = plan.outcomes
    if outcomes is None:
        raise ConfigError(
            f"suite `{plan.suite.name}` has no recorded outcomes; `bench run --upstream live` asks models"
        )
    built = plan.build()
    results = [
        score_router(
            built[spec.text],
            plan.suite,
            outcomes,
            plan.rows,
            plan.tradeoffs,
            plan.seed,
            name=spec.text,
            params=spec.params,
        )
        for spec in plan.routers
    ]
    return _report(plan, results, built, kind="score", run=None, upstream=None, known_pool=True)


async def replay(
    plan: Plan,
    target: Target,
    database: Database,
    built: Mapping[str, Router],
    *,
    concurrency: int = 32,
    max_cost: Decimal | None = None,
    fresh: bool = False,
    on_start: Callable[[RunRow, int, int], None] = lambda _run, _done, _total: None,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> tuple[Report, Progress]:
    """Replay through a proxy; an unfinished run of the same plan is taken up where it stopped, unless `fresh`.

    `on_start` is told the run, how many of its calls are done already, and how many there are. Raises `ReplayFailed`
    where the proxy is gone or `max_cost` is reached: what was done is kept then.
    """
    grade = plan.grade(recorded_models=target.known_pool)
    spec = plan.spec(target.upstream)
    run = None if fresh else await runs.find_unfinished(database, suite_digest=plan.suite.digest, spec=spec)
    if run is None:
        run = await runs.create_run(database, suite=plan.suite.name, suite_digest=plan.suite.digest, spec=spec)
    else:
        await runs.resume_run(database, run.id)
    async with runs.claim(database, run.id):
        earlier = await runs.load_results(database, run.id)
        tasks = _remaining(plan, earlier)
        on_start(run, len(earlier), len(earlier) + len(tasks))
        sender = Replay(
            target.url,
            run=run.id,
            seed=plan.seed,
            grade=grade,
            save=lambda batch: _keep(plan, database, run.id, batch),
            api_key=target.api_key,
            concurrency=concurrency,
            max_cost=max_cost,
            on_progress=on_progress,
        )
        try:
            spent = sum((row.cost_usd or Decimal(0) for row in earlier), Decimal(0))
            progress = await sender.send(tasks, spent=spent)
        except BaseException:
            await runs.finish_run(database, run.id, "failed")
            raise
        if progress.done < len(tasks):
            await runs.finish_run(database, run.id, "failed")
            raise ReplayFailed(
                f"stopped at --max-cost: ${progress.cost:.4f} spent, {len(earlier) + progress.done:,} of "
                f"{len(earlier) + len(tasks):,} calls done; the same command with a higher cap goes on from here"
            )
        results = _results(plan, await runs.load_results(database, run.id))
        report = _report(
            plan,
            results,
            built,
            kind="replay",
            run=run.id,
            upstream=target.upstream,
            known_pool=target.known_pool,
        )
        await runs.finish_run(database, run.id, "done", msgspec.to_builtins(report))
    return report, progress


def _remaining(plan: Plan, earlier: Sequence[ResultRow]) -> list[Task]:
    done = {(row.router, row.tradeoff, row.item) for row in earlier}
    return [
        Task(spec.text, tradeoff, item)
        for spec in plan.routers
        for tradeoff in plan.tradeoffs
        for item in plan.items
        if (spec.text, tradeoff, item.id) not in done
    ]


async def _keep(plan: Plan, database: Database, run: str, batch: Sequence[Result]) -> None:
    """Keep results for good, and each as the score of its call too."""
    graders = {item.id: plan.grader_of(item) for item in plan.items} if plan.graded else {}
    now = datetime.now(UTC)
    judgements = [
        Score(
            id=str(uuid.uuid7()),
            call_id=result.call_id,
            name="quality",
            value=result.quality,
            source=f"grader:{graders[result.item]}" if plan.graded else RECORDED,
            created_at=now,
        )
        for result in batch
        if result.answered and result.call_id is not None
    ]
    await runs.add_results(database, run, [_row(result) for result in batch], judgements)


def _row(result: Result) -> ResultRow:
    return ResultRow(**{name: getattr(result, name) for name in ResultRow.__struct_fields__})


def _results(plan: Plan, rows: Sequence[ResultRow]) -> list[RouterResult]:
    """The stored rows as the table the report is made from, in the order of the plan."""
    found = {(row.router, row.tradeoff, row.item): row for row in rows}
    return [
        RouterResult(
            spec.text,
            tuple(
                _setting(tradeoff, [found.get((spec.text, tradeoff, item.id)) for item in plan.items])
                for tradeoff in plan.tradeoffs
            ),
            spec.params,
        )
        for spec in plan.routers
    ]


def _setting(tradeoff: float, rows: Sequence[ResultRow | None]) -> Setting:
    def column(value: Callable[[ResultRow], Any], missing: float) -> np.ndarray[Any, np.dtype[np.float64]]:
        values = [None if row is None else value(row) for row in rows]
        return np.array([missing if entry is None else float(entry) for entry in values], dtype=np.float64)

    return Setting(
        tradeoff=tradeoff,
        model=tuple(row.model if row is not None and row.answered else None for row in rows),
        quality=column(lambda row: row.quality, 0.0),
        cost=column(lambda row: row.cost_usd, 0.0),
        answered=np.array([row is not None and row.answered for row in rows]),
        latency=column(lambda row: row.latency, np.nan),
        overhead=column(lambda row: row.overhead, np.nan),
    )


def _report(
    plan: Plan,
    results: Sequence[RouterResult],
    built: Mapping[str, Router],
    *,
    kind: Any,
    run: str | None,
    upstream: str | None,
    known_pool: bool,
) -> Report:
    return build_report(
        suite=plan.suite,
        rows=plan.rows,
        split=plan.split,
        seed=plan.seed,
        results=results,
        outcomes=plan.outcomes if known_pool else None,
        quality_source=plan.quality_source,
        tradeoffs=plan.tradeoffs,
        kind=kind,
        run=run,
        upstream=upstream,
        train=plan.train,
        split_by=str(plan.split_by),
        notes=plan.leaks(built),
        bench_only=[name for name, router in built.items() if router.bench_only],
    )
