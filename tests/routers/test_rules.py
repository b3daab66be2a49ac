"""rules: conditions a person wrote, and patterns that must not hang anybody."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers import Candidate, Query
from routers.patterns import LONGEST, STEPS, CostlyPattern, Pattern
from routers.registry import build
from routers.rules import CONDITIONS, RulesRouter

POOL = (Candidate("small"), Candidate("medium"), Candidate("large"))
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


def ask(text: Any, *before: dict[str, Any], **fields: Any) -> Query:
    return Query([*before, {"role": "user", "content": text}], fields.pop("candidates", POOL), **fields)


def first(router: RulesRouter, query: Query) -> str | None:
    ranking = router.route(query).ranking
    return ranking[0].model if ranking else None


def holds(condition: dict[str, Any], query: Query) -> bool:
    return first(RulesRouter([{"when": condition, "models": ["large"]}, {"else": ["small"]}]), query) == "large"


def test_the_first_rule_that_holds_decides() -> None:
    router = RulesRouter(
        [
            {"when": {"code": True, "min_characters": 30}, "models": ["large", "medium"]},
            {"when": {"code": True}, "models": ["medium"]},
            {"else": ["small"]},
        ]
    )
    long = router.route(ask("```python\nfor x in range(10): print(x)\n```"))
    assert [choice.model for choice in long.ranking] == ["large", "medium", "small"]
    assert [choice.probability for choice in long.ranking] == [1.0, 0.0, 0.0]
    assert long.reason == "rule 1"
    assert [choice.model for choice in router.route(ask("f(x)={};")).ranking] == ["medium", "small", "large"]
    assert router.route(ask("hello")).reason == "else"
    assert router.named_models() == ("large", "medium", "small")


def test_a_model_that_is_no_candidate_is_passed_over() -> None:
    router = RulesRouter([{"when": {"digits": True}, "models": ["gone", "medium"]}, {"else": ["gone"]}])
    assert first(router, ask("1")) == "medium"
    declined = router.route(ask("one"))
    assert (declined.ranking, declined.reason) == ((), "models of the rule not available")


def test_without_else_nothing_may_hold() -> None:
    decision = RulesRouter([{"when": {"digits": True}, "models": "small"}]).route(ask("none"))
    assert (decision.ranking, decision.reason) == ((), "no rule holds")


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ({"min_characters": 5}, ask("12345"), ask("1234")),
        ({"max_characters": 5}, ask("12345"), ask("123456")),
        ({"min_characters": 5}, ask("1", {"role": "system", "content": "1234"}), ask("1")),
        ({"min_messages": 2}, ask("a", {"role": "system", "content": "b"}), ask("a")),
        ({"max_messages": 1}, ask("a"), ask("a", {"role": "system", "content": "b"})),
        ({"min_tradeoff": 0.7}, ask("a", tradeoff=0.7), ask("a", tradeoff=0.6)),
        ({"max_tradeoff": 0.2}, ask("a", tradeoff=0.2), ask("a", tradeoff=0.3)),
        ({"code": True}, ask("def f(x): return {x: [1]}"), ask("the function of a poem (any poem)")),
        ({"code": False}, ask("plain words"), ask("```\nx\n```")),
        ({"digits": True}, ask("route 66"), ask("route sixty-six")),
        ({"digits": False}, ask("none"), ask("٣")),
        ({"question": True}, ask("why?"), ask("because")),
        ({"system": True}, ask("a", {"role": "developer", "content": "b"}), ask("a")),
        ({"tools": True}, ask("a", {"role": "tool", "content": "b"}), ask("a")),
        ({"tools": True}, ask("a", {"role": "assistant", "content": None, "tool_calls": [{}]}), ask("a")),
        ({"images": True}, ask([IMAGE]), ask([{"type": "text", "text": "image"}])),
        ({"keywords": ["new york"]}, ask("In NEW  York, now"), ask("new yorkers")),
        ({"keywords": "straße"}, ask("Die STRASSE."), ask("Straßenbahn")),
        ({"regex": r"(?i)\binvoice no\. \d+"}, ask("see Invoice No. 17"), ask("invoice no. none")),
        ({"scripts": {"cyrillic": 0.5}}, ask("привет, world"), ask("hello, мир and so on")),
        ({"scripts": {"han": 0.9}}, ask("解释量子力学 42"), ask("explain 量子")),
    ],
)
def test_each_condition_tells_the_two_apart(condition: dict[str, Any], yes: Query, no: Query) -> None:
    assert holds(condition, yes)
    assert not holds(condition, no)


def test_each_condition_has_such_a_case() -> None:
    mark = next(m for m in test_each_condition_tells_the_two_apart.pytestmark if m.name == "parametrize")
    assert {key for condition, _, _ in mark.args[1] for key in condition} == set(CONDITIONS)


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ([], "'rules' needs at least one rule"),
        ([{"models": ["a"]}], "rule 1: 'when' must hold at least one condition"),
        ([{"when": {}, "models": ["a"]}], "rule 1: 'when' must hold"),
        ([{"when": {"code": True}}], "rule 1: 'models' must list names"),
        ([{"when": {"code": True}, "models": []}], "rule 1: 'models' must list names"),
        ([{"when": {"code": True}, "models": ["a", "a"]}], "rule 1: 'models' names a model twice"),
        ([{"when": {"code": True}, "model": ["a"]}], "rule 1 has an unknown key 'model'; there are when, models"),
        ([{"when": {"kode": True}, "models": ["a"]}], "rule 1: 'when' has an unknown key 'kode'; there are min_char"),
        ([{"else": ["a"]}, {"else": ["b"]}], "rule 1: 'else' must be the last"),
        ([{"else": ["a"], "when": {"code": True}}], "rule 1 has an unknown key 'when'"),
        ([{"else": None}], "rule 1: 'else' must list names"),
        ([{"when": {"code": 1}, "models": ["a"]}], "rule 1: 'code' must be true or false, not 1"),
        ([{"when": {"min_characters": "9"}, "models": ["a"]}], "rule 1: 'min_characters' must be a number"),
        ([{"when": {"min_messages": True}, "models": ["a"]}], "rule 1: 'min_messages' must be a number"),
        ([{"when": {"keywords": []}, "models": ["a"]}], "rule 1: 'keywords' must be a list of words"),
        ([{"when": {"keywords": ["?!"]}, "models": ["a"]}], "rule 1: 'keywords' '\\?!' holds no word"),
        ([{"when": {"scripts": {"klingon": 1}}, "models": ["a"]}], "rule 1: 'scripts' knows no script 'klingon'"),
        ([{"when": {"scripts": {"latin": 2}}, "models": ["a"]}], "rule 1: 'scripts' latin: 2 is no share"),
        ([{"when": {"digits": True}, "models": ["a"]}, {"when": {"regex": "("}, "models": ["a"]}], "rule 2: 'regex'"),
        ([{"when": {"regex": "(a+)+$"}, "models": ["a"]}], "rule 1: 'regex'.*repetition within a repetition"),
    ],
)
def test_what_is_wrong_is_named_by_rule_and_key(rules: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"router 'rules'.*{complaint}"):
        build("rules", {"rules": rules})


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+$",
        "(a*)*b",
        "(a|aa)+$",
        r"(\w+\s?)*$",
        "(.*a){20}",
        "(a?){30}a{30}",
        "a?" * 30 + "a" * 30,
        "x" + ".*y" * 4,
    ],
)
def test_patterns_that_some_text_keeps_busy_are_refused(text: str) -> None:
    with pytest.raises(CostlyPattern):
        Pattern.parse(text)


@pytest.mark.parametrize(
    ("text", "worst"),
    [
        (r"\d+", "1" * 10_000),
        (r"a.*b", "a" * 10_000),
        (r"a.*b.*c", "ab" * 5_000),
        (r"\s+$", " " * 10_000 + "x"),
        (r"(?:https?://)\S+\.pdf", "https://" * 2_000),
        (r"[a-z]{2,20}[0-9]{2,20}z", "ab12" * 3_000),
        (r"(foo|bar|baz)+?x|y", "foo"),
        (r"(?<!\w)urgent(?!\w)", "urgently" * 2_000),
    ],
)
def test_other_patterns_are_shown_no_more_than_they_can_bear(text: str, worst: str) -> None:
    if "|" in text and "+" in text:
        with pytest.raises(CostlyPattern, match="repeated group holds alternatives"):
            Pattern.parse(text)
        return
    pattern = Pattern.parse(text)
    assert 100 <= pattern.reach <= LONGEST
    assert pattern.found_in(worst) == (re.search(text, worst[: pattern.reach]) is not None)
    ends = text.count("*") + text.count("+")
    assert pattern.reach ** (ends + 1) <= STEPS * 1.001 or ends == 0


def test_a_long_text_is_searched_at_both_ends() -> None:
    pattern = Pattern.parse("needle")
    filling = "x" * 10_000
    assert pattern.found_in(f"needle{filling}")
    assert pattern.found_in(f"{filling}needle")
    assert not pattern.found_in(f"{filling}needle{filling}")


@given(st.text(alphabet="ab|()*+?{1,}[]\\w^$.", max_size=12), st.text(alphabet="ab1 ", max_size=60))
def test_any_pattern_is_refused_or_finds_what_re_finds(text: str, subject: str) -> None:
    try:
        pattern = Pattern.parse(text)
    except CostlyPattern:
        return
    assert pattern.found_in(subject) == (re.search(text, subject) is not None)
