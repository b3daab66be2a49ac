"""What routers say of how a decision came about: enough to explain it, and little to keep with every call."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from routers import artifacts
from routers.artifacts import MANIFEST, item_hash
from routers.bandit import BanditRouter
from routers.kmeans import KmeansRouter
from routers.knn import NAMED, KnnRouter
from routers.ladder import LadderRouter
from routers.length import LengthRouter
from routers.ridge import RidgeRouter
from routers.rules import RulesRouter
from routers.threshold import ThresholdRouter
from tests.routers.toy import WORDS, ask, outcomes, outcomes_once

POEM = ask(" ".join(WORDS["poem"][:7]), tradeoff=0.4)


def test_neighbours_are_named_and_kept_with_the_artifact(tmp_path: Path) -> None:
    table = outcomes_once()
    router = KnnRouter.fit(table)
    detail = router.route(POEM).detail
    near = detail["neighbours"]
    assert near["asked"] == len(table.items) // 10
    assert len(near["nearest"]) == NAMED
    likenesses = [likeness for _, likeness in near["nearest"]]
    assert likenesses == sorted(likenesses, reverse=True)
    assert near["farthest"] <= likenesses[-1]
    poems = {item_hash(item) for item in table.items if item.startswith("poem")}
    assert {key for key, _ in near["nearest"]} <= poems
    router.save(tmp_path / "new")
    assert KnnRouter.load(tmp_path / "new").route(POEM).detail == detail


def test_an_artifact_of_before_names_no_neighbours(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    router = KnnRouter.fit(outcomes(60))
    router.save(folder)
    (folder / "neighbours.json").unlink()
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"]["neighbours.json"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    found = KnnRouter.load(folder).route(POEM)
    assert [key for key, _ in found.detail["neighbours"]["nearest"]] == [None] * NAMED
    assert found.ranking == router.route(POEM).ranking


def test_names_that_do_not_fit_the_vectors_are_refused(tmp_path: Path) -> None:
    router = KnnRouter.fit(outcomes(60))
    router._items = router._items[1:]
    router.save(tmp_path / "torn")
    with pytest.raises(artifacts.ArtifactError, match=r"neighbours\.json does not fit"):
        KnnRouter.load(tmp_path / "torn")


def test_the_cluster_is_told() -> None:
    router = KmeansRouter.fit(outcomes_once(), clusters=3, nearest=2)
    clusters = router.route(POEM).detail["clusters"]
    assert clusters["of"] == 3
    assert len(clusters["asked"]) == 2
    assert sum(weight for _, weight in clusters["asked"]) == pytest.approx(1, abs=1e-3)
    other = router.route(ask(" ".join(WORDS["code"]))).detail["clusters"]
    assert other["asked"][0][0] != clusters["asked"][0][0]


@pytest.mark.parametrize("cls", [KnnRouter, KmeansRouter, RidgeRouter, BanditRouter, LadderRouter])
def test_the_dearest_mean_cost_is_told(cls: type[KnnRouter]) -> None:
    table = outcomes_once()
    dearest = cls.fit(table).route(POEM).detail["dearest_usd"]
    assert dearest == pytest.approx(float(np.nanmean(table.cost, axis=0).max()))
    # A prompt without a known word is decided by the same formula.
    assert "dearest_usd" in cls.fit(table).route(ask("ξένος")).detail


def test_the_rule_is_told_with_its_conditions() -> None:
    many = [f"word{number}" for number in range(50)]
    router = RulesRouter(
        [
            {"when": {"keywords": many}, "models": ["large"]},
            {"when": {"regex": "x" * 500, "scripts": {"latin": 0.5}}, "models": ["large"]},
            {"else": ["small"]},
        ]
    )
    assert router.route(ask("hello")).detail == {"rule": 3, "when": {}}
    told = router.route(ask("word7")).detail
    assert told["rule"] == 1
    assert told["when"]["keywords"] == [*many[:8], "…"]
    told = router.route(ask("x" * 500)).detail
    assert told["when"]["scripts"] == {"latin": 0.5}
    assert len(told["when"]["regex"]) == 200


def test_the_rung_and_the_threshold_are_told() -> None:
    for router in (LengthRouter(), LengthRouter.fit(outcomes_once())):
        decided = router.route(POEM)
        detail = decided.detail
        assert detail["length"] == POEM.length
        assert 0 <= detail["longer_than"] <= 1
        assert 1 <= detail["rung"] <= detail["rungs"] <= len(decided.ranking)
    strong = ThresholdRouter.fit(outcomes_once())
    detail = strong.route(ask("moon", tradeoff=0.5)).detail
    assert detail["threshold"] == pytest.approx(strong.threshold)
    assert "threshold" not in strong.route(ask("moon", tradeoff=1.0)).detail


def test_little_is_kept_with_each_call() -> None:
    for cls in (KnnRouter, KmeansRouter, RidgeRouter):
        assert len(json.dumps(dict(cls.fit(outcomes_once()).route(POEM).detail))) < 400
