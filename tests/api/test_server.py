"""The short way of a call through the server, beside uvicorn's own: the same replies, whatever comes over the wire."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.api.server import MOST_BYTES, MOST_HEAD_BYTES, CallProtocol
from app.core.burst import burst_of
from app.gateway.http1 import Connection
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import Answer, Gate
from tests.serving import Running, StartProxy, models

PATH = "/v1/chat/completions"
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f-]{17}")


def body(text: str = "hello", **fields: Any) -> bytes:
    return json.dumps({"model": "a", "messages": [{"role": "user", "content": text}], **fields}).encode()


def request(data: bytes, *lines: str, version: str = "1.1", length: bool = True) -> bytes:
    sized = [f"content-length: {len(data)}"] if length else []
    head = [f"POST {PATH} HTTP/{version}", "host: x", "content-type: application/json", *sized, *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def chunked(data: bytes, *lines: str) -> bytes:
    """The same in two chunks, which go the usual way."""
    half = len(data) // 2
    pieces = [piece for piece in (data[:half], data[half:]) if piece]
    parts = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    return request(parts, "transfer-encoding: chunked", *lines, length=False)


class Wire:
    """One connection to a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.sent = 0

    def send(self, data: bytes) -> None:
        self.sent += len(data)
        self.writer.write(data)

    async def reply(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next reply."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        if "content-length" in headers:
            return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))
        parts = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            parts.append((await self.reader.readexactly(size + 2))[:-2])
        await self.reader.readexactly(2)
        return int(head[0].split()[1]), headers, b"".join(parts)

    async def closed(self) -> bool:
        """Whether the server closes now; waits for it."""
        return await self.reader.read() == b""


@pytest.fixture
async def proxy(start_proxy: StartProxy, openai_server: FakeOpenAI) -> Running:
    return await start_proxy({"model_list": models(openai_server.url, "a")})


