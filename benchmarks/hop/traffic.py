"""What is sent and what is answered: one request of 630 bytes, one reply of 1.1 kB, one stream of 50 chunks."""

from __future__ import annotations

import json
from typing import Any

REQUEST_BYTES = 630
REPLY_BYTES = 1100
CHUNKS = 50
FIRST_TOKEN = b"token00"
"""Stands in the first event of a stream that has content, and nowhere else."""
_MODEL = "gpt-4o-mini-2024-07-18"


def request(model: str, *, stream: bool = False, size: int = REQUEST_BYTES) -> bytes:
    """A chat request of `size` bytes, whatever the model is called."""
    fields: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant that answers briefly."},
            {"role": "user", "content": ""},
        ],
        "temperature": 0.2,
        "max_tokens": 256,
    }
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    missing = size - len(_packed(fields))
    fields["messages"][1]["content"] = ("What is the capital of France? " * 30)[:missing]
    return _packed(fields)


def reply() -> bytes:
    """A chat completion as OpenAI writes it."""
    fields: dict[str, Any] = {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1741569952,
        "model": _MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            **_USAGE,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_44added55e",
    }
    fields["choices"][0]["message"]["content"] = _text(REPLY_BYTES - len(_packed(fields)))
    return _packed(fields)


def events() -> list[bytes]:
    """The events of a stream: the role, 50 with content, the end, the usage, `[DONE]`."""
    contents = [_chunk({"content": f" token{number:02}"}) for number in range(CHUNKS)]
    usage = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1741569952, "model": _MODEL}
    return [
        _event(_packed(_chunk({"role": "assistant", "content": ""}))),
        *(_event(_packed(content)) for content in contents),
        _event(_packed(_chunk({}, "stop"))),
        _event(_packed({**usage, "choices": [], "usage": _USAGE})),
        _event(b"[DONE]"),
    ]


def anthropic_reply() -> bytes:
    """A message as Anthropic writes it."""
    fields: dict[str, Any] = {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-3-5-haiku-20241022",
        "content": [{"type": "text", "text": ""}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 95,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 160,
        },
    }
    fields["content"][0]["text"] = _text(REPLY_BYTES - len(_packed(fields)))
    return _packed(fields)


_USAGE = {"prompt_tokens": 95, "completion_tokens": 160, "total_tokens": 255}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion.chunk",
        "created": 1741569952,
        "model": _MODEL,
        "service_tier": "default",
        "system_fingerprint": "fp_44added55e",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }


def _text(length: int) -> str:
    return ("The quick brown fox jumps over the lazy dog. " * (length // 45 + 1))[:length]


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _packed(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
