"""MT-Bench's questions and judgements, as FastChat and RouteLLM have them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.bench.importers import parse_prices, read_mt_bench
from app.core.errors import ConfigError

WEAK, STRONG = "mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"
PRICES = parse_prices([f"{WEAK}=0.6/0.6", f"{STRONG}=10/30"])
TURNS = {81: ["Write a post.", "Shorter!"], 111: ["What is the area?", "And of the circle?"]}


def write(folder: Path, name: str, lines: list[dict[str, Any]]) -> Path:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


def questions(folder: Path, **changes: Any) -> Path:
    lines = [
        {"question_id": 81, "category": "writing", "turns": TURNS[81]},
        {"question_id": 111, "category": "math", "turns": TURNS[111], "reference": ["3", "5pi"]},
    ]
    return write(folder, "question.jsonl", [line | changes for line in lines])


def answer(model: str, question: int, turn: int) -> str:
    return f"{model[:3]} says {question}.{turn}\n### User:\nis quoted"


def judgement(model: str, question: int, turn: int, score: float, **changes: Any) -> dict[str, Any]:
    """One line, with the prompts of FastChat's templates single-v1, single-math-v1 and their multi-turn forms."""
    asked = TURNS[question]
    first, last = answer(model, question, 1), answer(model, question, 2)
    if turn == 1:
        reference = "[The Start of Reference Answer]\n3\n[The End of Reference Answer]\n\n" if question == 111 else ""
        prompt = (
            f"[Instruction]\nRate it.\n\n[Question]\n{asked[0]}\n\n{reference}"
            f"[The Start of Assistant's Answer]\n{first}\n[The End of Assistant's Answer]"
        )
    else:
        reference = (
            f"<|The Start of Reference Answer|>\n\n### User:\n{asked[0]}\n\n### Reference answer:\n3\n\n"
            f"### User:\n{asked[1]}\n\n### Reference answer:\n5pi\n\n<|The End of Reference Answer|>\n\n\n"
        )
        prompt = (reference if question == 111 else "") + (
            "<|The Start of Assistant A's Conversation with User|>\n\n"
            f"### User:\n{asked[0]}\n\n### Assistant A:\n{first}\n\n"
            f"### User:\n{asked[1]}\n\n### Assistant A:\n{last}\n\n"
            "<|The End of Assistant A's Conversation with User|>"
        )
    judge = ["gpt-4", "single-v1" if turn == 1 else "single-v1-multi-turn"]
    made = {"question_id": question, "model": model, "judge": judge, "user_prompt": prompt, "judgment": "Rating: [[9]]"}
    return made | {"score": score, "turn": turn, "tstamp": 1714636116.7} | changes


def judgements(folder: Path, *extra: dict[str, Any]) -> Path:
    lines = [
        judgement(STRONG, 81, 2, 10),
        judgement(STRONG, 81, 1, 9),
        judgement(STRONG, 111, 1, 10),
        judgement(STRONG, 111, 2, -1),
        judgement(WEAK, 111, 1, 1),
        judgement(WEAK, 111, 2, 2),
        judgement(WEAK, 81, 1, 8),
        judgement(WEAK, 81, 2, 5.5),
    ]
    return write(folder, "judgements.jsonl", [*lines, *extra])


