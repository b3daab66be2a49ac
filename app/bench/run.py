"""Carrying a plan out: by replay through a running proxy, or by pure scoring. Both end in the same report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
import numpy as np
import uuid_utils
from numpy.typing import NDArray

from app.bench import ledger
from app.bench.figures import ModelPrice
from app.bench.graders import asks
from app.bench.grading import grading
from app.bench.plan import RECORDED, Plan
from app.bench.replay import FLUSH_ROWS, Progress, Replay, ReplayFailed, Result, Task
from app.bench.report import Report, build_report
from app.bench.results import RouterResult, Setting
from app.bench.scoring import score_router
from app.bench.suite import Item
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
    judges: str | None = None
    """URL of the proxy that judges are asked through; None: `url`."""


def score(plan: Plan) -> Report:
    """Score without calling anything. Raises `ConfigError` where nothing is recorded."""
    outcomes = plan.outcomes
    if outcomes is None:
        raise ConfigError(
            f"suite `{plan.suite.name}` has no recorded outcomes; `bench run --upstream live` asks models"
        )
    if plan.asks:
        raise ConfigError(
            f"quality `{plan.quality_source}` asks a model about each reply, and scoring asks nobody: use `bench run`, "
            "or --grader recorded for the quality that was recorded"
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
    return _report(plan, results, built, rows=plan.rows, kind="score", run=None, upstream=None, known_pool=True)


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

    `on_start` is told the run, how many of its calls are done already, and how many there are. Raises `ConfigError`
    before anything is sent where replies could not be graded, and `ReplayFailed` where the proxy is gone, `max_cost`
    is reached or no item was graded: what was done is kept then.
    """
    plan.check_grading(recorded_models=target.known_pool)
    spec = plan.spec(target.upstream)
    run = None if fresh else await runs.find_unfinished(database, suite_digest=plan.suite.digest, spec=spec)
    if run is None:
        run = await runs.create_run(database, suite=plan.suite.name, suite_digest=plan.suite.digest, spec=spec)
    else:
        await runs.resume_run(database, run.id)
    async with runs.claim(database, run.id):
        earlier = await runs.load_results(database, run.id)
        spent, judged = billed(earlier, "cost_usd"), billed(earlier, "judge_cost_usd")
        # What could not be graded then is asked again: its text was not kept.
        await runs.drop_ungraded(database, run.id)
        tasks = _remaining(plan, earlier)
        total = len(plan.routers) * len(plan.tradeoffs) * len(plan.items)
        on_start(run, total - len(tasks), total)
        graders = {item.id: plan.grader_of(item) for item in plan.items} if plan.graded else {}
        paid = target.upstream == "live" or plan.asks
        try:
            async with grading(
                plan,
                recorded_models=target.known_pool,
                url=target.judges or target.url,
                api_key=target.api_key,
                run=run.id,
            ) as grade:
                sender = Replay(
                    target.url,
                    run=run.id,
                    seed=plan.seed,
                    grade=grade,
                    save=lambda batch: _keep(graders, database, run.id, batch),
                    api_key=target.api_key,
                    concurrency=concurrency,
                    max_cost=max_cost,
                    on_progress=on_progress,
                    flush_rows=1 if paid else FLUSH_ROWS,  # what is paid for is kept at once
                )
                progress = await sender.send(tasks, spent=spent, judged=judged)
            if progress.done < len(tasks):
                raise ReplayFailed(
                    f"stopped at --max-cost: ${progress.spent:.4f} spent, {total - len(tasks) + progress.done:,} of "
                    f"{total:,} calls done; the same command with a higher cap goes on from here"
                )
            rows = await runs.load_results(database, run.id)
            scored, remarks = _graded(plan, rows)
        except BaseException:
            await runs.finish_run(database, run.id, "failed")
            raise
        items = [plan.suite.items[row] for row in scored]
        kept = await ledger.read(database, run.id, rows)
        report = _report(
            plan,
            kept.foretold(_results(plan, rows, items), items),
            built,
            rows=scored,
            kind="replay",
            run=run.id,
            upstream=target.upstream,
            known_pool=target.known_pool,
            prices=kept.prices,
            notes=[*remarks, *kept.notes],
            judge_cost_usd=float(billed(rows, "judge_cost_usd")) if plan.asks else None,
        )
        await runs.finish_run(database, run.id, "done", msgspec.to_builtins(report))
    return report, progress


