"""Breakers, buckets and budgets against a clock that the test turns."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.catalog import Catalog, Model
from app.gateway.health import LONGEST_COOLDOWN, Bucket, Fleet, Health, HealthRules
from app.gateway.retries import PER_SECOND, RESERVE, RetryBudget, pause


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(clock: Clock, **more: int) -> Health:
    return Health(Model("m", "direct", "m", **more), HealthRules(allowed_fails=2, cooldown=5), clock)  # type: ignore[arg-type]


def fail(health: Health) -> None:
    health.begin()
    health.end()
    health.failed()


def test_set_aside_after_failures_in_a_row_and_tried_again() -> None:
    clock = Clock()
    health = made(clock)
    for _ in range(2):
        fail(health)
    assert not health.is_out
    fail(health)
    assert health.is_out
    assert health.back_in == 5
    clock.now += 5
    assert not health.is_out  # half-open
    health.begin()
    assert health.is_out  # for everybody else, while one call tries
    health.end()
    health.failed()
    assert health.back_in == 10
    clock.now += 10
    health.begin()
    health.end()
    health.succeeded(0.1)
    assert not health.is_out
    fail(health)
    assert not health.is_out


def test_a_success_between_failures_clears_them() -> None:
    health = made(Clock())
    for _ in range(10):
        fail(health)
        fail(health)
        health.succeeded(0.1)
    assert not health.is_out


def test_a_trial_that_says_nothing_leaves_the_door_ajar() -> None:
    clock = Clock()
    health = made(clock)
    for _ in range(3):
        fail(health)
    clock.now += 5
    health.begin()
    health.end()
    health.unjudged()
    assert not health.is_out


@given(st.integers(1, 40))
def test_the_cooldown_is_bounded(trials: int) -> None:
    clock = Clock()
    health = made(clock)
    for _ in range(2):
        fail(health)
    for _ in range(trials):
        fail(health)
        assert 0 < health.back_in <= LONGEST_COOLDOWN
        clock.now += health.back_in


def test_with_every_model_out_the_one_that_is_back_soonest_is_tried() -> None:
    clock = Clock()
    catalog = Catalog([Model(name, "direct", name) for name in ("a", "b", "c")], "test")
    fleet = Fleet(catalog, HealthRules(allowed_fails=0, cooldown=5), clock)
    for name in ("a", "b", "c"):
        fail(fleet.of(name)[0])
        clock.now += 1
    assert fleet.usable(["a", "b", "c"]) == ["a"]
    clock.now += 3.5
    assert fleet.usable(["a", "b", "c"]) == ["a", "b"]
    assert fleet.down == ["c"]


def test_the_fastest_idle_deployment_comes_first() -> None:
    catalog = Catalog([Model("m", "direct", name) for name in ("slow", "fast", "busy")], "test")
    fleet = Fleet(catalog, HealthRules())
    slow, fast, busy = fleet.of("m")
    slow.succeeded(2.0)
    fast.succeeded(0.5)
    busy.succeeded(0.1)
    busy.begin()
    assert [health.model.target for health in fleet.order("m")] == ["fast", "slow", "busy"]
    assert fleet.candidates["m"].latency == 0.1


@given(st.integers(1, 600), st.lists(st.floats(0, 90), max_size=60))
def test_a_bucket_never_gives_more_than_its_rate(per_minute: int, waits: list[float]) -> None:
    clock = Clock()
    bucket = Bucket(per_minute, clock)
    taken = 0
    for wait in waits:
        clock.now += wait
        while not bucket.is_empty:
            bucket.take(1)
            taken += 1
    elapsed = clock.now - Clock.now
    assert taken <= per_minute * (1 + elapsed / 60) + 1e-6
    if bucket.is_empty:
        clock.now += bucket.wait + 1e-6
        assert not bucket.is_empty


@given(st.floats(0, 1), st.lists(st.one_of(st.booleans(), st.floats(0, 30)), max_size=300))
def test_retries_stay_within_their_share(share: float, events: list[bool | float]) -> None:
    clock = Clock()
    budget = RetryBudget(share, clock)
    calls = granted = 0
    for event in events:
        if isinstance(event, float):
            clock.now += event
        elif event:
            budget.called()
            calls += 1
        else:
            granted += budget.spend()
            elapsed = clock.now - Clock.now
            assert granted <= share * calls + RESERVE + elapsed * PER_SECOND + 1e-6


def test_a_storm_is_not_retried_and_a_lone_client_always_is() -> None:
    clock = Clock()
    budget = RetryBudget(0.25, clock)
    for _ in range(1000):
        budget.called()
    assert sum(budget.spend() for _ in range(2000)) == 250 + RESERVE
    clock.now += 100
    for _ in range(100):
        budget.called()
        clock.now += 0.375  # the pauses of two retries
        assert budget.spend()
        assert budget.spend()


@given(st.integers(0, 6), st.one_of(st.none(), st.floats(0, 100)))
def test_a_pause_is_at_least_what_was_asked_for(number: int, asked: float | None) -> None:
    assert pause(number, asked) >= (asked or 0.0)
    assert pause(number) <= 0.25 * 2**number


def test_a_new_fleet_goes_on_where_the_old_one_was() -> None:
    twin = Model("m", "direct", "twin", base_url="http://x", rpm=60)
    moved = Model("m", "direct", "moved", base_url="http://y")
    clock = Clock()
    old = Fleet(Catalog([twin, twin, moved], "test"), HealthRules(allowed_fails=0, cooldown=5), clock)
    first, second, third = old.of("m")
    first.failed()
    second.succeeded(2.0)
    third.succeeded(1.0)
    second.begin()
    new = Fleet(
        Catalog([replace(twin, rpm=1), replace(twin, rpm=1), replace(moved, base_url="http://z")], "test"),
        HealthRules(allowed_fails=0, cooldown=7),
        clock,
    )
    new.inherit(old)
    assert new.of("m")[:2] == (first, second), "each of two that are alike keeps its own"
    assert new.of("m")[2] is not third
    assert [health.is_out for health in new.of("m")] == [True, False, False]
    assert new.candidates["m"].latency == 2.0
    second.end()
    second.begin()
    assert second.is_full, "the limit is the new one's"
    second.succeeded(2.4)
    assert new.candidates["m"].latency == 2.0, "what routers see does not move with every call"
    clock.now += 1
    second.succeeded(11.68)
    assert new.candidates["m"].latency == pytest.approx(4.0)
    assert old.candidates["m"].latency == 1.0
