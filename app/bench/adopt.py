"""Adopting: a run made of the calls another harness sent through the proxy.

The harness tags its calls with a run's name, by header or by key, and knows nothing else of Hullspeed. What is missing
then, which call asked which item and how good the answer was, comes from a suite that has the same questions, or from
the harness's own log. Failures, overhead, latency and cost are the ledger's, as they are for a replay.

An item counts only where every setting of the run has it, since routers are compared on the same items or not at all.
Where an item was asked several times (epochs, repeats), the means over these times stand for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uuid_utils
from numpy.typing import NDArray

from app.bench import library
from app.bench.adopt_calls import Matched, Trial, by_log, by_suite
from app.bench.adopt_logs import Sample, read_samples, tasks_of
from app.bench.graders import GraderFailed
from app.bench.plan import RECORDED, Plan, RouterSpec
from app.bench.report import Report, build_report
from app.bench.results import RouterResult, Setting
from app.bench.suite import Item, Suite
from app.core.errors import ConfigError, HullspeedError, NotFound
from app.core.types import Score
from app.gateway.prompt_hash import prompt_hash
from app.store import runs
from app.store.database import Database
from app.store.queries.decided import TaggedCall, tagged_calls
from app.store.queries.runs import scores_of
from app.store.runs import ResultRow
from routers import Outcomes

Rows = NDArray[np.int64]
"""Positions of items in their suite."""
FREE = ("recorded", "simulated")
"""Upstreams whose models a suite may have recorded."""


@dataclass(frozen=True)
class Adopted:
    """A run made of calls."""

    run: str
    report: Report
    calls: int
    """Calls that carried the tag."""
    used: int
    """Calls that are in the results."""


@dataclass(frozen=True)
class _Judged:
    """A trial with its quality."""

    trial: Trial
    quality: float
    source: str
    """Who judged, as a score's source."""


async def adopt(
    database: Database,
    tag: str,
    *,
    suite: str | None = None,
    logs: Sequence[Path] = (),
    grader: str | None = None,
    scorer: str | None = None,
    allow_code: bool = False,
) -> Adopted:
    """Make a finished run of the calls tagged `tag`, with its report.

    Without `logs` the items are those of the stored `suite`, graded as in a replay (`grader` in place of the suite's);
    that needs the replies' texts, unless a suite's recorded models answered. With `logs` items and scores are the
    harness's (`scorer`: see `read_samples`); the suite of that name has the items, or is made of the log where there
    is none (default name: the tasks'). Raises `ConfigError`, `NotFound`, `HullspeedError` where no call carries the
    tag or nothing fits.
    """
    if logs and grader is not None:
        raise ConfigError("a log brings its own scores: leave out --grader, or leave out --log to grade the replies")
    if not logs and suite is None:
        raise ConfigError("name the suite that has the items (--suite), or the harness's log (--log)")
    samples = read_samples(logs, scorer)
    calls, refused = await tagged_calls(database, tag)
    if not calls:
        raise HullspeedError(
            f"no call is tagged as run {tag!r}: send the header `x-hullspeed-run: {tag}` or the key `KEY+run={tag}`"
        )
    items, new = await _suite_of(database, suite, samples, calls)
    matched = by_log(calls, samples, items) if logs else by_suite(calls, items)
    notes = [f"{refused:,} calls were refused before a router was asked: left out."] if refused else []
    builder = _Builder(items, calls, grader, tag, allow_code=allow_code)
    judged = builder.scored(matched, notes) if logs else builder.graded(matched, notes)
    notes[:0] = matched.notes
    rows = builder.common(judged, notes)
    if new:
        await library.save(database, items)
    run, report, used = await builder.keep(database, judged, rows, notes, logs)
    return Adopted(run, report, len(calls) + refused, used)


