"""What people are told of models, against a clock that the test turns."""

from __future__ import annotations

from app.gateway.catalog import Catalog, Model
from app.gateway.health import Fleet, HealthRules
from app.gateway.standing import ModelStanding, standings


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_how_models_stand() -> None:
    clock = Clock()
    models = [Model("one", "direct", "a"), Model("two", "direct", "b"), Model("two", "direct", "c", max_inflight=1)]
    fleet = Fleet(Catalog(models, "a test"), HealthRules(allowed_fails=1, cooldown=5), clock)

    def standing(name: str) -> ModelStanding:
        return next(one for one in standings(fleet) if one.name == name)

    (health,) = fleet.of("one")
    assert (standing("one").state, standing("one").troubled) == ("up", ())
    for _ in range(2):
        health.begin()
        health.end()
        health.failed()
    clock.now += 2
    (down,) = standing("one").troubled
    assert (standing("one").state, down.reason, down.aside_for, down.back_in) == ("down", "2 failures in a row", 2, 3)
    clock.now += 3
    (due,) = standing("one").troubled
    assert (due.state, due.aside_for, due.back_in) == ("trying", 5, 0)
    health.begin()
    assert (standing("one").state, standing("one").inflight) == ("trying", 1)
    health.end()
    health.failed()
    # Set aside again, and all the time since the first failure.
    assert (standing("one").troubled[0].aside_for, standing("one").troubled[0].back_in) == (5, 10)
    clock.now += 10
    health.begin()
    health.end()
    health.succeeded(0.1)
    assert standing("one").state == "up"
    health.limited(60)
    assert standing("one").troubled[0].reason == "it asked to be left alone"

    first, second = fleet.of("two")
    first.limited(1)
    assert (standing("two").state, len(standing("two").troubled), standing("two").is_full) == ("up", 1, False)
    second.begin()
    assert (standing("two").is_full, standing("two").inflight) == (True, 1)