def test_conversations_become_a_suite(tmp_path: Path) -> None:
    imported = read_mt_bench([judgements(tmp_path)], questions(tmp_path), "mt", prices=PRICES)
    suite = imported.suite
    assert [(item.id, item.category, item.messages) for item in suite.items] == [
        ("mt_bench/81", "mt_bench/writing", [{"role": "user", "content": "Write a post."}]),
        ("mt_bench/111", "mt_bench/math", [{"role": "user", "content": "What is the area?"}]),
    ]
    recorded = suite.recorded
    assert recorded is not None
    assert recorded.models == (STRONG, WEAK)
    assert recorded.quality == pytest.approx(np.array([[0.95, 0.675], [1.0, 0.15]])), "a turn without rating is none"
    assert recorded.replies.tolist() == [[answer(model, number, 1) for model in (STRONG, WEAK)] for number in TURNS]
    # 13 and 8 characters asked, 33 and 33 told for question 81; the second turn sends the first one again.
    assert len(answer(STRONG, 81, 1)) == 33
    first, told, second = 4, 9, 2
    assert recorded.prompt_tokens[0].tolist() == [first + first + told + second] * 2
    assert recorded.completion_tokens[0].tolist() == [2 * told] * 2
    price = PRICES[STRONG]
    assert recorded.cost[0, 0] == float(price.input * 19 + price.output * 18)
    assert recorded.cost[0, 0] == float(Decimal(19 * 10 + 18 * 30) / 1_000_000)
    assert "the item asks the first turn alone" in suite.description


def test_contaminated_questions_are_left_out_by_any_of_their_turns(tmp_path: Path) -> None:
    barred = write(tmp_path, "contaminated_prompts.jsonl", [{"eval_prompt": "And of the circle?", "eval_idx": 1}])
    found = read_mt_bench([judgements(tmp_path)], questions(tmp_path), "mt", prices=PRICES, contaminated=[barred])
    assert [item.id for item in found.suite.items] == ["mt_bench/81"]
    assert "1 contaminated questions left out." in found.notes


def test_missing_ratings(tmp_path: Path) -> None:
    path = write(tmp_path, "j.jsonl", [judgement(WEAK, 81, 1, 8, user_prompt="?"), judgement(WEAK, 111, 1, -1)])
    with pytest.raises(ConfigError, match=r"1 of 2 cells .* first \(mt_bench/111, mixtral"):
        read_mt_bench([path], questions(tmp_path), "mt", prices=PRICES)
    suite = read_mt_bench([path], questions(tmp_path), "mt", prices=PRICES, allow_missing=True).suite
    assert suite.recorded is not None
    assert suite.recorded.quality[0, 0] == 0.8
    assert suite.recorded.replies.tolist() == [[None], [None]], "told in words that are not known"
    assert suite.recorded.completion_tokens.tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (judgement(WEAK, 81, 1, 8), "turn 1 of question 81 of mixtral-8x7b-instruct-v0.1 stands there more than once"),
        (judgement("other", 81, 1, 11), "the rating of turn 1 of question 81 of other is 11, not 1 to 10"),
        (judgement("other", 81, 1, 8) | {"turn": 3}, "judges turn 3 of question 81, which has 2"),
        (judgement("other", 81, 1, 8) | {"question_id": 7}, "judges question 7, which the file of questions has not"),
        (judgement("other", 81, 1, 8), "holds no costs for 1 models, first other"),
        (judgement("other", 81, 1, 8) | {"score": "good"}, "line 9: Expected `float`, got `str` - at `$.score`"),
    ],
)
def test_what_is_wrong_with_a_judgement_is_said(tmp_path: Path, extra: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_mt_bench([judgements(tmp_path, extra)], questions(tmp_path), "mt", prices=PRICES)
    assert message in caught.value.message


def test_questions_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = judgements(tmp_path)
    with pytest.raises(ConfigError, match="question 5 stands there more than once"):
        read_mt_bench([path], questions(tmp_path, question_id=5), "mt", prices=PRICES)
    with pytest.raises(ConfigError, match="question 81 has no turns"):
        read_mt_bench([path], questions(tmp_path, turns=[]), "mt", prices=PRICES)
    with pytest.raises(ConfigError, match="holds no questions"):
        read_mt_bench([path], write(tmp_path, "empty.jsonl", []), "mt", prices=PRICES)
    with pytest.raises(ConfigError, match=r"cannot be read .* pass FastChat's question\.jsonl"):
        read_mt_bench([path], tmp_path / "none.jsonl", "mt", prices=PRICES)
    with pytest.raises(ConfigError, match="no judgement was passed"):
        read_mt_bench([write(tmp_path, "none.jsonl", [])], questions(tmp_path), "mt", prices=PRICES)
