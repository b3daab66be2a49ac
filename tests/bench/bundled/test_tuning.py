"""The bundled suite `tuning`: right, gradable, from easy to hard, and cheap to ask."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from app.bench import bundled, library
from app.bench.bundled.generate import encoded, lines
from app.bench.bundled.lines import Line, path_of
from app.bench.bundled.questions import tuning
from app.bench.graders import check_target, grade
from app.core.errors import NotFound
from app.store.database import Database
from routers.answers import answer_in
from tests.bench.bundled import counting, moving, reading

LINES = lines("tuning")
SOLVERS = moving.SOLVERS | counting.SOLVERS | reading.SOLVERS


def kind_of(line: Line) -> str:
    makers = tuning.CATEGORIES[line.category]
    return makers[(int(line.id[-3:]) - 1) % len(makers)].__name__


def task_of(line: Line) -> str:
    return line.input.partition("\n\nThink first")[0]


KINDS = sorted({kind_of(line) for line in LINES})


def test_the_file_is_what_the_generator_writes() -> None:
    assert path_of("tuning").read_bytes() == encoded("tuning")


def test_it_is_large_enough_and_cheap() -> None:
    count = Counter(line.category for line in LINES)
    assert len(LINES) == 585
    assert len(count) == 13
    assert set(count.values()) == {45}
    assert {line.grader for line in LINES} <= {"answer", "number", "json"}  # none that asks a judge or runs code


def test_the_estimate_of_its_cost_is_computed() -> None:
    prompts = [len(line.input) / 3.2 for line in LINES]
    replies = [12 * line.steps + 30 for line in LINES]
    dollars = (sum(prompts) + 4 * sum(replies)) / 10**6
    said = " ".join((tuning.__doc__ or "").split())
    assert f"{round(sum(prompts), -3):,.0f} prompt tokens" in said
    assert f"{round(sum(replies), -3):,} completion tokens" in said
    assert f"no reply above {max(replies)}" in said
    assert f"${dollars:.2f}" in said
    assert max(prompts) < 650
    assert 4 * dollars < 4


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_is_found_another_way(kind: str) -> None:
    for line in LINES:
        if kind_of(line) == kind:
            own = SOLVERS[kind](task_of(line))
            if line.grader == "json":
                assert json.loads(own) == json.loads(line.target), line.id
            else:
                assert own == line.target, line.id


def test_every_kind_gets_harder() -> None:
    for kind in KINDS:
        own = sorted((line for line in LINES if kind_of(line) == kind), key=lambda line: line.difficulty)
        assert len({line.difficulty for line in own}) == 15
        steps = np.array([line.steps for line in own])
        low, middle, high = steps[:5].mean(), steps[5:10].mean(), steps[10:].mean()
        assert 1.15 * low < middle, kind
        assert 1.1 * middle < high, kind
        assert np.corrcoef(steps, np.arange(15))[0, 1] > 0.7, kind


def test_no_two_items_are_alike() -> None:
    bare = Counter(re.sub(r"[\W_]+", "", line.input.casefold()) for line in LINES)
    assert bare.most_common(1)[0][1] == 1
    for kind in KINDS:
        tasks = [task_of(line) for line in LINES if kind_of(line) == kind]
        words = [re.findall(r"\w+", task) for task in tasks]
        threes = [set(zip(own, own[1:], own[2:], strict=False)) for own in words]
        # More than one word was exchanged: one changes the three threes it is in.
        assert min(len(one ^ two) for one, two in combinations(threes, 2)) > 6, kind


def test_answers_cannot_be_guessed() -> None:
    for kind in KINDS:
        targets = [line.target for line in LINES if kind_of(line) == kind]
        assert Counter(targets).most_common(1)[0][1] <= 3, kind
    for line in LINES:
        check_target(line.grader, line.target)
        # The form of the answer is shown by an example; that is never the answer.
        closing = line.input.partition("\n\nThink first")[2]
        assert line.target not in closing, line.id
        assert line.target not in ("", "0", "1") or kind_of(line) not in ("powers", "strings", "subsets")


def said(target: str) -> list[str]:
    """How models give an answer they were asked to end with."""
    working = "Let me see. First 3, then 17; the result is 12 so far, and option B is out.\nSo (2, 3), then [1, 2]."
    over_lines = json.dumps(json.loads(target), indent=2) if target.startswith("{") else target
    return [
        f"Answer: {target}",
        f"{working}\n\nAnswer: {target}",
        f"{working}\n\nAnswer: {target}\n",
        f"{working}\n\n**Answer: {target}**",
        f"{working}\n\n**Answer:** {target}",
        f"{working}\n\nAnswer: **{target}**",
        f"{working}\n\nAnswer: `{target}`",
        f"{working}\n\n### Answer:\n{target}",
        f"{working}\n\n**Answer:**\n\n{target}",
        f"{working}\n\nAnswer:\n```\n{over_lines}\n```",
        f"{working}\n\nAnswer:\n{over_lines}",
        f"{working}\n\nThe final answer is: {target}",
        f"{working}\n\nFinal answer: {target}",
        f"{working}\n\nSo the answer is **{target}**.",
        f"{working}\n\nAnswer: {target}.",
        f"{working}\n\nAnswer: {compact(target)}",
        f'{{"reasoning": "so", "answer": {json.dumps(target)}}}',
    ]


def compact(target: str) -> str:
    """Lists without spaces, fractions in LaTeX."""
    if re.fullmatch(r"\d+/\d+", target):
        return "$\\frac{{{}}}{{{}}}$".format(*target.split("/"))
    return target.replace(", ", ",")


def boxed(target: str) -> list[str]:
    return [f"So it is \\boxed{{{target}}}.", f"Thus\n\n$$\\boxed{{{target}}}$$\n\nAnswer: $\\boxed{{{target}}}$"]


@pytest.mark.parametrize("kind", KINDS)
def test_typical_replies_are_read(kind: str) -> None:
    for line in LINES:
        if kind_of(line) != kind:
            continue
        replies = said(line.target)
        if line.grader != "json":
            replies += boxed(line.target)
        for reply in replies:
            assert grade(line.grader, reply, line.target) == 1.0, (line.id, reply)
        # Routers that compare replies see one answer in all of them.
        assert len({answer_in(reply) for reply in replies}) == 1, (line.id, {answer_in(reply) for reply in replies})


def test_other_answers_are_wrong() -> None:
    """The answers to other items of the kind, as near to right ones as can be."""
    for kind in KINDS:
        own = [line for line in LINES if kind_of(line) == kind]
        for line in own:
            for other in own:
                same = other.target == line.target
                assert grade(line.grader, f"So:\n\nAnswer: {other.target}", line.target) == same, (line.id, other.id)
                assert (fenced(other) == fenced(line)) == same, (line.id, other.id)


def fenced(line: Line) -> str | None:
    """What routers compare of an answer in a code fence."""
    return answer_in(f"So:\n\nAnswer:\n```json\n{line.target}\n```")


async def test_bundled_suites_are_put_there_when_first_asked_for(database: Database) -> None:
    for name in bundled.NAMES:
        loaded = await library.load(database, name)
        assert (loaded.name, loaded.digest) == (name, bundled.load(name).digest)
        assert (loaded.recorded is None) == (name == bundled.TUNING)
    with pytest.raises(NotFound):
        await library.load(database, "other")


def test_it_is_loaded_without_outcomes() -> None:
    suite = bundled.load("tuning")
    assert suite.recorded is None
    assert not suite.simulated
    assert [item.id for item in suite.items] == [line.id for line in LINES]
    assert bundled.load("tuning") is suite
    assert bundled.load().name == bundled.NAME == "basics"
