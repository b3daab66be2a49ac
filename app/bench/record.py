"""Recording: ask each model for each item through a proxy, and keep what came back as the suite's outcomes.

A recording is a run like a replay, of `model:<name>` at tradeoff 0, so every reply is kept the moment it is there and
a killed one goes on where it stopped. A cell without an answer is missing, never 0: what a provider's bad day did must
not count against a model. Cells that stay missing are not kept as results, so the same command asks for them again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import uuid_utils

from app.bench import library
from app.bench.grading import grading
from app.bench.plan import Plan, RouterSpec
from app.bench.replay import Progress, Replay, ReplayFailed, Result, Task
from app.bench.run import Target, billed
from app.bench.suite import Recorded, Suite
from app.core.errors import ConfigError, NotFound
from app.core.types import Score
from app.store import runs
from app.store.database import Database
from app.store.runs import ResultRow, RunRow

LABEL = "model:"
RETRIES = 4


@dataclass(frozen=True)
class Recording:
    """What came of a recording."""

    suite: Suite
    """As it was saved."""
    run: str
    progress: Progress
    missing: Mapping[str, int]
    """Cells that are not filled or not graded, by model; only models that miss any."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Why, and how often, the most frequent first."""


def plan_recording(suite: Suite, models: Sequence[str], grader: str | None = None, *, allow_code: bool = False) -> Plan:
    """The plan to ask `models`, names of the catalog, for every item.

    Raises `ConfigError` where a model is named twice or a reply could not be judged: that must not turn up after it
    was paid for.
    """
    for name in models:
        if models.count(name) > 1:
            raise ConfigError(f"model `{name}` is named twice", param="models")
    if not models:
        raise ConfigError("name at least one model, e.g. --models small,large", param="models")
    # `remote`: what is asked for are models of the proxy, not routers that are installed here.
    specs = tuple(RouterSpec(LABEL + name, None, {}) for name in models)
    plan = Plan(suite, specs, (0.0,), split="all", grader=grader, remote=True, allow_code=allow_code)
    plan.check_grading(recorded_models=False)
    return plan


def models_of(plan: Plan) -> list[str]:
    """The models a plan made by `plan_recording` asks."""
    return [spec.text.removeprefix(LABEL) for spec in plan.routers]


async def check_name(database: Database, plan: Plan, name: str) -> Suite:
    """The suite called `name` that the outcomes go into: the one that is there, else the plan's own.

    Raises `ConfigError` where that name belongs to other items.
    """
    try:
        found = await library.load(database, name)
    except NotFound:
        return replace(plan.suite, name=name)
    if found.digest != plan.suite.digest:
        raise ConfigError(
            f"There is a suite named {name!r} already, of other items than {plan.suite.name!r}; choose another name."
        )
    return found


async def remaining(database: Database, plan: Plan, upstream: str) -> list[Task]:
    """The calls that are still to be made, those an unfinished run has made left out."""
    run = await runs.find_unfinished(database, suite_digest=plan.suite.digest, spec=_spec(plan, upstream))
    return _tasks(plan, [] if run is None else await runs.load_results(database, run.id))


