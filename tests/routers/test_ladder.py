"""The headline router: what it offers, how it climbs, and when it keeps to what is known without a prompt."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routers import Candidate, Decision, Outcomes, Query, Reply
from routers.artifacts import MANIFEST, ArtifactError
from routers.base import seed_for
from routers.hull import mean_height
from routers.ladder import LadderRouter
from routers.walk import follow

MODELS = ("tiny", "small", "middle", "large", "huge")
COSTS = (0.0001, 0.0002, 0.0004, 0.002, 0.01)
SKILL = {"sum": (0.7, 0.75, 0.8, 0.85, 0.9), "verse": (0.3, 0.4, 0.55, 0.6, 0.9)}


def world(n: int = 400, *, seed: int = 0, answers: str = "number", m: int = 5, missing: float = 0.0) -> Outcomes:
    """Two kinds of prompts; wrong answers are mostly all different, so that agreement is worth something."""
    rng = np.random.default_rng(seed)
    kinds = tuple(sorted(SKILL))
    categories = tuple(kinds[index % 2] for index in range(n))
    prompts = tuple(
        " ".join(rng.choice([f"{kind}{word}" for word in range(25)], size=12)) + f" {index}"
        for index, kind in enumerate(categories)
    )
    quality = (rng.random((n, m)) < np.array([SKILL[kind][:m] for kind in categories])).astype(float)
    replies = np.full((n, m), None, dtype=object)
    for row, column in np.ndindex(n, m):
        right = quality[row, column] == 1
        if answers == "number":
            replies[row, column] = f"The answer is {row if right else 10_000 + rng.integers(40)}."
        elif answers == "letter":
            replies[row, column] = "ABCD"[(row + (0 if right else rng.integers(1, 4))) % 4]
        elif answers == "chat":
            replies[row, column] = " ".join(rng.choice(["I", "would", "say", "that", "it", "depends"], size=90))
    cost = np.array(COSTS[:m]) * rng.uniform(0.9, 1.1, (n, m))
    hole = rng.random((n, m)) < missing
    quality[hole] = cost[hole] = np.nan
    return Outcomes(
        items=tuple(f"item-{index}" for index in range(n)),
        prompts=prompts,
        lengths=np.array([len(text) for text in prompts], dtype=np.int64),
        categories=categories,
        models=MODELS[:m],
        quality=quality,
        cost=cost,
        suite="world",
        replies=None if answers == "none" else replies,
    )


@lru_cache
def fitted(answers: str = "number", **params: Any) -> LadderRouter:
    return LadderRouter.fit(world(answers=answers), **params)


def ask(text: str, pool: tuple[Candidate, ...] | None = None, **fields: Any) -> Query:
    return Query([{"role": "user", "content": text}], world().candidates() if pool is None else pool, **fields)


def a_ladder(**fields: Any) -> tuple[Query, Decision]:
    """A query that is answered by a ladder, and that decision."""
    for tradeoff in (0.2, 0.1, 0.05, 0.02, 0.0):
        query = ask(world().prompts[0], tradeoff=tradeoff, **fields)
        decision = fitted().route(query)
        if decision.review is not None:
            return query, decision
    raise AssertionError("no ladder was offered")


def reply(number: int) -> str:
    return f"I thought. The answer is {number}."


def gain(router: LadderRouter, table: Outcomes) -> float:
    """AIQ of the router on `table` over the hull of its single models."""
    points, costs = [], dict(zip(table.models, table.cost.T, strict=True))
    columns = {model: place for place, model in enumerate(table.models)}
    for tradeoff in (0, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1):
        got = []
        for row, prompt in enumerate(table.prompts):
            query = ask(prompt, table.candidates(), tradeoff=tradeoff, seed=seed_for(row))

            def answer(model: str, row: int = row) -> Reply:
                return Reply(model, None if table.replies is None else table.replies[row, columns[model]])

            walk = follow(router.route(query), query, answer)
            got.append((sum(costs[m][row] for m in walk.called), table.quality[row, columns[walk.answer.model]]))
        points.append(np.mean(got, axis=0))
    mean_cost, mean_quality = table.cost.mean(axis=0), table.quality.mean(axis=0)
    frame = (float(mean_cost.min()), float(mean_cost.max()), float(mean_quality[mean_cost.argmin()]))
    cost, quality = np.array(points).T
    return mean_height(cost, quality, *frame) - mean_height(mean_cost, mean_quality, *frame)


def test_ladders_beat_mixing_single_models_and_their_single_model_twin() -> None:
    test = world(150, seed=9)
    ladder, twin = gain(fitted(), test), gain(fitted(calls=1), test)
    assert ladder > 0.02
    assert ladder > twin + 0.01


def test_agreement_is_the_answer_and_the_better_one_of_the_two_gives_it() -> None:
    query, decision = a_ladder()
    first, second = (choice.model for choice in decision.ranking[:2])
    assert decision.ask == 2
    assert decision.reason == "ladder"
    assert MODELS.index(first) > MODELS.index(second)
    walk = follow(decision, query, lambda model: Reply(model, reply(4)))
    assert walk.called == (first, second)
    assert (walk.answer.model, walk.decision.reason) == (first, "agree")
    assert walk.decision.detail["agreed"] == [first, second]
    assert walk.decision.detail["answers"] == {first: "4", second: "4"}
    json.dumps(walk.decision.detail)
    json.dumps(decision.detail)


def test_without_agreement_it_climbs_to_the_first_answer_with_two_votes() -> None:
    query, decision = a_ladder()
    a, b, c = decision.detail["arm"][:3]
    texts = {a: reply(1), b: reply(2), c: reply(2)}
    walk = follow(decision, query, lambda model: Reply(model, texts[model]))
    assert walk.called == (a, b, c)
    assert walk.answer.model in (b, c)
    assert walk.decision.reason == "agree"


def test_where_nobody_agrees_the_last_model_answers() -> None:
    query, decision = a_ladder()
    arm = decision.detail["arm"]
    walk = follow(decision, query, lambda model: Reply(model, reply(arm.index(model))))
    assert walk.called == tuple(arm)
    assert (walk.answer.model, walk.decision.reason) == (arm[-1], "no agreement")


def test_failed_calls_are_missing_votes_that_never_agree() -> None:
    query, decision = a_ladder()
    arm = decision.detail["arm"]
    walk = follow(decision, query, lambda model: Reply(model, reply(3) if model == arm[-2] else None))
    assert walk.called == tuple(arm)
    assert walk.answer.model == arm[-2]


def test_where_all_fail_the_other_candidates_are_left() -> None:
    query, decision = a_ladder()
    arm = decision.detail["arm"]
    walk = follow(decision, query, lambda model: Reply(model, None))
    assert walk.decision.reason == "no reply"
    assert walk.answer.model not in arm
    assert {choice.model for choice in walk.decision.ranking} == set(MODELS) - set(arm)


def test_replies_without_an_answer_are_told_apart() -> None:
    query, decision = a_ladder()
    walk = follow(decision, query, lambda model: Reply(model, "hm " * 200))
    assert walk.decision.reason == "no answer to compare"
    assert walk.answer.model == decision.detail["arm"][-1]


def test_no_arm_is_longer_than_the_calls_that_are_allowed() -> None:
    for tradeoff in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0):
        for most in (1, 2, 3):
            query = ask(world().prompts[0], tradeoff=tradeoff, max_calls=most)
            decision = fitted().route(query)
            assert len(decision.detail["arm"]) <= most
            assert (decision.review is None) == (len(decision.detail["arm"]) == 1)
            follow(decision, query, lambda model: Reply(model, reply(MODELS.index(model))))


def test_a_ladder_must_fit_the_money_even_where_all_of_it_is_called() -> None:
    _, decision = a_ladder()
    worst = sum(COSTS[MODELS.index(model)] for model in decision.detail["arm"])
    for most in (worst / 2, 0.00015, 0.00001):
        again = fitted().route(ask(world().prompts[0], tradeoff=0.0, max_cost=most))
        costs = [world().mean_costs()[MODELS.index(model)] for model in again.detail["arm"]]
        assert sum(costs) <= most or again.detail["arm"] == ["tiny"]


def with_latency(seconds: float | None) -> tuple[Candidate, ...]:
    return tuple(dataclasses.replace(candidate, latency=seconds) for candidate in world().candidates())


def test_a_ladder_must_fit_the_time_and_is_not_offered_where_it_is_unknown() -> None:
    query, decision = a_ladder()
    steps = len(decision.detail["arm"]) - 1
    for seconds, bound, offered in ((1.0, steps + 0.1, True), (1.0, 1.5, False), (None, 100.0, False)):
        timed = dataclasses.replace(query, candidates=with_latency(seconds), max_latency=bound)
        assert (fitted().route(timed).review is not None) == offered
    nobody = dataclasses.replace(query, candidates=with_latency(9.0), max_latency=1.0)
    assert fitted().route(nobody).ranking[0].model == "tiny"


def test_arms_whose_models_are_not_all_candidates_fall_out() -> None:
    _, decision = a_ladder()
    gone = decision.detail["arm"][1]
    pool = tuple(candidate for candidate in world().candidates() if candidate.model != gone)
    for tradeoff in (0.0, 0.05, 0.2):
        again = fitted().route(ask(world().prompts[0], pool, tradeoff=tradeoff))
        assert gone not in again.detail["arm"]
        assert sorted(choice.model for choice in again.ranking) == sorted(candidate.model for candidate in pool)


def test_a_model_not_trained_on_stands_alone_by_the_prior() -> None:
    pool = (*world().candidates(), Candidate("new", mean_cost=0.00001))
    decision = fitted().route(ask(world().prompts[0], pool, tradeoff=0.9))
    assert "unseen model by prior" in decision.reason
    new = next(choice for choice in decision.ranking if choice.model == "new")
    assert (new.quality, new.cost) == (pytest.approx(fitted().pool.quality.mean()), 0.00001)
    only = fitted().route(ask("what", (Candidate("new"),)))
    assert [choice.model for choice in only.ranking] == ["new"]
    assert only.review is None


def test_no_candidates_is_declined() -> None:
    assert fitted().route(ask("what", ())).ranking == ()


def test_a_prompt_unlike_all_training_prompts_is_answered_by_what_is_known_without_it() -> None:
    router = fitted()
    assert router.chooser.learned is not None
    known = router.route(ask(world().prompts[1], explain=True))
    novel = router.route(ask("完全不同 " + "bicycle wheels turn slowly uphill " * 4 + "sum3", explain=True))
    blank = router.route(ask("完全不同的文字"))
    assert known.detail["foretold_by"] == "learned"
    assert (novel.detail["foretold_by"], novel.reason.partition(", ")[2]) == ("novel", "novel")
    assert blank.reason.endswith("no known word")
    means = router.chooser.quality[router.chooser.comparable[router.chooser.kinds.nearest(np.zeros(1, np.float32))]]
    assert {choice.quality for choice in blank.ranking} <= set(means.tolist())


@pytest.mark.parametrize("answers", ["chat", "none"])
def test_where_no_answer_can_be_compared_only_single_models_are_offered(answers: str) -> None:
    router = fitted(answers)
    assert all(len(arm) == 1 for arm in router.chooser.arms)
    for tradeoff in (0.0, 0.1, 0.5):
        assert router.route(ask(world().prompts[0], tradeoff=tradeoff)).review is None


def test_choices_of_one_letter_are_answers() -> None:
    assert any(len(arm) > 1 for arm in fitted("letter").chooser.arms)


@pytest.mark.parametrize(
    "table",
    [
        world(1),
        world(2),
        world(25),
        world(60, missing=0.3),
        world(60, m=2),
        world(60, m=1),
        dataclasses.replace(world(60), cost=np.zeros((60, 5))),
        dataclasses.replace(world(60), cost=np.full((60, 5), 0.01)),
        dataclasses.replace(world(60), prompts=("",) * 60),
        dataclasses.replace(world(60), quality=np.linspace(0, 1, 300).reshape(60, 5)),
    ],
    ids=["1 item", "2 items", "25 items", "holes", "2 models", "1 model", "free", "one price", "no words", "graded"],
)
def test_small_and_odd_suites(table: Outcomes) -> None:
    router = LadderRouter.fit(table)
    for tradeoff in (0.0, 0.3, 1.0):
        for prompt in (table.prompts[0], "", "moon"):
            query = ask(prompt, table.candidates(), tradeoff=tradeoff)
            walk = follow(router.route(query), query, lambda model: Reply(model, reply(MODELS.index(model))))
            assert walk.answer.model in table.models


def test_what_chance_alone_gained_is_not_offered() -> None:
    """Replies that agree at random: no ladder is worth its cost, and no pick by the prompt either."""
    rng = np.random.default_rng(0)
    table = world(150)
    replies = np.array([reply(int(n)) for n in rng.integers(6, size=750)], dtype=object).reshape(150, 5)
    router = LadderRouter.fit(dataclasses.replace(table, replies=replies, quality=table.quality[rng.permutation(150)]))
    assert all(len(arm) == 1 for arm in router.chooser.arms)


def test_cost_alone_takes_the_cheapest() -> None:
    assert fitted().route(ask(world().prompts[0], tradeoff=1.0)).ranking[0].model == "tiny"


def test_calls_must_be_possible() -> None:
    with pytest.raises(ValueError, match="'calls' must lie between 1 and 4"):
        LadderRouter.fit(world(30), calls=5)
    assert max(len(arm) for arm in fitted(calls=3).chooser.arms) == 3


def test_a_large_table_is_learned_from_a_seeded_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routers.chooser.ROWS", 200)
    one, again = (LadderRouter.fit(world(), seed=3).chooser.arrays() for _ in range(2))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert "neighbours" not in one or len(one["neighbours"]) == 200


def broken(folder: Path, **arrays: np.ndarray) -> None:
    """An artifact with other arrays, and hashes that fit: what only a look at the content can find."""
    fitted().save(folder)
    with np.load(folder / "arrays.npz") as kept:
        np.savez(folder / "arrays.npz", **{name: kept[name] for name in kept.files} | arrays)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["arrays.npz"] = hashlib.sha256((folder / "arrays.npz").read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"arms": np.array([[0, 1, 9, -1]], dtype=np.int32)}, "arms"),
        ({"arms": np.array([[0, -1], [1, -1]], dtype=np.int32)}, "arms"),
        ({"arm_quality": np.full((2, 3), 0.5)}, "arm_quality"),
        ({"comparable": np.ones(1, dtype=np.int8)}, "comparable"),
        ({"kinds": np.zeros((0, 0), dtype=np.float32)}, "kinds"),
        ({"limits": np.array([np.nan, 0.0])}, "limits"),
        ({"picker_cost_offsets": np.zeros(1)}, "picker_cost_offsets"),
    ],
)
def test_an_artifact_that_does_not_fit_together_is_refused(
    arrays: dict[str, np.ndarray], named: str, tmp_path: Path
) -> None:
    broken(tmp_path / "a", **arrays)
    with pytest.raises(ArtifactError, match=named):
        LadderRouter.load(tmp_path / "a")


def test_a_damaged_artifact_is_refused(tmp_path: Path) -> None:
    fitted().save(tmp_path / "a")
    manifest = tmp_path / "a" / MANIFEST
    manifest.write_text(manifest.read_text().replace('"calls": 4', '"calls": 9'))
    with pytest.raises(ArtifactError, match="calls"):
        LadderRouter.load(tmp_path / "a")
