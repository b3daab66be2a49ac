"""A provider that speaks Google's Gemini API."""

from __future__ import annotations

from app.mock.gemini import Gemini
from tests.fakes.replies import Reply
from tests.fakes.server import FakeServer


class FakeGemini(FakeServer):
    """The mock with this dialect only."""

    def __init__(self, *, key: str | None = None, port: int = 0, default: Reply | None = None) -> None:
        super().__init__(Gemini(), key=key, port=port, default=default)
