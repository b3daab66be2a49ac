"""The HTTP/1.1 client for upstreams, against servers that say exactly the bytes they are told to."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.core.burst import burst_of
from app.gateway import http1
from app.gateway.http1 import BrokenOff, Origin, Reply, ReplyTooLarge, Unreachable, Url, parse_url
from app.gateway.pool import Pool
from app.mock.tls import Certificates, make_certificates

BODY = b'{"x":1}'
HEAD = b"POST /v1 HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BODY)
MOST = 1 << 20
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nt: 1\r\n\r\n"

Turn = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What a server does with one request it has read; the connection stays where it does not close it."""


@dataclass
class Server:
    """Takes a turn for each request, in order, whichever connection it comes over."""

    turns: deque[Turn] = field(default_factory=deque)
    origin: Origin = field(init=False)
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """A connection has ended."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                await self.turns.popleft()(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.gone.set()

    def says(self, *replies: bytes) -> None:
        """Further replies to whole requests."""
        for reply in replies:
            self.turns.append(_saying(reply))


def _saying(data: bytes, *, then_close: bool = False) -> Turn:
    async def turn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(BODY))
        writer.write(data)
        await writer.drain()
        if then_close:
            writer.close()

    return turn


def _byte_by_byte(data: bytes) -> Turn:
    async def turn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(BODY))
        for place in range(len(data)):
            writer.write(data[place : place + 1])
            await writer.drain()
            # The client, which shares the loop, reads what there is.
            await asyncio.sleep(0)

    return turn


async def _silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(len(BODY))
    # Until the client goes.
    await reader.read()


@asynccontextmanager
async def listening(server: Server, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[None]:
    listener = await asyncio.start_server(server, host, 0, ssl=tls)
    server.origin = Origin(host, listener.sockets[0].getsockname()[1], tls is not None)
    try:
        yield
    finally:
        listener.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    async with listening(found):
        yield found


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    found = Pool()
    yield found
    await found.close()


async def post(pool: Pool, server: Server, *, most: int = MOST, deadline: float | None = None) -> Reply:
    """One request; `deadline`: seconds from now."""
    due = None if deadline is None else asyncio.get_running_loop().time() + deadline
    return await pool.post(server.origin, HEAD, BODY, most=most, deadline=due)


async def read(pool: Pool, server: Server) -> bytes:
    return await (await post(pool, server)).read()


async def closed(pool: Pool) -> None:
    """Wait until no connection is left."""
    while pool.open_connections:
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a/v1", Url(Origin("a", 80, False), "a", "/v1")),
        ("https://a:443?x=%20", Url(Origin("a", 443, True), "a", "/?x=%20")),
        ("https://ä.example:8443/v", Url(Origin("xn--4ca.example", 8443, True), "xn--4ca.example:8443", "/v")),
        ("http://[::1]:80/", Url(Origin("::1", 80, False), "[::1]", "/")),
    ],
)
def test_urls(url: str, expected: Url) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url", ["ftp://a", "a", "http://", "http://u:p@a/", "http://a/b c", "http://a/ä", "http://a:x/"]
)
def test_no_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|percent-encoded|Port"):
        parse_url(url)


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (OK, b"hello"),
        (CHUNKED, b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\nx: \xe4\r\ncontent-length: 5\n\r\nhello", b"hello"),
    ],
)
async def test_replies_of_every_framing_in_pieces_of_every_size(
    pool: Pool, server: Server, reply: bytes, body: bytes
) -> None:
    server.says(reply)
    server.turns.append(_byte_by_byte(reply))
    for _ in range(2):
        assert await read(pool, server) == body
    assert server.connections == 1, "a whole reply leaves its connection to the next request"


async def test_a_body_that_ends_with_the_connection(pool: Pool, server: Server) -> None:
    server.turns.append(_saying(b"HTTP/1.1 200 OK\r\n\r\nhello", then_close=True))
    assert await read(pool, server) == b"hello"
    server.says(OK)
    assert await read(pool, server) == b"hello"
    assert server.connections == 2


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        OK + b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=["it says so", "it is old", "it says more"],
)
async def test_a_connection_that_is_not_used_again(pool: Pool, server: Server, reply: bytes) -> None:
    server.says(reply, OK)
    assert [await read(pool, server), await read(pool, server)] == [b"hello"] * 2
    assert server.connections == 2


async def test_a_connection_that_the_server_has_closed_is_noticed(pool: Pool, server: Server) -> None:
    server.turns.append(_saying(OK, then_close=True))
    await read(pool, server)
    await closed(pool)
    server.says(OK)
    assert await read(pool, server) == b"hello"
    assert (server.connections, len(server.requests)) == (2, 2)


async def test_a_request_that_has_gone_out_is_not_sent_again(pool: Pool, server: Server) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(BODY))
        writer.close()

    server.says(OK)
    await read(pool, server)
    server.turns.append(hang_up)
    with pytest.raises(BrokenOff, match="connection was closed"):
        await post(pool, server)
    # The server may have begun to work on it: who calls decides what to do.
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_many_at_once_have_a_connection_each_and_leave_them(pool: Pool, server: Server) -> None:
    server.says(*[OK] * 16)
    assert await asyncio.gather(*[read(pool, server) for _ in range(8)]) == [b"hello"] * 8
    assert server.connections == pool.open_connections == 8
    for _ in range(8):
        await read(pool, server)
    assert server.connections == 8


async def test_a_connection_that_was_idle_for_long_is_not_used(
    pool: Pool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateway.pool.IDLE_SECONDS", -1.0)
    server.says(OK, OK)
    assert [await read(pool, server), await read(pool, server)] == [b"hello"] * 2
    assert server.connections == 2


async def test_idle_connections_are_swept(pool: Pool, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.pool.IDLE_SECONDS", 0.0)
    monkeypatch.setattr("app.gateway.pool.SWEEP_SECONDS", 0.01)
    server.says(OK)
    await read(pool, server)
    await closed(pool)
    await server.gone.wait()


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"SSH-2.0-x\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "no HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "switch protocols"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx", "content coding br"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello", "damaged"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * (http1.MOST_HEAD_BYTES + 1), "headers are too long"),
    ],
)
async def test_what_is_no_reply(pool: Pool, server: Server, reply: bytes, why: str) -> None:
    server.says(reply)
    with pytest.raises(BrokenOff, match=why):
        await read(pool, server)
    await closed(pool)


@pytest.mark.parametrize("reply", [OK[:-1], CHUNKED[:-7], OK[:20], b""], ids=["length", "chunks", "head", "nothing"])
async def test_a_reply_that_is_cut(pool: Pool, server: Server, reply: bytes) -> None:
    server.turns.append(_saying(reply, then_close=True))
    with pytest.raises(BrokenOff, match="connection was closed"):
        await read(pool, server)
    assert pool.open_connections == 0


async def test_a_compressed_body_that_nobody_asked_for(pool: Pool, server: Server) -> None:
    packed = gzip.compress(b"hello" * 1000)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    server.says(head % len(packed) + packed)
    assert await read(pool, server) == b"hello" * 1000
    server.says(head % (len(packed) - 9) + packed[:-9])
    with pytest.raises(BrokenOff, match="cut short"):
        await read(pool, server)


async def test_a_bomb_is_not_unpacked(pool: Pool, server: Server) -> None:
    packed = gzip.compress(bytes(64 << 20))
    server.says(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed)
    with pytest.raises(ReplyTooLarge):
        await read(pool, server)


@pytest.mark.parametrize("reply", [OK, CHUNKED], ids=["length", "chunks"])
async def test_a_body_that_is_too_large(pool: Pool, server: Server, reply: bytes) -> None:
    server.says(reply, reply)
    assert await (await post(pool, server, most=5)).read() == b"hello"
    with pytest.raises(ReplyTooLarge):
        await (await post(pool, server, most=4)).read()
    await closed(pool)


async def test_a_deadline_holds_to_the_last_byte(pool: Pool, server: Server) -> None:
    server.turns.append(_silent)
    with pytest.raises(TimeoutError):
        await post(pool, server, deadline=0.05)
    await server.gone.wait()

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK[:-1])
        await _silent(reader, writer)

    server.turns.append(half)
    reply = await post(pool, server, deadline=0.1)
    with pytest.raises(TimeoutError):
        await reply.read()
    await closed(pool)


async def test_a_deadline_that_is_over_stays_with_its_request(pool: Pool, server: Server) -> None:
    # The timer is the connection's, and still runs when the next request has the connection.
    server.says(OK)
    await (await post(pool, server, deadline=0.05)).read()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15)
        await _saying(OK)(reader, writer)

    server.turns.append(late)
    assert await read(pool, server) == b"hello"
    assert server.connections == 1


async def test_a_request_that_is_given_up_closes_its_connection(pool: Pool, server: Server) -> None:
    server.turns.append(_silent)
    task = asyncio.create_task(post(pool, server))
    while not server.requests:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.gone.wait()
    assert pool.open_connections == 0


async def test_a_stream_that_is_given_up_closes_its_connection(pool: Pool, server: Server) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED[:-19])
        await _silent(reader, writer)

    server.turns.append(endless)
    reply = await post(pool, server)
    assert await reply.piece() == b"he"
    reply.close()
    await server.gone.wait()


@pytest.mark.parametrize("left", [False, True])
async def test_a_request_that_was_kept_until_the_end_of_a_turn(pool: Pool, server: Server, *, left: bool) -> None:
    server.says(OK)
    await read(pool, server)
    sent: list[bool] = []
    asking = pool.post(server.origin, HEAD, BODY, most=MOST, on_sent=lambda: sent.append(True))
    burst = burst_of(asyncio.get_running_loop())
    burst.due += 1
    asking.send(None)
    burst.due -= 1
    if left:
        burst.flush()
    with pytest.raises(asyncio.CancelledError):
        asking.throw(asyncio.CancelledError())
    assert sent == [True] * left, "given up before it was sent"
    await closed(pool)


async def test_who_gives_up_as_the_reply_comes_breaks_nobody_elses(pool: Pool, server: Server) -> None:
    server.says(OK, OK, OK)
    await read(pool, server)
    late = pool.post(server.origin, HEAD, BODY, most=MOST)
    late.send(None)
    while not any(pool._idle.values()):
        await asyncio.sleep(0.005)
    other = asyncio.create_task(read(pool, server))
    while len(server.requests) < 3:
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        late.throw(asyncio.CancelledError())
    assert await other == b"hello"
    assert server.connections == 1


async def test_pieces_come_as_they_are_sent(pool: Pool, server: Server) -> None:
    go_on = asyncio.Event()

    async def in_two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(BODY))
        writer.write(OK[:-2])
        await go_on.wait()
        writer.write(OK[-2:])

    server.turns.append(in_two)
    reply = await post(pool, server)
    assert await reply.piece() == b"hel"
    go_on.set()
    assert [await reply.piece(), await reply.piece()] == [b"lo", b""]


async def test_what_is_left_unread_at_the_end_keeps_the_connection(pool: Pool, server: Server) -> None:
    go_on = asyncio.Event()

    async def in_two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(BODY))
        writer.write(CHUNKED[:-11])
        await go_on.wait()
        writer.write(CHUNKED[-11:])

    server.turns.append(in_two)
    reply = await post(pool, server)
    while b"llo" not in await reply.piece():
        pass
    reply.leave()
    reply.close()
    go_on.set()
    while not reply.done:
        await asyncio.sleep(0.005)
    server.says(OK)
    assert await read(pool, server) == b"hello"
    assert server.connections == 1


async def test_a_slow_reader_bounds_what_is_held(pool: Pool, server: Server) -> None:
    sent = 0

    async def much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readexactly(len(BODY))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 << 20))
        for _ in range(64 << 4):
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    server.turns.append(much)
    reply = await post(pool, server, most=1 << 30)
    before = -1
    while sent != before:  # until the server has to wait
        before = sent
        await asyncio.sleep(0.05)
    assert sent < 32 << 20, "the rest stays with the server"
    got = 0
    while piece := await reply.piece():
        got += len(piece)
        assert len(piece) <= http1.READ_AHEAD + (1 << 20)
    assert got == 64 << 20


async def test_a_large_body_is_sent_whole(pool: Pool, server: Server) -> None:
    body = bytes(8 << 20)
    got = b""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        got = await reader.readexactly(len(body))
        writer.write(OK)

    server.turns.append(take)
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    reply = await pool.post(server.origin, head, body, most=MOST)
    assert await reply.read() == b"hello"
    assert got == body
    assert pool.open_connections == 1


async def test_an_answer_before_the_request_is_all_sent(pool: Pool, server: Server) -> None:
    """A server that refuses a large body says so without reading it; its connection is of no further use."""

    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK.replace(b"200 OK", b"413 No"))
        await writer.drain()
        await server.gone.wait()

    server.turns.append(refuse)
    body = bytes(64 << 20)
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    sending = asyncio.create_task(pool.post(server.origin, head, body, most=MOST))
    while not server.requests:
        await asyncio.sleep(0.005)
    # The client is told to go on only when it closes; it does not wait for that with its answer.
    reply = await asyncio.wait_for(sending, 30)
    assert (reply.status, await reply.read()) == (413, b"hello")
    await closed(pool)
    server.gone.set()


async def test_nobody_listens(pool: Pool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(Unreachable, match="connection failed"):
        await pool.post(Origin("127.0.0.1", port, False), HEAD, BODY, most=MOST)
    with pytest.raises(Unreachable, match="does not resolve"):
        await pool.post(Origin("nowhere.invalid", 80, False), HEAD, BODY, most=MOST)


async def test_nobody_accepts(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.pool.CONNECT_SECONDS", 0.2)
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as sock, ExitStack() as waiting:
        # Linux leaves whoever comes after these without an answer.
        for _ in range(2):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(sock.getsockname())
        origin = Origin("127.0.0.1", sock.getsockname()[1], False)
        with pytest.raises(Unreachable, match=r"^no connection within 10 s$"):
            await pool.post(origin, HEAD, BODY, most=MOST, deadline=loop.time() + 60)
        with pytest.raises(TimeoutError):
            await pool.post(origin, HEAD, BODY, most=MOST, deadline=loop.time() + 0.1)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def trust(monkeypatch: pytest.MonkeyPatch, authority: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))


async def test_tls(pool: Pool, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(monkeypatch, certificates.authority)
    server = Server()
    async with listening(server, certificates.good):
        server.says(OK, CHUNKED)
        assert [await read(pool, server), await read(pool, server)] == [b"hello"] * 2
        assert server.connections == 1


@pytest.mark.parametrize("fault", ["unknown authority", "expired", "another name"])
async def test_tls_that_is_not_accepted(
    pool: Pool, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault != "unknown authority":
        trust(monkeypatch, certificates.authority)
    server = Server()
    context = certificates.expired if fault == "expired" else certificates.good
    async with listening(server, context, "127.0.0.2" if fault == "another name" else "127.0.0.1"):
        with pytest.raises(Unreachable, match="TLS"):
            await post(pool, server)
        assert not server.requests, "nothing was sent"
        assert pool.open_connections == 0
