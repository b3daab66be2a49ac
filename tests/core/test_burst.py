"""What a turn of the loop sends goes out together, in order, and nothing is lost or said to be sent that was not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import pytest

from app.core.burst import MOST, Burst, burst_of


@dataclass
class End:
    """A connection: what sends, and the socket at its other end."""

    transport: asyncio.Transport
    other: socket.socket

    def come(self) -> bytes:
        """What has arrived so far."""
        try:
            return self.other.recv(1 << 16)
        except BlockingIOError:
            return b""


@pytest.fixture
async def ends() -> AsyncIterator[list[End]]:
    loop, found = asyncio.get_running_loop(), []
    for _ in range(2):
        own, other = socket.socketpair()
        other.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=own)
        found.append(End(cast("asyncio.Transport", transport), other))
    yield found
    for end in found:
        end.transport.abort()
        end.other.close()


async def test_one_step_alone_sends_at_once(ends: list[End]) -> None:
    Burst().write(ends[0].transport, b"a")
    assert ends[0].come() == b"a"


async def test_what_several_steps_send_waits_for_the_last_and_keeps_its_order(ends: list[End]) -> None:
    burst, (one, other) = Burst(), ends
    burst.due = 2
    burst.write(one.transport, b"a")
    burst.due -= 1
    burst.write(other.transport, b"b")
    burst.write(one.transport, b"c")
    assert (one.come(), other.come()) == (b"", b"")
    burst.due -= 1
    burst.write(one.transport, b"d")
    assert (one.come(), other.come()) == (b"acd", b"b")


async def test_a_step_that_sends_nothing_keeps_the_others_until_the_end_of_the_turn_only(ends: list[End]) -> None:
    burst = Burst()
    burst.due = 1
    burst.write(ends[0].transport, b"a")
    assert ends[0].come() == b""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ends[0].come() == b"a"


async def test_the_first_of_many_does_not_wait_for_all(ends: list[End]) -> None:
    burst = Burst()
    burst.due = 2 * MOST
    for _ in range(MOST - 1):
        burst.write(ends[0].transport, b"a")
    assert ends[0].come() == b""
    burst.write(ends[0].transport, b"a")
    assert ends[0].come() == b"a" * MOST


async def test_what_was_not_sent_is_told(ends: list[End]) -> None:
    burst, (one, other), dropped = Burst(), ends, []
    burst.due = 1
    burst.write(one.transport, b"abc", dropped.append)
    burst.write(other.transport, b"de", dropped.append)
    burst.write(one.transport, b"f", dropped.append)
    burst.drop(one.transport)
    assert dropped == [3, 1]
    other.transport.close()
    burst.flush()
    assert dropped == [3, 1, 2]
    assert (one.come(), other.come()) == (b"", b"")


async def test_all_connections_of_a_loop_share_one() -> None:
    loop = asyncio.get_running_loop()
    assert burst_of(loop) is burst_of(loop)
    other = asyncio.new_event_loop()
    with contextlib.closing(other):
        assert burst_of(other) is not burst_of(loop)
