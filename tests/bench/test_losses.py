"""The items a router lost most on: the right ones, in the right order, with what was said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.bench.baselines import ScoredPool
from app.bench.losses import LONGEST, MOST, chat_text, losses_of, shortened
from app.bench.report import build_report
from app.bench.results import RouterResult
from app.bench.scoring import look_up
from app.bench.suite import Item, Suite
from tests.bench.tables import small_suite

QUALITY = [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.5, 0.0, 1.0], [1.0, 1.0, 0.0]]
COST = [[0.001, 0.002, 0.009]] * 6


def told_suite(quality: list[list[float]] = QUALITY, cost: list[list[float]] = COST) -> Suite:
    """A suite whose models all said something but model `c`."""
    suite = small_suite(quality, cost, categories=[f"k{row % 2}" for row in range(len(quality))])
    assert suite.recorded is not None
    replies = np.array([[f"a on {row}", f"b on {row}", None] for row in range(len(quality))], dtype=object)
    return replace(suite, recorded=replace(suite.recorded, replies=replies))


def lost(suite: Suite, picks: list[int], **changes: object) -> object:
    rows = np.arange(len(suite.items))
    setting = replace(look_up(suite.outcomes(), rows, np.array(picks), 0.3), **changes)  # type: ignore[arg-type]
    return losses_of(setting, suite, rows, ScoredPool.of(suite.outcomes()))


def test_most_quality_lost_comes_first_then_most_money() -> None:
    #          wrong, dear   wrong, cheap   right, dear   none can   half lost   right, cheapest
    found = lost(told_suite(), [0, 0, 2, 1, 0, 0], cost=np.array([0.005, 0.001, 0.009, 0.002, 0.001, 0.001]))
    assert (found.tradeoff, found.worse, found.dearer) == (0.3, 3, 2)
    assert [loss.item for loss in found.items] == ["item-0000", "item-0001", "item-0004", "item-0002", "item-0003"]
    first = found.items[0]
    assert (first.model, first.quality, first.cost_usd) == ("a", 0.0, 0.005)
    assert (first.best_model, first.best_quality, first.best_cost_usd) == ("b", 1.0, 0.002)  # c is as good and dearer
    assert (first.quality_lost, first.cost_lost_usd) == (1.0, pytest.approx(0.003))
    assert (first.reply, first.best_reply, first.category, first.prompt) == ("a on 0", "b on 0", "k0", "x")
    half = found.items[2]
    assert (half.quality_lost, half.cost_lost_usd) == (0.5, pytest.approx(-0.008))
    assert half.best_reply is None  # c's replies were not stored
    assert found.items[3].quality_lost == 0.0


def test_the_best_choice_loses_nothing() -> None:
    suite = told_suite()
    best = ScoredPool.of(suite.outcomes()).oracle.index.tolist()
    found = lost(suite, best)
    assert (found.worse, found.dearer, found.items) == (0, 0, ())


def test_a_failed_call_loses_what_the_best_model_would_have_scored() -> None:
    suite = told_suite()
    nobody: tuple[str | None, ...] = (None,) * 6
    found = lost(suite, [0] * 6, model=nobody, answered=np.zeros(6, bool), quality=np.zeros(6), cost=np.zeros(6))
    assert found.worse == 5
    assert {(loss.model, loss.reply) for loss in found.items} == {(None, None)}


def test_the_list_is_as_long_as_it_may_be_and_the_counts_are_of_all() -> None:
    n = 3 * MOST
    found = lost(told_suite([[0.0, 1.0, 1.0]] * n, [[0.001, 0.002, 0.009]] * n), [0] * n)
    assert (len(found.items), found.worse) == (MOST, n)


def test_long_texts_are_cut_and_say_so() -> None:
    assert shortened("x" * LONGEST) == "x" * LONGEST
    assert shortened("x" * (LONGEST + 1234)) == "x" * LONGEST + "… (1,234 more signs)"
    suite = told_suite()
    assert suite.recorded is not None
    suite.recorded.replies[0, 0] = "y" * 10_000
    assert len(lost(suite, [0] * 6).items[0].reply) < LONGEST + 50


def test_a_chat_says_who_speaks_where_several_do() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
    assert chat_text(Item(id="i", category="c", messages=messages[1:])) == "2 + 2?"
    assert chat_text(Item(id="i", category="c", messages=messages)) == "system: Be brief.\n\nuser: 2 + 2?"


def test_a_report_has_the_losses_of_every_router_that_can_serve() -> None:
    suite = told_suite()
    rows = np.arange(6)
    outcomes = suite.outcomes()
    dear = look_up(outcomes, rows, np.full(6, 2), 0.0)
    cheap = look_up(outcomes, rows, np.zeros(6, dtype=int), 1.0)
    report = build_report(
        suite=suite,
        rows=rows,
        split="all",
        seed=1,
        results=(RouterResult("mine", (dear, cheap)), RouterResult("oracle", (dear,))),
        outcomes=outcomes,
        quality_source="recorded",
        tradeoffs=(0.5,),
        kind="score",
        draws=50,
    )
    mine, oracle = report.routers
    assert mine.losses is not None
    assert mine.losses.tradeoff == mine.points[mine.best_point].tradeoff
    assert oracle.losses is None
