"""Points 10 and 11: slow clients and clients that go away."""

from __future__ import annotations

import asyncio

from app.conform.check import check, expect
from app.conform.stand import Case
from app.mock.replies import Answer, Fault

SEEN_WITHIN = 5.0
"""Seconds in which the upstream must notice that the client has gone."""
BOUND = 48 * 1024 * 1024
"""Bytes that may be under way to a client that does not read: buffers of two sockets, and the gateway's own."""


@check(10)
async def slow_reader(case: Case) -> str:
    """The upstream is read no faster than the client: a client that stops reading stops it."""
    case.says(Fault("endless", answer=Answer("x" * 65536, chunks=1)))
    _, body = case.body(stream=True)
    async with case.connect(receive_buffer=16384) as connection:
        await connection.send("POST", "/v1/chat/completions", case.headers(), body)
        (seen,) = await case.arrived()
        last, still = -1, 0
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 20
        while still < 4:
            await asyncio.sleep(0.25)
            sent = seen.bytes_sent
            expect(sent < BOUND, f"{sent / 1e6:.0f} MB had been read for a client that reads nothing")
            expect(loop.time() < deadline, f"after 20 s the upstream was still being read ({sent / 1e6:.1f} MB)")
            still = still + 1 if sent == last and sent else 0
            last = sent
    return f"the upstream was held at {last / 1e6:.1f} MB"


def _gone(name: str, what: str, streamed: bool, fault: Fault, after_first: bool) -> None:
    @check(11, name=name, what=what)
    async def gone(case: Case) -> str:
        case.says(fault)
        _, body = case.body(stream=streamed)
        async with case.connect() as connection, case.patience(15):
            await connection.send("POST", "/v1/chat/completions", case.headers(), body)
            (seen,) = await case.arrived()
            if after_first:
                reply = await connection.head()
                expect(reply.status == 200, f"status {reply.status}")
                await connection.read(reply, until=b"One")
                expect(b"One" in reply.body, "the stream ended before its first token")
            else:
                await asyncio.sleep(0.2)
            left = asyncio.get_running_loop().time()
            connection.close()
        await case.until(lambda: seen.is_over, "the upstream was not told", within=SEEN_WITHIN)
        expect(seen.disconnected, "the upstream's call ended otherwise")
        # A retry or a fallback for nobody would come now.
        await asyncio.sleep(0.5)
        expect(len(case.seen) == 1, f"the upstream was asked {len(case.seen)} times for a client that has gone")
        return f"cancelled upstream {max((seen.ended or left) - left, 0) * 1000:.0f} ms after the client went"


_gone("gone-before-the-reply", "A client that goes before a whole reply cancels the call", False, Fault("stall"), False)
_gone(
    "gone-before-first-token", "A client that goes before the first token cancels the call", True, Fault("stall"), False
)
_gone(
    "gone-after-headers",
    "A client that goes between the upstream's headers and its first token cancels the call",
    True,
    Fault("stall_after_headers"),
    False,
)
_gone(
    "gone-mid-stream",
    "A client that goes in mid-stream cancels the call",
    True,
    Fault("stall_mid_stream", after=2, answer=Answer("One two three four.")),
    True,
)
