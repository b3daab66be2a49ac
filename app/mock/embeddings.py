"""Embeddings: OpenAI's (platform.openai.com/docs/api-reference/embeddings), whose form Mistral and others share,
Cohere's (docs.cohere.com/reference/embed) and Gemini's (ai.google.dev/api/embeddings)."""

from __future__ import annotations

import base64
import hashlib
import re
import struct

from app.mock.dialect import Event, Target, texts_of
from app.mock.gemini import Gemini
from app.mock.openai import OpenAI
from app.mock.replies import Answer, HttpError, Json, count_tokens

DIMENSIONS = 4


class Embeddings(OpenAI):
    """POST …/embeddings."""

    def find(self, method: str, path: str, query: dict[str, str]) -> Target | None:
        return Target() if method == "POST" and path.endswith("/embeddings") else None

    def check(self, body: Json, model: str) -> HttpError | None:
        for name in ("model", "input"):
            if not body.get(name):
                return HttpError(400, f"Missing required parameter: '{name}'.", param=name)
        return None

    def whole(self, body: Json, model: str, answer: Answer) -> Json:
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        prompt = answer.prompt_tokens
        if prompt is None:
            prompt = sum(count_tokens(str(text)) for text in texts)
        data = [
            {"object": "embedding", "index": index, "embedding": _written(vector_of(str(text)), body)}
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": prompt, "total_tokens": prompt}
        return {"object": "list", "data": data, "model": answer.model or model, "usage": usage, **answer.extra}

    def events(self, body: Json, model: str, answer: Answer) -> list[Event]:
        return []


class CohereEmbeddings(Embeddings):
    """POST …/v2/embed."""

    base = ""

    def find(self, method: str, path: str, query: dict[str, str]) -> Target | None:
        return Target(stream=False) if method == "POST" and path.endswith("/v2/embed") else None

    def check(self, body: Json, model: str) -> HttpError | None:
        for name in ("model", "texts", "input_type"):
            if not body.get(name):
                return HttpError(400, f"invalid request: {name} is required")
        return None

    def envelope(self, error: HttpError) -> Json:
        return {"id": f"fake{self.serial()}", "message": error.message}

    def whole(self, body: Json, model: str, answer: Answer) -> Json:
        texts = body["texts"]
        prompt = answer.prompt_tokens
        if prompt is None:
            prompt = sum(count_tokens(text) for text in texts)
        return {
            "id": f"fake{self.serial()}",
            "embeddings": {"float": [vector_of(text) for text in texts]},
            "texts": texts,
            "response_type": "embeddings_by_type",
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": prompt}},
        }


_BATCH = re.compile(r"/models/([^/:]+):batchEmbedContents$")


class GeminiEmbeddings(Gemini):
    """POST …/models/{model}:batchEmbedContents. Says nothing of its usage."""

    def find(self, method: str, path: str, query: dict[str, str]) -> Target | None:
        found = _BATCH.search(path)
        return Target(found[1], stream=False) if method == "POST" and found is not None else None

    def check(self, body: Json, model: str) -> HttpError | None:
        return (
            None if body.get("requests") else HttpError(400, "* BatchEmbedContentsRequest.requests: is not specified")
        )

    def whole(self, body: Json, model: str, answer: Answer) -> Json:
        texts = [texts_of(request["content"]["parts"]) for request in body["requests"]]
        return {"embeddings": [{"values": vector_of(text)} for text in texts]}


def vector_of(text: str) -> list[float]:
    """A vector that depends on `text` alone; its numbers are exact in 32 bits."""
    digest = hashlib.blake2b(text.encode(), digest_size=DIMENSIONS).digest()
    return [(byte - 128) / 128 for byte in digest]


def _written(vector: list[float], body: Json) -> list[float] | str:
    if body.get("encoding_format") != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
