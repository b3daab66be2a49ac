"""What holds for all of the learned routers beyond knn and ridge."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from routers import Candidate, Outcomes, Query, Router, TrainableRouter, artifacts
from routers.bandit import BanditRouter
from routers.cascade import CascadeRouter
from routers.factors import FactorsRouter
from routers.kmeans import KmeansRouter
from routers.knn import KnnRouter
from routers.mlp import MlpRouter
from routers.predictive import PredictiveRouter
from routers.svm import SvmRouter
from routers.threshold import ThresholdRouter
from routers.trees import TreesRouter
from tests.routers.collection import HAS_TREES, PREDICTIVE, TRAINABLE, every_one, fitted, table
from tests.routers.test_policies import queries
from tests.routers.toy import MODELS, WORDS, ask, outcomes

each_predictive = pytest.mark.parametrize("cls", PREDICTIVE)
each_trainable = pytest.mark.parametrize("cls", TRAINABLE)
each_router = pytest.mark.parametrize(
    "router", every_one(), ids=lambda router: f"{router.name}-{every_one().index(router)}"
)


@each_router
@settings(max_examples=40, deadline=None)
@given(query=queries)
def test_a_ranking_is_a_permutation_with_propensities_and_possible_predictions(router: Router, query: Query) -> None:
    decision = router.route(query)

    assert decision.reason
    assert decision == router.route(dataclasses.replace(query)) or decision.review is not None
    if not decision.ranking:
        return
    ranked = [choice.model for choice in decision.ranking]
    assert sorted(ranked) == sorted(candidate.model for candidate in query.candidates)
    assert math.isclose(math.fsum(choice.probability for choice in decision.ranking), 1.0)
    assert decision.ranking[0].probability > 0
    for choice in decision.ranking:
        assert choice.quality is None or 0 <= choice.quality <= 1
        assert choice.cost is None or 0 <= choice.cost < math.inf
        assert type(choice.quality) in (float, type(None))


@each_predictive
@pytest.mark.parametrize(("topic", "expected"), [("sum", "small"), ("code", "coder"), ("poem", "poet")])
def test_a_new_prompt_goes_to_the_cheap_model_that_can_do_it(cls: Any, topic: str, expected: str) -> None:
    text = " ".join(WORDS[topic][:7])
    assert fitted(cls).route(ask(text, tradeoff=0.7)).ranking[0].model == expected
    assert fitted(cls).route(ask(text, tradeoff=1.0)).ranking[0].model == "small"


@each_predictive
def test_it_learns_from_a_table_with_holes(cls: Any) -> None:
    assert fitted(cls, 400, 0.3).route(ask(" ".join(WORDS["poem"]), tradeoff=0.7)).ranking[0].model == "poet"


@each_trainable
def test_it_comes_back_from_its_folder_as_it_was(cls: Any, tmp_path: Path) -> None:
    router = fitted(cls, 240, 0.1)
    router.save(tmp_path / "a")
    back = artifacts.load(tmp_path / "a")
    assert type(back) is cls
    for text in (*table().prompts[:15], "", "nothing known zzz"):
        for tradeoff in (0.0, 0.3, 1.0):
            query = ask(text, tradeoff=tradeoff, seed=5)
            before, after = router.route(query), back.route(query)
            assert (before.ranking, before.reason, before.detail) == (after.ranking, after.reason, after.detail)


@each_trainable
def test_two_fits_give_the_same_bytes(cls: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        cls.fit(table(90, 0.1), **TRAINABLE[cls]).save(tmp_path / name)
    first, second = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())} for name in ("a", "b")
    )
    assert first == second


FIT = """
import pathlib, sys
from tests.routers.collection import TRAINABLE, table
for cls, params in TRAINABLE.items():
    cls.fit(table(120, 0.1), **params).save(pathlib.Path(sys.argv[1]) / cls.name)
