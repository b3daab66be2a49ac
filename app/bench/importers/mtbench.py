"""MT-Bench as its judge leaves it: FastChat's questions and single-answer judgements, RouteLLM's among them.

`question.jsonl`: `question_id, category, turns`, one or two questions of a conversation. Judgements
(`judgements.jsonl` of RouteLLM, `model_judgment/gpt-4_single.jsonl` of FastChat): `question_id, model, turn, score`,
the rating of one turn, 1 to 10 or −1 where the judge gave none, and `user_prompt`, what the judge read: the only place
where the answers stand.
Source: lm-sys/FastChat, fastchat/llm_judge (Zheng et al. 2023, arXiv:2306.05685); lm-sys/RouteLLM,
routellm/evals/mt_bench and benchmarks.py (Ong et al. 2024, arXiv:2406.18665).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from app.bench.importers.complaints import fail
from app.bench.importers.documents import read_lines
from app.bench.importers.findings import Imported, describe
from app.bench.importers.gathering import Answer, Gathering
from app.bench.importers.items import plain_item
from app.bench.importers.prices import CHARACTERS, check_prices, cost, rough_tokens
from app.bench.importers.routellm import read_contaminated
from app.bench.suite import Suite
from app.core.types import Price

PREFIX = "mt_bench"
BEST = 10
UNRATED = -1
_FIRST = "[The Start of Assistant's Answer]\n", "\n[The End of Assistant's Answer]"
_LAST = "\n\n<|The End of Assistant A's Conversation with User|>"


class _Question(msgspec.Struct):
    question_id: int | str
    category: str
    turns: list[str]


class _Judgement(msgspec.Struct):
    question_id: int | str
    model: str
    turn: int
    score: float
    user_prompt: str = ""


@dataclass
class _Conversation:
    """What one model did with one question, by turn from 1."""

    ratings: dict[int, float] = field(default_factory=dict)
    answers: dict[int, str] = field(default_factory=dict)


def read_mt_bench(
    paths: Sequence[Path],
    questions: Path,
    name: str,
    *,
    prices: Mapping[str, Price],
    contaminated: Sequence[Path] = (),
    allow_missing: bool = False,
) -> Imported:
    """The suite of judgement files, graded by the judge: the mean rating of a conversation's turns, divided by 10.

    Items are `mt_bench/<question_id>` in the order of `questions`, categories `mt_bench/<category>`. An item asks the
    first turn alone, since that is what RouteLLM routes by; quality, tokens and cost are those of the whole
    conversation. `prices`: by model, as the files hold no costs (see `parse_prices`); tokens are estimated from the
    lengths of the texts. `contaminated`: files of prompts; a question with one of them in any turn is left out. A turn
    the judge did not rate counts as not there.

    Every model must have a rating for every question, unless `allow_missing`. Raises `ConfigError`.
    """
    asked = _questions(questions)
    judged: dict[tuple[str, str], _Conversation] = {}
    for path in paths:
        _judge(path, asked, judged)
    if not judged:
        fail(questions, "no judgement was passed: pass judgements.jsonl (FastChat: gpt-4_single.jsonl) beside it")
    models = list(dict.fromkeys(model for _, model in judged))
    check_prices(paths[0], prices, models)
    barred = frozenset(prompt for path in contaminated for prompt in read_contaminated(path))
    kept = {key: question for key, question in asked.items() if not barred.intersection(question.turns)}
    if not kept:
        fail(questions, "every question is contaminated: pass other files")
    gathering = Gathering()
    for key, question in kept.items():
        item = plain_item(f"{PREFIX}/{key}", f"{PREFIX}/{question.category}", question.turns[0], None)
        for model in models:
            conversation = judged.get((key, model), _Conversation())
            gathering.add(questions, item, question.turns, model, _answer(question, conversation, prices[model]))
    suite, notes = gathering.suite(paths[0], name, allow_missing=allow_missing)
    notes.append(
        f"Quality is the judge's mean rating of a conversation's turns / {BEST}; the item asks the first turn alone."
    )
    notes.append(f"Costs are estimates of the whole conversation: {CHARACTERS} characters a token.")
    if dropped := len(asked) - len(kept):
        notes.append(f"{dropped:,} contaminated questions left out.")
    said = describe(f"MT-Bench: recorded outcomes of {len(models)} models.", suite.recorded, (), *notes)
    return Imported(Suite(name, suite.items, recorded=suite.recorded, description=said), notes=tuple(notes))


def _questions(path: Path) -> dict[str, _Question]:
    """The questions by id."""
    found: dict[str, _Question] = {}
    for question in read_lines(path, _Question, "FastChat's question.jsonl (fastchat/llm_judge/data/mt_bench)"):
        key = str(question.question_id)
        if key in found:
            fail(path, f"question {key} stands there more than once: keep one")
        if not question.turns:
            fail(path, f"question {key} has no turns: pass a file as FastChat writes it")
        found[key] = question
    if not found:
        fail(path, "holds no questions: pass FastChat's question.jsonl")
    return found


def _judge(path: Path, asked: Mapping[str, _Question], judged: dict[tuple[str, str], _Conversation]) -> None:
    """Add a file's ratings and the answers that stand in it."""
    for one in read_lines(path, _Judgement, "a file of single-answer judgements"):
        key = str(one.question_id)
        if key not in asked:
            fail(path, f"judges question {key}, which the file of questions has not: pass the one that belongs to it")
        turns = asked[key].turns
        conversation = judged.setdefault((key, one.model), _Conversation())
        if not 1 <= one.turn <= len(turns):
            fail(path, f"judges turn {one.turn} of question {key}, which has {len(turns)}")
        if one.turn in conversation.ratings:
            fail(path, f"turn {one.turn} of question {key} of {one.model} stands there more than once: keep one rating")
        if one.score != UNRATED and not 0 <= one.score <= BEST:
            fail(
                path,
                f"the rating of turn {one.turn} of question {key} of {one.model} is {one.score:g}, not 1 to {BEST}",
            )
        conversation.ratings[one.turn] = one.score
        conversation.answers.update(_answers(one, turns))


def _answers(one: _Judgement, turns: Sequence[str]) -> dict[int, str]:
    """The answers in what the judge read, by turn; nothing where it was asked in other words."""
    if one.turn == 1:
        text = _between(one.user_prompt, *_FIRST)
        return {} if text is None else {1: text}
    heads = [f"### User:\n{question}\n\n### Assistant A:\n" for question in turns[:2]]
    texts = (_between(one.user_prompt, heads[0], f"\n\n{heads[1]}"), _between(one.user_prompt, heads[1], _LAST))
    return {turn: text for turn, text in enumerate(texts, start=1) if text is not None}


def _between(text: str, start: str, end: str) -> str | None:
    # From behind: a reference answer that stands before the model's own has the same headings.
    stop = text.rfind(end)
    begin = text.rfind(start, 0, stop) if stop >= 0 else -1
    return text[begin + len(start) : stop] if begin >= 0 else None


def _answer(question: _Question, conversation: _Conversation, price: Price) -> Answer:
    ratings = [rating for rating in conversation.ratings.values() if rating != UNRATED]
    if not ratings:
        return Answer(np.nan, np.nan, 0, 0, None)
    asked = told = before = 0
    for turn in sorted(conversation.ratings):
        # Each turn sends all that was said before it once more.
        before += rough_tokens(question.turns[turn - 1])
        asked += before
        answer = max(rough_tokens(conversation.answers.get(turn, "")), 1)
        before += answer
        told += answer
    quality = float(np.mean(ratings)) / BEST
    return Answer(quality, cost(price, asked, told), asked, told, conversation.answers.get(1))
