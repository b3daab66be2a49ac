"""A provider that speaks OpenAI's dialects, and can be told to speak them badly."""

from __future__ import annotations

from app.mock.completions import Completions
from app.mock.embeddings import Embeddings
from app.mock.openai import OpenAI
from app.mock.responses import Responses
from tests.fakes.replies import Reply
from tests.fakes.server import FakeServer


class FakeOpenAI(FakeServer):
    """POST /v1/chat/completions, /v1/responses, /v1/completions, /v1/embeddings and GET /v1/models.

    `models` are those that it lists; where they are given, others are answered with 404.
    """

    def __init__(
        self,
        *,
        key: str | None = None,
        port: int = 0,
        default: Reply | None = None,
        models: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(
            OpenAI(models),
            Responses(models),
            Completions(models),
            Embeddings(models),
            key=key,
            port=port,
            default=default,
            models=models or ("fake-large", "fake-small"),
        )
