"""The bundled suite: made the same every time, gradable, and such that routing pays on it."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from app.bench import bundled
from app.bench.bundled.generate import encoded, lines
from app.bench.bundled.lines import path_of
from app.bench.graders import check_target, grade, grade_recorded
from app.core.types import Usage
from app.gateway.pricing import cost_of
from app.gateway.simulated_models import MODELS, simulate

LINES = lines("basics")


def test_the_file_is_what_the_generator_writes() -> None:
    assert path_of("basics").read_bytes() == encoded("basics")


def test_there_are_enough_items_of_enough_kinds() -> None:
    count = Counter(line.category for line in LINES)
    assert len(LINES) >= 400
    assert len(count) >= 6
    assert min(count.values()) >= 50
    assert len({line.grader for line in LINES}) >= 5


def test_ids_are_unique_and_speak() -> None:
    assert len({line.id for line in LINES}) == len(LINES)
    assert all(re.fullmatch(rf"{line.category}-\d{{3}}", line.id) for line in LINES)


def test_no_two_items_are_alike() -> None:
    bare = Counter(re.sub(r"[\W_]+", "", line.input.casefold()) for line in LINES)
    assert bare.most_common(1)[0][1] == 1
    # Nor is one the other with words around it: the figures and names of each stand in no other in that order.
    facts = Counter(tuple(re.findall(r"\d+|\b[A-Z][a-z]+\b", line.input)[1:]) for line in LINES)
    assert all(count == 1 for fact, count in facts.items() if len(fact) > 5)


def test_targets_are_right_and_wrong_answers_wrong() -> None:
    for line in LINES:
        check_target(line.grader, line.target)
        assert grade(line.grader, line.target, line.target) == 1.0, line.id
        assert line.wrong, line.id
        assert not any(grade(line.grader, wrong, line.target) for wrong in line.wrong), line.id


def test_difficulty_is_graded_within_each_category() -> None:
    for category in {line.category for line in LINES}:
        own = [line for line in LINES if line.category == category]
        assert len({line.difficulty for line in own}) == 10
        assert 0 < min(line.difficulty for line in own) < 0.1 < 0.9 < max(line.difficulty for line in own) < 1
        # What makes an item hard can be seen: the harder half is the longer one, in numbers or words.
        hard = np.mean([len(line.input) + len(line.target) for line in own if line.difficulty > 0.5])
        easy = np.mean([len(line.input) + len(line.target) for line in own if line.difficulty < 0.5])
        assert hard > 1.05 * easy


def test_recorded_replies_are_those_of_the_simulated_models() -> None:
    suite = bundled.load()
    recorded = suite.recorded
    assert recorded is not None
    assert suite.simulated
    assert "simulated" in suite.description
    assert recorded.models == tuple(MODELS)
    key = bundled.answer_key()
    for row in range(0, len(suite.items), 7):
        for column, model in enumerate(MODELS.values()):
            text = suite.items[row].as_query().text
            reply = simulate(model, text, key)
            assert recorded.replies[row, column] == reply.text
            usage = Usage(prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
            billed = cost_of(usage, model.price)
            assert billed is not None
            assert recorded.cost[row, column] == float(billed)


def test_quality_is_the_graders() -> None:
    suite = bundled.load()
    assert suite.recorded is not None
    assert np.array_equal(grade_recorded(suite), suite.recorded.quality)


def test_a_reply_is_graded_by_the_answer_it_was_given() -> None:
    suite, key = bundled.load(), bundled.answer_key()
    assert suite.recorded is not None
    for item, qualities, replies in zip(suite.items, suite.recorded.quality, suite.recorded.replies, strict=True):
        answer = key[item.as_query().text]
        for quality, reply in zip(qualities, replies, strict=True):
            # The answer ends the reply, but for marks; the longest one, as a wrong one may end the right one.
            said = [text for text in (answer.target, *answer.wrong) if reply.rstrip("\n`*.").endswith(text)]
            assert (max(said, key=len) == answer.target) == bool(quality), (item.id, reply)


def test_items_cannot_be_changed_through_the_shared_matrices() -> None:
    recorded = bundled.load().recorded
    assert recorded is not None
    with pytest.raises(ValueError, match="read-only"):
        recorded.quality[0, 0] = 0.5


def test_no_model_is_best_everywhere_and_each_is_worth_having() -> None:
    suite = bundled.load()
    assert suite.recorded is not None
    quality, cost = suite.recorded.quality, suite.recorded.cost
    categories = np.array([item.category for item in suite.items])
    means = np.array([quality[categories == name].mean(axis=0) for name in sorted(set(categories))])
    assert means.argmax(axis=1).tolist().count(len(MODELS) - 1) < len(means)
    assert len(set(means.argmax(axis=1).tolist())) >= 3
    # Dearer is better on the whole, so no model is dominated.
    assert (np.diff(cost.mean(axis=0)) > 0).all()
    assert (np.diff(quality.mean(axis=0)) > 0).all()
    assert cost.mean(axis=0)[-1] > 100 * cost.mean(axis=0)[0]


def test_routing_by_category_pays() -> None:
    """Best model per category from the train part, scored on the test part, lies well above the single models' hull."""
    suite = bundled.load()
    assert suite.recorded is not None
    quality, cost = suite.recorded.quality, suite.recorded.cost
    categories = np.array([item.category for item in suite.items])
    for seed in range(5):
        train, test = suite.rows("train", seed), suite.rows("test", seed)
        pick = np.zeros(len(suite.items), dtype=int)
        for name in set(categories):
            own = train[categories[train] == name]
            pick[categories == name] = (quality[own].mean(axis=0) - 100 * cost[own].mean(axis=0)).argmax()
        routed, paid = quality[test, pick[test]].mean(), cost[test, pick[test]].mean()
        single = quality[test].mean(axis=0)
        assert routed > single.max()
        assert routed > _hull(cost[test].mean(axis=0), single, paid) + 0.1


def _hull(costs: NDArray[np.float64], qualities: NDArray[np.float64], at: float) -> float:
    """Best quality that a mixture of two single models reaches at a mean cost of `at`."""
    points = list(zip(costs.tolist(), qualities.tolist(), strict=True))
    mixtures = [
        left + (right - left) * (at - low) / (high - low)
        for low, left in points
        for high, right in points
        if low <= at < high
    ]
    return max(mixtures)


def test_examples_to_try() -> None:
    found = bundled.examples()
    assert len(found) > 15
    assert len({example.category for example in found}) == len(found)
    assert all(0 < len(example.text) <= bundled.LONGEST_EXAMPLE for example in found)
