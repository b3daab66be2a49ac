"""A provider that speaks Anthropic's Messages API."""

from __future__ import annotations

from app.mock.anthropic import Anthropic
from tests.fakes.replies import Reply
from tests.fakes.server import FakeServer


class FakeAnthropic(FakeServer):
    """The mock with this dialect only."""

    def __init__(self, *, key: str | None = None, port: int = 0, default: Reply | None = None) -> None:
        super().__init__(Anthropic(), key=key, port=port, default=default)