async def _suite_of(
    database: Database, name: str | None, samples: Sequence[Sample], calls: Sequence[TaggedCall]
) -> tuple[Suite, bool]:
    """The stored suite of that name, or else one made of the samples, and whether it is that.

    Raises `ConfigError` where the samples make none, `NotFound` where there are none.
    """
    name = name or tasks_of(samples)
    try:
        return await library.load(database, name), False
    except NotFound:
        if not samples:
            raise
    found: dict[str, Item] = {}
    for sample in samples:
        known = found.setdefault(sample.item.id, sample.item)
        if prompt_hash(known.messages) != prompt_hash(sample.item.messages):
            raise ConfigError(f"the logs ask {known.id} in two ways: adopt them apart, each with a --suite of its own")
    made = Suite(
        name,
        tuple(found.values()),
        simulated=any(call.upstream == "simulated" for call in calls),
        description="Made of a harness's log; quality is the harness's own.",
    )
    return made, True


class _Builder:
    """Judges trials and makes the run of them."""

    def __init__(
        self, suite: Suite, calls: Sequence[TaggedCall], grader: str | None, tag: str, *, allow_code: bool
    ) -> None:
        self.suite = suite
        self.calls = calls
        self.tag = tag
        specs = (RouterSpec(tag, None, {}),)
        self.plan = Plan(suite, specs, split="all", grader=grader, remote=True, allow_code=allow_code)
        self.place = {item.id: row for row, item in enumerate(suite.items)}
        answered = [call for call in calls if call.outcome == "ok"]
        kinds = {str(call.upstream) for call in answered}
        recorded = set(suite.recorded.models) if suite.recorded is not None else set()
        self.known_pool = bool(recorded) and kinds <= set(FREE) and {call.model for call in answered} <= recorded
        self.upstream = kinds.pop() if len(kinds) == 1 and kinds <= set(FREE) else "live"
        self.outcomes: Outcomes | None = None
        self.quality_source = self.plan.quality_source

    def graded(self, matched: Matched, notes: list[str]) -> list[_Judged]:
        """Judged as in a replay; what cannot be judged is left out and said."""
        self.outcomes = self.plan.outcomes if self.known_pool else None
        grade = self.plan.grade(recorded_models=self.known_pool)
        judged: list[_Judged] = []
        silent = 0
        failed: list[str] = []
        for trial in matched.trials:
            try:
                quality = 0.0 if trial.error is not None else self._quality(trial, grade)
            except GraderFailed as error:
                failed.append(error.message)
                continue
            if quality is None or np.isnan(quality):
                silent += 1
                continue
            source = f"grader:{self.plan.grader_of(trial.item)}" if self.plan.graded else RECORDED
            judged.append(_Judged(trial, quality, source))
        if silent and not judged:
            raise ConfigError(
                f"none of the {silent:,} replies can be graded: their texts were not kept. Serve with `ledger: "
                "{store_text: true}`, or give the harness's own log with --log"
            )
        if silent:
            notes.append(
                f"{silent:,} of {len(matched.trials):,} replies cannot be judged without their text: left out."
            )
        if failed:
            notes.append(
                f"{len(failed):,} of {len(matched.trials):,} replies could not be graded ({failed[0]}): left out."
            )
        return judged

    def _quality(self, trial: Trial, grade: Callable[[Item, str, str], float]) -> float | None:
        """Of an answer; None where there is nothing to judge it by. Raises `GraderFailed`."""
        call, model = trial.last, trial.last.model or ""
        if call.reply_text is None and self.plan.graded:
            return self._recorded(trial.item, model)
        return grade(trial.item, model, call.reply_text or "")

    def _recorded(self, item: Item, model: str) -> float | None:
        """The quality of the recorded reply, which is what was sent; None where nothing is recorded."""
        if self.outcomes is None:
            return None
        return float(self.outcomes.quality[self.place[item.id], self.outcomes.models.index(model)])

    def scored(self, matched: Matched, notes: list[str]) -> list[_Judged]:
        """Judged by the harness; what it did not judge is left out and said."""
        judged, names, silent = [], set(), 0
        for trial in matched.trials:
            assert trial.sample is not None
            quality = 0.0 if trial.error is not None else trial.sample.quality
            if quality is None:
                silent += 1
                continue
            names.add(trial.sample.scorer)
            judged.append(_Judged(trial, quality, f"harness:{trial.sample.scorer}"))
        named = {name for name in names if name is not None}
        self.quality_source = f"harness:{named.pop()}" if len(named) == 1 else "harness:per task"
        if silent:
            notes.append(f"{silent:,} of {len(matched.trials):,} samples were not scored by the harness: left out.")
        self._compare_judges(judged, notes)
        return judged

    def _compare_judges(self, judged: Sequence[_Judged], notes: list[str]) -> None:
        """Baselines stand on recorded quality: beside the harness's scores only where both say the same."""
        if not self.known_pool:
            return
        outcomes = self.suite.outcomes()
        column = {model: place for place, model in enumerate(outcomes.models)}
        both = [
            (one.quality, float(outcomes.quality[self.place[one.trial.item.id], column[one.trial.last.model or ""]]))
            for one in judged
            if one.trial.error is None
        ]
        apart = sum(abs(theirs - ours) > 1e-9 for theirs, ours in both if not np.isnan(ours))
        if not apart:
            self.outcomes = outcomes
            return
        notes.append(
            f"The harness and the recorded quality of suite `{self.suite.name}` differ on {apart:,} of {len(both):,} "
            "replies, so no baselines stand beside the harness's scores; without --log the replies are judged as the "
            "suite's are."
        )

    async def keep(
        self, database: Database, judged: Sequence[_Judged], rows: Rows, notes: list[str], logs: Sequence[Path]
    ) -> tuple[str, Report, int]:
        """Store the run with results, scores and report: its id, the report, and how many calls are in it."""
        kept = {self.suite.items[row].id for row in rows}
        used = [one for one in judged if one.trial.item.id in kept]
        cells = _cells(used)
        results = [
            _result(router, tradeoff, item, times)
            for (router, tradeoff), own in sorted(cells.items())
            for item, times in own.items()
        ]
        self._say(used, results, notes)
        spec = self._spec(sorted(cells), logs)
        run = await runs.create_run(database, suite=self.suite.name, suite_digest=self.suite.digest, spec=spec)
        try:
            await runs.add_results(database, run.id, results, await _judgements(database, used))
            report = self._report(results, rows, run.id, notes)
        except BaseException:
            await runs.finish_run(database, run.id, "failed")
            raise
        await runs.finish_run(database, run.id, "done", msgspec.to_builtins(report))
        return run.id, report, sum(len(one.trial.calls) for one in used)

    def common(self, judged: Sequence[_Judged], notes: list[str]) -> Rows:
        """Positions of the items that every setting has, ascending. Raises `HullspeedError` where there is none."""
        cells = _cells(judged)
        asked: set[str] = set().union(*cells.values())
        common = asked.intersection(*cells.values())
        if not common:
            found = f"{len(cells)} settings have no item in common" if cells else "; ".join(notes) or "nothing fits"
            raise HullspeedError(
                f"run {self.tag!r} gives no results ({found}): tag what is to be compared alike, and ask the same items"
            )
        if len(common) < len(asked):
            notes.append(
                f"{len(asked) - len(common):,} of {len(asked):,} items were not asked at every setting: left out."
            )
        return np.array(sorted(self.place[item] for item in common), dtype=np.int64)

    def _say(self, used: Sequence[_Judged], results: Sequence[ResultRow], notes: list[str]) -> None:
        unpriced = sum(row.cost_usd is None for row in results)
        if unpriced:
            notes.append(f"{unpriced:,} of {len(results):,} results have no known cost and count as free.")
        if len(used) > len(results):
            notes.append(f"Items were asked {len(used) / len(results):.3g} times on average; these are the means.")
        if any(len(one.trial.calls) > 1 for one in used):
            calls = sum(len(one.trial.calls) for one in used)
            notes.append(f"An answer took {calls / len(used):.3g} calls on average; cost and times are their sums.")

    def _spec(self, settings: Sequence[tuple[str, float]], logs: Sequence[Path]) -> dict[str, Any]:
        return {
            **self.plan.spec(self.upstream),
            "kind": "adopt",
            "tag": self.tag,
            "routers": list(dict.fromkeys(router for router, _ in settings)),
            "tradeoffs": sorted({tradeoff for _, tradeoff in settings}),
            "quality": self.quality_source,
            "logs": [path.name for path in logs],
        }

    def _report(self, results: Sequence[ResultRow], rows: Rows, run: str, notes: Sequence[str]) -> Report:
        items = [self.suite.items[row].id for row in rows]
        tables: defaultdict[str, defaultdict[float, dict[str, ResultRow]]] = defaultdict(lambda: defaultdict(dict))
        for row in results:
            tables[row.router][row.tradeoff][row.item] = row
        return build_report(
            suite=self.suite,
            rows=rows,
            split="all",
            seed=0,
            results=[
                RouterResult(
                    router,
                    tuple(_setting(tradeoff, [cells[item] for item in items]) for tradeoff, cells in own.items()),
                )
                for router, own in tables.items()
            ],
            outcomes=self.outcomes,
            quality_source=self.quality_source,
            tradeoffs=sorted({row.tradeoff for row in results}),
            kind="replay",
            run=run,
            upstream=self.upstream,
            notes=notes,
        )


