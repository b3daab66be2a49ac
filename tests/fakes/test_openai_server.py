"""The fake OpenAI against the official client, and its faults against a plain HTTP client."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam, ChatCompletionToolParam

from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import (
    Answer,
    Fault,
    FaultKind,
    Gate,
    HttpError,
    Json,
    Reply,
    ToolCall,
    Wire,
    context_length_exceeded,
    rate_limited,
)
from tests.fakes.server import Seen

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello there, General Kenobi"}]
ECHO = "Echo: Hello there, General Kenobi"
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(key="sk-right") as server:
        yield server


@pytest.fixture
def client(fake: FakeOpenAI) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=fake.url, api_key="sk-right", max_retries=0, timeout=20) as made:
        yield made


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"authorization": "Bearer sk-right"}) as session:
        yield session


def body(**more: Any) -> Json:
    return {"model": "m", "messages": HELLO, **more}


async def read(http: aiohttp.ClientSession, fake: FakeOpenAI, **more: Any) -> bytes:
    async with http.post(fake.url + "/chat/completions", json=body(**more)) as reply:
        return await reply.read()


def chunks(raw: bytes) -> list[Any]:
    """A reader of the event-stream format, short and by the letter; `[DONE]` stays a string."""
    found = []
    for block in raw.decode().replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        if lines:
            data = "\n".join(lines)
            found.append(data if data == "[DONE]" else json.loads(data))
    return found


def said(raw: bytes) -> str:
    choices = [choice for chunk in chunks(raw)[:-1] for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


# ---------------------------------------------------------------------- good replies, with the official client


def test_sync_whole(fake: FakeOpenAI, client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="m", messages=HELLO, seed=7, extra_body={"odd": 1})
    assert reply.choices[0].message.content == ECHO
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == "m"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (11, 9)
    assert reply.usage.total_tokens == 20
    seen = fake.last
    assert (seen.method, seen.path, seen.body["seed"], seen.body["odd"]) == (
        "POST",
        "/v1/chat/completions",
        7,
        1,
    )
    assert seen.headers["authorization"] == "Bearer sk-right"
    assert seen.wait()
    assert not seen.disconnected


def test_sync_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="m", messages=HELLO, stream=True) as stream:
        got = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in got) == ECHO
    assert got[0].choices[0].delta.role == "assistant"
    assert got[-1].choices[0].finish_reason == "stop"
    assert all("usage" not in chunk.model_fields_set for chunk in got)


async def test_async_stream_with_usage(fake: FakeOpenAI) -> None:
    fake.on("m", Answer("one two three", cached_tokens=64, reasoning_tokens=5))
    async with openai.AsyncOpenAI(base_url=fake.url, api_key="sk-right", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        got = [chunk async for chunk in stream]
        whole = await client.chat.completions.create(model="m", messages=HELLO)
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in got[:-1])
    assert got[-1].choices == []
    usage = got[-1].usage
    assert usage == whole.usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (75, 64)
    assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (9, 5)


@pytest.mark.parametrize("stream", [False, True])
def test_tools(fake: FakeOpenAI, client: openai.OpenAI, stream: bool) -> None:
    calls = (ToolCall("weather", {"city": "Zürich"}), ToolCall("weather", {"city": "東京"}, id="call_x"))
    fake.next(Answer(tool_calls=calls))
    reply: ChatCompletion
    if stream:
        with client.chat.completions.stream(model="m", messages=HELLO, tools=[WEATHER]) as events:
            reply = events.get_final_completion()
    else:
        reply = client.chat.completions.create(model="m", messages=HELLO, tools=[WEATHER])
    choice = reply.choices[0]
    assert choice.finish_reason == "tool_calls"
    got = [call for call in choice.message.tool_calls or [] if call.type == "function"]
    assert [json.loads(call.function.arguments)["city"] for call in got] == ["Zürich", "東京"]
    assert [call.id for call in got] == ["call_fake0", "call_x"]


@pytest.mark.parametrize("stream", [False, True])
def test_choices_logprobs_and_extras(fake: FakeOpenAI, client: openai.OpenAI, stream: bool) -> None:
    answer = Answer(texts=("a b", "c d e"), reasoning="hm hm", extra={"provider": "x"}, message_extra={"odd": True})
    fake.on("m", answer)
    params: Any = {"model": "m", "messages": HELLO, "n": 2, "logprobs": True, "top_logprobs": 1}
    if not stream:
        reply = client.chat.completions.create(**params)
        assert [choice.message.content for choice in reply.choices] == ["a b", "c d e"]
        assert reply.choices[0].message.model_extra == {"odd": True, "reasoning_content": "hm hm"}
        assert reply.model_extra == {"provider": "x"}
        logprobs = reply.choices[1].logprobs
        assert logprobs is not None
        assert [token.token for token in logprobs.content or []] == ["c", " d", " e"]
        return
    with client.chat.completions.create(**params, stream=True) as events:
        got = list(events)
    texts = ["", ""]
    for chunk in got:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == ["a b", "c d e"]
    assert [chunk.choices[0].index for chunk in got if chunk.choices[0].finish_reason] == [0, 1]
    assert all(chunk.model_extra == {"provider": "x"} for chunk in got)


@pytest.mark.parametrize("stream", [False, True])
async def test_refusal(fake: FakeOpenAI, http: aiohttp.ClientSession, stream: bool) -> None:
    fake.next(Answer(refusal="I can't help with that.", finish_reason="content_filter"))
    raw = await read(http, fake, stream=stream)
    if stream:
        choices = [chunk["choices"][0] for chunk in chunks(raw)[:-1]]
        assert "".join(choice["delta"].get("refusal") or "" for choice in choices) == "I can't help with that."
        assert choices[-1]["finish_reason"] == "content_filter"
    else:
        message = json.loads(raw)["choices"][0]["message"]
        assert (message["content"], message["refusal"]) == (None, "I can't help with that.")


def test_models(fake: FakeOpenAI, client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fake-large", "fake-small"]
    assert [seen.path for seen in fake.requests] == ["/v1/models"]
    assert fake.chats == []


# ---------------------------------------------------------------------- which reply


def test_order_of_replies(fake: FakeOpenAI, client: openai.OpenAI) -> None:
    fake.on("a", Answer("standing"))
    fake.next(Answer("any 1"), Answer("any 2")).next(Answer("own"), model="a")

    def ask(model: str) -> str | None:
        return client.chat.completions.create(model=model, messages=HELLO).choices[0].message.content

    assert [ask("a"), ask("b"), ask("a"), ask("a"), ask("b")] == ["own", "any 1", "any 2", "standing", ECHO]
    assert [seen.model for seen in fake.requests] == ["a", "b", "a", "a", "b"]
    fake.clear()
    assert fake.requests == []
    assert ask("a") == ECHO


# ---------------------------------------------------------------------- errors before the body


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (HttpError(401), openai.AuthenticationError, "invalid_api_key"),
        (HttpError(403), openai.PermissionDeniedError, "unsupported_country_region_territory"),
        (HttpError(404), openai.NotFoundError, "model_not_found"),
        (rate_limited(), openai.RateLimitError, "rate_limit_exceeded"),
        (rate_limited(quota=True), openai.RateLimitError, "insufficient_quota"),
        (context_length_exceeded(), openai.BadRequestError, "context_length_exceeded"),
        (HttpError(500), openai.InternalServerError, None),
        (HttpError(503), openai.InternalServerError, "overloaded"),
        (HttpError(529), openai.InternalServerError, "overloaded"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_error_statuses(
    fake: FakeOpenAI,
    client: openai.OpenAI,
    error: HttpError,
    kind: type[openai.APIStatusError],
    code: str | None,
    stream: bool,
) -> None:
    fake.next(error)
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model="m", messages=HELLO, stream=stream)
    assert caught.value.status_code == error.status
    assert caught.value.code == code
    assert fake.last.reply == error


def test_rate_limit_headers(fake: FakeOpenAI, client: openai.OpenAI) -> None:
    fake.next(rate_limited(retry_after="2", retry_after_ms="1500"))
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="m", messages=HELLO)
    headers = caught.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")
    assert headers["x-ratelimit-remaining-requests"] == "0"


def test_wrong_key_and_bad_requests(fake: FakeOpenAI, client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-wrong").chat.completions.create(model="m", messages=HELLO)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="m", messages=HELLO, extra_body={"stream_options": {"include_usage": True}}
        )
    assert caught.value.param == "stream_options"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="m", messages=[])


def test_unknown_model() -> None:
    with (
        FakeOpenAI(models=("a",)) as fake,
        openai.OpenAI(base_url=fake.url, api_key="x", max_retries=0) as client,
    ):
        assert [model.id for model in client.models.list()] == ["a"]
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="b", messages=HELLO)


def test_rejected_parameter(fake: FakeOpenAI, client: openai.OpenAI) -> None:
    fake.on("m", Answer("ok", rejects=("stream_options",)))
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="m", messages=HELLO, stream=True, stream_options={"include_usage": True})
    assert (caught.value.param, caught.value.code) == ("stream_options", "unknown_parameter")
    with client.chat.completions.create(model="m", messages=HELLO, stream=True) as stream:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "ok"


# ---------------------------------------------------------------------- the wire

ODD = "naïve — 東京 🚀\nsecond line"


@pytest.mark.parametrize(
    "wire",
    [
        Wire(crlf=True),
        Wire(comments=True),
        Wire(multiline=True),
        Wire(multiline=True, crlf=True, comments=True, split=7),
        Wire(space=False),
        Wire(split=1),
        Wire(split=(3, 500, 100, 1_000_000)),
        Wire(ascii_only=True),
    ],
)
async def test_wire(fake: FakeOpenAI, http: aiohttp.ClientSession, wire: Wire) -> None:
    fake.on("m", Answer(ODD, chunks=4, wire=wire))
    raw = await read(http, fake, stream=True)
    assert said(raw) == ODD
    assert chunks(raw)[-1] == "[DONE]"
    assert (b"\r\n" in raw) == wire.crlf
    assert (b": keep-alive" in raw) == wire.comments
    assert ("東京".encode() in raw) == (not wire.ascii_only)
    assert raw.startswith(b": keep-alive") or (b"data: {" in raw) == (wire.space)
    assert json.loads(await read(http, fake))["choices"][0]["message"]["content"] == ODD


async def test_given_chunks_and_headers(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    fake.next(Answer(chunks=("a", "", "b"), text="ab", wire=Wire(headers={"x-request-id": "req_1"})))
    async with http.post(fake.url + "/chat/completions", json=body(stream=True)) as reply:
        assert reply.headers["x-request-id"] == "req_1"
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        got = chunks(await reply.read())
    assert [chunk["choices"][0]["delta"].get("content") for chunk in got[1:-2]] == ["a", "", "b"]


@pytest.mark.parametrize(
    ("at", "asked", "places"),
    [
        ("own_chunk", True, [(0, True)]),
        ("own_chunk", False, []),
        ("with_choices", True, [(1, True)]),
        ("with_choices", False, [(1, True)]),
        ("several", True, [(1, False), (1, False), (1, True), (0, True)]),
        ("several", False, [(1, False), (1, False), (1, True)]),
        ("always", False, [(0, True)]),
        ("none", True, []),
    ],
)
async def test_usage_places(
    fake: FakeOpenAI, http: aiohttp.ClientSession, at: Any, asked: bool, places: list[tuple[int, bool]]
) -> None:
    fake.next(Answer("a b", prompt_tokens=10, completion_tokens=20, usage_at=at))
    options = {"stream_options": {"include_usage": True}} if asked else {}
    got = chunks(await read(http, fake, stream=True, **options))[:-1]
    found = [(len(chunk["choices"]), chunk["usage"]["total_tokens"] == 30) for chunk in got if chunk.get("usage")]
    assert found == places


async def test_usage_word_for_word(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    odd = {"prompt_tokens": 3, "completion_tokens": 1, "cost": 0.5}
    fake.next(Answer(usage=odd), Answer(usage_at="none"))
    assert json.loads(await read(http, fake))["usage"] == odd
    assert "usage" not in json.loads(await read(http, fake))


async def test_huge(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    text = "x" * 3_000_000
    fake.on("m", Answer(text, chunks=1))
    assert json.loads(await read(http, fake))["choices"][0]["message"]["content"] == text
    assert said(await read(http, fake, stream=True)) == text


# ---------------------------------------------------------------------- faults on the wire


async def broken(http: aiohttp.ClientSession, fake: FakeOpenAI, fault: Fault, stream: bool) -> bytes:
    """What arrives before the connection fails."""
    got = bytearray()

    async def read_on() -> None:
        async with http.post(fake.url + "/chat/completions", json=body(stream=stream)) as reply:
            async for piece in reply.content.iter_any():
                got.extend(piece)

    fake.next(fault)
    with pytest.raises(aiohttp.ClientError):
        await read_on()
    seen = fake.last
    assert await seen.over()
    assert not seen.disconnected
    return bytes(got)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "kind", ["cut_before_headers", "cut_after_headers", "cut_between_events", "cut_mid_event", "reset"]
)
async def test_cuts(fake: FakeOpenAI, http: aiohttp.ClientSession, kind: FaultKind, stream: bool) -> None:
    got = await broken(http, fake, Fault(kind, after=2, answer=Answer("a b c d")), stream)
    if kind in ("cut_before_headers", "cut_after_headers"):
        assert got == b""
    elif kind == "reset":
        return  # a reset may overtake what was sent before it
    elif not stream:
        assert got.startswith(b'{"id"')
    else:
        assert got.count(b"\n\n") == 3
        assert got.endswith(b"\n\n") == (kind == "cut_between_events")
        assert b'" b"' in got
        assert b'" c"' not in got


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["stall", "stall_after_headers", "stall_mid_stream"])
async def test_stalls_end_when_the_client_goes(fake: FakeOpenAI, kind: FaultKind, stream: bool) -> None:
    fake.next(Fault(kind))
    async with aiohttp.ClientSession(headers={"authorization": "Bearer sk-right"}) as http:
        posted = http.post(
            fake.url + "/chat/completions",
            json=body(stream=stream),
            timeout=aiohttp.ClientTimeout(sock_read=0.1),
        )
        with pytest.raises(aiohttp.SocketTimeoutError):
            async with posted as reply:
                await reply.read()
    assert await fake.last.over()
    assert fake.last.disconnected


async def test_stop_ends_a_stall() -> None:
    with FakeOpenAI(default=Fault("stall")) as fake:
        async with aiohttp.ClientSession() as http:
            posted = http.post(fake.url + "/chat/completions", json=body())
            with socket.create_connection(("127.0.0.1", fake.port)) as raw:
                sent = json.dumps(body()).encode()
                raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(sent))
                raw.sendall(sent)
                await fake.arrived()
                fake.stop()
                assert raw.recv(1) == b""
            with pytest.raises(aiohttp.ClientConnectorError):
                await posted
    assert not fake.last.disconnected


async def test_same_port_after_a_stop(http: aiohttp.ClientSession, fake: FakeOpenAI) -> None:
    port = fake.port
    await read(http, fake)
    fake.stop()
    with pytest.raises(aiohttp.ClientError):
        await read(http, fake)
    fake.start()
    assert fake.port == port
    await read(http, fake)
    assert len(fake.chats) == 2


async def test_faults_in_a_stream(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    answer = Answer("a b c")
    fake.next(
        Fault("broken_json", answer=answer),
        Fault("no_done", answer=answer),
        Fault("no_finish", after=2, answer=answer),
        Fault("error_event", after=0, answer=answer),
        Fault("invalid_utf8", answer=answer),
    )
    raw = await read(http, fake, stream=True)
    assert raw.count(b'"del\n\n') == 1
    assert raw.endswith(b"data: [DONE]\n\n")

    got = chunks(await read(http, fake, stream=True))
    assert got[-1]["choices"][0]["finish_reason"] == "stop"

    got = chunks(await read(http, fake, stream=True))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in got] == ["", "a", " b"]
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in got)

    got = chunks(await read(http, fake, stream=True))
    assert len(got) == 2
    assert got[1]["error"]["message"] == "The server had an error."

    with pytest.raises(UnicodeDecodeError):
        (await read(http, fake, stream=True)).decode()


async def test_faults_in_a_whole_reply(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    fake.next(
        Fault("broken_json"),
        Fault("error_event"),
        Fault("invalid_utf8"),
        Fault("wrong_content_type"),
        Fault("empty_body"),
    )
    with pytest.raises(json.JSONDecodeError):
        json.loads(await read(http, fake))
    assert json.loads(await read(http, fake))["error"]["type"] == "server_error"
    with pytest.raises(UnicodeDecodeError):
        (await read(http, fake)).decode()
    assert (await read(http, fake)).startswith(b"<!DOCTYPE html>")
    assert await read(http, fake) == b""


@pytest.mark.parametrize("stream", [False, True])
async def test_endless_is_read_no_faster_than_the_client(
    fake: FakeOpenAI, http: aiohttp.ClientSession, stream: bool
) -> None:
    fake.next(Fault("endless", answer=Answer("x" * 65536, chunks=1)))
    async with http.post(fake.url + "/chat/completions", json=body(stream=stream)) as reply:
        got = 0
        while got < 1_000_000:
            got += len(await reply.content.readany())
    assert await fake.last.over()
    assert fake.last.disconnected
    assert fake.last.bytes_sent < 100_000_000


@pytest.mark.parametrize("after", [None, 0, 1])
async def test_gate(fake: FakeOpenAI, http: aiohttp.ClientSession, after: int | None) -> None:
    gate = Gate()
    fake.next(Answer("a b", gate=gate, gate_after=after))
    task = asyncio.create_task(read(http, fake, stream=True))
    assert await asyncio.to_thread(gate.wait_reached)
    assert not task.done()
    gate.open()
    assert said(await task) == "a b"


async def test_disconnect_before_the_first_byte(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    fake.next(Answer(gate=Gate()))
    task = asyncio.create_task(read(http, fake))
    (seen,) = await fake.arrived()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await seen.over()
    assert seen.disconnected
    assert seen.bytes_sent == 0


def test_replies_are_values() -> None:
    replies: list[Reply] = [Answer(), HttpError(500), Fault("stall")]
    assert replies == [Answer(), HttpError(500), Fault("stall")]
    assert Seen("GET", "/", {}, {}, b"", None) != Seen("GET", "/", {}, {}, b"", None)
