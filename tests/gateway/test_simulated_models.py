"""Simulated models: the same in every process, honest about what they are, and as good as their skill says."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.types import Usage
from app.gateway.pricing import cost_of
from app.gateway.simulated_models import MODELS, Answer, AnswerKey, chance, simulate, tokens


def answer(difficulty: float = 0.5, category: str = "words", form: str = "prose") -> Answer:
    return Answer("right", category, difficulty, ("wrong", "bad"), form)  # type: ignore[arg-type]


def key_of(count: int, entry: Answer) -> AnswerKey:
    return {f"prompt {number}": entry for number in range(count)}


def test_every_description_says_simulated() -> None:
    assert len(MODELS) == 5
    for name, model in MODELS.items():
        assert name == model.name
        assert name.startswith("sim-")
        assert "simulated" in model.description


def test_prices_spread_over_two_orders_of_magnitude_and_are_per_token() -> None:
    models = list(MODELS.values())
    assert [model.input_price for model in models] == sorted(model.input_price for model in models)
    assert models[-1].output_price >= 100 * models[0].output_price
    assert MODELS["sim-pro"].price.input == Decimal("0.000003")
    assert MODELS["sim-pro"].price.output == Decimal("0.000012")


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(sorted(MODELS)))
def test_cost_is_what_the_proxy_bills(prompt: int, completion: int, name: str) -> None:
    model = MODELS[name]
    usage = Usage(prompt_tokens=prompt, completion_tokens=completion)
    assert model.cost(prompt, completion) == cost_of(usage, model.price)


@pytest.mark.parametrize(("text", "count"), [("", 1), ("a", 1), ("abcd", 1), ("abcde", 2), ("x" * 400, 100)])
def test_tokens_are_four_characters(text: str, count: int) -> None:
    assert tokens(text) == count


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("difficulty", [0.1, 0.5, 0.9])
def test_share_of_right_replies_is_the_chance(name: str, difficulty: float) -> None:
    model, entry = MODELS[name], answer(difficulty)
    key = key_of(2000, entry)
    right = sum("right" in simulate(model, prompt, key).text for prompt in key)
    # Four standard deviations of a share of 2000.
    assert right / 2000 == pytest.approx(chance(model, entry), abs=4 * 0.5 / 2000**0.5)


def test_chance_falls_with_difficulty_and_rises_with_skill() -> None:
    model = MODELS["sim-coder"]
    assert chance(model, answer(0.1)) > chance(model, answer(0.5)) > chance(model, answer(0.9))
    assert chance(model, answer(0.8, "code")) > 0.9 > 0.2 > chance(model, answer(0.8, "lookup"))
    assert chance(model, answer(model.skill)) == 0.5


def test_replies_hold_the_one_answer_they_give() -> None:
    key = key_of(300, answer())
    for model in MODELS.values():
        texts = [simulate(model, prompt, key).text for prompt in key]
        assert all(sum(word in text for word in ("right", "wrong", "bad")) == 1 for text in texts)
        assert len(set(texts)) > 10


@pytest.mark.parametrize("name", sorted(MODELS))
def test_forms_are_kept(name: str) -> None:
    model = MODELS[name]
    alone = key_of(50, answer(form="alone"))
    assert {simulate(model, prompt, alone).text for prompt in alone} <= {"right", "wrong", "bad"}
    fenced = key_of(50, answer(form="json"))
    texts = {simulate(model, prompt, fenced).text for prompt in fenced}
    assert {text.removeprefix("```json\n").removesuffix("\n```") for text in texts} <= {"right", "wrong", "bad"}
    assert any(text.startswith("```json\n") for text in texts)


def test_dear_models_say_more_and_take_longer() -> None:
    key = key_of(200, answer())
    small, large = ([simulate(MODELS[name], prompt, key) for prompt in key] for name in ("sim-nano", "sim-max"))
    assert sum(reply.completion_tokens for reply in large) > 2 * sum(reply.completion_tokens for reply in small)
    assert sum(reply.seconds for reply in large) > 5 * sum(reply.seconds for reply in small)


def test_usage_and_time_follow_from_the_texts() -> None:
    key = key_of(100, answer())
    for model in MODELS.values():
        for prompt in key:
            reply = simulate(model, prompt, key)
            assert reply.prompt_tokens == tokens(prompt)
            assert reply.completion_tokens == tokens(reply.text)
            expected = model.first_token + reply.completion_tokens / model.speed
            assert 0.8 * expected <= reply.seconds <= 1.2 * expected


@given(st.text(st.characters(), max_size=200), st.sampled_from(sorted(MODELS)))
@settings(deadline=None)
def test_other_prompts_get_an_honest_reply(prompt: str, name: str) -> None:
    reply = simulate(MODELS[name], prompt, MappingProxyType({}))
    assert "a simulated model" in reply.text
    assert name in reply.text
    assert "cannot really answer" in reply.text
    assert reply == simulate(MODELS[name], prompt, {})


def test_replies_are_the_same_in_another_process() -> None:
    program = (
        "from app.gateway.simulated_models import MODELS, Answer, simulate\n"
        "key = {f'prompt {n}': Answer('right', 'words', 0.5, ('wrong', 'bad')) for n in range(40)}\n"
        "print([simulate(model, prompt, key) for model in MODELS.values() for prompt in key])"
    )
    key = key_of(40, answer())
    here = [simulate(model, prompt, key) for model in MODELS.values() for prompt in key]
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert there.strip() == str(here)
