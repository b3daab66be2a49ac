"""Outcome tables for the tests of the scoring: real recorded ones, and small ones written by hand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import ArrayLike

from app.bench.suite import Item, Recorded, Suite

ROOT = Path(__file__).parents[2]


def shared_file(name: str) -> Path:
    """The recorded set `name` of the shared data; skips the test where it is not present."""
    folder = Path(os.environ.get("HULLSPEED_SHARED", ROOT.parent / "shared"))
    file = folder / "data" / f"{name}.parquet"
    if not file.exists():
        pytest.skip(f"recorded set {name} is not in {folder}; point HULLSPEED_SHARED at the shared folder")
    return file


def shared_suite(name: str) -> Suite:
    """The same as a suite, in the order of the file."""
    return _read(shared_file(name))


@cache
def _read(file: Path) -> Suite:
    table = pq.read_table(file, columns=["sample_id", "dataset", "model", "prompt", "quality", "cost_usd"])
    columns = table.to_pydict()
    rows = {sample: row for row, sample in enumerate(dict.fromkeys(columns["sample_id"]))}
    models = {model: place for place, model in enumerate(sorted(set(columns["model"])))}
    row = np.array([rows[sample] for sample in columns["sample_id"]])
    place = np.array([models[model] for model in columns["model"]])
    quality, cost = np.full((2, len(rows), len(models)), np.nan)
    quality[row, place], cost[row, place] = columns["quality"], columns["cost_usd"]
    texts = dict(zip(columns["sample_id"], zip(columns["dataset"], columns["prompt"], strict=True), strict=True))
    items = tuple(_item(sample, texts[sample][0], texts[sample][1]) for sample in rows)
    return _suite(file.stem, items, tuple(models), quality, cost)


def small_suite(
    quality: ArrayLike,
    cost: ArrayLike,
    *,
    models: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
    name: str = "small",
    simulated: bool = False,
) -> Suite:
    """A suite of n items × m models written as two tables; models are called a, b, … and prompts grow with the row."""
    qualities, costs = np.asarray(quality, dtype=float), np.asarray(cost, dtype=float)
    n, m = qualities.shape
    names = tuple(models or "abcdefgh"[:m])
    kinds = categories or ["only"] * n
    items = tuple(_item(f"item-{row:04}", kinds[row], "x" * (row + 1)) for row in range(n))
    return _suite(name, items, names, qualities, costs, simulated=simulated)


def _item(sample: str, category: str, prompt: str) -> Item:
    return Item(id=sample, category=category, messages=[{"role": "user", "content": prompt}])


def _suite(
    name: str,
    items: tuple[Item, ...],
    models: tuple[str, ...],
    quality: np.ndarray,
    cost: np.ndarray,
    *,
    simulated: bool = False,
) -> Suite:
    tokens = np.zeros(quality.shape, dtype=np.int64)
    replies = np.full(quality.shape, None, dtype=object)
    recorded = Recorded(models, quality, cost, tokens, tokens, replies)
    return Suite(name, items, recorded=recorded, simulated=simulated)
