from dataclasses import replace

import numpy as np
import pytest

from app.core.errors import ConfigError, NotFound
from app.store import suites
from app.store.database import Database
from app.store.suites import StoredItem, StoredOutcomes, StoredSuite


def make_suite(n: int = 5, m: int = 3, name: str = "small", seed: int = 0) -> StoredSuite:
    random = np.random.default_rng(seed)
    quality = random.random((n, m))
    quality[0, 0] = 1 / 3
    quality[1, :] = np.nan
    cost = 10.0 ** random.uniform(-12, 2, (n, m))
    cost[1, 0] = np.nan  # missing: quality and cost unknown
    cost[2, 0] = np.nan  # judged, at an unknown cost
    replies = np.array([[f"reply {i} of {j} 🙂\n" * 3 for j in range(m)] for i in range(n)], dtype=object)
    replies[3, 0] = None
    replies[1, 0] = None
    tokens = random.integers(0, 2**40, (n, m))
    tokens[1, 0] = 0
    items = tuple(
        StoredItem(
            id=f"item-{index}",
            category="even" if index % 2 == 0 else "odd",
            messages=[{"role": "user", "content": f"{index}?", "b": [1, 1.0, 1e16, 0.1], "a": None}],
            target=None if index == 0 else str(index),
            grader=None if index else "exact",
        )
        for index in range(n)
    )
    outcomes = StoredOutcomes(tuple(f"model-{j}" for j in range(m)), quality, cost, tokens, tokens[::-1] * 0, replies)
    return StoredSuite(
        name=name,
        digest="d" * 64,
        items=items,
        grader="numeric",
        simulated=True,
        description="é",
        outcomes=outcomes,
    )


def assert_same(found: StoredSuite, expected: StoredSuite) -> None:
    assert replace(found, outcomes=None) == replace(expected, outcomes=None)
    assert found.outcomes is not None
    assert expected.outcomes is not None
    assert found.outcomes.models == expected.outcomes.models
    for name in ("quality", "cost", "prompt_tokens", "completion_tokens"):
        one, other = getattr(found.outcomes, name), getattr(expected.outcomes, name)
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes(), name  # to the last bit
    assert found.outcomes.replies.tolist() == expected.outcomes.replies.tolist()


async def test_a_suite_comes_back_to_the_last_bit(database: Database) -> None:
    suite = make_suite()
    await suites.save_suite(database, suite)
    assert_same(await suites.load_suite(database, "small"), suite)


async def test_the_order_of_keys_in_messages_is_kept(database: Database) -> None:
    await suites.save_suite(database, make_suite())
    found = await suites.load_suite(database, "small")
    assert list(found.items[0].messages[0]) == ["role", "content", "b", "a"]
    assert repr(found.items[0].messages[0]["b"]) == "[1, 1.0, 1e+16, 0.1]"


async def test_a_suite_without_outcomes_or_items(database: Database) -> None:
    bare = replace(make_suite(), outcomes=None, grader=None)
    empty = StoredSuite(name="empty", digest="e", items=())
    await suites.save_suite(database, bare)
    await suites.save_suite(database, empty)
    assert await suites.load_suite(database, "small") == bare
    assert await suites.load_suite(database, "empty") == empty


async def test_a_taken_name_is_refused_unless_replaced(database: Database) -> None:
    first, second = make_suite(), make_suite(seed=1)
    await suites.save_suite(database, first)
    with pytest.raises(ConfigError, match="'small' already"):
        await suites.save_suite(database, second)
    assert_same(await suites.load_suite(database, "small"), first)
    await suites.save_suite(database, second, replace=True)
    assert_same(await suites.load_suite(database, "small"), second)


async def test_a_suite_is_saved_whole_or_not_at_all(database: Database) -> None:
    first = make_suite()
    await suites.save_suite(database, first)
    twice = replace(make_suite(seed=1), items=(*first.items[:4], first.items[0]))
    with pytest.raises(ConfigError, match="same id"):
        await suites.save_suite(database, twice, replace=True)
    assert_same(await suites.load_suite(database, "small"), first)


async def test_signs_that_postgres_refuses_are_replaced(database: Database) -> None:
    item = StoredItem(
        id="i\x00", category="\ud800", messages=[{"role": "user", "content": "\x00\udfff"}], target="\x00"
    )
    ones = np.ones((1, 1))
    outcomes = StoredOutcomes(
        ("m\x00",), ones, ones, ones.astype(int), ones.astype(int), np.array([["\x00x\ud800"]], dtype=object)
    )
    await suites.save_suite(database, StoredSuite(name="n\x00", digest="d", items=(item,), outcomes=outcomes))
    found = await suites.load_suite(database, "n\ufffd")
    assert found.items[0] == StoredItem(
        id="i\ufffd", category="\ufffd", messages=[{"role": "user", "content": "\ufffd\ufffd"}], target="\ufffd"
    )
    assert found.outcomes is not None
    assert (found.outcomes.models, found.outcomes.replies.tolist()) == (("m\ufffd",), [["\ufffdx\ufffd"]])


async def test_list_and_delete(database: Database) -> None:
    await suites.save_suite(database, make_suite(name="b"))
    await suites.save_suite(database, replace(make_suite(name="a"), outcomes=None))
    rows = await suites.list_suites(database)
    assert [(row.name, row.items, row.categories, row.models) for row in rows] == [
        ("a", 5, ["even", "odd"], None),
        ("b", 5, ["even", "odd"], ["model-0", "model-1", "model-2"]),
    ]
    await suites.delete_suite(database, "a")
    assert [row.name for row in await suites.list_suites(database)] == ["b"]
    for missing in (suites.delete_suite(database, "a"), suites.load_suite(database, "a")):
        with pytest.raises(NotFound, match="'a'"):
            await missing
