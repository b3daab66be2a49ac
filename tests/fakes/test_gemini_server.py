"""The fake Gemini, as Google documents it. (That litellm can talk to it is in test_litellm.py.)"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.fakes.gemini_server import FakeGemini
from tests.fakes.replies import Answer, HttpError, Json, ToolCall, rate_limited

BODY: Json = {
    "contents": [{"role": "user", "parts": [{"text": "Hello there"}]}],
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
}


@pytest.fixture
def fake() -> Iterator[FakeGemini]:
    with FakeGemini(key="right") as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"x-goog-api-key": "right"}) as session:
        yield session


async def whole(http: aiohttp.ClientSession, fake: FakeGemini, body: Json = BODY) -> tuple[int, Any]:
    async with http.post(fake.url + "/models/gemini-x:generateContent", json=body) as reply:
        return reply.status, await reply.json()


async def stream(http: aiohttp.ClientSession, fake: FakeGemini) -> list[Any]:
    url = fake.url + "/models/gemini-x:streamGenerateContent?alt=sse"
    async with http.post(url, json=BODY) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        blocks = (await reply.text()).split("\n\n")
    return [json.loads(block.removeprefix("data: ")) for block in blocks if block]


async def test_whole(fake: FakeGemini, http: aiohttp.ClientSession) -> None:
    fake.next(Answer(cached_tokens=64, reasoning_tokens=5, reasoning="hm"))
    status, reply = await whole(http, fake)
    assert status == 200
    (candidate,) = reply["candidates"]
    assert candidate["content"]["parts"] == [{"text": "hm", "thought": True}, {"text": "Echo: Hello there"}]
    assert candidate["finishReason"] == "STOP"
    usage = reply["usageMetadata"]
    assert usage["promptTokenCount"] == 7 + 7 + 64
    assert usage["cachedContentTokenCount"] == 64
    assert usage["thoughtsTokenCount"] == 5
    total = usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    assert usage["totalTokenCount"] == total
    assert fake.last.model == "gemini-x"


async def test_stream(fake: FakeGemini, http: aiohttp.ClientSession) -> None:
    fake.next(Answer("one two", tool_calls=(ToolCall("weather", {"city": "Zürich"}),)))
    got = await stream(http, fake)
    parts = [part for chunk in got for part in chunk["candidates"][0]["content"]["parts"]]
    assert "".join(part.get("text", "") for part in parts) == "one two"
    assert {"functionCall": {"name": "weather", "args": {"city": "Zürich"}}} in parts
    assert [chunk["candidates"][0].get("finishReason") for chunk in got] == [None, None, None, "STOP"]
    assert [("usageMetadata" in chunk) for chunk in got] == [False, False, False, True]


async def test_usage_in_every_chunk(fake: FakeGemini, http: aiohttp.ClientSession) -> None:
    fake.next(Answer("one two", usage_at="several"))
    got = await stream(http, fake)
    assert [chunk["usageMetadata"]["promptTokenCount"] for chunk in got] == [14, 14, 14]
    assert ["candidatesTokenCount" in chunk["usageMetadata"] for chunk in got] == [False, False, True]


@pytest.mark.parametrize(
    ("error", "name"),
    [(rate_limited(), "RESOURCE_EXHAUSTED"), (HttpError(500), "INTERNAL"), (HttpError(503), "UNAVAILABLE")],
)
async def test_errors(fake: FakeGemini, http: aiohttp.ClientSession, error: HttpError, name: str) -> None:
    fake.next(error)
    status, reply = await whole(http, fake)
    assert (status, reply["error"]["code"], reply["error"]["status"]) == (error.status, error.status, name)


async def test_keys(fake: FakeGemini) -> None:
    url = fake.url + "/models/gemini-x:generateContent"
    async with aiohttp.ClientSession() as http:
        async with http.post(url, json=BODY) as reply:
            assert reply.status == 400
            assert (await reply.json())["error"]["details"][0]["reason"] == "API_KEY_INVALID"
        async with http.post(url + "?key=right", json=BODY) as reply:
            assert reply.status == 200
        async with http.post(url + "?key=right", json={}) as reply:
            assert reply.status == 400
        async with http.post(fake.url + "/models/gemini-x:countTokens", json=BODY) as reply:
            assert reply.status == 404
