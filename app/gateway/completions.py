"""Chat completions in OpenAI's form for upstreams that answer by themselves."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import uuid_utils

_WORDS = re.compile(r"\s*\S+\s*$|\s*\S+")


@dataclass(frozen=True)
class Completion:
    """A finished text reply."""

    model: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    cost: float | None = None
    """USD, where the upstream itself knows it."""

    def body(self) -> bytes:
        """The whole reply."""
        message = {"role": "assistant", "content": self.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return msgspec.json.encode(
            {**self._head("chat.completion"), "choices": [choice], "usage": self._usage(), "service_tier": "default"}
        )

    def chunks(self) -> Iterator[bytes]:
        """The same reply as the chunks of a stream, a word each, with the usage chunk at the end."""
        head = self._head("chat.completion.chunk")
        for delta in ({"role": "assistant", "content": ""}, *({"content": word} for word in _words(self.text))):
            yield msgspec.json.encode({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        yield msgspec.json.encode({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        yield msgspec.json.encode({**head, "choices": [], "usage": self._usage()})

    async def stream(self) -> AsyncIterator[Sequence[bytes]]:
        """The chunks as an upstream yields them."""
        yield list(self.chunks())

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{uuid_utils.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
        }

    def _usage(self) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }
        if self.cost is not None:
            usage["cost"] = self.cost
        return usage


def _words(text: str) -> list[str]:
    return _WORDS.findall(text) or ([text] if text else [])
