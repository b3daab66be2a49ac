"""A short digest of what was asked, by which a harness's log finds the call that its question became.

A harness seldom lets a header be set for each question, but what it asked stands in its log, so the log and the ledger
meet in the chat itself. Only calls tagged as part of a run have the digest: of any other chat not even this is kept,
since a short text can be guessed and the guess be checked by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="sorted").encode


def prompt_hash(messages: Sequence[Mapping[str, Any]]) -> str:
    """BLAKE2b (RFC 7693) of a chat in OpenAI's form, 16 bytes as hexadecimal digits.

    The same for chats that say the same: whether a text is a string or a list of parts, spaces around it, `system` or
    `developer`, and names, ids and marks for caches make no difference. Pictures and other parts count, and so do the
    functions that were called, with their arguments.
    """
    return blake2b(_encode([_said(message) for message in messages]), digest_size=16).hexdigest()


def _said(message: Mapping[str, Any]) -> list[Any]:
    """Role, text, other parts and functions called."""
    role, content, calls = message.get("role"), message.get("content"), message.get("tool_calls")
    if role == "developer":
        role = "system"
    called = [_called(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    if not isinstance(content, list):
        return [role, content.strip() if isinstance(content, str) else "", [], called]
    parts = [part for part in content if isinstance(part, dict)]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return [role, "\n".join(texts).strip(), [_other(part) for part in parts if "text" not in part], called]


def _other(part: dict[str, Any]) -> Any:
    """A part that is no text; of a picture its address alone, since its level of detail is the client's affair."""
    picture = part.get("image_url")
    return picture.get("url") if isinstance(picture, dict) else part


def _called(call: dict[str, Any]) -> Any:
    """Name and arguments of a function; arguments come as JSON text, whose spaces and order mean nothing."""
    function = call.get("function")
    if not isinstance(function, dict):
        return call.get("type")
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(arguments, str):
        return [name, _encode(arguments).decode()]
    try:
        return [name, _encode(msgspec.json.decode(arguments)).decode()]
    except (msgspec.DecodeError, RecursionError):
        return [name, arguments]
