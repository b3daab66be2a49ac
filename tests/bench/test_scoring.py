"""Scoring without a wire: the router sees what it would see when serving, and nothing is dropped."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest

from app.bench.scoring import score_router
from routers import Choice, Decision, Query, Router
from routers.base import seed_for
from tests.bench.tables import small_suite

NAN = math.nan


class Spy(Router):
    """Picks `model`, or declines, and remembers what it was asked."""

    name: ClassVar[str] = "spy"

    def __init__(self, model: str | None) -> None:
        self.model = model
        self.asked: list[Query] = []

    def route(self, query: Query) -> Decision:
        self.asked.append(query)
        return Decision((Choice(self.model), Choice("a")) if self.model else (), "spy")


def test_a_router_sees_the_item_the_pool_and_its_own_seed() -> None:
    suite = small_suite([[0.5, 1.0]] * 3, [[1, 4], [1, 5], [1, 9]])
    router = Spy("b")
    score_router(router, suite, suite.outcomes(), np.array([2, 0]), (0.25,), seed=9)
    first = router.asked[0]
    assert first.messages == suite.items[2].messages
    assert (first.tradeoff, first.seed) == (0.25, seed_for(9, "item-0002"))
    # The mean cost is that of the whole suite, as the catalog has it, not of the scored rows.
    assert [(candidate.model, candidate.mean_cost) for candidate in first.candidates] == [("a", 1), ("b", 6)]


def test_every_setting_holds_the_picks_in_the_order_of_the_rows() -> None:
    suite = small_suite([[0.5, 1.0], [0.25, 0.75]], [[1, 4], [2, 5]])
    result = score_router(Spy("b"), suite, suite.outcomes(), np.array([1, 0]), (0.0, 1.0), seed=0)
    assert result.router == "spy"
    assert [setting.tradeoff for setting in result.settings] == [0, 1]
    setting = result.settings[0]
    assert setting.model == ("b", "b")
    assert setting.quality.tolist() == [0.75, 1.0]
    assert setting.cost.tolist() == [5, 4]
    assert setting.answered.all()
    assert setting.latency is None


def test_a_router_that_declines_gets_the_first_candidate() -> None:
    suite = small_suite([[0.5, 1.0]], [[1, 4]])
    result = score_router(Spy(None), suite, suite.outcomes(), np.arange(1), (0.5,), seed=0)
    assert result.settings[0].model == ("a",)


def test_a_missing_outcome_is_a_failed_call() -> None:
    suite = small_suite([[0.5, NAN], [0.5, 1.0]], [[1, NAN], [1, 3]])
    setting = score_router(Spy("b"), suite, suite.outcomes(), np.arange(2), (0.5,), seed=0).settings[0]
    assert setting.model == (None, "b")
    assert setting.quality.tolist() == [0, 1]
    assert setting.cost.tolist() == [0, 3]
    assert setting.answered.tolist() == [False, True]


class Prophet(Router):
    """Picks b, and foretells the quality of items with an even number of characters only."""

    name: ClassVar[str] = "prophet"

    def route(self, query: Query) -> Decision:
        quality = 0.75 if query.length % 2 == 0 else None
        return Decision((Choice("b", quality, 4.0), Choice("a", 0.1, 1.0)), "foretold")


def test_what_was_foretold_of_the_picked_model_is_kept() -> None:
    suite = small_suite([[0.5, 1.0]] * 3, [[1, 4]] * 3)
    setting = score_router(Prophet(), suite, suite.outcomes(), np.arange(3), (0.5,), seed=0).settings[0]
    assert setting.predicted_quality is not None
    assert setting.predicted_quality.tolist() == pytest.approx([NAN, 0.75, NAN], nan_ok=True)
    assert setting.predicted_cost is not None
    assert setting.predicted_cost.tolist() == [4, 4, 4]


@pytest.mark.parametrize("model", ["b", None])
def test_a_router_that_foretells_nothing_keeps_nothing(model: str | None) -> None:
    suite = small_suite([[0.5, 1.0]] * 3, [[1, 4]] * 3)
    setting = score_router(Spy(model), suite, suite.outcomes(), np.arange(3), (0.5,), seed=0).settings[0]
    assert (setting.predicted_quality, setting.predicted_cost) == (None, None)


def test_name_and_params_label_the_result() -> None:
    suite = small_suite([[0.5]], [[1]])
    result = score_router(Spy("a"), suite, suite.outcomes(), np.arange(1), (0.5,), seed=0, name="mine", params={"k": 3})
    assert (result.router, result.params) == ("mine", {"k": 3})


def test_outcomes_of_another_suite_are_refused() -> None:
    suite = small_suite([[0.5], [1.0]], [[1], [1]])
    with pytest.raises(ValueError, match="not of the same items"):
        score_router(Spy("a"), suite, suite.outcomes().take([1, 0]), np.arange(2), (0.5,), seed=0)
