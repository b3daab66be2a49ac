"""Scoring without a wire: the router sees what it would see when serving, and nothing is dropped."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest

from app.bench.scoring import score_router
from app.bench.suite import Suite
from routers import Choice, Decision, Query, Reply, Router
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


class Agreeing(Router):
    """Asks a and b at once; where they say the same that is the answer, else c's."""

    name: ClassVar[str] = "agreeing"

    def route(self, query: Query) -> Decision:
        ranking = tuple(Choice(candidate.model, 0.5, 1.0) for candidate in query.candidates)
        if len(query.text) == 1:
            return Decision(ranking, "short")
        return Decision(ranking, "ladder", ask=2, review=lambda replies: self.review(ranking, replies))

    def review(self, ranking: tuple[Choice, ...], replies: Sequence[Reply]) -> Decision:
        texts = [reply.text for reply in replies]
        if len(replies) == 2 and (texts[0] is None or texts[0] != texts[1]):
            return Decision(ranking[2:], "climbed", review=lambda more: self.review(ranking, more))
        return Decision((), "done", reply="a" if len(replies) == 2 else "c")


def agreeing_suite(replies: list[list[str | None]], quality: list[list[float]]) -> Suite:
    suite = small_suite(
        quality, [[NAN if math.isnan(cell) else 2.0**place for place, cell in enumerate(row)] for row in quality]
    )
    assert suite.recorded is not None
    told = np.array(replies, dtype=object)
    return dataclasses.replace(suite, recorded=dataclasses.replace(suite.recorded, replies=told))


def test_a_router_that_sees_replies_is_billed_for_all_it_called() -> None:
    """The first item is short: a alone. Then agreement, disagreement, a text that is missing, a missing outcome."""
    suite = agreeing_suite(
        [["x", "y", "z"], ["x", "x", "z"], ["x", "y", "z"], [None, None, "z"], ["x", "x", "z"]],
        [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.4, 0.5, 0.6], [0.4, 0.5, 0.7], [NAN, 0.5, 0.8]],
    )
    setting = score_router(Agreeing(), suite, suite.outcomes(), np.arange(5), (0.5,), seed=0).settings[0]
    assert setting.model == ("a", "a", "c", "c", "c")
    assert setting.quality.tolist() == [0.1, 0.4, 0.6, 0.7, 0.8]
    assert setting.cost.tolist() == [1, 3, 7, 7, 6]
    assert setting.calls is not None
    assert setting.calls.tolist() == [1, 2, 3, 3, 3]
    assert setting.answered.all()


def test_what_was_foretold_of_one_model_is_not_kept_where_several_were_asked() -> None:
    suite = agreeing_suite([["x", "y", "z"], ["x", "x", "z"]], [[0.1, 0.2, 0.3]] * 2)
    setting = score_router(Agreeing(), suite, suite.outcomes(), np.arange(2), (0.5,), seed=0).settings[0]
    assert setting.predicted_quality is not None
    assert setting.predicted_quality.tolist() == pytest.approx([0.5, NAN], nan_ok=True)
    alone = score_router(Agreeing(), suite, suite.outcomes(), np.array([1]), (0.5,), seed=0).settings[0]
    assert (alone.predicted_quality, alone.predicted_cost) == (None, None)


def test_an_answer_without_an_outcome_is_a_failed_call_and_the_others_are_billed() -> None:
    suite = agreeing_suite([["x", "y", "z"]] * 2, [[0.4, 0.5, 0.6], [0.1, 0.2, NAN]])
    setting = score_router(Agreeing(), suite, suite.outcomes(), np.array([1]), (0.5,), seed=0).settings[0]
    # The reply of c is missing, so the first one that is there answers.
    assert setting.model == ("a",)
    assert setting.cost.tolist() == [3]
    dark = agreeing_suite([["x", "y", "z"], ["x", "y", "z"]], [[0.4, 0.5, 0.6], [NAN, NAN, NAN]])
    failed = score_router(Agreeing(), dark, dark.outcomes(), np.array([1]), (0.5,), seed=0).settings[0]
    assert failed.model == (None,)
    assert (failed.quality.tolist(), failed.cost.tolist(), failed.answered.tolist()) == ([0], [0], [False])


def test_a_router_that_asks_one_model_makes_one_call() -> None:
    suite = small_suite([[0.5, 1.0]] * 3, [[1, 4]] * 3)
    setting = score_router(Spy("b"), suite, suite.outcomes(), np.arange(3), (0.5,), seed=0).settings[0]
    assert setting.calls is not None
    assert setting.calls.tolist() == [1, 1, 1]


def test_name_and_params_label_the_result() -> None:
    suite = small_suite([[0.5]], [[1]])
    result = score_router(Spy("a"), suite, suite.outcomes(), np.arange(1), (0.5,), seed=0, name="mine", params={"k": 3})
    assert (result.router, result.params) == ("mine", {"k": 3})


def test_outcomes_of_another_suite_are_refused() -> None:
    suite = small_suite([[0.5], [1.0]], [[1], [1]])
    with pytest.raises(ValueError, match="not of the same items"):
        score_router(Spy("a"), suite, suite.outcomes().take([1, 0]), np.arange(2), (0.5,), seed=0)
