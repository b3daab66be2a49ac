"""Duplicates, near-duplicates, and what an import says of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.bench import twins
from app.bench.importers import Imported, find
from app.bench.suite import Item, Suite
from app.bench.twins import exact_groups, near_groups
from tests.bench.tables import shared_suite, small_suite

WORDS = [
    "river",
    "stone",
    "cloud",
    "paper",
    "winter",
    "garden",
    "window",
    "letter",
    "market",
    "bridge",
    "silver",
    "forest",
    "engine",
    "island",
    "candle",
]


def items(*texts: str, category: str = "c") -> tuple[Item, ...]:
    return tuple(
        Item(id=f"{category}-{place:03}", category=category, messages=[{"role": "user", "content": text}])
        for place, text in enumerate(texts)
    )


def distinct(count: int, seed: int = 0) -> list[str]:
    """Texts that have hardly a pair of words in common."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 30)) + f" {place}" for place in range(count)]


def groups(*texts: str) -> list[int]:
    return near_groups(Suite("s", items(*texts))).tolist()


def test_exact_groups_look_past_case_spaces_and_punctuation() -> None:
    assert exact_groups(items("What is 2+2?", "what is  2 + 2", "What is 3+3?")).tolist() == [0, 0, 1]


def test_a_changed_word_in_a_long_text_is_near_and_another_text_is_not() -> None:
    one, two, three = distinct(3)
    changed = one.replace(one.split()[3], "harbour", 1)
    found = groups(one, two, changed, three)
    assert found[0] == found[2]
    assert len(set(found)) == 3


def test_other_numbers_and_signs_make_another_question() -> None:
    assert len(set(groups("What is 12 plus 34?", "What is 12 plus 35?", "What is 12 minus 34?", "Compute 7 * 8"))) == 4


def test_chains_of_near_duplicates_are_one_group() -> None:
    words = " ".join(distinct(3)).split()
    links = [" ".join(["harbour"] * changed + words[changed:]) for changed in range(40)]
    others = distinct(10, seed=3)
    found = groups(*links, *others)
    assert len(set(found)) == 1 + len(others)
    assert len(set(groups(links[0], links[-1], *others))) == 2 + len(others)


def test_wrapping_that_a_category_shares_makes_no_twins() -> None:
    wrapping = "\n".join(f"Example {place}: {text}" for place, text in enumerate(distinct(12, seed=5)))
    asked = [f"{wrapping}\nQuestion: {text}" for text in distinct(8, seed=6)]
    assert len(set(groups(*asked))) == 8


def test_texts_without_words_and_single_items() -> None:
    assert len(set(groups("!?", "...", ""))) == 3
    assert groups("alone") == [0]
    assert near_groups(Suite("none", ())).tolist() == []


def test_groups_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(1)
    texts = distinct(60, seed=2)
    for place in range(0, 60, 3):
        words = texts[place].split()
        for spot in rng.choice(30, rng.integers(1, 6), replace=False):
            words[spot] = str(rng.choice(WORDS))
        texts[place + 1] = " ".join(words)
    vectors = twins._vectors(texts).toarray()
    linked = vectors @ vectors.T > twins.NEAR
    for _ in range(6):  # the closure of being near
        linked = linked @ linked
    found = np.array(groups(*texts))
    assert ((found[:, None] == found[None, :]) == linked).all()
    assert 40 < len(set(found.tolist())) < 60


def test_a_complete_suite_without_twins_says_so() -> None:
    suite = small_suite(np.eye(3), np.full((3, 3), 0.1))
    suite = replace(suite, items=items(*distinct(3)))
    found = Imported(suite).findings()
    assert found.coverage == 1.0
    assert found.lines() == [
        "complete: 9 outcomes of 3 models on 3 items",
        "no two items have the same text",
        "no near-duplicates (cosine above 0.9)",
    ]


def test_gaps_twins_free_models_and_columns_are_said() -> None:
    quality = np.ones((40, 2))
    cost = np.stack([np.full(40, 0.1), np.zeros(40)], axis=1)
    quality[:3, 0] = cost[:3, 0] = np.nan
    texts = distinct(20)
    nearly = [text.replace(text.split()[3], "harbour", 1) for text in texts]
    nearly[0] = texts[0].upper() + "!"
    suite = replace(small_suite(quality, cost), items=items(*texts, *nearly))
    found = find(suite, left_out=("source",), notes=("Also this.",), seed=4)
    assert (found.missing, found.missing_by_model, found.coverage) == (3, (("a", 3),), 77 / 80)
    assert (found.duplicates, found.duplicate_ids) == (1, ("c-020",))
    assert (found.near_duplicates, found.near_groups, found.test_items) == (40, 20, 12)
    assert 0 < found.across <= 12
    lines = found.lines()
    assert lines[0] == "3 of 80 cells are missing (coverage 96.25%), most of a 3"
    assert lines[1] == "1 items repeat the text of an earlier one: c-020"
    assert f"{found.across} of 12 test items" in lines[2]
    assert "--split-by grouped" in lines[2]
    assert lines[3:] == ["1 models cost nothing on every item: b", "columns left out: source", "Also this."]


def test_a_model_without_any_outcome_is_not_free() -> None:
    quality = np.ones((3, 2))
    cost = np.array([[0.1, np.nan], [0.0, np.nan], [0.0, np.nan]])
    quality[:, 1] = np.nan
    assert find(small_suite(quality, cost)).free_models == ()
    cost[:, 0] = [0.0, np.nan, 0.0]
    assert find(small_suite(quality, cost)).free_models == ("a",)


def test_items_alone_have_findings_too() -> None:
    found = find(Suite("s", items("a b c", "A b c")))
    assert np.isnan(found.coverage)
    assert found.lines()[:2] == ["2 items, nothing recorded", "1 items repeat the text of an earlier one: c-001"]
    assert "none of them across" in found.lines()[2]


def test_real_prompts_hold_few_twins() -> None:
    found = find(shared_suite("zeroeval_4sets_8models"))
    assert found.missing == 0
    assert found.near_duplicates < 0.2 * found.items


@pytest.mark.parametrize("block", [7, 1000])
def test_the_size_of_a_block_does_not_matter(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    texts = distinct(30, seed=9)
    texts += [text.replace(text.split()[5], "harbour", 1) for text in texts[:10]]
    monkeypatch.setattr(twins, "BLOCK", block)
    monkeypatch.setattr(twins, "PAIRS", block)
    twins._near.cache_clear()
    assert len(set(groups(*texts))) == 30
