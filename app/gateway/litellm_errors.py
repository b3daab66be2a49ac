"""litellm's exceptions as ours.

What was seen on the wire goes first: litellm turns some statuses into others (Anthropic's 529 into 500, a web page with
status 200 into 422), so that an upstream's fault would become the client's. Its classes are used for what they know
beyond the status: which of a hundred wordings means that the prompt is too long, or that the key is wrong. Its texts
hold raw bodies, addresses, tracebacks and parts of the prompt; only the provider's own sentence is taken from them.
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import msgspec

from app.gateway.litellm_wire import Wire
from app.gateway.upstream import (
    UpstreamError,
    UpstreamRequest,
    broken_reply,
    error_from_reply,
    error_from_status,
    timed_out,
    unreachable,
)

_PREFIX = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception)\b\s*[:-]\s*)+")
_NOISE = re.compile(r"\bTraceback\b|Received Messages|Received Model Group|b?['\"]?[{\[]")
_MISSING_KEY = re.compile(r"missing .{0,40}\bapi.key|unable to locate credentials|no key is set", re.IGNORECASE)
_PARAMS = re.compile(r"parameters: \[([^\]]*)\]")
MAX_WORDS = 300
"""Characters of litellm's own words; they may quote the request."""


def explain(litellm: ModuleType, request: UpstreamRequest, wire: Wire | None, error: Exception) -> UpstreamError:
    """What the attempt failed of."""
    if wire is not None and wire.failure is not None:
        return wire.failure
    # Inside a stream, litellm wraps what happened for its own fallbacks.
    inner = getattr(error, "original_exception", None)
    error = inner if isinstance(inner, Exception) else error
    if isinstance(error, UpstreamError):
        return error
    if isinstance(error, litellm.UnsupportedParamsError):
        return _unsupported(request, error)
    if wire is not None and wire.status is not None:
        return _refused(litellm, request, wire, error)
    if isinstance(error, litellm.Timeout | TimeoutError):
        return timed_out(request.model, request.timeout)
    if _MISSING_KEY.search(str(error)):
        return _without_key(request)
    if wire is not None:
        return _untranslatable(request, error)
    return _unwatched(litellm, request, error)


def _unsupported(request: UpstreamRequest, error: Exception) -> UpstreamError:
    """The provider has no such parameter. Nothing was sent; another model may well take it."""
    found = _PARAMS.search(str(error))
    names = [name.strip(" '\"") for name in found[1].split(",")] if found else []
    which = ", ".join(f"`{name}`" for name in names if name) or "a parameter of this request"
    message = f"its provider does not take {which}; leave it out, or set `drop_params: true` for this model"
    failure = error_from_status(
        request.model, 400, message, code="unsupported_parameter", param=names[0] if len(names) == 1 else None
    )
    failure.next_model, failure.upstream_status = True, None
    return failure


def _without_key(request: UpstreamRequest) -> UpstreamError:
    """Nothing was sent. Another model may have its key."""
    model = request.model
    return UpstreamError(
        f"Model `{model.name}` has no key: set {model.key_name or 'api_key'}.",
        status=401,
        type="authentication_error",
        code="invalid_api_key",
        retry=False,
    )


def _untranslatable(request: UpstreamRequest, error: Exception) -> UpstreamError:
    """litellm could not put the request into the provider's words. Nothing was sent; another model may take it."""
    words = clean(error)
    message = "the request cannot be put into the words of its provider" + (f": {words}" if words else "")
    failure = error_from_status(request.model, 400, message, code="unsupported_request")
    failure.next_model, failure.upstream_status = True, None
    return failure


def _refused(litellm: ModuleType, request: UpstreamRequest, wire: Wire, error: Exception) -> UpstreamError:
    """The upstream answered; `error` is what litellm thought of it."""
    assert wire.status is not None
    model, headers = request.model, wire.forwarded()
    if wire.status == 200:
        return wire.stated_error() or broken_reply(model, "it cannot be read as a chat completion")
    if isinstance(error, litellm.ContextWindowExceededError):
        return error_from_status(model, 400, message_in(wire.body), code="context_length_exceeded", headers=headers)
    # Gemini answers a wrong key with 400.
    status = 401 if isinstance(error, litellm.AuthenticationError) and wire.status < 500 else wire.status
    return error_from_reply(model, status, wire.body, headers)


def _unwatched(litellm: ModuleType, request: UpstreamRequest, error: Exception) -> UpstreamError:
    """A provider whose wire is not watched: litellm's word is all there is."""
    model, status = request.model, getattr(error, "status_code", None)
    if isinstance(error, litellm.ContextWindowExceededError):
        return error_from_status(model, 400, clean(error), code="context_length_exceeded")
    if not isinstance(status, int) or status < 400:
        return broken_reply(model, clean(error))
    if isinstance(error, litellm.APIConnectionError) or "Cannot connect to host" in str(error):
        return unreachable(model, "connection failed")
    headers = getattr(error, "litellm_response_headers", None) or {}
    return error_from_status(model, status, clean(error), headers={k: str(v) for k, v in dict(headers).items()})


def clean(error: Exception) -> str:
    """The provider's own sentence out of litellm's wrapping, or the first words of it."""
    text = str(getattr(error, "message", "") or error)
    start, end = text.find("{"), text.rfind("}")
    said = message_in(text[start : end + 1].encode()) if 0 <= start < end else ""
    if said:
        return said
    line = _PREFIX.sub("", text.strip().partition("\n")[0])
    noise = _NOISE.search(line)
    return (line[: noise.start()] if noise else line)[:MAX_WORDS].strip(" -:,=")


def message_in(body: bytes) -> str:
    """`error.message` (or `message`, or `error`) of an error body; empty where there is none."""
    try:
        data: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    inner = data.get("error", data) if isinstance(data, dict) else None
    found = inner.get("message") if isinstance(inner, dict) else inner
    return found if isinstance(found, str) else ""
