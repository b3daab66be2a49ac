"""What one attempt through litellm saw on the wire, and whether its reply came whole.

litellm ends a stream that broke off like one that was finished, maps statuses to others and loses headers. So the raw
bytes are read beside it, for providers whose wire format is known here: Anthropic (a `message_delta` with a
`stop_reason`) and Gemini (a candidate with a `finishReason`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from app.gateway.sse import EventParser, EventTooLarge, event
from app.gateway.upstream import UpstreamError, UpstreamRequest, broken_reply, error_from_reply, forwarded

WATCHED = frozenset({"anthropic", "gemini"})
"""Providers whose replies can be judged here, and that litellm calls through a client we may give it."""

MAX_KEPT_BYTES = 64 * 1024
"""Of the body of an error or a whole reply; enough for any error message."""

_ANTHROPIC_LIMIT = re.compile(r"anthropic-ratelimit-(requests|tokens)-(limit|remaining|reset)")

_STATUSES: Mapping[Any, int] = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "timeout_error": 504,
    **{code: code for code in (429, 503, 504, 529)},
}
"""HTTP status that an error inside a stream stands for, by Anthropic's `type` and Google's `code`; others are 502."""


class _Delta(msgspec.Struct):
    stop_reason: str | None = None


class _Candidate(msgspec.Struct):
    finish_reason: str | None = msgspec.field(name="finishReason", default=None)


class _Feedback(msgspec.Struct):
    block_reason: str | None = msgspec.field(name="blockReason", default=None)


class _Error(msgspec.Struct):
    type: Any = None
    code: Any = None


class _Event(msgspec.Struct):
    """What is read of an event of either provider, or of a whole reply that is an error."""

    type: Any = None
    delta: _Delta | None = None
    candidates: list[_Candidate] | None = None
    feedback: _Feedback | None = msgspec.field(name="promptFeedback", default=None)
    error: _Error | None = None

    @property
    def finishes(self) -> bool:
        """The reply is all there, though an end marker may still follow."""
        return bool(
            self.type == "message_stop"
            or (self.delta and self.delta.stop_reason)
            or any(candidate.finish_reason for candidate in self.candidates or ())
            or (self.feedback and self.feedback.block_reason)
        )


_decode_event = msgspec.json.Decoder(_Event).decode


_SEPARATORS = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))


def _escaped(data: bytes) -> bytes:
    """The same JSON without Unicode's line separators, at which litellm cuts lines and loses what follows."""
    for separator, escape in _SEPARATORS:
        if separator in data:
            data = data.replace(separator, escape)
    return data


def with_plain_limits(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers for the client (names in lower case), with Anthropic's rate limits under OpenAI's names as well."""
    found = dict(headers)
    for name, value in headers.items():
        limit = _ANTHROPIC_LIMIT.fullmatch(name)
        if limit is not None:
            found.setdefault(f"x-ratelimit-{limit[2]}-{limit[1]}", value)
    return found


class Closable(Protocol):
    """A response that can be given up."""

    async def aclose(self) -> None: ...


class Wire:
    """One attempt as its transport saw it."""

    def __init__(self, request: UpstreamRequest) -> None:
        self.request = request
        self.status: int | None = None
        """HTTP status of the newest response; None until there is one."""
        self.headers: Mapping[str, str] = {}
        """Names in lower case."""
        self.failure: UpstreamError | None = None
        """What went wrong on the wire; it tells more than the exception litellm makes of it."""
        self.body = b""
        """The first `MAX_KEPT_BYTES` of a body that is no stream."""
        self._response: Closable | None = None
        self._parser = EventParser()
        self._finished = False
        self._fault: UpstreamError | None = None
        """A fault found in the bytes read last; what came before it goes out first."""

    @property
    def read_limit(self) -> float | None:
        """Seconds that the headers of a stream, and each read of it, may take. A whole reply has one deadline for all,
        which is not kept here."""
        return self.request.timeout if self.request.stream else None

    @property
    def is_event_stream(self) -> bool:
        """The response is a stream of events, as it should be when one was asked for."""
        return self.status == 200 and self.headers.get("content-type", "").startswith("text/event-stream")

    def came(self, body: bytes) -> None:
        """A whole reply with status 200 has come, by another client than litellm's."""
        self.status, self.body = 200, body[:MAX_KEPT_BYTES]

    def opened(self, status: int, headers: Mapping[str, str], response: Closable) -> None:
        """Status and headers have come."""
        self.status, self.headers, self._response = status, headers, response
        self.body, self._parser, self._finished = b"", EventParser(), False

    def fail(self, failure: UpstreamError) -> UpstreamError:
        """Keep the first failure, for whoever asks later, and give it back to be raised now."""
        if self.failure is None:
            self.failure = failure
        return self.failure

    def read(self, piece: bytes) -> bytes:
        """Read a piece of the body and give back what litellm may see of it.

        Of a stream that is the events before the first one at fault, without comments, which make litellm stumble.
        """
        if not self.is_event_stream:
            self.body += piece[: MAX_KEPT_BYTES - len(self.body)]
            return piece
        good = []
        try:
            for data in self._parser.feed(piece):
                self._judge(data)
                good.append(event(_escaped(data)))
        except EventTooLarge:
            self._fault = broken_reply(self.request.model, "an event is too large")
        except UpstreamError as error:
            self._fault = error
        return b"".join(good)

    def check(self) -> None:
        """Raises `UpstreamError` where the piece read last holds an error or a line that is no JSON."""
        if self._fault is not None:
            raise self.fail(self._fault)

    def ended(self) -> None:
        """The body is over. Raises `UpstreamError` where a stream was not finished."""
        if self.is_event_stream and not self._finished:
            raise self.fail(broken_reply(self.request.model, "the stream ended before the reply was finished"))

    def stated_error(self) -> UpstreamError | None:
        """The error that a body with status 200 holds, if it does."""
        try:
            reply = _decode_event(self.body)
        except msgspec.DecodeError:
            return None
        return None if reply.error is None else self._stated(reply.error, self.body)

    def forwarded(self) -> dict[str, str]:
        """Headers for the client."""
        return with_plain_limits(forwarded(self.headers))

    async def close(self) -> None:
        """Give the response up. Where it is not over, the connection closes, which tells the upstream to stop."""
        if self._response is not None:
            await self._response.aclose()

    def _judge(self, data: bytes) -> None:
        try:
            found = _decode_event(data.decode())
        except msgspec.ValidationError:
            return  # JSON of a shape that is not known here: not ours to refuse.
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise broken_reply(self.request.model, "a line that is not JSON") from None
        if found.error is not None:
            raise self._stated(found.error, data)
        self._finished = self._finished or found.finishes

    def _stated(self, error: _Error, data: bytes) -> UpstreamError:
        found = next((_STATUSES[key] for key in (error.type, error.code) if key in _STATUSES), 502)
        return error_from_reply(self.request.model, found, data, {})
