"""Arms: the table by which they are chosen is what walking them gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers import Choice, Decision, Outcomes, Query, Reply
from routers.arms import (
    Table,
    Votes,
    ladders_of_four,
    ladders_of_three,
    look_up,
    most_used,
    on_hull,
    singles,
)
from routers.ladder import Climb
from routers.walk import follow

MODELS = ("a", "b", "c", "d")
TEXTS = (None, "The answer is 1.", "#### 1", "The answer is 2.", "The answer is 3.", "word " * 80)
QUALITY = np.array([0.5, 0.7, 0.5, 0.9])
COST = np.array([1.0, 2.0, 4.0, 8.0])
ARMS = singles(range(4)) + ladders_of_three(range(4), QUALITY) + ladders_of_four(range(4), QUALITY, COST)

cells = st.tuples(st.sampled_from(TEXTS), st.sampled_from([0.0, 0.5, 1.0, np.nan]))


def outcomes(rows: list[list[tuple[str | None, float]]]) -> Outcomes:
    quality = np.array([[cell[1] for cell in row] for row in rows])
    replies = np.array([[cell[0] for cell in row] for row in rows], dtype=object).reshape(quality.shape)
    return Outcomes(
        items=tuple(f"item-{row}" for row in range(len(rows))),
        prompts=("?",) * len(rows),
        lengths=np.ones(len(rows), dtype=np.int64),
        categories=("only",) * len(rows),
        models=MODELS[: quality.shape[1]],
        quality=quality,
        cost=np.where(np.isnan(quality), np.nan, COST[: quality.shape[1]] + np.arange(len(rows))[:, None]),
        replies=replies,
    )


@given(st.lists(st.lists(cells, min_size=4, max_size=4), min_size=1, max_size=4))
def test_the_table_is_what_walking_gives(rows: list[list[tuple[str | None, float]]]) -> None:
    table = outcomes(rows)
    found = look_up(ARMS, table, Votes.of(table), QUALITY)
    means = dict(zip(MODELS, QUALITY.tolist(), strict=True))
    for (row, column), quality in np.ndenumerate(found.quality):
        arm = [MODELS[place] for place in ARMS[column]]
        if np.isnan(table.quality[row, list(ARMS[column])]).any():
            assert np.isnan(quality)
            continue
        if np.isnan(quality):
            assert all(table.replies[row, place] is None for place in ARMS[column])
            continue
        ranking = tuple(Choice(model) for model in arm)
        review = Climb(ranking, tuple(arm), means, {}).review if len(arm) > 1 else None
        decision = Decision(ranking, "ladder", ask=2 if review else 1, review=review)

        def ask(model: str, row: int = row) -> Reply:
            return Reply(model, table.replies[row, MODELS.index(model)])

        walk = follow(decision, Query([], ()), ask)
        assert table.quality[row, MODELS.index(walk.answer.model)] == quality
        assert found.cost[row, column] == sum(table.cost[row, MODELS.index(model)] for model in walk.called)


def test_the_pair_is_asked_better_one_first_and_fours_climb_in_price() -> None:
    three, four = ladders_of_three(range(4), QUALITY), ladders_of_four(range(4), QUALITY, COST)
    assert len(three) == 12
    assert (1, 0, 2) in three
    assert (0, 2, 3) in three
    assert four == [(1, 0, 2, 3)]


def test_only_the_hull_stays() -> None:
    table = Table(
        ((0,), (1,), (2,), (0, 1, 2), (1, 2, 0)),
        np.array([[0.2, 0.5, 0.4, 0.9, np.nan]] * 2),
        np.array([[1.0, 2.0, 3.0, 4.0, np.nan]] * 2),
    )
    assert on_hull(table) == [0, 1, 3]


def test_models_are_taken_from_the_hull_first_then_from_what_lies_below() -> None:
    table = Table(
        tuple(singles(range(4))),
        np.array([[0.2, 0.5, 0.4, 0.1]]),
        np.array([[1.0, 2.0, 3.0, 4.0]]),
    )
    assert most_used(table, 2) == [0, 1]
    assert most_used(table, 3) == [0, 1, 2]
    assert most_used(table, 9) == [0, 1, 2, 3]


def test_without_replies_there_are_no_votes() -> None:
    table = outcomes([[("The answer is 1.", 1.0)] * 4])
    bare = Outcomes(
        table.items, table.prompts, table.lengths, table.categories, table.models, table.quality, table.cost
    )
    votes = Votes.of(bare)
    assert not votes.told.any()
    assert (votes.answers == -1).all()
    assert np.isnan(look_up([(0, 1, 2)], bare, votes, QUALITY).quality).all()


@pytest.mark.parametrize("arm", [(0,), (1, 0, 2)])
def test_an_arm_with_a_missing_outcome_has_none(arm: tuple[int, ...]) -> None:
    table = outcomes([[("The answer is 1.", np.nan), *[("The answer is 1.", 1.0)] * 3]])
    assert np.isnan(look_up([arm], table, Votes.of(table), QUALITY).quality).all()
