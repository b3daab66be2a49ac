"""The replay's own HTTP client, against servers that answer in every way HTTP/1.1 allows, and in some it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bench.line import BrokenReply, Line


@asynccontextmanager
async def answering(*replies: Sequence[bytes] | None) -> AsyncIterator[tuple[str, list[bytes], list[int]]]:
    """A server that answers one request after another, over all connections, each in pieces; None closes instead.

    Gives its URL, the requests it saw, and the number of the connection that each came over.
    """
    pending = iter(replies)
    seen: list[bytes] = []
    lines: list[int] = []
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        mine = count
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                seen.append(head + await reader.readexactly(length))
                lines.append(mine)
                pieces = next(pending)
                if pieces is None:
                    return
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if b"connection: close" in b"".join(pieces).lower() or b"HTTP/1.0" in pieces[0]:
                    return
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1/chat?a=b", seen, lines


WHOLE = b"HTTP/1.1 200 OK\r\nX-Some: Thing \r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;name=value\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n"
)


async def test_a_line_is_kept_and_carries_its_headers() -> None:
    async with answering([WHOLE], [CHUNKED], [WHOLE]) as (url, seen, lines):
        line = Line(url, {"authorization": "Bearer k"})
        answers = [await line.post(b"{}", b"x-item: %d\r\n" % number) for number in range(3)]
        line.close()
    assert [answer.body for answer in answers] == [b"hello"] * 3
    assert {answer.status for answer in answers} == {200}
    assert answers[0].headers["x-some"] == "Thing"
    assert lines == [1, 1, 1]
    host = url.split("/")[2].encode()
    assert seen[1] == (
        b"POST /v1/chat?a=b HTTP/1.1\r\nhost: %b\r\nauthorization: Bearer k\r\nx-item: 1\r\ncontent-length: 2\r\n\r\n{}"
        % host
    )


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello",
    ],
    ids=["said", "old", "body to the end"],
)
async def test_a_line_that_was_closed_is_made_anew(reply: bytes) -> None:
    async with answering([reply], [WHOLE]) as (url, _, lines):
        line = Line(url, {})
        assert (await line.post(b"")).body == b"hello"
        assert (await line.post(b"")).body == b"hello"
        line.close()
    assert lines == [1, 2]


async def test_interim_replies_are_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with answering([early, early + WHOLE]) as (url, _, _):
        line = Line(url, {})
        answer = await line.post(b"")
        line.close()
    assert (answer.status, answer.body) == (200, b"hello")
    assert "link" not in answer.headers


async def test_a_reply_without_a_body_is_whole() -> None:
    async with answering([b"HTTP/1.1 204 No Content\r\n\r\n"], [WHOLE]) as (url, _, lines):
        line = Line(url, {})
        assert (await line.post(b"")).status == 204
        assert (await line.post(b"")).body == b"hello"
        line.close()
    assert lines == [1, 1]


@pytest.mark.parametrize(
    "pieces",
    [
        None,
        [b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\nhello"],
        [b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"],
        [b"SSH-2.0-OpenSSH\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"],
        [b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000],
    ],
    ids=["nothing", "short", "no last chunk", "not HTTP", "not a length", "endless head"],
)
async def test_a_broken_reply_is_an_error(pieces: Sequence[bytes] | None) -> None:
    async with answering(pieces) as (url, seen, _):
        line = Line(url, {})
        with pytest.raises((BrokenReply, ConnectionError)):
            await line.post(b"")
        line.close()
    assert len(seen) == 1, "nothing is sent twice"


async def test_nobody_there() -> None:
    with pytest.raises(ConnectionRefusedError):
        await Line("http://127.0.0.1:9/v1", {}).post(b"")


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://a/b", "http:///path"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="is not an http"):
        Line(url, {})


def test_a_header_cannot_hold_another() -> None:
    with pytest.raises(ValueError, match="line break"):
        Line("http://a", {"authorization": "Bearer k\r\nx-evil: 1"})


async def test_one_who_gives_up_does_not_leave_a_reply_to_the_next() -> None:
    async with answering([WHOLE[:-1]], [WHOLE]) as (url, seen, lines):
        line = Line(url, {})
        task = asyncio.create_task(line.post(b""))
        while not seen:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await line.post(b"")).body == b"hello"
        line.close()
    assert lines == [1, 2]


@given(cuts=st.sets(st.integers(1, len(CHUNKED) + len(WHOLE) - 1)), chunked=st.booleans())
def test_where_a_reply_is_cut_does_not_matter(cuts: set[int], chunked: bool) -> None:
    reply = CHUNKED if chunked else WHOLE
    ends = [0, *sorted(cut for cut in cuts if cut < len(reply)), len(reply)]
    pieces = [reply[start:end] for start, end in pairwise(ends)]

    async def ask() -> bytes:
        async with answering(pieces) as (url, _, _):
            line = Line(url, {})
            answer = await line.post(b"")
            line.close()
            return answer.body

    assert asyncio.run(ask()) == b"hello"
