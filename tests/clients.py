"""HTTP clients of the tests."""

from __future__ import annotations

from functools import cache

import httpx
from httpx._transports import default


def share_certificates() -> None:
    """Have all of httpx's clients in this process, openai's too, share what they trust.

    Each reads certifi's certificates anew: 35 ms, for each `httpx.get` as well, and next to nothing here speaks TLS.
    """
    default.create_ssl_context = cache(httpx.create_ssl_context)
