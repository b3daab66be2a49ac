"""Boosted decision trees: what is best on most tables, and here no better than a line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.artifacts import Artifact, ArtifactError
from routers.quality import Floats, QualityRouter


@dataclass(frozen=True, slots=True)
class TreesParams:
    """Parameters of `TreesRouter.fit`."""

    trees: int = 60
    """Per model."""
    leaves: int = 4
    """Most leaves of a tree."""
    learning_rate: float = 0.02
    smallest: int = 100
    """Fewest training prompts in a leaf; never more than a quarter of those there are."""
    seed: int = 0
    """Of the SVD and of LightGBM."""

    def __post_init__(self) -> None:
        for name, least in (("trees", 1), ("leaves", 2), ("smallest", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name!r} must be at least {least}, not {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"'learning_rate' must be a positive number, not {self.learning_rate}")


class TreesRouter(QualityRouter):
    """Gradient boosted trees per model, fitted by LightGBM and kept as plain arrays: serving needs numpy alone.

    Source: LightGBM (Ke et al. 2017); trees as routers among the baselines of RouterEval (Huang et al. 2025,
    arXiv:2503.10657).
    """

    name: ClassVar[str] = "trees"
    settings: ClassVar[type[TreesParams]] = TreesParams

    @classmethod
    def learn(cls, rows: Floats, quality: Floats, settings: TreesParams) -> dict[str, NDArray[Any]]:
        try:
            import lightgbm
        except ImportError as error:
            raise ValueError("fitting router 'trees' needs LightGBM: pip install 'hullspeed[trees]'") from error
        options = {
            "objective": "regression",
            "boost_from_average": False,
            "num_leaves": settings.leaves,
            "learning_rate": settings.learning_rate,
            "min_data_in_leaf": max(1, min(settings.smallest, len(rows) // 4)),
            "seed": settings.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }
        forest, level = _Forest(), np.zeros(quality.shape[1])
        for model, column in enumerate(quality.T):
            known = ~np.isnan(column)
            level[model] = column[known].mean()
            data = lightgbm.Dataset(rows[known], column[known] - level[model], params={"verbosity": -1})
            fitted = lightgbm.train(options, data, num_boost_round=settings.trees)
            for tree in fitted.dump_model()["tree_info"]:
                forest.plant(tree["tree_structure"], model)
        return forest.arrays() | {"level": level}

    @classmethod
    def learned_in(cls, artifact: Artifact, p: int, m: int, settings: TreesParams) -> dict[str, NDArray[Any]]:  # noqa: ARG003
        nodes = len(artifact.array("value", "f", None))
        learned = {
            "value": artifact.array("value", "f", nodes),
            "threshold": artifact.array("threshold", "f", nodes),
            "feature": artifact.array("feature", "i", nodes),
            "left": artifact.array("left", "i", nodes),
            "right": artifact.array("right", "i", nodes),
            "root": artifact.array("root", "i", None),
            "owner": artifact.array("owner", "i", None),
            "level": artifact.array("level", "f", m),
        }
        bounds = {"feature": p, "left": nodes, "right": nodes, "root": nodes, "owner": m}
        for name, bound in bounds.items():
            if learned[name].size and not 0 <= learned[name].min() <= learned[name].max() < bound:
                raise ArtifactError(
                    f"{artifact.folder}: array {name!r} points outside the trees; train the router again"
                )
        if len(learned["root"]) != len(learned["owner"]):
            raise ArtifactError(f"{artifact.folder}: not every tree has an owner; train the router again")
        return learned

    def quality_at(self, row: Floats) -> Floats:
        nodes = self.learned["root"]
        # All trees of all models go down together. A leaf leads to itself; no tree is deeper than it has leaves.
        for _ in range(self.params["leaves"]):
            lower = row[self.learned["feature"][nodes]] <= self.learned["threshold"][nodes]
            below = np.where(lower, self.learned["left"][nodes], self.learned["right"][nodes])
            if np.array_equal(below, nodes):
                break
            nodes = below
        found = np.bincount(self.learned["owner"], self.learned["value"][nodes], minlength=len(self.pool.models))
        return self.learned["level"] + found


class _Forest:
    """Trees as they are gathered from LightGBM's own description of them."""

    def __init__(self) -> None:
        self._nodes: list[tuple[float, float, int, int, int]] = []
        self._roots: list[tuple[int, int]] = []

    def plant(self, tree: Mapping[str, Any], owner: int) -> None:
        self._roots.append((self._add(tree), owner))

    def arrays(self) -> dict[str, NDArray[Any]]:
        value, threshold, feature, left, right = _columns(self._nodes, 5)
        root, owner = _columns(self._roots, 2)
        return {
            "value": np.array(value, dtype=np.float64),
            "threshold": np.array(threshold, dtype=np.float64),
            "feature": np.array(feature, dtype=np.int32),
            "left": np.array(left, dtype=np.int32),
            "right": np.array(right, dtype=np.int32),
            "root": np.array(root, dtype=np.int32),
            "owner": np.array(owner, dtype=np.int32),
        }

    def _add(self, node: Mapping[str, Any]) -> int:
        place = len(self._nodes)
        if "split_feature" not in node:
            self._nodes.append((float(node["leaf_value"]), 0.0, 0, place, place))
            return place
        self._nodes.append((0.0, 0.0, 0, place, place))
        left, right = self._add(node["left_child"]), self._add(node["right_child"])
        self._nodes[place] = (0.0, float(node["threshold"]), int(node["split_feature"]), left, right)
        return place


def _columns(rows: list[Any], width: int) -> Iterator[tuple[Any, ...]]:
    return zip(*rows, strict=True) if rows else iter([()] * width)
