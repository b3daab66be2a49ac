"""A stream that is given up says nothing more, whatever its timer was about to say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from app.gateway.events import EventStream


class Log:
    """Writes down what would go out."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    async def open(self, headers: Mapping[str, str]) -> None:
        self.said.append(b"head")

    async def write(self, data: bytes) -> None:
        self.said.append(data)

    async def end(self, data: bytes) -> None:
        self.said.append(data)


async def test_no_comment_begins_after_the_stop() -> None:
    began = 0
    for turns in range(8):  # Of the loop: before the timer rings, between it and the comment, after that.
        log = Log()
        stream = EventStream(log, dict, 0.0)
        for _ in range(turns):
            await asyncio.sleep(0)
        stream.stop()
        before = list(log.said)
        for _ in range(8):
            await asyncio.sleep(0)
        assert log.said == before, f"after {turns} turns"
        assert stream.opened == bool(before)
        began += bool(before)
    assert began, "the timer never rang"
