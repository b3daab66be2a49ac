"""One of each of the routers beyond the first few, fitted to the toy world with replies."""

from __future__ import annotations

import dataclasses
import importlib.util
from functools import lru_cache
from typing import Any

import numpy as np

from routers import Outcomes, Router, TrainableRouter
from routers.bandit import BanditRouter
from routers.cascade import CascadeRouter
from routers.explore import ExploreRouter
from routers.factors import FactorsRouter
from routers.kmeans import KmeansRouter
from routers.ladder import LadderRouter
from routers.mlp import MlpRouter
from routers.predictive import PredictiveRouter
from routers.rules import RulesRouter
from routers.svm import SvmRouter
from routers.threshold import ThresholdRouter
from routers.trees import TreesRouter
from tests.routers.toy import outcomes

HAS_TREES = importlib.util.find_spec("lightgbm") is not None

PREDICTIVE: dict[type[PredictiveRouter], dict[str, Any]] = {
    KmeansRouter: {"clusters": 6, "pseudo_counts": 2.0},
    MlpRouter: {"hidden": [8], "epochs": 60, "alpha": 1.0, "learning_rate": 0.01},
    SvmRouter: {"c": 1.0},
    FactorsRouter: {"alpha": 8.0},
    **({TreesRouter: {"trees": 40, "smallest": 10, "learning_rate": 0.1}} if HAS_TREES else {}),
}
"""Routers of predicted quality and cost, with parameters for a world of a few hundred clear prompts."""
TRAINABLE: dict[type[TrainableRouter], dict[str, Any]] = {
    **PREDICTIVE,
    ThresholdRouter: {"strong": "large", "weak": "small", "alpha": 1.0},
    BanditRouter: {"exploration": 0.05, "trust": 1.0},
    CascadeRouter: {"calls": 3},
    LadderRouter: {},
}


def replied(table: Outcomes) -> Outcomes:
    """The table with replies: whoever is right says the same, whoever is wrong mostly something of their own."""
    rng = np.random.default_rng(len(table.items))
    replies = np.full(table.quality.shape, None, dtype=object)
    for row, column in np.argwhere(~np.isnan(table.quality)):
        answer = 2000 + row if table.quality[row, column] == 1 else 1000 + int(rng.integers(30))
        replies[row, column] = f"I thought about it. The answer is {answer}."
    return dataclasses.replace(table, replies=replies)


@lru_cache
def table(n: int = 240, missing: float = 0.0, seed: int = 0) -> Outcomes:
    return replied(outcomes(n, seed=seed, missing=missing))


@lru_cache
def fitted(cls: type[TrainableRouter], n: int = 240, missing: float = 0.0) -> Any:
    return cls.fit(table(n, missing), **TRAINABLE[cls])


@lru_cache
def every_one() -> tuple[Router, ...]:
    rules = [{"when": {"keywords": ["python"]}, "models": ["coder"]}, {"else": ["large", "small"]}]
    return (
        *(fitted(cls) for cls in TRAINABLE),
        BanditRouter(),
        BanditRouter("linucb"),
        RulesRouter(rules),
        ExploreRouter.over(fitted(KmeansRouter), 0.3),
        ExploreRouter.over(fitted(CascadeRouter), 0.5),
        ExploreRouter.over(BanditRouter(), 0.1),
    )