def _remaining(plan: Plan, earlier: Sequence[ResultRow]) -> list[Task]:
    done = {(row.router, row.tradeoff, row.item) for row in earlier if not row.ungraded}
    return [
        Task(spec.text, tradeoff, item)
        for spec in plan.routers
        for tradeoff in plan.tradeoffs
        for item in plan.items
        if (spec.text, tradeoff, item.id) not in done
    ]


def billed(rows: Iterable[ResultRow], column: Literal["cost_usd", "judge_cost_usd"]) -> Decimal:
    """USD over all results, as far as it is known."""
    return sum((getattr(row, column) or Decimal(0) for row in rows), Decimal(0))


def _graded(plan: Plan, rows: Sequence[ResultRow]) -> tuple[NDArray[np.int64], list[str]]:
    """Positions of the items whose replies were all graded, and what is to be said of grading.

    Routers are compared on the same items or not at all, so a reply that could not be graded takes its item out of the
    report. Raises `ReplayFailed` where no item is left.
    """
    failed = [row for row in rows if row.ungraded]
    gone = {row.item for row in failed}
    scored = np.array([row for row in plan.rows if plan.suite.items[row].id not in gone], dtype=np.int64)
    reason = next((row.error for row in failed), None)
    if not len(scored):
        raise ReplayFailed(f"no item could be graded ({reason}); the same command asks for them again")
    said = []
    if failed:
        said.append(
            f"{len(failed):,} of {len(rows):,} replies could not be graded, so {len(gone):,} of {len(plan.rows):,} "
            f"items are left out; first: {reason}."
        )
    if plan.asks:
        said += _judging(plan, rows)
    return scored, said


def _judging(plan: Plan, rows: Sequence[ResultRow]) -> list[str]:
    judged = {item.id for item in plan.items if asks(plan.grader_of(item) or "")}
    unknown = sum(row.answered and row.judge_cost_usd is None for row in rows if row.item in judged)
    more = f" and what {unknown:,} judgements at an unknown price cost" if unknown else ""
    said = [f"Judging cost ${billed(rows, 'judge_cost_usd'):.4f}{more}; no figure of the routers counts it."]
    if plan.suite.recorded is not None:
        said.append(
            "A model judged the replies of this run; nobody judged the recorded ones, so no baselines stand beside it."
        )
    return said


async def _keep(graders: Mapping[str, str | None], database: Database, run: str, batch: Sequence[Result]) -> None:
    """Keep results for good, and each as the score of its call too. `graders`: by item; none where quality was
    recorded."""
    now = datetime.now(UTC)
    judgements = [
        Score(
            id=str(uuid_utils.uuid7()),
            call_id=result.call_id,
            name="quality",
            value=result.quality,
            source=f"grader:{graders[result.item]}" if graders else RECORDED,
            comment=result.comment,
            created_at=now,
        )
        for result in batch
        if result.answered and result.call_id is not None and result.quality is not None
    ]
    await runs.add_results(database, run, batch, judgements)


def _results(plan: Plan, rows: Sequence[ResultRow], items: Sequence[Item]) -> list[RouterResult]:
    """The stored rows as the table the report is made from: the plan's routers on `items`."""
    found = {(row.router, row.tradeoff, row.item): row for row in rows}
    return [
        RouterResult(
            spec.text,
            tuple(
                _setting(tradeoff, [found.get((spec.text, tradeoff, item.id)) for item in items])
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
    rows: NDArray[np.int64],
    kind: Any,
    run: str | None,
    upstream: str | None,
    known_pool: bool,
    prices: Sequence[ModelPrice] = (),
    notes: Sequence[str] = (),
    judge_cost_usd: float | None = None,
) -> Report:
    report = build_report(
        suite=plan.suite,
        rows=rows,
        split=plan.split,
        seed=plan.seed,
        results=results,
        outcomes=plan.outcomes if known_pool and not plan.asks else None,
        quality_source=plan.quality_source,
        tradeoffs=plan.tradeoffs,
        kind=kind,
        run=run,
        upstream=upstream,
        train=plan.train,
        split_by=str(plan.split_by),
        notes=[*plan.leaks(built), *notes],
        prices=prices,
        bench_only=[name for name, router in built.items() if router.bench_only],
    )
    return msgspec.structs.replace(report, judge_cost_usd=judge_cost_usd)