async def record(
    plan: Plan,
    target: Target,
    database: Database,
    *,
    name: str | None = None,
    simulated: bool = False,
    concurrency: int = 32,
    max_cost: Decimal | None = None,
    retries: int = RETRIES,
    backoff: float = 1.0,
    on_start: Callable[[RunRow, int, int], None] = lambda _run, _done, _total: None,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> Recording:
    """Fill the columns of the plan's models and save them in the suite `name` (default: the plan's own).

    Other models' outcomes stay as they are; a model that is recorded anew loses its old ones, since two recordings of
    one model do not belong in one column. `simulated`: the models are simulated ones. While cells are missing the run
    stays open for the same call. Raises `ReplayFailed` where the proxy is gone, `max_cost` is reached or a cost is
    unknown: what was done is kept then, and no suite is saved.
    """
    name = plan.suite.name if name is None else name
    await check_name(database, plan, name)
    spec = _spec(plan, target.upstream)
    run = await runs.find_unfinished(database, suite_digest=plan.suite.digest, spec=spec)
    if run is None:
        run = await runs.create_run(database, suite=plan.suite.name, suite_digest=plan.suite.digest, spec=spec)
    else:
        await runs.resume_run(database, run.id)
    async with runs.claim(database, run.id):
        try:
            keeper = _Keeper(plan, database, run.id)
            earlier = await runs.load_results(database, run.id)
            await runs.drop_ungraded(database, run.id)
            tasks = _tasks(plan, earlier)
            total = len(plan.items) * len(plan.routers)
            on_start(run, total - len(tasks), total)
            async with grading(
                plan, recorded_models=False, url=target.judges or target.url, api_key=target.api_key, run=run.id
            ) as grade:
                sender = Replay(
                    target.url,
                    run=run.id,
                    seed=plan.seed,
                    grade=grade,
                    save=keeper.keep,
                    api_key=target.api_key,
                    concurrency=concurrency,
                    max_cost=max_cost,
                    on_progress=on_progress,
                    keep_text=True,
                    flush_rows=1,  # each reply is paid for
                    retries=retries,
                    backoff=backoff,
                )
                progress = await sender.send(
                    tasks, spent=billed(earlier, "cost_usd"), judged=billed(earlier, "judge_cost_usd")
                )
            if progress.done < len(tasks):
                raise ReplayFailed(
                    f"stopped at --max-cost: ${progress.spent:.4f} spent, {total - len(tasks) + progress.done:,} of "
                    f"{total:,} calls done; the same command with a higher cap goes on from here"
                )
            rows = await runs.load_results(database, run.id)
            if not rows:
                raise ReplayFailed(f"nothing was recorded: no call was answered ({keeper.first_error()})")
            suite = merge(await check_name(database, plan, name), plan, rows, simulated=simulated)
            await library.save(database, suite, replace=True)
        except BaseException:
            await runs.finish_run(database, run.id, "failed")
            raise
        missing = _missing(plan, rows)
        await runs.finish_run(database, run.id, "failed" if missing else "done")
    return Recording(suite, run.id, progress, missing, dict(keeper.errors.most_common()))


def merge(base: Suite, plan: Plan, rows: Iterable[ResultRow], *, simulated: bool = False) -> Suite:
    """`base`, a suite of the plan's items, with the outcomes in `rows` in place of all it had of the plan's models.

    A model without any outcome gets no column: nothing could be said of it, not even its mean cost.
    """
    cells = {(row.item, row.router.removeprefix(LABEL)): row for row in rows if row.answered}
    asked = models_of(plan)
    answered = {model for _, model in cells}
    old = base.recorded
    stay = [] if old is None else [model for model in old.models if model not in asked or model in answered]
    models = (*stay, *(model for model in asked if model in answered and model not in stay))
    shape = (len(base.items), len(models))
    recorded = Recorded(
        models,
        np.full(shape, np.nan),
        np.full(shape, np.nan),
        np.zeros(shape, dtype=np.int64),
        np.zeros(shape, dtype=np.int64),
        np.full(shape, None, dtype=np.object_),
    )
    kept = [model for model in stay if model not in asked]
    if old is not None and kept:
        theirs, ours = [old.models.index(model) for model in kept], [models.index(model) for model in kept]
        for part in ("quality", "cost", "prompt_tokens", "completion_tokens", "replies"):
            getattr(recorded, part)[:, ours] = getattr(old, part)[:, theirs]
    place = {item.id: row for row, item in enumerate(base.items)}
    column = {model: index for index, model in enumerate(models)}
    for (item, model), result in cells.items():
        cell = place[item], column[model]
        recorded.quality[cell] = np.nan if result.quality is None else result.quality
        recorded.cost[cell] = np.nan if result.cost_usd is None else float(result.cost_usd)
        recorded.prompt_tokens[cell] = result.prompt_tokens or 0
        recorded.completion_tokens[cell] = result.completion_tokens or 0
        recorded.replies[cell] = result.reply
    said = f"Recorded: {', '.join(model for model in asked if model in answered)} ({plan.quality_source})."
    return replace(
        base,
        recorded=recorded,
        simulated=simulated or (base.simulated and bool(kept)),
        description=base.description if said in base.description else f"{base.description} {said}".strip(),
    )


class _Keeper:
    """Keeps what was answered, and remembers why the rest was not."""

    def __init__(self, plan: Plan, database: Database, run: str) -> None:
        self.errors: Counter[str] = Counter()
        self._plan = plan
        self._database = database
        self._run = run
        self._graders = {item.id: plan.grader_of(item) for item in plan.items}

    def first_error(self) -> str:
        """The most frequent reason why a call was not answered."""
        return next((error for error, _ in self.errors.most_common(1)), "the suite has no items")

    async def keep(self, batch: Sequence[Result]) -> None:
        """Keep answers for good, each with its score. Raises `ReplayFailed` where one's cost is not known."""
        now = datetime.now(UTC)
        rows, judgements = [], []
        unpriced: str | None = None
        for result in batch:
            trouble = self._trouble(result)
            if trouble is not None:
                self.errors[trouble] += 1
                continue
            if result.quality is None:
                # The reply is kept, without a quality.
                self.errors[result.error or "not graded"] += 1
            if result.cost_usd is None:
                unpriced = result.model
                continue
            rows.append(result)
            if result.call_id is not None and result.quality is not None:
                source = f"grader:{self._graders[result.item]}"
                judgement = Score(
                    id=str(uuid_utils.uuid7()),
                    call_id=result.call_id,
                    name="quality",
                    value=result.quality,
                    source=source,
                    comment=result.comment,
                    created_at=now,
                )
                judgements.append(judgement)
        await runs.add_results(self._database, self._run, rows, judgements)
        if unpriced is not None:
            # An outcome without a cost cannot be scored, and no cap holds: better to stop at the first one than to
            # pay for a column that is of no use.
            raise ReplayFailed(
                f"model `{unpriced}` answered at an unknown cost: give it a price (input_cost_per_token and "
                "output_cost_per_token under model_info in the config), then run the same command again"
            )

    @staticmethod
    def _trouble(result: Result) -> str | None:
        """Why a result is no outcome of the model that was asked; None where it is one."""
        model = result.router.removeprefix(LABEL)
        if not result.answered:
            return result.error or "not answered"
        return None if result.model == model else f"asked for model `{model}`, answered by `{result.model}`"


def _spec(plan: Plan, upstream: str) -> dict[str, Any]:
    return {"kind": "record", **plan.spec(upstream), "routers": sorted(spec.text for spec in plan.routers)}


def _tasks(plan: Plan, earlier: Sequence[ResultRow]) -> list[Task]:
    """Item by item, so that a recording that is stopped has few half-filled rows."""
    done = {(row.router, row.item) for row in earlier if not row.ungraded}
    return [
        Task(spec.text, 0.0, item, spec.text.removeprefix(LABEL))
        for item in plan.items
        for spec in plan.routers
        if (spec.text, item.id) not in done
    ]


def _missing(plan: Plan, rows: Sequence[ResultRow]) -> dict[str, int]:
    filled = Counter(row.router for row in rows if not row.ungraded)
    gaps = {spec.text.removeprefix(LABEL): len(plan.rows) - filled[spec.text] for spec in plan.routers}
    return {model: count for model, count in gaps.items() if count}
