"""What workers know together: written by one process, read by another."""

from __future__ import annotations

import os
from collections.abc import Callable

from app.core.shared import BACK_AT, FAILS, PLACES, TRYING, Shared
from app.gateway.catalog import Catalog, Model
from app.gateway.health import Fleet, HealthRules


def in_worker(shared: Shared, number: int, work: Callable[[], None]) -> None:
    """Do it as a worker does: in a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            shared.join(number)
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_place_is_the_same_for_all_who_ask_by_its_key() -> None:
    shared = Shared(2)

    def work() -> None:
        place = shared.place("m", 0, "https://there")
        place.cells[FAILS] = 3.0
        place.inflight.add(2)

    in_worker(shared, 1, work)
    place = shared.place("m", 0, "https://there")
    place.inflight.add(1)
    assert place.cells[FAILS] == 3
    assert place.inflight.total == 3
    assert shared.place("m", 1, "https://there").cells[FAILS] == 0


def test_of_a_dead_worker_nothing_is_in_flight_nor_tried() -> None:
    shared = Shared(2)

    def work() -> None:
        place = shared.place("m")
        place.inflight.add(2)
        place.cells[FAILS], place.cells[TRYING] = 1.0, place.trier
        shared.inflight.add(7)
        shared.waiting.add(1)

    in_worker(shared, 1, work)
    mine = shared.place("n")
    mine.inflight.add(1)
    mine.cells[TRYING] = mine.trier
    assert (shared.inflight.total, shared.waiting.total) == (7, 1)
    shared.forget(1)
    assert (shared.inflight.total, shared.waiting.total) == (0, 0)
    place = shared.place("m")
    assert (place.inflight.total, place.cells[TRYING], place.cells[FAILS]) == (0, 0, 1)
    assert (mine.inflight.total, mine.cells[TRYING]) == (1, mine.trier)


def test_more_places_than_there_are_take_nobody_else_s() -> None:
    shared = Shared(2)
    places = [shared.place(number) for number in range(PLACES + 50)]
    for number, place in enumerate(places):
        place.cells[FAILS] = number + 1.0
    assert [place.cells[FAILS] for place in places] == [number + 1.0 for number in range(PLACES + 50)]
    assert shared.place(7).cells[FAILS] == 8


def fleet(shared: Shared, *models: Model) -> Fleet:
    return Fleet(Catalog(list(models), "test"), HealthRules(allowed_fails=1, cooldown=60), shared=shared)


def test_what_one_worker_finds_holds_for_all_and_through_a_reload() -> None:
    shared = Shared(2)
    limited = Model("m", "direct", "m", rpm=2)

    def work() -> None:
        there = fleet(shared, Model("down", "direct", "x"), limited)
        (health,) = there.of("down")
        for _ in range(2):
            health.begin()
            health.end()
            health.failed()
        for _ in range(2):
            there.of("m")[0].begin()

    here = fleet(shared, Model("down", "direct", "x"), limited)
    in_worker(shared, 1, work)
    assert here.down == ["down"]
    assert here.of("m")[0].is_full
    assert here.of("m")[0].inflight == 2
    # This worker reads the config again before the other does: another order, another model between.
    later = fleet(shared, limited, Model("new", "direct", "y"), Model("down", "direct", "x"))
    later.inherit(here)
    assert later.down == ["down"]
    (health,) = later.of("down")
    health.succeeded(0.1)
    in_worker(shared, 1, lambda: _assert_up(fleet(shared, Model("down", "direct", "x"), limited)))
    assert shared.place("down", 0, "direct", "x", None, None).cells[BACK_AT] == 0


def _assert_up(there: Fleet) -> None:
    assert there.down == []


def test_twins_of_a_model_have_a_place_each() -> None:
    shared = Shared(2)
    twin = Model("m", "direct", "x", max_inflight=1)
    first, second = fleet(shared, twin, twin).of("m")
    first.begin()
    assert first.is_full
    assert not second.is_full
