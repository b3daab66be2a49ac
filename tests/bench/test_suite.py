"""Suites: the split, the table for routers, the digest, and what a suite refuses to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.bench.suite import Item, Recorded, Suite


def item(item_id: str, text: str, category: str = "only") -> Item:
    return Item(id=item_id, category=category, messages=[{"role": "user", "content": text}])


def suite(*items: Item) -> Suite:
    return Suite("small", items)


def recorded(n: int, m: int) -> Recorded:
    return Recorded(
        models=tuple("abcdef"[:m]),
        quality=np.ones((n, m)),
        cost=np.full((n, m), 0.5),
        prompt_tokens=np.ones((n, m), dtype=np.int64),
        completion_tokens=np.ones((n, m), dtype=np.int64),
        replies=np.full((n, m), None, dtype=np.object_),
    )


def test_parts_are_disjoint_and_70_percent_of_each_category() -> None:
    whole = suite(
        *(item(f"a-{n}", f"one {n}", "a") for n in range(20)), *(item(f"b-{n}", f"two {n}", "b") for n in range(10))
    )
    train, test = whole.rows("train", 3), whole.rows("test", 3)
    assert sorted([*train, *test]) == list(range(30)) == list(whole.rows("all", 3))
    assert (train < 20).sum() == 14
    assert (train >= 20).sum() == 7
    assert list(whole.rows("train", 4)) != list(train)


def test_split_depends_on_ids_and_not_on_their_order() -> None:
    items = [item(f"id-{n}", f"text {n}") for n in range(40)]
    forwards, backwards = suite(*items), suite(*items[::-1])
    train = {forwards.items[row].id for row in forwards.rows("train", 7)}
    assert train == {backwards.items[row].id for row in backwards.rows("train", 7)}


def test_twins_stand_on_the_same_side_across_categories() -> None:
    items = [item(f"a-{n}", f"What is {n} plus {n}?", "a") for n in range(30)]
    items += [item(f"b-{n}", f"what  is {n} PLUS {n} ?", "b") for n in range(30)]
    whole = suite(*items)
    for seed in range(5):
        train = set(whole.rows("train", seed).tolist())
        assert 0 < len(train) < 60
        assert all((row in train) == (row + 30 in train) for row in range(30))


def test_many_twins_do_not_swell_the_train_part() -> None:
    crowd = [item(f"t-{n:02}", "What is it?") for n in range(40)]
    singles = [item(f"s-{n:02}", f"text {n}") for n in range(60)]
    for seed in range(10):
        train = suite(*crowd, *singles).rows("train", seed)
        assert len(train) in (60, 70), "all 60 others and none of the 40, or those 40 and 30 of the others"
        assert (train < 40).sum() in (0, 40)


def test_items_without_text_are_no_twins() -> None:
    pictures = [
        Item(id=f"p-{n}", category="c", messages=[{"role": "user", "content": [{"type": "image_url"}]}])
        for n in range(10)
    ]
    assert len(suite(*pictures).rows("train", 0)) == 7


def test_outcomes_carry_texts_categories_and_matrices() -> None:
    whole = replace(suite(item("x", "héllo"), item("y", "bye", "other")), recorded=recorded(2, 3))
    table = whole.outcomes()
    assert table.items == ("x", "y")
    assert table.prompts == ("héllo", "bye")
    assert list(table.lengths) == [5, 3]
    assert table.categories == ("only", "other")
    assert table.models == ("a", "b", "c")
    assert table.suite == "small"
    anew = np.zeros((2, 3))
    assert whole.outcomes(anew).quality is anew
    with pytest.raises(ValueError, match="no recorded outcomes"):
        suite(item("x", "a")).outcomes()


def test_digest_is_of_what_is_asked_and_how_it_is_graded() -> None:
    base = suite(item("x", "a"))
    assert base.digest == suite(item("x", "a")).digest
    assert replace(base, name="other", recorded=recorded(1, 2)).digest == base.digest
    assert replace(base, grader="exact").digest != base.digest
    assert suite(item("x", "b")).digest != base.digest
    assert suite(item("x", "a"), item("y", "b")).digest != suite(item("y", "b"), item("x", "a")).digest


def test_ids_are_unique_and_matrices_fit() -> None:
    with pytest.raises(ValueError, match="ids of items must be unique"):
        suite(item("x", "a"), item("x", "b"))
    with pytest.raises(ValueError, match=r"recorded quality has shape \(1, 3\), expected \(2, 3\)"):
        Suite("small", (item("x", "a"), item("y", "b")), recorded=recorded(1, 3))
