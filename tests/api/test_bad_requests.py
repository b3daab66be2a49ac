"""Every malformed request gets the envelope, names the field and the fix, and reaches no provider."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest

from tests.fakes.openai_server import FakeOpenAI
from tests.serving import Running, StartProxy, models

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def proxy(start_proxy: StartProxy, openai_server: FakeOpenAI) -> Running:
    return await start_proxy({"model_list": models(openai_server.url, "small")}, max_body_bytes=10_000)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"messages": HELLO}, "model", "is missing"),
        ({"model": "small"}, "messages", "is missing"),
        ({"model": "small", "messages": []}, "messages", "length >= 1"),
        ({"model": "small", "messages": "hi"}, "messages", "expected `array`, got `str`"),
        ({"model": 3, "messages": HELLO}, "model", "expected `str`, got `int`"),
        ({"model": "small", "messages": ["hi"]}, "messages[0]", "expected `object`, got `str`"),
        ({"model": "small", "messages": [{"content": "x"}]}, "messages[0].role", "must be a string"),
        ({"model": "small", "messages": HELLO, "temperature": "hot"}, "temperature", "got `str`"),
        ({"model": "small", "messages": HELLO, "stream": "yes"}, "stream", "got `str`"),
        ({"model": "small", "messages": HELLO, "max_tokens": 0}, "max_tokens", ">= 1"),
        ({"model": "small", "messages": HELLO, "routing": {"tradeof": 1}}, "routing.tradeof", "takes tradeoff"),
        ({"model": "small", "messages": HELLO, "routing": {"tradeoff": 2}}, "routing.tradeoff", "<= 1"),
        ({"model": "small", "messages": HELLO, "routing": {"max_cost_usd": -1}}, "routing.max_cost_usd", "> 0"),
        ({"model": "auto", "messages": HELLO, "routing": {"models": ["x"]}}, "model", "does not exist"),
        ([1, 2], None, "must be a JSON object"),
    ],
    ids=str,
)
async def test_wrong_bodies(
    proxy: Running, openai_server: FakeOpenAI, body: Any, param: str | None, words: str
) -> None:
    reply = await proxy.http.post("/v1/chat/completions", json=body)
    assert reply.status_code in (400, 404), reply.text
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert words in error["message"]
    assert not openai_server.chats
    call = (await proxy.call()).call
    assert call.outcome == "rejected"
    assert call.id == reply.headers["x-hullspeed-call-id"]
    assert call.attempts == ()


@pytest.mark.parametrize("raw", [b"", b"{", b"not json", b'{"model": "\xff"}', b'{"a": ' * 1600])
async def test_bodies_that_are_not_json(proxy: Running, raw: bytes) -> None:
    reply = await proxy.http.post("/v1/chat/completions", content=raw)
    assert reply.status_code == 400
    assert "not valid JSON" in reply.json()["error"]["message"]
    assert (await proxy.call()).call.outcome == "rejected"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_compressed_body_is_refused_by_name(proxy: Running, openai_server: FakeOpenAI, path: str) -> None:
    body = json.dumps({"model": "small", "messages": HELLO, "max_tokens": 5}).encode()
    reply = await proxy.http.post(path, content=gzip.compress(body), headers={"content-encoding": "gzip"})
    assert reply.status_code == 415
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert "`gzip`" in reply.json()["error"]["message"]
    assert (await proxy.call()).call.outcome == "rejected"
    plain = await proxy.http.post(path, content=body, headers={"content-encoding": "identity"})
    assert plain.status_code == 200


VALUES = (b"1e999", b"[1e999]", b'{"y": [1e999]}', b'"\\ud800"', b"[" * 2000 + b"]" * 2000)
TOLD = {
    "/v1/chat/completions": b'"messages": [{"role": "user", "content": "x"}]',
    "/v1/decisions": b'"messages": [{"role": "user", "content": "x"}]',
    "/v1/completions": b'"prompt": "x"',
    "/v1/messages": b'"max_tokens": 5, "messages": [{"role": "user", "content": "x"}]',
    "/v1/responses": b'"input": "x"',
    "/v1/embeddings": b'"input": "x"',
}


@pytest.mark.parametrize("path", TOLD)
@pytest.mark.parametrize("name", ["x", "seed", "user", "tool_choice", "stream_options"])
async def test_values_that_nobody_here_reads(proxy: Running, openai_server: FakeOpenAI, path: str, name: str) -> None:
    """JSON by its grammar, and not to be read: it fails here, not where a chat is made of it or litellm called."""
    for value in VALUES:
        body = b'{"model": "small", "%s": %s, %s}' % (name.encode(), value, TOLD[path])
        reply = await proxy.http.post(path, content=body)
        assert reply.status_code == 400, (value[:20], reply.text)
        assert "`" + name in reply.text or "not valid JSON" in reply.text, reply.text
    assert not openai_server.chats


async def send_large(proxy: Running, path: str, *, chunked: bool) -> httpx.Response:
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "x" * 20_000}]}).encode()

    async def pieces() -> Any:
        for start in range(0, len(body), 4096):
            yield body[start : start + 4096]

    return await proxy.http.post(path, content=pieces() if chunked else body)


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large(proxy: Running, chunked: bool) -> None:
    reply = await send_large(proxy, "/v1/chat/completions", chunked=chunked)
    assert reply.status_code == 413
    assert "HULLSPEED_MAX_BODY_BYTES" in reply.json()["error"]["message"]
    assert (await proxy.call()).call.status == 413


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/calls/x/scores", "/v1/messages/count_tokens"])
async def test_too_large_for_what_is_no_call(proxy: Running, path: str, chunked: bool) -> None:
    reply = await send_large(proxy, path, chunked=chunked)
    assert reply.status_code == 413
    assert "HULLSPEED_MAX_BODY_BYTES" in reply.json()["error"]["message"]
    anthropic = {"type": "request_too_large"}
    openai = {"type": "invalid_request_error", "code": "request_too_large"}
    assert reply.json()["error"].items() >= (anthropic if "messages" in path else openai).items()
    assert await proxy.calls() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"api_base": "http://evil"},
        {"base_url": "http://evil"},
        {"api_key": "k"},
        {"headers": {}},
        {"extra_headers": {"a": "b"}},
        {"proxy": "http://evil"},
        {"API-Base": "http://evil"},
        {"baseUrl": "http://evil"},
        {"metadata": {"apiKey": "k"}},
        {"metadata": {"api_base": "http://evil"}},
        {"extra_body": {"deep": [{"extra_headers": {}}]}},
        {"provider_options": {"openai": {"base_url": "http://evil"}}},
    ],
    ids=str,
)
async def test_nothing_in_the_body_steers_the_call(
    proxy: Running, openai_server: FakeOpenAI, fields: dict[str, Any]
) -> None:
    body = {"model": "small", "messages": HELLO, **fields}
    reply = await proxy.http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert "is set in the configuration only" in reply.json()["error"]["message"]
    assert not openai_server.chats


async def test_the_same_names_inside_content_are_data(proxy: Running, openai_server: FakeOpenAI) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "x", "api_base": "data"}], "headers": "data"}
    reply = await proxy.http.post("/v1/chat/completions", json={"model": "small", "messages": [message]})
    assert reply.status_code == 200
    assert openai_server.last.body["messages"] == [message]


async def test_no_usable_model_says_why(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    entries = models(openai_server.url, "a", "b")
    entries[0]["model_info"] = {"supports_function_calling": False, "supports_vision": False}
    entries[1]["model_info"] = {"max_input_tokens": 10, "supports_function_calling": True}
    proxy = await start_proxy({"model_list": entries})
    tools = [{"type": "function", "function": {"name": "f"}}]
    reply = await proxy.chat("auto", "x" * 400, tools=tools)
    assert reply.status_code == 400
    message = reply.json()["error"]["message"]
    assert "a: lacks tools" in message
    assert "b: its window of 10 tokens is too small" in message
    dear = await proxy.chat("auto", routing={"max_cost_usd": 1e-9})
    assert "is expected to cost" in dear.json()["error"]["message"]


async def test_unknown_paths_and_methods(proxy: Running) -> None:
    missing = await proxy.http.get("/v1/nope")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    method = await proxy.http.get("/v1/chat/completions")
    assert (method.status_code, method.json()["error"]["code"]) == (405, "method_not_allowed")
    found = await proxy.http.get("/v1/models")
    for reply in (missing, method, found, await proxy.http.head("/healthz"), await proxy.http.head("/readyz")):
        assert reply.headers["x-request-id"] == reply.headers["x-hullspeed-call-id"]


@pytest.mark.parametrize("sent", [b"GARBAGE\r\n\r\n", b"POST /v1/chat/completions HTTP/1.1\r\nno colon\r\n\r\n"])
async def test_what_is_no_http_gets_the_envelope_too(proxy: Running, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    writer.write(sent)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"x-request-id: " in head
    assert b"x-hullspeed-call-id: " in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


async def test_below_anthropics_endpoint_errors_are_anthropics(proxy: Running) -> None:
    for method, path, status, kind in (
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("PUT", "/v1/messages/count_tokens", 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("POST", "/v1/messages/", 404, "not_found_error"),
    ):
        reply = await proxy.http.request(method, path)
        assert reply.status_code == status, path
        assert reply.json().keys() == {"type", "error"}, path
        assert (reply.json()["type"], reply.json()["error"]["type"]) == ("error", kind), path
    elsewhere = await proxy.http.post("/v1/messagesx")
    assert elsewhere.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("path", ["/v1/calls/", "/v1/decisions/", "/healthz/"])
async def test_nothing_is_redirected(proxy: Running, path: str) -> None:
    reply = await proxy.http.get(path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
