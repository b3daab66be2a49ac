"""The mock at the level of bytes: what goes out on the wire for each way to behave, read with plain sockets."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.mock.models import HUGE_BYTES, MODELS
from app.mock.replies import Answer, Fault, Gate, Wire
from app.mock.server import Mock
from app.mock.tls import make_certificates

CHAT = "/v1/chat/completions"


class Listening(Mock):
    """A mock with a port."""

    port = 0


@pytest.fixture
async def mock() -> AsyncIterator[Listening]:
    async with Listening() as server:
        server.port = await server.listen()
        yield server


def request(model: str, *, stream: bool = True, path: str = CHAT, **more: object) -> bytes:
    asked = {"model": model, "messages": [{"role": "user", "content": "hello there"}], "stream": stream, **more}
    body = json.dumps(asked).encode()
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def raw(mock: Listening, sent: bytes, *, until: bytes | None = None) -> tuple[bytes, bool]:
    """What comes back before the connection ends, or up to `until`; and whether it ended in a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
    writer.write(sent)
    got = bytearray()
    try:
        while piece := await reader.read(65536):
            got += piece
            if until is not None and until in got[-len(piece) - len(until) :]:
                break
    except ConnectionResetError:
        return bytes(got), True
    finally:
        writer.transport.abort()
    return bytes(got), False


def head_and_body(got: bytes) -> tuple[bytes, bytes]:
    head, _, body = got.partition(b"\r\n\r\n")
    return head, body


END = b"0\r\n\r\n"


async def test_a_good_stream(mock: Listening) -> None:
    got, _ = await raw(mock, request("mock-echo"), until=END)
    head, body = head_and_body(got)
    assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream")
    assert b"transfer-encoding: chunked" in head
    assert body.count(b"data: {") == 5  # role, three words, finish reason
    assert b"data: [DONE]\n\n" in body


async def test_a_good_reply(mock: Listening) -> None:
    got, _ = await raw(mock, request("mock-echo", stream=False), until=b"fp_mock")
    head, body = head_and_body(got)
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body)["choices"][0]["message"]["content"] == "Echo: hello there"


async def test_cut_before_headers(mock: Listening) -> None:
    assert await raw(mock, request("mock-cut-before-headers")) == (b"", False)


async def test_cut_after_headers(mock: Listening) -> None:
    got, reset = await raw(mock, request("mock-cut-after-headers"))
    head, body = head_and_body(got)
    assert (head[:15], body, reset) == (b"HTTP/1.1 200 OK", b"", False)


@pytest.mark.parametrize(("model", "whole"), [("mock-cut-between-events", True), ("mock-cut-midevent", False)])
async def test_cut_in_the_stream(mock: Listening, model: str, whole: bool) -> None:
    got, _ = await raw(mock, request(model))
    assert not got.endswith(END)
    assert got.endswith(b"\n\n\r\n") == whole  # the last chunk is a whole event, or half of one
    assert b'"One"' in got
    assert b'" two"' in got
    assert b'" three"' not in got


async def test_reset(mock: Listening) -> None:
    got, reset = await raw(mock, request("mock-reset"))
    assert reset or not got.endswith(END)


async def test_broken_line(mock: Listening) -> None:
    got, _ = await raw(mock, request("mock-broken-line"), until=END)
    assert b'"index": 0, "del\n\n' in got
    assert b"[DONE]" in got


async def test_invalid_utf8(mock: Listening) -> None:
    got, _ = await raw(mock, request("mock-invalid-utf8"), until=END)
    assert b"\xff\xfe" in got


@pytest.mark.parametrize(("model", "there"), [("mock-no-done", b'"finish_reason":"stop"'), ("mock-no-finish", b"two")])
async def test_missing_ends(mock: Listening, model: str, there: bytes) -> None:
    got, _ = await raw(mock, request(model), until=END)
    assert there in got
    assert b"[DONE]" not in got
    assert (b'"stop"' in got) == (model == "mock-no-done")


async def test_error_event(mock: Listening) -> None:
    got, _ = await raw(mock, request("mock-error-event"), until=END)
    assert got.startswith(b"HTTP/1.1 200")
    assert b'data: {"error":{' in got
    assert b"[DONE]" not in got


async def test_crlf_and_multiline(mock: Listening) -> None:
    got, _ = await raw(mock, request("mock-crlf"), until=END)
    assert b"}\r\n\r\n" in got
    got, _ = await raw(mock, request("mock-multiline"), until=END)
    assert b'data: {\ndata:  "id"' in got


