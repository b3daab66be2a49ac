"""litellm's reply objects as OpenAI's JSON."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

_NOISE_PREFIX = "vertex_ai_"
"""Gemini's replies carry lists of this name, nearly always empty."""


def encode_reply(reply: Any) -> bytes:
    """A whole reply."""
    data = _dump(reply)
    for choice in data.get("choices") or ():
        message = choice.get("message")
        if isinstance(message, dict):
            message.setdefault("content", None)
            _strip(message)
            for call in message.get("tool_calls") or ():
                # In a whole reply OpenAI has none, and here it would count Anthropic's content blocks.
                call.pop("index", None)
    return msgspec.json.encode(data)


def encode_embeddings(reply: Any, asked: Mapping[str, msgspec.Raw]) -> bytes:
    """Vectors, as numbers or as the base64 of 32-bit floats, little end first, as the request's fields have it."""
    data: dict[str, Any] = reply.model_dump(exclude_none=True)
    if bytes(asked.get("encoding_format", b"")) == b'"base64"':
        for item in data.get("data") or ():
            vector = item.get("embedding")
            if isinstance(vector, list):
                item["embedding"] = b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return msgspec.json.encode(data)


class ChunkEncoder:
    """The chunks of one stream."""

    def __init__(self) -> None:
        self._thoughts = 0

    def encode(self, chunk: Any) -> bytes:
        """A chunk. litellm's usage chunk has an empty choice, where OpenAI's has none."""
        data = _dump(chunk)
        choices = data.get("choices") or []
        if data.get("usage") and all(not choice.get("delta") and not choice.get("finish_reason") for choice in choices):
            data["choices"] = []
        for choice in data.get("choices") or ():
            choice.setdefault("finish_reason", None)
            if isinstance(choice.get("delta"), dict):
                _strip(choice["delta"])
                self._number(choice["delta"].get("thinking_blocks") or ())
        return msgspec.json.encode(data)

    def _number(self, thoughts: Iterable[dict[str, Any]]) -> None:
        """Give the parts of thoughts an `index`: OpenAI's SDK joins the entries of a list by it and fails without."""
        for thought in thoughts:
            thought.setdefault("index", self._thoughts)
            # A signature ends a thought; a redacted one comes in one part.
            self._thoughts += bool(thought.get("signature") or thought.get("data"))


def _dump(reply: Any) -> dict[str, Any]:
    data: dict[str, Any] = reply.model_dump(exclude_none=True)
    for name in [name for name, value in data.items() if name.startswith(_NOISE_PREFIX) and not value]:
        del data[name]
    _strip(data)
    return data


def _strip(data: dict[str, Any]) -> None:
    """Take out litellm's own extras where they say nothing, or say again what stands beside them."""
    extras = data.get("provider_specific_fields")
    if isinstance(extras, dict):
        data["provider_specific_fields"] = {
            name: value for name, value in extras.items() if value not in (None, [], {}) and name not in data
        }
    for name in ("provider_specific_fields", "images", "thinking_blocks"):
        if name in data and not data[name]:
            del data[name]
