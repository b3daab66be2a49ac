"""The grader `schema`: the reply, or its last code fence, is JSON that validates against the target, a JSON Schema.

Validation is the library jsonschema's (draft 2020-12 where the schema names none), in the worker process: a schema's
pattern may stall on an unlucky reply. References stay within the schema and the specifications: nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.bench.graders.base import Judgement
from app.bench.graders.rules import NOT_JSON, parse_json, shortened
from app.bench.graders.worker import WORKER, Unsettled
from app.bench.suite import Item
from app.core.errors import ConfigError
from routers.extraction import cut, fences

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
UNSETTLED = "the reply could not be validated within the limits on time and memory"


def schema(item: Item, reply: str) -> Judgement:
    """Whether the reply is JSON that validates."""
    assert item.target is not None
    text = cut(reply)
    sources = [text, *fences(text)[-1:]] if "```" in text else [text]
    try:
        # Read here first, as strictly as the grader `json` reads it.
        verdicts = [WORKER.ask("schema", part, item.target) for part in sources if parse_json(part) is not NOT_JSON]
    except Unsettled:
        return Judgement(0.0, comment=UNSETTLED)
    return Judgement(float(True in verdicts))


def check_schema(target: str) -> None:
    """Raise `ConfigError` where `target` is no JSON Schema that can be used."""
    # 0.1 s, which those who name other graders need not pay.
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with

    parsed = parse_json(target)
    if not isinstance(parsed, dict | bool):
        raise ConfigError(f"target {shortened(target)} is no JSON Schema: write an object with double quotes")
    dialect = validator_for(parsed, default=Draft202012Validator)
    try:
        dialect.check_schema(parsed, format_checker=dialect.FORMAT_CHECKER)  # type: ignore[call-arg, arg-type]
        resource = specification_with(str(dialect.META_SCHEMA["$schema"])).create_resource(parsed)
        _check_references(resource, REGISTRY.resolver_with_root(resource))
    except SchemaError as error:
        raise ConfigError(f"target {shortened(target)} is no JSON Schema: {error.message[:200]}") from None
    except Unresolvable as error:
        message = f"target {shortened(target)} refers to {shortened(str(error.ref))}, which does not stand in it"
        raise ConfigError(message) from None
    except RecursionError:
        raise ConfigError(f"target {shortened(target)} is nested too deeply") from None


def _check_references(resource: Any, resolver: Any) -> None:
    """Raises `Unresolvable` where one leads nowhere."""
    contents = resource.contents
    for key in REFERENCES if isinstance(contents, Mapping) else ():
        if isinstance(contents.get(key), str):
            resolver.lookup(contents[key])
    for inner in resource.subresources():
        _check_references(inner, resolver.in_subresource(inner))
