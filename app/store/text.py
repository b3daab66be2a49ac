"""Text that Postgres takes. It refuses NUL and lone surrogates, which a client or a model may well send."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_REFUSED = re.compile("[\x00\ud800-\udfff]")
_NUL = b"\\u0000"
_encoder = msgspec.json.Encoder()


def clean(value: Any) -> Any:
    """The same value (text, or anything JSON can hold) with each NUL and lone surrogate replaced by U+FFFD."""
    if isinstance(value, str):
        return _REFUSED.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def encode(value: Any) -> bytes:
    """`value`, a msgspec struct or plain data, as one line of JSON that Postgres takes.

    Raises `TypeError` for what has no JSON form.
    """
    try:
        line = _encoder.encode(value)
    except UnicodeEncodeError:
        line = _NUL
    # A search costs nanoseconds; only a text that does hold the escape is walked through. (`in` would first see whether
    # it is given a number, by way of an exception.)
    if line.find(_NUL) < 0:
        return line
    return _encoder.encode(clean(msgspec.to_builtins(value)))


def encode_text(value: Any) -> str:
    """As `encode`, for a driver that wants text."""
    return encode(value).decode()
