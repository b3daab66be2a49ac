"""The port behind which providers are reached, and what can go wrong there.

An upstream speaks OpenAI's chat dialect towards us whatever it speaks to its provider: a whole reply is the JSON of a
chat completion, a stream yields the JSON of its chunks. Where a request has another `path`, the provider is asked in
the dialect of that path, and so are request, reply and events. Two real implementations reach providers (`direct`,
`litellm`); two answer by themselves (`recorded`, `simulated`).
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from app.core.errors import HullspeedError
from app.core.types import AttemptOutcome
from app.gateway.catalog import Model
from routers.base import last_text

Blame = Literal["deployment", "limit", "nobody"]
"""`deployment`: it is broken or badly set up. `limit`: it works and wants to be left alone for a while. `nobody`: the
request was at fault."""

MAX_WORDS = 300
"""Bytes of an error that is no JSON which are handed on."""
FORWARDED = ("retry-after", "retry-after-ms")
FORWARDED_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")
SATURATED = "model_saturated"
CHAT_PATH = "/chat/completions"


class UpstreamRequest(msgspec.Struct):
    """One attempt: the client's request as it goes to one model."""

    model: Model
    fields: Mapping[str, msgspec.Raw]
    """Top-level fields of the body, still encoded; `model` and `stream_options` are already the upstream's."""
    stream: bool
    timeout: float
    """Seconds: for the whole reply, or between two reads of a stream."""
    messages: Sequence[Mapping[str, Any]] = ()
    """Of the chat; recorded and simulated models look their answer up by it."""
    item: str | None = None
    """Id of the suite's item the client said this is, if it did."""
    path: str = CHAT_PATH
    """Of the endpoint, below the address of the provider."""
    headers: Mapping[str, str] = {}
    """Headers of the client's that go through to the provider."""
    sent: bool = False
    """Set by the upstream once the request is on its way whole; nothing else of a request is changed."""

    def was_sent(self) -> None:
        self.sent = True

    @property
    def prompt(self) -> str:
        """Text of the last user message."""
        return last_text(self.messages)

    def body(self) -> bytes:
        """The body to send."""
        return msgspec.json.encode(self.fields)


class UpstreamReply(msgspec.Struct, frozen=True):
    """A whole reply."""

    body: bytes
    """JSON of a chat completion."""
    headers: Mapping[str, str] = {}
    """Headers to hand on to the client (see `forwarded`)."""


class UpstreamStream(msgspec.Struct, frozen=True):
    """A reply that is still coming."""

    chunks: AsyncIterator[Sequence[bytes]]
    """JSON of the chunks, those together that came together. Ends after `[DONE]` or a clean end of the stream; raises
    `UpstreamError` on a broken one."""
    headers: Mapping[str, str] = {}


class Upstream(Protocol):
    """How models of one kind are reached. `complete` and `stream` raise `UpstreamError`, and nothing else, when it
    fails."""

    async def warm(self) -> None:
        """Load what has to be loaded once: waited for before an attempt begins, since no model is to blame for it."""

    async def complete(self, request: UpstreamRequest) -> UpstreamReply: ...

    async def stream(self, request: UpstreamRequest) -> UpstreamStream: ...

    async def close(self) -> None: ...


class UpstreamError(HullspeedError):
    """An attempt failed. `status`, `type` and `code` are what the client is told if no other model answers."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str = "upstream_error",  # noqa: A002 - OpenAI's own field name
        code: str | None = None,
        param: str | None = None,
        outcome: AttemptOutcome = "error",
        next_model: bool = True,
        upstream_status: int | None = None,
        headers: Mapping[str, str] | None = None,
        retry: bool = True,
        blame: Blame = "deployment",
    ) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.type = type
        self.code = code
        self.outcome: AttemptOutcome = outcome
        self.next_model = next_model
        """Whether another model may do better; a request that is itself at fault goes no further."""
        self.upstream_status = upstream_status
        self.headers = dict(headers or {})
        self.retry = retry
        """Whether the same model may do better a little later."""
        self.blame: Blame = blame
        """What the failure says of the deployment."""

    @property
    def pause(self) -> float | None:
        """Seconds to wait before the next try, where the upstream said so (RFC 9110, 10.2.3)."""
        for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
            text = self.headers.get(name, "").strip()
            try:
                return max(float(text) / unit, 0.0)
            except ValueError:
                pass
            try:
                when = parsedate_to_datetime(text)
            except (ValueError, TypeError):
                continue
            return max(when.timestamp() - time.time(), 0.0)
        return None

    @property
    def is_saturated(self) -> bool:
        """Nothing was asked: all places were taken."""
        return self.code == SATURATED

    @property
    def too_long(self) -> bool:
        """The prompt does not fit the model's window; only a larger window helps."""
        return self.code == "context_length_exceeded"


