"""Ways to divide a suite, and whether a router has seen its test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.bench.splits import Leakage, SplitBy, leakage, rows
from app.bench.suite import Item, Suite
from app.core.errors import ConfigError
from routers.artifacts import load
from routers.cheapest import CheapestRouter
from routers.length import LengthRouter
from tests.bench.tables import small_suite
from tests.bench.test_findings import distinct, items


def near_pairs(count: int) -> tuple[str, ...]:
    """Texts, and each of them once more with one word changed."""
    texts = distinct(count)
    return (*texts, *(text.replace(text.split()[3], "harbour", 1) for text in texts))


def parts(suite: Suite, by: str, seed: int = 0) -> tuple[list[int], list[int]]:
    kind = SplitBy.parse(by)
    return rows(suite, "train", seed, kind).tolist(), rows(suite, "test", seed, kind).tolist()


@pytest.mark.parametrize("text", ["stratified", "grouped", "routerbench", "leave-out:gsm", "leave-out:a:b"])
def test_a_split_reads_as_it_is_written(text: str) -> None:
    assert str(SplitBy.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("random", "no split is called `random`: use stratified, grouped, leave-out:CATEGORY or routerbench"),
        ("", "no split is called ``"),
        ("leave-out", "names no category: write leave-out:CATEGORY"),
        ("leave-out:", "names no category"),
        ("grouped:gsm", "only leave-out takes a category, grouped stands alone"),
    ],
)
def test_what_is_no_split_is_said(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SplitBy.parse(text)
    assert line in caught.value.message
    assert caught.value.param == "split_by"


def test_stratified_is_the_suites_own() -> None:
    suite = Suite("s", items(*distinct(20)))
    assert rows(suite, "train", 3).tolist() == suite.rows("train", 3).tolist()
    assert rows(suite, "all", 3, SplitBy.parse("routerbench")).tolist() == list(range(20))


@pytest.mark.parametrize("by", ["grouped", "routerbench"])
def test_parts_are_disjoint_and_whole(by: str) -> None:
    suite = Suite("s", items(*distinct(30), category="a") + items(*distinct(20, seed=8), category="b"))
    train, test = parts(suite, by)
    assert sorted(train + test) == list(range(50))
    assert (sum(row < 30 for row in train), len(train)) == (21, 35)


def test_grouped_keeps_near_duplicates_on_one_side() -> None:
    suite = Suite("s", items(*near_pairs(30)))
    for seed in range(5):
        train = set(parts(suite, "grouped", seed)[0])
        assert all((row in train) == (row + 30 in train) for row in range(30))
        assert len(train) == 42
    assert parts(suite, "grouped", 0) != parts(suite, "grouped", 1)
    # The stratified split does not see them.
    stratified = set(suite.rows("train", 0).tolist())
    assert any((row in stratified) != (row + 30 in stratified) for row in range(30))


def test_groups_across_categories_and_large_ones_keep_the_share_near() -> None:
    texts = near_pairs(20)
    crowd = [texts[0] + " again" * (place % 2) for place in range(10)]
    made = items(*texts[:20], category="a") + items(*texts[20:], *crowd, category="b")
    suite, shuffled = Suite("s", made), Suite("s", made[::-1])
    for seed in range(5):
        train, test = parts(suite, "grouped", seed)
        assert len(train) == (38 if 0 in train else 28)
        assert not {row + 20 for row in train if row < 20} & set(test)
        ids = {suite.items[row].id for row in train}
        assert ids == {shuffled.items[row].id for row in parts(shuffled, "grouped", seed)[0]}


def test_a_category_left_out_is_the_test_and_nothing_like_it_is_train() -> None:
    texts = near_pairs(10)
    twin = replace_id(items(texts[12], category="b"), "b-twin")
    suite = Suite("s", items(*texts[:10], category="a") + items(*distinct(10, seed=4), category="b") + twin)
    train, test = parts(suite, "leave-out:a")
    assert test == list(range(10))
    assert train == list(range(10, 20))  # the twin, row 20, is in neither part
    assert parts(suite, "leave-out:a", seed=9) == (train, test)


def replace_id(made: tuple[Item, ...], name: str) -> tuple[Item, ...]:
    return tuple(Item(id=name, category=item.category, messages=item.messages) for item in made)


def test_a_category_must_be_there_and_leave_something() -> None:
    suite = Suite("s", items(*distinct(3), category="a"))
    with pytest.raises(ConfigError, match="suite `s` has no category `b`: leave out one of a"):
        parts(suite, "leave-out:b")
    with pytest.raises(ConfigError, match="nothing would be left to train on"):
        parts(suite, "leave-out:a")


def test_routerbenchs_split_is_numpys_legacy_shuffle_of_the_ids() -> None:
    made = items(*distinct(37), category="b") + items(*distinct(10, seed=2), category="a")
    order = np.random.default_rng(5).permutation(47)
    suite = Suite("s", tuple(made[place] for place in order))
    wanted: set[str] = set()
    state = np.random.get_state()
    for category in ("a", "b"):
        ids = [item.id for item in suite.items if item.category == category]
        np.random.seed(42)
        np.random.shuffle(ids)
        wanted |= set(ids[: int(len(ids) * 0.7)])
    np.random.set_state(state)
    train, _ = parts(suite, "routerbench")
    assert {suite.items[row].id for row in train} == wanted
    # Seed 42 brings ten items into this order everywhere.
    ten = Suite("t", items(*distinct(10)))
    assert parts(ten, "routerbench")[0] == sorted([8, 1, 5, 0, 7, 2, 9])
    assert parts(ten, "routerbench", seed=7) == parts(ten, "routerbench")


def test_routerbenchs_split_leaves_numpys_generator_alone() -> None:
    np.random.seed(3)
    before = np.random.get_state()[1].tolist()
    parts(Suite("t", items(*distinct(10))), "routerbench")
    assert np.random.get_state()[1].tolist() == before


def test_leakage_counts_what_a_router_was_fitted_to(tmp_path: Path) -> None:
    texts = distinct(10)
    texts[7] = texts[0].upper()
    suite = replace(small_suite(np.ones((10, 2)), np.ones((10, 2))), items=items(*texts))
    router = LengthRouter.fit(suite.outcomes().take([0, 1, 2]))
    assert leakage(router, suite, np.array([3, 4, 5])) == Leakage(0, 3)
    assert leakage(router, suite, np.array([2, 3])) == Leakage(1, 2)
    assert leakage(router, suite, np.array([6, 7, 8, 9])) == Leakage(1, 4)  # the text of item 0 again
    router.save(tmp_path / "artifact")
    found = leakage(load(tmp_path / "artifact"), suite, np.arange(10))
    assert found is not None
    assert found.share == 0.4
    assert leakage(router, suite, np.array([], dtype=np.int64)) == Leakage(0, 0)
    assert Leakage(0, 0).share == 0


def test_leakage_is_unknown_of_a_router_without_a_record() -> None:
    suite = small_suite(np.ones((4, 2)), np.ones((4, 2)))
    assert leakage(CheapestRouter(), suite, np.arange(4)) is None
    assert leakage(LengthRouter(), suite, np.arange(4)) is None
