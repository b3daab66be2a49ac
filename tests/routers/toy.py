"""A small world where the right model can be told from the prompt: sums, code and poems by four models."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from routers import Candidate, Outcomes, Query, Router
from routers.knn import KnnRouter
from routers.length import LengthRouter
from routers.oracle import OracleRouter
from routers.registry import build
from routers.ridge import RidgeRouter

MODELS = ("small", "coder", "poet", "large")
COSTS = (0.001, 0.002, 0.0025, 0.02)
SKILL = {"sum": (0.9, 0.9, 0.2, 0.9), "code": (0.1, 0.9, 0.1, 0.9), "poem": (0.2, 0.1, 0.9, 0.9)}
WORDS = {
    "sum": ["add", "subtract", "total", "apples", "number", "price", "divide", "share", "remainder", "count"],
    "code": ["function", "return", "list", "python", "loop", "string", "assert", "output", "index", "compile"],
    "poem": ["moon", "river", "silence", "verse", "rhyme", "winter", "sorrow", "garden", "light", "autumn"],
}
WRAPPER = "Please answer in the following form."


def prompt(topic: str, rng: np.random.Generator) -> str:
    words = rng.choice(WORDS[topic], size=rng.integers(6, 30))
    return f"{' '.join(words)} {rng.integers(1000)}\n{WRAPPER}"


def outcomes(n: int = 240, seed: int = 0, missing: float = 0.0) -> Outcomes:
    rng = np.random.default_rng(seed)
    topics = tuple(sorted(SKILL))
    categories = tuple(topics[index % 3] for index in range(n))
    prompts = tuple(prompt(topic, rng) for topic in categories)
    quality = (rng.random((n, 4)) < np.array([SKILL[topic] for topic in categories])).astype(float)
    cost = np.array(COSTS) * rng.uniform(0.8, 1.2, (n, 4))
    hole = rng.random((n, 4)) < missing
    quality[hole] = cost[hole] = np.nan
    return Outcomes(
        items=tuple(f"{topic}-{index}" for index, topic in enumerate(categories)),
        prompts=prompts,
        lengths=np.array([len(text) for text in prompts], dtype=np.int64),
        categories=categories,
        models=MODELS,
        quality=quality,
        cost=cost,
        suite="toy",
    )


def ask(text: str, candidates: tuple[Candidate, ...] | None = None, **fields: Any) -> Query:
    pool = outcomes_once().candidates() if candidates is None else candidates
    return Query([{"role": "user", "content": text}], pool, **fields)


@lru_cache
def outcomes_once() -> Outcomes:
    return outcomes()


@lru_cache
def every_router() -> tuple[Router, ...]:
    """One of each, the trainable ones trained, `length` in both states."""
    trained = (cls.fit(outcomes_once()) for cls in (KnnRouter, RidgeRouter, LengthRouter, OracleRouter))
    return (
        build("fixed", {"model": "small"}),
        build("uniform"),
        build("uniform", {"weights": {"small": 3, "large": 1.0}}),
        build("cheapest"),
        build("length"),
        *trained,
    )