def _cells(judged: Sequence[_Judged]) -> dict[tuple[str, float], dict[str, list[_Judged]]]:
    """The times each item was asked, by setting and item."""
    cells: defaultdict[tuple[str, float], defaultdict[str, list[_Judged]]] = defaultdict(lambda: defaultdict(list))
    for one in judged:
        cells[one.trial.setting][one.trial.item.id].append(one)
    return {setting: dict(own) for setting, own in cells.items()}


def _result(router: str, tradeoff: float, item: str, times: Sequence[_Judged]) -> ResultRow:
    """The means over the times an item was asked; each time costs and takes what all its calls did."""
    last = times[-1].trial
    answered = [one for one in times if one.trial.error is None]
    costs = [call.cost_usd for one in times for call in one.trial.calls]
    known = [cost for cost in costs if cost is not None]
    overheads = [call.overhead for one in times for call in one.trial.calls if call.overhead is not None]
    return ResultRow(
        router=router,
        tradeoff=tradeoff,
        item=item,
        answered=bool(answered),
        call_id=(answered or times)[-1].trial.last.id,
        model=answered[-1].trial.last.model if answered else None,
        quality=float(np.mean([one.quality for one in times])),
        cost_usd=sum(known, Decimal(0)) / len(times) if len(known) == len(costs) else None,
        latency=sum(call.latency for one in times for call in one.trial.calls) / len(times),
        overhead=sum(overheads) / len(times) if overheads else None,
        error=None if answered else last.error,
    )


def _setting(tradeoff: float, rows: Sequence[ResultRow]) -> Setting:
    return Setting(
        tradeoff=tradeoff,
        model=tuple(row.model for row in rows),
        quality=np.array([row.quality for row in rows], dtype=np.float64),
        cost=np.array([float(row.cost_usd or 0) for row in rows]),
        answered=np.array([row.answered for row in rows]),
        latency=np.array([row.latency for row in rows], dtype=np.float64),
        overhead=np.array([row.overhead for row in rows], dtype=np.float64),
    )


async def _judgements(database: Database, judged: Sequence[_Judged]) -> list[Score]:
    """Each quality as the score of the call that answered, unless the call has it from an earlier adoption."""
    known = await scores_of(database, [one.trial.last.id for one in judged])
    now = datetime.now(UTC)
    return [
        Score(
            id=str(uuid_utils.uuid7()),
            call_id=one.trial.last.id,
            name="quality",
            value=one.quality,
            source=one.source,
            created_at=now,
        )
        for one in judged
        if one.trial.error is None and all(score.source != one.source for score in known.get(one.trial.last.id, ()))
    ]