@pytest.fixture(autouse=True, params=["at once", "at the end of a turn"])
async def sending(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """As a proxy sends that has nothing else to do, and as a busy one does; the steps are counted right either way."""
    burst, more = burst_of(asyncio.get_running_loop()), int(request.param != "at once")
    burst.due += more
    yield
    assert burst.due == more
    burst.due -= more


@pytest.fixture
async def wire(proxy: Running) -> AsyncIterator[Wire]:
    parts = urlsplit(proxy.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    yield Wire(reader, writer)
    writer.close()


def told(reply: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], str]:
    """A reply without what differs from call to call."""
    status, headers, data = reply
    changing = ("date", "x-hullspeed-overhead-ms", "content-length")
    kept = {name: ID.sub("ID", value) for name, value in headers.items() if name not in changing}
    return status, kept, re.sub(r"chatcmpl-\w+|\"created\": ?\d+", "", ID.sub("ID", data.decode()))


@pytest.mark.parametrize(
    "data",
    [
        body(),
        body(stream=True),
        body(stream=True, stream_options={"include_usage": True}),
        body(model="unknown"),
        body(model="auto/unknown", stream=True),
        b"{",
        b"",
        b"\xff",
    ],
    ids=["whole", "stream", "usage", "unknown", "unknown router", "no JSON", "nothing", "no UTF-8"],
)
async def test_both_ways_say_the_same(wire: Wire, data: bytes) -> None:
    wire.send(request(data))
    short = told(await wire.reply())
    wire.send(chunked(data))
    usual = told(await wire.reply())
    assert short == usual
    # The connection goes on to serve.
    wire.send(request(body()))
    assert (await wire.reply())[0] == 200


async def test_a_wrong_key_gets_the_same_answer_both_ways(start_proxy: StartProxy, openai_server: FakeOpenAI) -> None:
    proxy = await start_proxy({"model_list": models(openai_server.url, "a")}, api_key="right")
    parts = urlsplit(proxy.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    wire = Wire(reader, writer)
    answers = []
    for make in (request, chunked):
        wire.send(make(body(), "authorization: Bearer wrong"))
        answers.append(told(await wire.reply()))
    assert answers[0] == answers[1]
    assert answers[0][0] == 401
    wire.send(request(body(), "authorization: Bearer right"))
    assert (await wire.reply())[0] == 200
    assert len(await proxy.calls()) == 1, "who has no key writes nothing to the ledger"
    writer.close()


async def test_a_request_a_byte_at_a_time(wire: Wire) -> None:
    for byte in request(body()):
        wire.send(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await wire.reply())[0] == 200


async def test_requests_sent_at_once_are_answered_in_order(
    wire: Wire, proxy: Running, openai_server: FakeOpenAI
) -> None:
    gate = Gate()
    openai_server.next(Answer("first", gate=gate), Answer("second"), Answer("third"), Answer("fourth"))
    # Short, usual and other ways mixed on one connection.
    health = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    wire.send(request(body()) + chunked(body()) + health + request(body(stream=True)) + request(body()))
    await asyncio.to_thread(gate.wait_reached)
    assert len(openai_server.chats) == 1, "one after the other, as the replies must be"
    gate.open()
    got = [await wire.reply() for _ in range(5)]
    assert [status for status, _, _ in got] == [200] * 5
    assert [json.loads(got[place][2])["choices"][0]["message"]["content"] for place in (0, 1, 4)] == [
        "first",
        "second",
        "fourth",
    ]
    assert got[2][2] != got[3][2]
    assert got[3][2].endswith(b"data: [DONE]\n\n")
    assert len(await proxy.calls()) == 4


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_connection_is_closed_where_the_client_asks_for_it(wire: Wire, version: str) -> None:
    wire.send(request(body(), *(["connection: close"] if version == "1.1" else []), version=version))
    status, headers, _ = await wire.reply()
    assert (status, headers["connection"]) == (200, "close")
    assert await wire.closed()


async def test_a_stream_is_closed_behind_where_the_client_asks_for_it(wire: Wire) -> None:
    wire.send(request(body(stream=True), "connection: close"))
    status, headers, data = await wire.reply()
    assert (status, headers["connection"]) == (200, "close")
    assert data.endswith(b"data: [DONE]\n\n")
    assert await wire.closed()


async def test_a_client_that_waits_to_be_asked_for_the_body(wire: Wire) -> None:
    data = body()
    whole = request(data, "expect: 100-continue")
    wire.send(whole[: -len(data)])
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(data)
    assert (await wire.reply())[0] == 200


async def test_a_large_body_is_taken_under_flow_control(wire: Wire, openai_server: FakeOpenAI) -> None:
    text = "x" * (MOST_BYTES + 1)
    wire.send(request(body(text)))
    assert (await wire.reply())[0] == 200
    assert openai_server.last.body["messages"][0]["content"] == text


@pytest.mark.parametrize(
    "data",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}}",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=["length", "two lengths", "length and chunks", "a chunk without its size", "nonsense"],
)
async def test_what_is_no_request_is_refused_and_the_connection_closed(
    wire: Wire, openai_server: FakeOpenAI, data: bytes
) -> None:
    wire.send(data)
    assert (await wire.reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 400 ")
    await wire.reader.read()
    assert openai_server.chats == []


JAVAS = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAEAAEAAAAIAAAABAAMAAABk")
"""What java.net.http's client adds to every request without TLS."""


@pytest.mark.parametrize("step", [1, 100_000])
@pytest.mark.parametrize("make", [request, chunked])
async def test_an_upgrade_is_ignored_and_the_body_read(wire: Wire, make: Callable[..., bytes], step: int) -> None:
    data = make(body(), *JAVAS) + make(body(stream=True), *JAVAS) + request(body())
    for start in range(0, len(data), step):
        wire.send(data[start : start + step])
        await asyncio.sleep(0)
    replies = [await wire.reply() for _ in range(3)]
    assert [status for status, _, _ in replies] == [200, 200, 200]
    assert b"data: [DONE]" in replies[1][2]


async def test_headers_without_an_end_are_refused(wire: Wire) -> None:
    wire.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-much: ")
    reply = asyncio.ensure_future(wire.reader.readuntil(b"\r\n"))
    # It would be taken for ever.
    with contextlib.suppress(ConnectionError):
        while not reply.done() and wire.sent < 64 * MOST_HEAD_BYTES:
            wire.send(b"x" * 65536)
            await wire.writer.drain()
            await asyncio.sleep(0)
    assert wire.sent < 64 * MOST_HEAD_BYTES
    assert (await reply).startswith(b"HTTP/1.1 400 ")


async def test_the_same_path_with_a_query_and_another_method(wire: Wire) -> None:
    wire.send(request(body()).replace(b"completions HTTP", b"completions?x=1 HTTP"))
    assert (await wire.reply())[0] == 200
    wire.send(b"GET /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await wire.reply())[0] == 405


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Without the collector of cyclic garbage."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
async def test_connections_that_are_closed_leave_nothing_for_the_collector(proxy: Running) -> None:
    def there() -> int:
        return sum(type(one) in (CallProtocol, Connection) for one in gc.get_objects())

    before = there()
    parts = urlsplit(proxy.url)
    for data in (request(body()), request(body(stream=True)), chunked(body())):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        wire = Wire(reader, writer)
        wire.send(data)
        assert (await wire.reply())[0] == 200
        writer.close()
        await writer.wait_closed()
    assert there() > before
    await proxy.proxy.upstreams["direct"].close()
    for _ in range(100):
        if there() == before:
            break
        await asyncio.sleep(0.05)
    assert there() == before
