"""OpenAI's embeddings (platform.openai.com/docs/api-reference/embeddings)."""

from __future__ import annotations

import base64
import hashlib
import struct

from app.mock.dialect import Event, Target
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


def vector_of(text: str) -> list[float]:
    """A vector that depends on `text` alone; its numbers are exact in 32 bits."""
    digest = hashlib.blake2b(text.encode(), digest_size=DIMENSIONS).digest()
    return [(byte - 128) / 128 for byte in digest]


def _written(vector: list[float], body: Json) -> list[float] | str:
    if body.get("encoding_format") != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
