"""Calls by step, and how attempts went lately: against the calls themselves, one by one."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from app.core.types import Attempt
from app.store.database import Database
from app.store.queries.attempted import recent_attempts
from app.store.queries.choices import BestSingle, ExpectedQuality, best_single
from app.store.queries.periods import StatsFilter
from app.store.queries.timeline import MOST_MODELS, MOST_STEPS, timeline
from tests.store.samples import NOW, full_call, small_call
from tests.store.test_overview import BEGIN, drawn, ship_calls


@pytest.mark.parametrize(
    ("hours", "wanted", "step"),
    [
        (240, StatsFilter(), timedelta(days=1)),
        (100, StatsFilter(source="live", router="knn"), timedelta(hours=2)),
        (90, StatsFilter(source="live", router="knn"), timedelta(hours=1)),
        (1, StatsFilter(), timedelta(minutes=1)),
        (2, StatsFilter(), timedelta(minutes=2)),
    ],
)
async def test_steps_are_those_of_the_calls(
    database: Database, hours: int, wanted: StatsFilter, step: timedelta
) -> None:
    rng = random.Random(3)
    calls = [drawn(rng) for _ in range(300)]
    await ship_calls(database, calls)
    since = BEGIN + timedelta(hours=3, minutes=1)
    found = await timeline(database, since, since + timedelta(hours=hours), wanted, now=since)
    assert found.step == step
    assert found.steps[0] == found.since <= since
    assert found.steps[-1] + step >= found.until >= since + timedelta(hours=hours)
    among = [
        call
        for call in calls
        if found.since <= call.started_at < found.until
        and wanted.source in (None, call.source)
        and wanted.router in (None, call.decision and call.decision.router)
    ]
    for place, begin in enumerate(found.steps):
        here = [call for call in among if begin <= call.started_at < begin + step]
        for model, line in (*found.models.items(), (None, found.unanswered)):
            answered = [call for call in here if call.model == model]
            assert line.calls[place] == len(answered)
            assert line.cost_usd[place] == pytest.approx(float(sum(call.cost_usd or 0 for call in answered)))
        assert found.others.calls[place] == 0
        for outcome, counts in found.outcomes.items():
            assert counts[place] == sum(call.outcome == outcome for call in here)
        p50 = found.latency[0.5][place]
        assert (p50 is None) == (not here)
        if p50 is not None:
            exact = sorted(call.latency for call in here)[(len(here) - 1) // 2]
            assert exact / 1.7 <= p50 <= exact * 1.7


async def test_a_long_time_has_wider_steps_and_many_models_share_a_line(database: Database) -> None:
    names = [f"model-{number:02}" for number in range(MOST_MODELS + 3)]
    calls = [full_call(model=name, started_at=NOW) for place, name in enumerate(names) for _ in range(20 - place)]
    await ship_calls(database, [*calls, small_call(started_at=NOW - timedelta(days=900))])
    found = await timeline(database, now=NOW)
    assert found.step == timedelta(days=10)
    assert len(found.steps) <= MOST_STEPS
    assert list(found.models) == names[:MOST_MODELS]
    assert found.others.calls[-1] == sum(20 - place for place in range(MOST_MODELS, len(names)))
    assert found.unanswered.calls[0] == 1


async def test_an_empty_ledger_has_steps_without_calls(database: Database) -> None:
    found = await timeline(database, NOW - timedelta(hours=1), NOW, now=NOW)
    assert len(found.steps) in (60, 61)
    assert (found.models, found.outcomes, set(found.latency[0.5])) == ({}, {}, {None})
    assert len((await timeline(database, now=NOW)).steps) == 1


def tried(*outcomes: str) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(
            model=f"m{place}", upstream="direct", outcome=outcome, offset=0.0, latency=1.0, status=500,  # type: ignore[arg-type]
            error=f"{outcome} of {place}" if outcome == "timeout" else None,
        )
        for place, outcome in enumerate(outcomes)
    )  # fmt: skip


async def test_attempts_that_failed_lately(database: Database) -> None:
    calls = [
        full_call(attempts=tried("error", "ok")),
        full_call(attempts=tried("ok"), started_at=NOW + timedelta(seconds=1)),
        full_call(attempts=tried("timeout", "error", "ok"), started_at=NOW + timedelta(seconds=2)),
        full_call(attempts=tried("client_cancelled", "abandoned"), started_at=NOW + timedelta(seconds=3)),
        full_call(attempts=tried("error"), source="live"),
        full_call(attempts=tried("error"), started_at=NOW - timedelta(days=8)),
    ]
    await ship_calls(database, calls)
    now = NOW + timedelta(seconds=5)
    found = await recent_attempts(database, StatsFilter(source="replay"), now=now)
    assert {name: (one.attempts, one.failed, one.last_error) for name, one in found.items()} == {
        "m0": (3, 2, "timeout of 0"),
        "m1": (2, 1, "error 500"),
        "m2": (1, 0, None),
    }
    assert found["m0"].last_failed_at == NOW + timedelta(seconds=2)
    newest = await recent_attempts(database, StatsFilter(source="replay"), newest=2, now=now)
    assert newest["m0"].attempts == 1
    assert await recent_attempts(database, StatsFilter(router="no\x00ne"), now=now) == {}


def quality(model: str, predicted: float | None, scored: float | None = None, scores: int = 0) -> ExpectedQuality:
    return ExpectedQuality(model=model, predicted=predicted, predictions=7, scored=scored, scores=scores)


def test_the_best_single_model() -> None:
    # The small one is given what is easy, and is right there; how good it were at all the rest is predicted.
    small, large = quality("small", 0.5, 0.9, 40), quality("large", 0.75, 0.8, 50)
    assert best_single([small, large], ["small", "large"]) == BestSingle("large", 0.75, "predictions", 7)
    unknown = quality("small", None, 0.9, 40)
    assert best_single([unknown, large], ["small", "large"]) == BestSingle("small", 0.9, "scores", 40)
    few = quality("small", None, 0.9, 3)
    assert best_single([few, large], ["small", "large"]) is None
    assert best_single([small, large], ["large"]) is None