@dataclass(frozen=True)
class _Rule:
    """What the client is told for one upstream status."""

    status: int
    type: str
    code: str | None = None
    next_model: bool = True
    outcome: AttemptOutcome = "error"
    retry: bool = False
    blame: Blame = "deployment"


_TOO_LONG = re.compile(r"context length|prompt is too long|prompt: length|exceed context limit", re.IGNORECASE)
"""OpenAI's words, which many servers share, and Anthropic's, the last with the reply that was asked for."""

_RULES: Mapping[int, _Rule] = {
    400: _Rule(400, "invalid_request_error", None, next_model=False, blame="nobody"),
    401: _Rule(401, "authentication_error", "invalid_api_key"),
    402: _Rule(402, "insufficient_quota", "insufficient_quota"),
    403: _Rule(403, "permission_error", "permission_denied"),
    404: _Rule(404, "invalid_request_error", "model_not_found"),
    408: _Rule(408, "timeout_error", "upstream_timeout", outcome="timeout", retry=True),
    409: _Rule(409, "conflict_error", None, retry=True, blame="nobody"),
    413: _Rule(413, "invalid_request_error", "request_too_large", next_model=False, blame="nobody"),
    422: _Rule(422, "invalid_request_error", None, next_model=False, blame="nobody"),
    429: _Rule(429, "rate_limit_error", "rate_limit_exceeded", outcome="rate_limited", retry=True, blame="limit"),
    503: _Rule(503, "server_error", "upstream_overloaded", retry=True),
    504: _Rule(504, "timeout_error", "upstream_timeout", outcome="timeout", retry=True),
    529: _Rule(503, "server_error", "upstream_overloaded", retry=True),
}


class _WireError(msgspec.Struct):
    message: Any = None
    type: Any = None
    param: Any = None
    code: Any = None


class _WireErrorBody(msgspec.Struct):
    error: _WireError | str | None = None
    message: Any = None
    detail: Any = None
    """FastAPI's, which many servers are built on."""


def error_from_reply(model: Model, status: int, body: bytes, headers: Mapping[str, str]) -> UpstreamError:
    """The error for an upstream's own error reply."""
    inner = _wire_error(body)
    return error_from_status(
        model,
        status,
        inner.message if isinstance(inner.message, str) else "",
        type=inner.type if isinstance(inner.type, str) else None,
        code=inner.code if isinstance(inner.code, str) else None,
        param=inner.param if isinstance(inner.param, str) else None,
        headers=headers,
    )


