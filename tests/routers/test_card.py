"""Model cards: a target is the right setting, and a broken card says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers import artifacts
from routers.artifacts import MANIFEST, ArtifactError
from routers.card import Card, CardModel, CardPoint
from routers.knn import KnnRouter
from tests.routers import toy

CARD = Card(
    fitted=70,
    held_out=30,
    seed=0,
    quality_source="recorded",
    best_single="large",
    best_quality=0.8,
    best_cost=0.01,
    aiq=0.7,
    aiq_low=0.6,
    aiq_high=0.8,
    delta_aiq=0.02,
    delta_low=0.01,
    delta_high=0.03,
    points=(
        CardPoint(0.0, 0.82, 0.009),
        CardPoint(0.1, 0.8, 0.004),
        CardPoint(0.3, 0.75, 0.002),
        CardPoint(1.0, 0.5, 0.001),
    ),
    singles=(CardModel("small", 0.5, 0.001), CardModel("odd", 0.4, 0.004), CardModel("large", 0.8, 0.01)),
)


@pytest.mark.parametrize(("share", "tradeoff"), [(1.0, 0.0), (0.4, 0.1), (0.39, 0.3), (0.05, 1.0)])
def test_target_cost(share: float, tradeoff: float) -> None:
    assert CARD.tradeoff_for_cost(share) == tradeoff


@pytest.mark.parametrize(("share", "tradeoff"), [(1.0, 0.1), (0.9, 0.3), (0.1, 1.0)])
def test_target_quality(share: float, tradeoff: float) -> None:
    assert CARD.tradeoff_for_quality(share) == tradeoff


def test_what_no_setting_reaches_gets_the_nearest() -> None:
    poor = replace(CARD, best_quality=1.0)
    assert poor.tradeoff_for_quality(1.0) == 0.0


points = st.lists(st.builds(CardPoint, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8).map(
    tuple
)


@given(points, st.floats(0.01, 2))
def test_a_target_that_can_be_met_is_met(points: tuple[CardPoint, ...], share: float) -> None:
    card = replace(CARD, points=points)
    costs = {point.cost for point in points if point.tradeoff == card.tradeoff_for_cost(share)}
    if any(point.cost <= share * card.best_cost for point in points):
        assert min(costs) <= share * card.best_cost
    quality = {point.quality for point in points if point.tradeoff == card.tradeoff_for_quality(share)}
    if any(point.quality >= share * card.best_quality for point in points):
        assert max(quality) >= share * card.best_quality


def test_json_round_trip() -> None:
    assert Card.parse(json.loads(json.dumps(CARD.as_json()))) == CARD


def test_what_the_zero_router_mixes() -> None:
    assert [single.model for single in CARD.zero] == ["small", "large"]
    assert [point.tradeoff for point in CARD.best_points] == [1.0, 0.3, 0.1, 0.0]


def test_a_card_from_before_models_were_kept_in_it() -> None:
    old = CARD.as_json()
    del old["singles"]
    card = Card.parse(json.loads(json.dumps(old)))
    assert (card.singles, card.zero) == ((), ())


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"points": []},
        {**CARD.as_json(), "points": [{"tradeoff": 0}]},
        {**CARD.as_json(), "points": [1]},
        {**CARD.as_json(), "singles": {}},
        {**CARD.as_json(), "singles": [{"model": 1}]},
    ],
)
def test_broken_cards_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="card"):
        Card.parse(value)


def test_kept_with_the_artifact(tmp_path: Path) -> None:
    router = KnnRouter.fit(toy.outcomes_once())
    router.card = CARD
    router.save(tmp_path / "a")
    assert artifacts.load(tmp_path / "a").card == CARD
    router.card = None
    router.save(tmp_path / "b")
    assert artifacts.load(tmp_path / "b").card is None


def test_a_changed_card_is_noticed(tmp_path: Path) -> None:
    router = KnnRouter.fit(toy.outcomes_once())
    router.card = CARD
    router.save(tmp_path / "a")
    path = tmp_path / "a" / "card.json"
    path.write_text(path.read_text().replace('"large"', '"small"'))
    with pytest.raises(ArtifactError, match=MANIFEST):
        artifacts.load(tmp_path / "a")
