"""Calls that go wrong in every way at once: each has one end and one row; the long run is `benchmarks.chaos`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.conform.check import Broken
from app.conform.client import Reply
from benchmarks import chaos


async def test_every_call_has_one_end_and_one_row(
    new_database: Callable[[], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await chaos.run(new_database(), tmp_path, 300, 3)
    chaos.show(found)
    # What warms up is no leak; only the long run can tell them apart.
    problems = [problem for problem in found.problems if "first fifth" not in problem]
    assert not problems, capsys.readouterr().out
    assert len(found.calls) == 300
    assert min(found.seen[model] for model in (*chaos.DIRECT, *chaos.THROUGH_LITELLM)) > 0


STREAM = {"content-type": "text/event-stream", "x-hullspeed-call-id": "1"}
ERROR = b'data: {"error":{"message":"m","type":"t","param":null,"code":null}}\n\n'


@pytest.mark.parametrize(
    "body", [b"", b"data: {}\n\n", ERROR + b"data: [DONE]\n\n", ERROR * 2, b"data: [DONE]\n\ndata: [DONE]\n\n"]
)
def test_a_stream_without_one_end_is_found(body: bytes) -> None:
    with pytest.raises(Broken):
        chaos.judge(Reply(200, STREAM, body, complete=True), streamed=True)


def test_one_end_is_good() -> None:
    assert chaos.judge(Reply(200, STREAM, b"data: [DONE]\n\n", complete=True), streamed=True) == "answered"
    assert chaos.judge(Reply(200, STREAM, ERROR, complete=True), streamed=True) == "stream cut"
