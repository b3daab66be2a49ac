"""Which items a router is fitted to and which it is tested on, and whether a fitted one has seen its test.

Every split depends on ids, texts, categories and the seed alone; the two parts never share an item, nor a text that
differs only in case, spaces and punctuation. How near other items may come is what the kinds differ in.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from app.bench.suite import TRAIN_SHARE, Split, Suite, bare_text
from app.bench.twins import near_groups
from app.core.errors import ConfigError
from routers import Router
from routers.artifacts import TrainedOn

SplitKind = Literal["stratified", "grouped", "leave-out", "routerbench"]
_WAYS = "stratified, grouped, leave-out:CATEGORY or routerbench"
ROUTERBENCH_SEED = 42


@dataclass(frozen=True)
class SplitBy:
    """How a suite is divided, as somebody names it."""

    kind: SplitKind = "stratified"
    """`stratified`: about 70 % of each category are train. `grouped`: the same, with near-duplicates on one side.
    `leave-out`: one category is the test. `routerbench`: the split of RouterBench's own tables."""
    category: str | None = None
    """The category that is the test, for `leave-out` alone."""

    @classmethod
    def parse(cls, text: str) -> SplitBy:
        """`stratified`, `grouped`, `leave-out:CATEGORY` or `routerbench`. Raises `ConfigError` that says so."""
        kind, colon, category = text.partition(":")
        if kind == "leave-out":
            if not category:
                raise ConfigError(f"split `{text}` names no category: write leave-out:CATEGORY", param="split_by")
            return cls("leave-out", category)
        if kind not in get_args(SplitKind):
            raise ConfigError(f"no split is called `{text}`: use {_WAYS}", param="split_by")
        if colon:
            raise ConfigError(f"split `{text}`: only leave-out takes a category, {kind} stands alone", param="split_by")
        return cls(kind)  # type: ignore[arg-type]  # one of the literals, as was just checked

    def __str__(self) -> str:
        return self.kind if self.category is None else f"{self.kind}:{self.category}"


STRATIFIED = SplitBy()


def rows(suite: Suite, split: Split, seed: int, by: SplitBy = STRATIFIED) -> NDArray[np.int64]:
    """Positions of the items of a part, ascending. `all` is every item however the suite is divided.

    `seed` has no say in `leave-out` and `routerbench`, which leave nothing to chance. Under `leave-out` an item that
    is a near-duplicate of a test item is in neither part. Raises `ConfigError` where there is no such category.
    """
    if split == "all" or by.kind == "stratified":
        return suite.rows(split, seed)
    if by.kind == "grouped":
        train = _grouped(suite, seed)
        test = ~train
    elif by.kind == "leave-out":
        test, train = _leave_out(suite, by.category or "")
    else:
        train = _routerbench(suite)
        test = ~train
    return np.flatnonzero(train if split == "train" else test)


def _grouped(suite: Suite, seed: int) -> NDArray[np.bool_]:
    """Whole groups of near-duplicates, in seeded order, until a category's train part is as near 70 % as they allow.

    A group that reaches into several categories goes where the first of them, by name, puts it.
    """
    groups = near_groups(suite).tolist()
    side: dict[int, bool] = {}
    for members in _by_category(suite).values():
        size = Counter(groups[row] for row in members)
        room = round(TRAIN_SHARE * len(members)) - sum(count for group, count in size.items() if side.get(group))
        # Named by their first ids, so that the order of a file has no say.
        first: dict[int, str] = {}
        for row in sorted(members, key=lambda row: suite.items[row].id):
            first.setdefault(groups[row], suite.items[row].id)
        undecided = sorted((group for group in size if group not in side), key=first.__getitem__)
        for place in np.random.default_rng([seed, len(members)]).permutation(len(undecided)).tolist():
            group = undecided[place]
            side[group] = 2 * room >= size[group]
            room -= size[group] * side[group]
    return np.array([side[group] for group in groups], dtype=bool)


def _leave_out(suite: Suite, category: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    known = Counter(item.category for item in suite.items)
    if category not in known:
        raise ConfigError(
            f"suite `{suite.name}` has no category `{category}`: leave out one of {', '.join(sorted(known))}",
            param="split_by",
        )
    if len(known) == 1:
        raise ConfigError(
            f"suite `{suite.name}` has no category but `{category}`: nothing would be left to train on",
            param="split_by",
        )
    test = np.array([item.category == category for item in suite.items])
    groups = near_groups(suite)
    return test, ~np.isin(groups, groups[test])


def _routerbench(suite: Suite) -> NDArray[np.bool_]:
    """RouterBench's own: within each eval the ids in file order, shuffled, the first 70 % train.

    numpy's legacy generator, seeded anew for each eval, since only that gives the same order. Twins may stand on both
    sides: the findings of the import say how many. Source: withmartian/routerbench, `build_train_eval_dataset`.
    """
    train = np.zeros(len(suite.items), dtype=bool)
    for members in _by_category(suite).values():
        order = np.array(members)
        np.random.RandomState(ROUTERBENCH_SEED).shuffle(order)
        train[order[: int(len(order) * TRAIN_SHARE)]] = True
    return train


def _by_category(suite: Suite) -> dict[str, list[int]]:
    """Positions of the items of each category in the suite's order; categories sorted by name."""
    members: dict[str, list[int]] = {}
    for row, item in enumerate(suite.items):
        members.setdefault(item.category, []).append(row)
    return dict(sorted(members.items()))


@dataclass(frozen=True)
class Leakage:
    """How much of a test a router was fitted to."""

    count: int
    """Test items that it has seen, themselves or with the same text but for case, spaces and punctuation."""
    items: int
    """Test items."""

    @property
    def share(self) -> float:
        """In [0, 1]; 0 where there are no items."""
        return self.count / self.items if self.items else 0.0


def leakage(router: Router, suite: Suite, rows: NDArray[np.int64]) -> Leakage | None:
    """How many of the items at `rows` the router was fitted to; None for one that carries no record of its training.

    An artifact keeps hashes of ids, so what is found is ids it saw, and items of this suite with the same text as one
    of those. A router fitted to another suite with ids of the same form is taken to have seen them.
    """
    trained_on = getattr(router, "trained_on", None)
    if not isinstance(trained_on, TrainedOn):
        return None
    seen = {bare_text(item) for item in suite.items if trained_on.saw(item.id)}
    return Leakage(sum(bare_text(suite.items[row]) in seen for row in rows.tolist()), len(rows))
