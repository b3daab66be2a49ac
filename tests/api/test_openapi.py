"""The description at `/openapi.json`, and whether the proxy keeps to it, asked by schemathesis."""

from __future__ import annotations

import asyncio
from typing import Any

import requests
import schemathesis
from fastapi.routing import iter_route_contexts
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.main import Guards
from tests.fakes.openai_server import FakeOpenAI
from tests.serving import Running, StartProxy, models

KEY = "sk-hull"
HEADERS = {"authorization": f"Bearer {KEY}"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")
OPEN = {"/", "/healthz", "/readyz", "/metrics"}
EXAMPLES = 8
"""Of good and of bad requests for each operation. More have been tried; so many are enough for every day."""
HELLO = [{"role": "user", "content": "hello"}]
BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [{"model": "auto", "messages": HELLO, "stream": stream} for stream in (False, True)],
    "/v1/messages": [
        {"model": "auto", "messages": HELLO, "max_tokens": 5, "stream": stream} for stream in (False, True)
    ],
    "/v1/responses": [{"model": "auto", "input": "hello", "stream": stream} for stream in (False, True)],
    "/v1/completions": [{"model": "auto", "prompt": "hello", "stream": stream} for stream in (False, True)],
    "/v1/embeddings": [{"model": "vectors", "input": "hello"}],
    "/v1/messages/count_tokens": [{"model": "auto", "messages": HELLO}],
}
"""Requests that must go well, where chance may not find one."""


def config(server: FakeOpenAI) -> dict[str, Any]:
    small, large, vectors = models(server.url, "small", "large", "vectors")
    vectors["model_info"] = {"mode": "embedding"}
    return {"model_list": [small, large, vectors]}


async def described(proxy: Running) -> dict[str, Any]:
    reply = await proxy.http.get("/openapi.json", headers=HEADERS)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = reply.json()
    return found


def operations(description: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation of each."""
    return [
        (method, path, operation)
        for path, item in description["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


async def test_every_route_is_described(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy(config(openai_server), api_key=KEY)
    found = operations(await described(proxy))
    calls = proxy.proxy._calls(Guards.of(KEY, None))
    routes = {
        (method.lower(), context.path.replace(":path", ""))
        for context in iter_route_contexts([*proxy.proxy._setup.app.routes, *calls.routes])
        for method in context.methods or ()  # none: what is made when it is asked for, of which pages are for people
    } - {("get", "/"), ("get", "/ui")}
    assert {(method, path) for method, path, _ in found} == routes
    assert len(routes) >= 16
    for method, path, operation in found:
        # FastAPI alone would make up an id and a 422 for it.
        assert "_" not in operation["operationId"], (method, path)
        assert ("401" in operation["responses"]) == (path not in OPEN), (method, path)
        assert "500" not in operation["responses"], (method, path)
    assert len({operation["operationId"] for _, _, operation in found}) == len(found)


async def test_keys_are_needed_where_it_says_so(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy(config(openai_server), api_key=KEY)
    for method, path, operation in operations(await described(proxy)):
        for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}):
            reply = await proxy.http.request(method, path, headers=headers)
            is_open = operation.get("security") == []
            assert is_open == (path in OPEN)
            assert reply.status_code == (200 if is_open else 401), (method, path)
            if not is_open:
                assert reply.json()["error"]["message"]


async def test_without_a_key_none_is_asked_for(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy(config(openai_server))
    description = await described(proxy)
    assert {} in description["security"]
    assert "401" not in description["paths"]["/v1/models"]["get"]["responses"]


async def test_it_keeps_to_its_description(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy(config(openai_server), api_key=KEY)
    call = (await proxy.chat("small", headers=HEADERS)).headers["x-hullspeed-call-id"]
    description = await described(proxy)
    _aim(description, ["auto", "small", "vectors"], call)
    statuses = await asyncio.to_thread(_ask_all, description, proxy.url)
    # What was asked went deep enough to say anything.
    never = {operation for operation, seen in statuses.items() if not seen & {200, 201}}
    assert never == set()
    assert all(status in (200, 201, 400, 404, 409, 422) for seen in statuses.values() for status in seen), statuses


def _aim(description: dict[str, Any], names: list[str], call: str) -> None:
    """Let most of the requests name what there is; random names alone would all end in 404."""
    models = {"enum": [*names, "no such model", "auto/\x00"]}
    for name, schema in description["components"]["schemas"].items():
        if name.endswith("Request"):
            schema["properties"]["model"] = models
    for _, _, operation in operations(description):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                calls = {"enum": [call, "no such call", "\x00"]}
                parameter["schema"] = calls if parameter["name"] == "call_id" else models


def _ask_all(description: dict[str, Any], url: str) -> dict[str, set[int]]:
    """The statuses seen, by operation. Raises what schemathesis finds."""
    schema = schemathesis.openapi.from_dict(description)
    seen: dict[str, set[int]] = {}
    with requests.Session() as session:
        session.trust_env = False
        for result in schema.get_all_operations():
            operation = result.ok()
            of_operation = seen.setdefault(operation.label, set())
            for body in BODIES.get(operation.path, ()):
                case = operation.Case(body=body, media_type="application/json")
                reply = case.call_and_validate(base_url=url, session=session, headers=HEADERS, checks=CHECKS)
                assert reply.status_code == 200, reply.content
                of_operation.add(200)
            _ask(operation, GenerationMode.POSITIVE, url, session, of_operation)
            if _can_be_bad(operation.definition.raw):
                _ask(operation, GenerationMode.NEGATIVE, url, session, of_operation)
    return seen


def _can_be_bad(operation: dict[str, Any]) -> bool:
    """Any path, and no input at all, is well-formed."""
    elsewhere = any(parameter["in"] != "path" for parameter in operation.get("parameters", ()))
    return elsewhere or "requestBody" in operation


def _ask(operation: Any, mode: GenerationMode, url: str, session: requests.Session, seen: set[int]) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        reply = case.call(base_url=url, session=session, headers=HEADERS, timeout=20)
        seen.add(reply.status_code)
        case.validate_response(reply, checks=CHECKS)

    ask()
