"""The grader `schema`: JSON that validates, JSON that does not, and schemas that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bench.graders import Judgement, check_grader, check_target, grader_for
from app.bench.graders.schema import UNSETTLED
from app.bench.suite import Item
from app.core.errors import ConfigError
from tests.fakes.openai_server import FakeOpenAI

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}
DRAFT = "https://json-schema.org/draft/2020-12/schema"
TREE = {"$ref": "#/$defs/node", "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}


def judgement(reply: str, target: str) -> Judgement:
    found = grader_for("schema").grade(Item(id="q", category="c", messages=[], target=target), reply)
    assert isinstance(found, Judgement)
    return found


def graded(reply: str, schema: Any) -> float:
    target = json.dumps(schema)
    check_target("schema", target)
    return judgement(reply, target).value


@pytest.mark.parametrize(
    ("reply", "schema"),
    [
        ('{"name": "Ada", "age": 36}', PERSON),
        ('```json\n{"name": "Ada"}\n```', PERSON),
        ('Here it is:\n```\n{"name": "Ada"}\n```\nEnjoy.', PERSON),
        ("[[], [[]]]", TREE),
        ("1.0", {"type": "integer"}),
        ("null", True),
        ("[1, 2, true]", {"uniqueItems": True}),
        (
            '{"x-a": 1, "b": "c"}',
            {"patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
        ),
        ('{"a": 1}', {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {}, "type": "object"}),
        ('{"type": "string"}', {"$ref": DRAFT}),
        ('"x"', {"const": "x", "format": "anything"}),
        ("3", {"$id": "https://example.invalid/a", "$ref": "b", "$defs": {"b": {"$id": "b", "type": "number"}}}),
    ],
)
def test_what_validates_is_right(reply: str, schema: Any) -> None:
    assert graded(reply, schema) == 1.0


@pytest.mark.parametrize(
    ("reply", "schema"),
    [
        ('{"name": "ada"}', PERSON),
        ('{"age": 3}', PERSON),
        ('{"name": "Ada", "more": 1}', PERSON),
        ('{"name": "Ada", "age": "36"}', PERSON),
        ('Sure! {"name": "Ada"}', PERSON),
        ("", True),
        ("null", False),
        ("NaN", True),
        ("[1, 1.0]", {"uniqueItems": True}),
        ('[{"a": [1]}, {"a": [1.0]}]', {"uniqueItems": True}),
        ('{"x-a": "1"}', {"patternProperties": {"^x-": {"type": "integer"}}}),
        ('{"b": 1}', {"patternProperties": {"^x-": True}, "additionalProperties": False}),
        ("[[1]]", TREE),
        ('{"type": 3}', {"$ref": DRAFT}),
        ("1e400", {"multipleOf": 0.1}),
        ("[" * 900 + "]" * 900, TREE),
    ],
)
def test_what_does_not_is_wrong(reply: str, schema: Any) -> None:
    assert graded(reply, schema) == 0.0


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("{", "is no JSON Schema"),
        ("[]", "is no JSON Schema"),
        ('"x"', "is no JSON Schema"),
        ('{"type": "objekt"}', "objekt"),
        ('{"pattern": "("}', "is no JSON Schema"),
        ('{"$ref": "#/$defs/none"}', "refers to"),
        ('{"items": {"$ref": "https://example.invalid/schema.json"}}', "refers to"),
    ],
)
def test_schemas_that_cannot_be_used_are_refused(target: str, why: str) -> None:
    check_grader("schema")
    with pytest.raises(ConfigError, match=why):
        check_target("schema", target)


def test_a_reply_that_stalls_a_pattern_is_worth_nothing_and_that_is_said() -> None:
    target = json.dumps({"pattern": "^(a+)+$"})
    check_target("schema", target)
    assert judgement(json.dumps("a" * 60 + "!"), target) == Judgement(0.0, comment=UNSETTLED)
    assert judgement(json.dumps("a" * 60), target) == Judgement(1.0), "and the next one is settled"


def test_what_a_schema_refers_to_is_not_fetched(openai_server: FakeOpenAI) -> None:
    target = json.dumps({"$ref": f"{openai_server.url}/v1/models"})
    with pytest.raises(ConfigError, match="which does not stand in it"):
        check_target("schema", target)
    assert judgement("{}", target).value == 0.0
    assert openai_server.requests == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYWORDS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["object", "array", "string", "number", "integer", "null", "boolean"]),
        "enum": st.lists(JSON, max_size=2),
        "multipleOf": st.floats(0.001, 10),
        "minimum": st.integers(),
        "uniqueItems": st.booleans(),
        "items": st.booleans(),
        "pattern": st.text(max_size=4),
        "required": st.lists(st.text(max_size=2), max_size=2, unique=True),
        "$ref": st.sampled_from(["#", "#/properties", "x"]),
    },
)


@given(reply=JSON.map(json.dumps) | st.text(max_size=20), target=KEYWORDS.map(json.dumps) | st.text(max_size=20))
@settings(max_examples=60, deadline=None)
def test_no_text_breaks_it(reply: str, target: str) -> None:
    try:
        check_target("schema", target)
    except ConfigError:
        return
    assert judgement(reply, target).value in (0.0, 1.0)
