"""`GET /openapi.json`: the API described in OpenAPI 3.1 (spec.openapis.org/oas/v3.1), for clients and for tests.

Bodies are read from the types that requests are read into, and what FastAPI serves from its routes; the tables here
say the rest: what else there is, which statuses occur, and what replies look like. A 500 is a fault of ours and no part
of it. Made when somebody first asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.routes import DESCRIPTION
from app.core.types import Call, Score
from app.gateway.chat import ChatRequest
from app.gateway.dialects.completions import CompletionsRequest
from app.gateway.dialects.embeddings import EmbeddingsRequest
from app.gateway.dialects.messages_request import MessagesRequest
from app.gateway.dialects.responses_request import ResponsesRequest
from app.gateway.idempotency import LONGEST_KEY
from app.store.queries.calls import CallRow

Json = dict[str, Any]

_JSON = "application/json"
_EVENTS = "text/event-stream"
_REF = "#/components/schemas/{name}"
_REQUESTS = (ChatRequest, MessagesRequest, ResponsesRequest, CompletionsRequest, EmbeddingsRequest)

STATUSES = {
    "400": "The request cannot be read, or no model can serve it.",
    "401": "The key is missing or wrong.",
    "402": "The provider wants to be paid.",
    "403": "The provider refuses its key.",
    "404": "What the request names is not here.",
    "408": "The provider gave up waiting.",
    "409": "The first request with this `Idempotency-Key` is still running.",
    "413": "The body is too large.",
    "422": "This `Idempotency-Key` came with another body before, or the provider refuses the request.",
    "429": "The provider is asked too much.",
    "4XX": "Any other refusal of the provider's, with its status.",
    "502": "The provider cannot be reached, failed, or sent a broken reply.",
    "503": "Too many calls are in flight, the provider is overloaded, or Postgres is away.",
    "504": "The provider did not answer in time.",
}
_OF_CALLS = tuple(STATUSES)


@dataclass(frozen=True)
class _Operation:
    """What the routes themselves do not say of an operation."""

    id: str
    summary: str
    reply: str
    """Name of the schema of a good reply."""
    tag: str | None = None
    """Of what FastAPI does not know, like the next."""
    text: str | None = None
    """What there is to say beyond the summary."""
    statuses: tuple[str, ...] = ()
    """That errors come with, but for 401."""
    request: str | None = None
    """Name of the schema of the body, where the route does not know it."""
    headers: tuple[str, ...] = ()
    """Request headers, by their names in `_HEADERS`."""
    in_path: tuple[str, ...] = ()
    """Names of the parameters in the path, which FastAPI does not know."""
    error: str = "Error"
    """Name of the schema of errors."""
    success: str = "200"
    media: tuple[str, ...] = (_JSON,)
    is_call: bool = False
    is_open: bool = False
    """Needs no key."""


def _call(id: str, summary: str, request: str, reply: str, **more: Any) -> _Operation:  # noqa: A002 - OpenAPI's own word
    streams = (_JSON, _EVENTS) if more.pop("streams", True) else (_JSON,)
    headers = (*_TAGS, *more.pop("headers", ()))
    return _Operation(
        id, summary, reply, "calls of models", None, _OF_CALLS, request, headers, media=streams, is_call=True, **more
    )


def _open(id: str, summary: str, reply: str, text: str, **more: Any) -> _Operation:  # noqa: A002
    return _Operation(id, summary, reply, "operations", text, is_open=True, **more)


_READY = """Requests can be served. Fails while draining or without a usable model; not for Postgres, since calls are
journalled without it."""
_ALIVE = "The process is alive. Touches nothing."


_TAGS = ("x-hullspeed-session", "x-hullspeed-run", "x-hullspeed-item", "x-request-id", "Idempotency-Key")
_VERSIONS = ("anthropic-version", "anthropic-beta")
_HEADERS: dict[str, tuple[str, Json]] = {
    "x-hullspeed-session": ("Names a conversation: its calls go to the same model.", {"type": "string"}),
    "x-hullspeed-run": ("Makes the call part of a benchmark run.", {"type": "string"}),
    "x-hullspeed-item": ("Id of the suite's item, percent-encoded.", {"type": "string"}),
    "x-request-id": ("The client's own id; it is stored, and never a key.", {"type": "string"}),
    "Idempotency-Key": (
        "A request that comes again with it gets the reply of the first.",
        {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
    ),
    "anthropic-version": ("Goes through to a model of Anthropic's.", {"type": "string"}),
    "anthropic-beta": ("Goes through to a model of Anthropic's.", {"type": "string"}),
}
_OPERATIONS: dict[tuple[str, str], _Operation] = {
    ("post", "/v1/chat/completions"): _call(
        "createChatCompletion", "Ask a model, or `auto`, in OpenAI's chat", "ChatRequest", "ChatCompletion"
    ),
    ("post", "/v1/messages"): _call(
        "createMessage",
        "Ask a model, or `auto`, in Anthropic's Messages",
        "MessagesRequest",
        "Message",
        headers=_VERSIONS,
        error="AnthropicError",
    ),
    ("post", "/v1/responses"): _call(
        "createResponse", "Ask a model, or `auto`, in OpenAI's Responses", "ResponsesRequest", "ModelResponse"
    ),
    ("post", "/v1/completions"): _call(
        "createCompletion", "Continue a prompt (legacy)", "CompletionsRequest", "Completion"
    ),
    ("post", "/v1/embeddings"): _call(
        "createEmbedding", "Embed texts with a named model", "EmbeddingsRequest", "Embeddings", streams=False
    ),
    ("post", "/v1/messages/count_tokens"): _Operation(
        "countTokens",
        "How long a prompt is, about",
        "TokenCount",
        "tokens",
        "An estimate, four characters a token.",
        ("400", "413"),
        "MessagesRequest",
        error="AnthropicError",
    ),
    ("post", "/v1/decisions"): _Operation(
        "createDecision",
        "What a router would do with a chat request, and why",
        "Decision",
        "decisions",
        "The decision on the body of a chat completion request.",
        ("400", "404", "413"),
        "ChatRequest",
        ("x-hullspeed-session",),
    ),
    ("get", "/v1/models"): _Operation(
        "listModels",
        "All names that `model` may take",
        "ModelList",
        "models",
        "All names that a request's `model` may take.",
    ),
    ("get", "/v1/models/{model}"): _Operation(
        "getModel", "One model", "Model", "models", "One of them.", ("404",), in_path=("model",)
    ),
    ("get", "/v1/calls"): _Operation(
        "listCalls", "A page of calls, newest first", "CallList", statuses=("400", "503")
    ),
    ("get", "/v1/calls/{call_id}"): _Operation("getCall", "A call", "LoggedCall", statuses=("404", "503")),
    ("post", "/v1/calls/{call_id}/scores"): _Operation(
        "createScore", "Judge a call", "Score", statuses=("400", "404", "413", "503"), success="201"
    ),
    ("head", "/"): _open(
        "getPresence",
        "Whether somebody is there",
        "Text",
        "Somebody is there: some agents ask this before anything else.",
        media=(),
    ),
    ("head", "/healthz"): _open("headHealth", "Whether the process is alive", "Text", _ALIVE, media=()),
    ("head", "/readyz"): _open("headReadiness", "Whether requests can be served", "Text", _READY, media=()),
    ("get", "/healthz"): _open("getHealth", "Whether the process is alive", "Health", _ALIVE),
    ("get", "/readyz"): _open("getReadiness", "Whether requests can be served", "Readiness", _READY),
    ("get", "/metrics"): _open(
        "getMetrics", "Prometheus metrics", "Text", "Prometheus text format.", media=("text/plain",)
    ),
    ("get", DESCRIPTION): _Operation(
        "getDescription", "This description", "Description", "operations", "The API in OpenAPI 3.1."
    ),
}  # fmt: skip
_SCHEMES: dict[str, Json] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
}


def describe(app: FastAPI, *, has_key: bool) -> Json:
    """The OpenAPI description of the API, `app` being what FastAPI serves of it, as JSON values; `has_key`: whether
    requests need a key."""
    found = get_openapi(title=app.title, version=version("hullspeed"), routes=app.routes)
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)  # FastAPI's own errors, which leave in our envelope.
    schemas.update(_schemas())
    found["components"]["headers"] = {
        name: {"description": said, "required": name in _ALWAYS, "schema": _TEXT}
        for name, said in _REPLY_HEADERS.items()
    }
    found["components"]["responses"] = _errors()
    found["components"]["securitySchemes"] = _SCHEMES
    keys: list[Json] = [{name: []} for name in _SCHEMES]
    found["security"] = keys if has_key else [*keys, {}]
    for (method, path), operation in _OPERATIONS.items():
        known = found["paths"].setdefault(path, {}).setdefault(method, {})
        _complete(known, operation, has_key=has_key)
    return found


def _complete(known: Json, operation: _Operation, *, has_key: bool) -> None:
    """Add to what FastAPI knows of an operation."""
    known["operationId"], known["summary"] = operation.id, operation.summary
    if operation.tag is not None:
        known["tags"] = [operation.tag]
    if operation.text is not None:
        known["description"] = operation.text
    for name in operation.in_path:
        schema = {**_TEXT, "title": name.title()}
        known.setdefault("parameters", []).append({"name": name, "in": "path", "required": True, "schema": schema})
    for name in operation.headers:
        text, schema = _HEADERS[name]
        known.setdefault("parameters", []).append({"name": name, "in": "header", "description": text, "schema": schema})
    if operation.request is not None:
        known["requestBody"] = {"required": True, "content": {_JSON: {"schema": _ref(operation.request)}}}
    if operation.is_open:
        known["security"] = []
    known["responses"] = _responses(operation, has_key=has_key)


def _responses(operation: _Operation, *, has_key: bool) -> Json:
    content = {media: {"schema": _ref("Events" if media == _EVENTS else operation.reply)} for media in operation.media}
    headers = _reply_headers(operation)
    found = {operation.success: {"description": operation.summary, "headers": headers, "content": content}}
    statuses = set(operation.statuses)
    if has_key and not operation.is_open:
        statuses.add("401")
    for status in sorted(statuses):
        found[status] = {"$ref": f"#/components/responses/{_error_name(operation, status)}"}
    if operation.id in ("getReadiness", "headReadiness"):
        found["503"] = {**found["200"], "description": "It drains, or no model is usable."}
    return found


def _errors() -> Json:
    """The replies of errors, each once."""
    return {
        _error_name(operation, status): {
            "description": said,
            "headers": _reply_headers(operation),
            "content": {_JSON: {"schema": _ref(operation.error)}},
        }
        for operation in _OPERATIONS.values()
        for status, said in STATUSES.items()
        if status in (*operation.statuses, "401")
    }


def _error_name(operation: _Operation, status: str) -> str:
    return f"{'Call' if operation.is_call else ''}{operation.error}{status}"


def _reply_headers(operation: _Operation) -> Json:
    names = _REPLY_HEADERS if operation.is_call else _ALWAYS
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


_ALWAYS = ("x-request-id", "x-hullspeed-call-id")
_REPLY_HEADERS = {
    "x-request-id": "Of this reply.",
    "x-hullspeed-call-id": "The call's id in the ledger; where no model is asked, that of this reply.",
    "x-hullspeed-router": "The router that decided; `none` where the client named a model.",
    "x-hullspeed-model": "The model that answered.",
    "x-hullspeed-reason": "Why it was picked.",
    "x-hullspeed-attempts": "How many calls to models it took.",
    "x-hullspeed-cost-usd": "What they cost; not in streams.",
    "x-hullspeed-overhead-ms": "Time that was not spent waiting for models; not in streams.",
    "x-hullspeed-idempotency": "`unguarded` where an `Idempotency-Key` could not be heeded.",
    "idempotency-replayed": "`true` where this is the reply of an earlier request.",
    "retry-after": "Seconds after which to try again.",
}


def _ref(name: str) -> Json:
    return {"$ref": _REF.format(name=name)}


def _schemas() -> Json:
    """Those of the types that requests are read into and replies are made of, and of what has no type."""
    _, found = msgspec.json.schema_components([*_REQUESTS, Call, CallRow, Score], ref_template=_REF)
    schemas: Json = _numeric(found)
    for request in _REQUESTS:
        # What Hullspeed does not read passes through.
        schemas[request.__name__]["additionalProperties"] = True
    role = {"type": "object", "properties": {"role": {"type": "string"}}, "required": ["role"]}
    for name in ("ChatRequest", "MessagesRequest"):
        schemas[name]["properties"]["messages"]["items"] = role
    logged = schemas["Call"]
    schemas["LoggedCall"] = {
        **logged,
        "title": "LoggedCall",
        "description": "A call with its decision, attempts and scores.",
        "properties": {**logged["properties"], "scores": {"type": "array", "items": _ref("Score")}},
        "required": [*logged["required"], "scores"],
    }
    return {**schemas, **_REPLIES}


def _numeric(value: Any) -> Any:
    """The schemas with decimals as they are sent: as numbers."""
    if isinstance(value, dict):
        if value.get("format") == "decimal":
            return {"type": "number"}
        return {name: _numeric(inner) for name, inner in value.items()}
    return [_numeric(inner) for inner in value] if isinstance(value, list) else value


def _object(required: Json, **optional: Json) -> Json:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def _list_of(name: str) -> Json:
    return {"type": "array", "items": _ref(name)}


_TEXT: Json = {"type": "string"}
_OBJECTS: Json = {"type": "array", "items": {"type": "object"}}
_NUMBER_OR_NULL: Json = {"type": ["number", "null"]}
_TEXT_OR_NULL: Json = {"type": ["string", "null"]}
_USAGE: Json = {
    "type": ["object", "null"],
    "description": "As the provider states it, and the cost of the call.",
    "properties": {"cost": {"type": "number", "description": "USD."}},
}
_REPLIES: Json = {
    "Text": {"type": "string"},
    "Events": {"description": "Server-sent events of the provider's API; each holds JSON, or `[DONE]` at the end."},
    "Description": _object({"openapi": _TEXT, "paths": {"type": "object"}}),
    "Error": _object(
        {"error": _object({"message": _TEXT, "type": _TEXT, "param": _TEXT_OR_NULL, "code": _TEXT_OR_NULL})}
    ),
    "AnthropicError": _object({"type": {"const": "error"}, "error": _object({"type": _TEXT, "message": _TEXT})}),
    "ChatCompletion": _object({"model": _TEXT, "choices": _OBJECTS}, usage=_USAGE),
    "Completion": _object({"model": _TEXT, "choices": _OBJECTS}, usage=_USAGE),
    "Message": _object({"model": _TEXT, "type": {"const": "message"}, "content": _OBJECTS}, usage=_USAGE),
    "ModelResponse": _object({"model": _TEXT, "output": _OBJECTS}, usage=_USAGE),
    "Embeddings": _object({"model": _TEXT, "data": _OBJECTS}, usage=_USAGE),
    "TokenCount": _object({"input_tokens": {"type": "integer", "minimum": 0}}),
    "Model": _object(
        {"id": _TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": _TEXT},
        router=_TEXT,
        upstream=_TEXT,
        description=_TEXT_OR_NULL,
        context_window={"type": ["integer", "null"]},
        max_output_tokens={"type": ["integer", "null"]},
        capabilities={"type": ["array", "null"], "items": _TEXT},
        pricing={"type": ["object", "null"]},
    ),
    "ModelList": _object({"object": {"const": "list"}, "data": _list_of("Model")}),
    "CallList": _object(
        {
            "object": {"const": "list"},
            "data": _list_of("CallRow"),
            "next_cursor": _TEXT_OR_NULL,
            "previous_cursor": _TEXT_OR_NULL,
            "searched_to": _TEXT_OR_NULL,
        }
    ),
    "Decision": _object(
        {
            "object": {"const": "decision"},
            "router": _TEXT,
            "version": _TEXT,
            "reason": _TEXT,
            "problem": _TEXT_OR_NULL,
            "tradeoff": {"type": "number"},
            "seed": {"type": "integer"},
            "asked": {"type": "array", "items": _TEXT},
            "reviewed": {"type": "boolean"},
            "candidates": {
                "type": "array",
                "items": _object(
                    {
                        "model": _TEXT,
                        "quality": _NUMBER_OR_NULL,
                        "cost_usd": _NUMBER_OR_NULL,
                        "probability": {"type": "number"},
                        "context_window": {"type": ["integer", "null"]},
                    }
                ),
            },
            "excluded": {"type": "object", "additionalProperties": _TEXT},
            "detail": {"type": "object"},
            "duration_ms": {"type": "number"},
        }
    ),
    "Health": _object({"status": {"const": "ok"}}),
    "Readiness": _object(
        {
            "status": {"enum": ["ready", "not ready"]},
            "models": {"type": "integer"},
            "down": {"type": "array", "items": _TEXT},
            "draining": {"type": "boolean"},
            "ledger": _TEXT,
        }
    ),
}