def _wire_error(body: bytes) -> _WireError:
    """What an error reply says, in whichever of the usual forms."""
    try:
        # Gemini's come in a list, where a stream was asked for.
        many = body.lstrip()[:1] == b"["
        found = next(iter(msgspec.json.decode(body, type=list[_WireErrorBody])), None) if many else None
        parsed = found or msgspec.json.decode(body, type=_WireErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _WireError(message=_plain_words(body))
    if isinstance(parsed.error, _WireError):
        return parsed.error
    message = parsed.error or parsed.message
    detail = parsed.detail
    if isinstance(message, dict):
        detail, message = message.get("detail"), message.get("message")
    if detail and not message:
        message, param = _fastapis_words(detail)
        return _WireError(message=message, param=param)
    return _WireError(message=message)


def _plain_words(body: bytes) -> str:
    """An error that is no JSON: its first line, unless it is a page for people to look at."""
    text = body[:MAX_WORDS].decode(errors="replace").strip()
    return "" if "<" in text else text.partition("\n")[0]


def _fastapis_words(detail: Any) -> tuple[str, str | None]:
    """The first of FastAPI's findings and the parameter that it is about; never the input, which it quotes."""
    if isinstance(detail, str):
        return detail, None
    first = detail[0] if isinstance(detail, list) and detail else detail
    if not isinstance(first, dict):
        return "", None
    where = first.get("loc")
    names = [str(part) for part in where if part != "body"] if isinstance(where, list) else []
    said = first.get("msg")
    param = ".".join(names)
    return f"{param}: {said}" if param and said else str(said or ""), param or None


def error_from_status(
    model: Model,
    status: int,
    said: str,
    *,
    type: str | None = None,  # noqa: A002 - OpenAI's own field name
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> UpstreamError:
    """The error for an HTTP status and what the upstream said with it."""
    if status >= 500 or status < 400:
        rule = _RULES.get(status, _Rule(502, "upstream_error", "upstream_error", retry=True))
    else:
        rule = _RULES.get(status, _Rule(status, "invalid_request_error", None, next_model=False, blame="nobody"))
    if "context_length" in (code or "") or _TOO_LONG.search(said):
        code, rule = "context_length_exceeded", _Rule(400, "invalid_request_error", None, blame="nobody")
    elif status == 429 and "insufficient_quota" in (code, type):
        # No waiting helps: somebody has to pay.
        rule = _Rule(429, "insufficient_quota", "insufficient_quota", outcome="rate_limited")
    said = scrub(said, model)
    if status in (401, 403):
        # The upstream's own words name (part of) the key; ours name where it comes from.
        message = f"The provider of model `{model.name}` refused its key ({status}): check {model.key_name}."
        type = rule.type  # noqa: A001
    else:
        message = f"Model `{model.name}`: {said}" if said else f"Model `{model.name}` answered with status {status}."
    return UpstreamError(
        message,
        status=rule.status,
        type=type or rule.type,
        code=code or rule.code,
        param=param,
        outcome=rule.outcome,
        next_model=rule.next_model,
        retry=rule.retry,
        blame=rule.blame,
        upstream_status=status,
        headers=forwarded(headers or {}),
    )


def unreachable(model: Model, why: str) -> UpstreamError:
    """No connection, or one that broke."""
    return UpstreamError(
        f"Model `{model.name}` cannot be reached: {scrub(why, model)}", status=502, code="upstream_unreachable"
    )


def saturated(model: Model, seconds: float) -> UpstreamError:
    """The model is asked as much as it may be already; nothing was sent."""
    return UpstreamError(
        f"Model `{model.name}` has reached its limit of calls; try again in {seconds:.0f} s.",
        status=503,
        type="server_error",
        code=SATURATED,
        headers={"retry-after": f"{max(seconds, 1):.0f}"},
        blame="nobody",
    )


def timed_out(model: Model, seconds: float) -> UpstreamError:
    """Nothing came in time.

    Another model may still answer, but this one is not asked again: the limit says how long it may keep a client
    waiting, and what it was asked may go on and be billed.
    """
    return UpstreamError(
        f"Model `{model.name}` did not answer within {seconds:g} s.",
        status=504,
        type="timeout_error",
        code="upstream_timeout",
        outcome="timeout",
        retry=False,
    )


def broken_reply(model: Model, what: str) -> UpstreamError:
    """The upstream answered with something that is no chat completion, or broke off."""
    return UpstreamError(
        f"Model `{model.name}` sent a broken reply: {what}", status=502, code="upstream_broken_reply", outcome="error"
    )


def forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an upstream that a client can use: when to come back, and what is left of its limits."""
    lowered = ((name.lower(), value) for name, value in headers.items())
    return {name: value for name, value in lowered if name in FORWARDED or name.startswith(FORWARDED_PREFIXES)}


_SECRETS = re.compile(r"(?:sk|pk|rk|gsk|xai|key|AIza)[-_][\w*.\-]{6,}|AIza[\w\-]{10,}|Bearer\s+\S+")
_URLS = re.compile(r"https?://[^\s\"'<>]+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?")


def scrub(text: str, model: Model) -> str:
    """`text` without the model's secrets, anything that looks like a key, or a host."""
    for secret in (model.api_key, *model.secrets):
        if secret:
            text = text.replace(secret, "[key]")
    url = urlsplit(model.base_url or "")
    for host in (url.netloc, url.hostname):
        if host:
            text = re.sub(rf"(?<![\w.]){re.escape(host)}(?!\w)", "[host]", text, flags=re.IGNORECASE)
    return _URLS.sub("[url]", _SECRETS.sub("[key]", text))[:2000]