async def test_split(mock: Listening) -> None:
    mock.on("few", Answer("é", wire=Wire(split=1)))
    got, _ = await raw(mock, request("few"), until=END)
    _, body = head_and_body(got)
    assert body.startswith(b"1\r\nd\r\n1\r\na\r\n")  # each byte a chunk
    assert b"1\r\n\xc3\r\n1\r\n\xa9\r\n" in body


async def test_drip_sends_byte_by_byte(mock: Listening) -> None:
    mock.on("drip", Fault("drip", answer=Answer("x", gap=0.001)))
    reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
    writer.write(request("drip", stream=False))
    pieces: list[bytes] = []
    while b"fp_mock" not in b"".join(pieces):
        pieces.append(await reader.read(65536))
    writer.transport.abort()
    assert b"".join(pieces).startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(pieces) > 100


async def test_stall_until_the_client_goes(mock: Listening) -> None:
    for model in ("mock-stall", "mock-stall-after-headers", "mock-stall-midstream"):
        reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
        writer.write(request(model))
        if model != "mock-stall":
            assert await reader.readuntil(b"\r\n\r\n")
        while not mock.chats or mock.chats[-1].model != model:
            await asyncio.sleep(0)
        seen = mock.chats[-1]
        assert not seen.is_over
        writer.transport.abort()
        assert await seen.over()
        assert seen.disconnected
        assert seen.ended is not None
        assert seen.ended >= seen.arrived


async def test_delay_before_the_first_byte(mock: Listening) -> None:
    gate = Gate()
    mock.next(Answer("late", gate=gate))
    task = asyncio.create_task(raw(mock, request("any"), until=END))
    assert await asyncio.to_thread(gate.wait_reached)
    assert gate.reached
    assert not task.done()
    gate.open()
    assert b"late" in (await task)[0]


@pytest.mark.parametrize(
    ("model", "status"),
    [("mock-400", 400), ("mock-401", 401), ("mock-408", 408), ("mock-429", 429), ("mock-500", 500), ("mock-529", 529)],
)
async def test_statuses(mock: Listening, model: str, status: int) -> None:
    got, _ = await raw(mock, request(model), until=b"}}")
    head, body = head_and_body(got)
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert (b"retry-after: 1" in head) == (status == 429)


async def test_huge(mock: Listening) -> None:
    got, _ = await raw(mock, request("mock-huge"), until=END)
    assert got.count(b"x") > HUGE_BYTES


async def test_web_page_and_empty(mock: Listening) -> None:
    got, _ = await raw(mock, request("mock-wrong-content-type"), until=b"</html>")
    assert b"content-type: text/html" in got
    got, _ = await raw(mock, request("mock-empty"), until=b"content-length: 0\r\n\r\n")
    assert b"text/event-stream" in got


async def test_other_dialects(mock: Listening) -> None:
    path = "/v1/messages"
    got, _ = await raw(mock, request("mock-echo", path=path, max_tokens=9), until=b"message_stop")
    assert b"event: message_start\n" in got
    got, _ = await raw(mock, request("mock-529", path=path, max_tokens=9), until=b"request_id")
    assert b"overloaded_error" in got
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}).encode()
    path = "/v1beta/models/mock-cut-midevent:streamGenerateContent?alt=sse"
    sent = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    got, _ = await raw(mock, sent)
    assert b'"text":" two"' in got
    assert not got.endswith(END)


async def test_keep_alive_chunked_bodies_and_connections(mock: Listening) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
    for place in range(2):
        body = request(f"m{place}", stream=False).partition(b"\r\n\r\n")[2]
        pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:20], body[20:]))
        writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        writer.write(pieces + END)
        await reader.readuntil(b"fp_mock")
        await reader.readuntil(b"}")
    writer.transport.abort()
    await raw(mock, request("m2", stream=False), until=b"fp_mock")
    numbers = [seen.connection for seen in mock.chats]
    assert numbers[0] == numbers[1] != numbers[2]
    assert [seen.body["model"] for seen in mock.chats] == ["m0", "m1", "m2"]


async def test_what_is_no_http_closes(mock: Listening) -> None:
    got, _ = await raw(mock, b"hello\r\n\r\n")
    assert got == b""
    got, _ = await raw(mock, request("mock-echo", stream=False), until=b"fp_mock")
    assert got


async def test_certificates(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    trusting = ssl.create_default_context(cafile=str(made.authority))
    async with Mock() as mock:
        good = await mock.listen(tls=made.good)
        expired = await mock.listen(tls=made.expired)
        _, writer = await asyncio.open_connection("localhost", good, ssl=trusting)
        writer.transport.abort()
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            await asyncio.open_connection("localhost", expired, ssl=trusting)
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("localhost", good, ssl=ssl.create_default_context())


def test_every_model_says_what_it_does() -> None:
    assert all(name.startswith("mock-") and what for name, (what, _) in MODELS.items())