"""


def test_fits_give_the_same_bytes_whatever_the_hash_seed_and_threads(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for threads in ("1", "2"):
        environment = {"PYTHONHASHSEED": threads, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", FIT, str(tmp_path / threads)]
        subprocess.run(command, cwd=root, env=environment, check=True, timeout=100)
    for path in sorted((tmp_path / "1").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "2" / path.relative_to(tmp_path / "1")).read_bytes(), path
    assert len(list((tmp_path / "2").iterdir())) == len(TRAINABLE)


def narrowed(full: Outcomes, count: int, rows: int) -> Outcomes:
    """The first `count` models on the first `rows` items."""
    few = full.take(range(rows))
    assert few.replies is not None
    return dataclasses.replace(
        few,
        models=few.models[:count],
        quality=few.quality[:, :count],
        cost=few.cost[:, :count],
        replies=few.replies[:, :count],
    )


@each_trainable
@pytest.mark.parametrize(("models", "rows"), [(1, 60), (2, 60), (4, 1), (4, 2), (2, 5)])
def test_few_models_and_few_prompts_make_a_router(cls: Any, models: int, rows: int) -> None:
    small = narrowed(table(), models, rows)
    if cls is ThresholdRouter and models == 1:
        with pytest.raises(ValueError, match="two models"):
            cls.fit(small)
        return
    router = cls.fit(small)
    for tradeoff in (0.0, 0.5, 1.0):
        assert len(router.route(ask("add apples", small.candidates(), tradeoff=tradeoff)).ranking) == models


@each_trainable
@pytest.mark.parametrize("price", [0.0, 0.01])
def test_a_pool_of_one_price_makes_a_router(cls: Any, price: float) -> None:
    full = table(90)
    alike = dataclasses.replace(full, cost=np.full_like(full.cost, price))
    router = cls.fit(alike, **TRAINABLE[cls])
    for tradeoff in (0.0, 0.5, 1.0):
        ranking = router.route(ask(" ".join(WORDS["poem"]), alike.candidates(), tradeoff=tradeoff)).ranking
        assert len(ranking) == 4
        assert all(choice.cost == pytest.approx(price, abs=1e-9) for choice in ranking)


@each_trainable
def test_prompts_without_words_make_a_router(cls: Any) -> None:
    mute = dataclasses.replace(table(12), prompts=("",) * 12)
    assert len(cls.fit(mute).route(ask("add", mute.candidates(), tradeoff=0.5)).ranking) == 4


@each_trainable
def test_a_model_without_any_outcome_is_an_error_that_names_it(cls: Any) -> None:
    full = table(30)
    quality = full.quality.copy()
    quality[:, 2] = np.nan
    with pytest.raises(ValueError, match="poet"):
        cls.fit(dataclasses.replace(full, quality=quality))


@pytest.mark.parametrize("cls", [cls for cls in TRAINABLE if issubclass(cls, PredictiveRouter)])
def test_an_unseen_model_gets_the_mean_quality_and_its_own_price(cls: Any) -> None:
    pool = (*table().candidates()[:2], Candidate("new", input_price=1e-6, output_price=1e-6))
    decision = fitted(cls).route(ask("add " * 100, pool))
    by_model = {choice.model: choice for choice in decision.ranking}
    assert decision.reason == "predicted, unseen model by prior"
    assert by_model["new"].quality == pytest.approx(table().quality.mean())
    assert by_model["new"].cost == pytest.approx((101 + 256) * 1e-6)


WRONG: list[tuple[type[TrainableRouter], dict[str, Any], str]] = [
    (KmeansRouter, {"clusters": 0}, "clusters"),
    (KmeansRouter, {"nearest": 0}, "nearest"),
    (KmeansRouter, {"sharpness": -1.0}, "sharpness"),
    (KmeansRouter, {"pseudo_counts": math.inf}, "pseudo_counts"),
    (MlpRouter, {"hidden": []}, "hidden"),
    (MlpRouter, {"hidden": [0]}, "hidden"),
    (MlpRouter, {"hidden": 100}, "hidden"),
    (MlpRouter, {"learning_rate": 0.0}, "learning_rate"),
    (MlpRouter, {"epochs": 0}, "epochs"),
    (MlpRouter, {"alpha": -1.0}, "alpha"),
    (SvmRouter, {"c": 0.0}, "c"),
    (SvmRouter, {"epsilon": -0.1}, "epsilon"),
    (SvmRouter, {"loss": "hinge"}, "loss"),
    (FactorsRouter, {"rank": 0}, "rank"),
    (FactorsRouter, {"alpha": 0.0}, "alpha"),
    (TreesRouter, {"trees": 0}, "trees"),
    (TreesRouter, {"leaves": 1}, "leaves"),
    (TreesRouter, {"smallest": 0}, "smallest"),
    (TreesRouter, {"learning_rate": -1.0}, "learning_rate"),
    (ThresholdRouter, {"threshold": 1.5}, "threshold"),
    (ThresholdRouter, {"alpha": 0.0}, "alpha"),
    (ThresholdRouter, {"strong": "large", "weak": "large"}, "strong"),
    (BanditRouter, {"method": "greedy"}, "method"),
    (BanditRouter, {"exploration": -1.0}, "exploration"),
    (BanditRouter, {"prior": 0.0}, "prior"),
    (BanditRouter, {"dimensions": -1}, "dimensions"),
    (BanditRouter, {"trust": math.nan}, "trust"),
    (CascadeRouter, {"calls": 0}, "calls"),
    (CascadeRouter, {"calls": 5}, "calls"),
    (CascadeRouter, {"arm_alpha": 0.0}, "arm_alpha"),
]


@pytest.mark.parametrize(("cls", "params", "named"), WRONG)
def test_wrong_parameters_are_named(cls: type[TrainableRouter], params: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"fitting router '{cls.name}'.*'{named}'"):
        cls.fit(table(30), **params)


def foretold(router: PredictiveRouter, text: str) -> dict[str, float | None]:
    return {choice.model: choice.quality for choice in router.route(ask(text)).ranking}


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_svm_predicts_what_scikit_learns_predicts(missing: float) -> None:
    from sklearn.svm import LinearSVR

    full = table(120, missing)
    router = SvmRouter.fit(full, c=0.5, epsilon=0.05, seed=3)
    rows = router.inputs.of_many(full)
    for column, model in enumerate(MODELS):
        known = ~np.isnan(full.quality[:, column])
        line = LinearSVR(C=0.5, epsilon=0.05, loss="squared_epsilon_insensitive", random_state=3)
        expected = line.fit(rows[known], full.quality[known, column]).predict(rows[:5]).clip(0, 1)
        found = [foretold(router, prompt)[model] for prompt in full.prompts[:5]]
        assert found == pytest.approx(expected.tolist(), abs=1e-9)


@pytest.mark.parametrize("hidden", [[6], [6, 4]])
def test_the_mlp_predicts_what_scikit_learns_predicts(hidden: list[int]) -> None:
    from sklearn.neural_network import MLPRegressor

    full = table(90)
    router = MlpRouter.fit(full, hidden=hidden, epochs=5000, alpha=0.5, seed=2)
    rows = router.inputs.of_many(full)
    for column, model in enumerate(MODELS):
        net = MLPRegressor(hidden_layer_sizes=tuple(hidden), max_iter=5000, alpha=0.5, random_state=2)
        expected = net.fit(rows, full.quality[:, column]).predict(rows[:5]).clip(0, 1)
        found = [foretold(router, prompt)[model] for prompt in full.prompts[:5]]
        assert found == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.skipif(not HAS_TREES, reason="LightGBM is not installed (hullspeed[trees])")
def test_the_trees_predict_what_lightgbm_predicts() -> None:
    import lightgbm

    full = table(240, 0.2)
    router = TreesRouter.fit(full, trees=25, leaves=9, smallest=5, learning_rate=0.2, seed=4)
    rows = router.inputs.of_many(full)
    options = {
        "num_leaves": 9, "learning_rate": 0.2, "min_data_in_leaf": 5, "boost_from_average": False, "verbosity": -1,
        "seed": 4, "deterministic": True, "force_row_wise": True, "num_threads": 1,
    }  # fmt: skip
    for column, model in enumerate(MODELS):
        known = ~np.isnan(full.quality[:, column])
        level = full.quality[known, column].mean()
        data = lightgbm.Dataset(rows[known], full.quality[known, column] - level, params={"verbosity": -1})
        expected = (level + lightgbm.train(options, data, 25).predict(rows[:20])).clip(0, 1)
        found = [foretold(router, prompt)[model] for prompt in full.prompts[:20]]
        assert found == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.skipif(not HAS_TREES, reason="LightGBM is not installed (hullspeed[trees])")
def test_trees_that_point_outside_are_refused(tmp_path: Path) -> None:
    router = fitted(TreesRouter)
    router.learned["left"] = router.learned["left"].copy()
    kept = router.learned["left"][0]
    router.learned["left"][0] = 10**6
    router.save(tmp_path / "a")
    router.learned["left"][0] = kept
    with pytest.raises(artifacts.ArtifactError, match="'left' points outside"):
        artifacts.load(tmp_path / "a")


def test_factors_find_what_is_of_low_rank() -> None:
    """Two kinds of models, three kinds of prompts: a vector of one number tells them apart."""
    full = table(300)
    good = np.array([[topic == "code", topic == "code", topic != "code", topic != "code"] for topic in full.categories])
    router = FactorsRouter.fit(dataclasses.replace(full, quality=good.astype(float)), rank=1, alpha=0.1)
    vectors = router.learned["models"][:, 0]
    assert np.sign(vectors[:2]).tolist() != np.sign(vectors[2:]).tolist()
    assert np.sign(vectors[0]) == np.sign(vectors[1])
    quality = foretold(router, " ".join(WORDS["code"]))
    assert quality["small"] == quality["coder"] == pytest.approx(1, abs=0.1)
    assert quality["poet"] == quality["large"] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_factors_stand_where_no_step_lowers_the_loss(missing: float) -> None:
    full = table(150, missing)
    router = FactorsRouter.fit(full, rank=2, alpha=2.0)
    known = ~np.isnan(full.quality)
    rows = router.inputs.of_many(full) - router.learned["centre"]

    def loss(projection: np.ndarray, models: np.ndarray) -> float:
        missed = np.where(known, full.quality - router.learned["level"] - rows @ projection @ models.T, 0)
        return float((missed**2).sum() + 2.0 * (projection**2).sum() + 2.0 * (models**2).sum())

    least = loss(router.learned["projection"], router.learned["models"])
    rng = np.random.default_rng(1)
    for _ in range(50):
        projection = router.learned["projection"] + rng.normal(0, 1e-2, router.learned["projection"].shape)
        models = router.learned["models"] + rng.normal(0, 1e-2, router.learned["models"].shape)
        assert loss(projection, models) > least


def test_routerbenchs_knn_is_within_reach() -> None:
    """k neighbours, unweighted, no shrinkage: the plain mean of their qualities."""
    full = table(400)
    router = KnnRouter.fit(full, k=10, pseudo_counts=0)
    quality = foretold(router, "loop python return list")
    assert all(
        value is not None and (10 * value) == pytest.approx(round(10 * value), abs=1e-5) for value in quality.values()
    )


def test_one_cluster_is_the_mean() -> None:
    full = outcomes(90)
    router = KmeansRouter.fit(full, clusters=1)
    assert foretold(router, "add python") == pytest.approx(dict(zip(MODELS, full.quality.mean(axis=0), strict=True)))


def test_several_clusters_speak_the_nearer_the_louder() -> None:
    full = table()
    alone = KmeansRouter.fit(full, clusters=3, pseudo_counts=0)
    loud = KmeansRouter.fit(full, clusters=3, nearest=3, sharpness=1000.0, pseudo_counts=0)
    even = KmeansRouter.fit(full, clusters=3, nearest=3, sharpness=0.0, pseudo_counts=0)
    text = " ".join(WORDS["poem"])
    assert foretold(loud, text) == pytest.approx(foretold(alone, text), abs=1e-6)
    kinds = [foretold(alone, " ".join(WORDS[topic])) for topic in WORDS]
    thirds = {model: sum(float(kind[model] or 0) for kind in kinds) / 3 for model in MODELS}
    assert foretold(even, text) == pytest.approx(thirds, abs=1e-6)
