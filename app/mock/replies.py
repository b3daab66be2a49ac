"""What the mock is told to say. Provider-neutral: each dialect puts it into its own wire format."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]

UsageAt = Literal["own_chunk", "with_choices", "several", "always", "none"]
"""Where a stream states its usage. `own_chunk`: as documented. `with_choices`: in the chunk with the finish reason.
`several`: growing, in every chunk, and in one of its own. `always`: in a chunk of its own, asked for or not. `none`:
nowhere, in whole replies neither."""

FaultKind = Literal[
    "cut_before_headers",  # the connection closes without an answer
    "cut_after_headers",  # status and headers, then the connection closes
    "cut_between_events",  # after `after` content events (JSON: after half the body)
    "cut_mid_event",  # the same, and half of the next event
    "reset",  # as `cut_mid_event`, with a TCP reset in place of an orderly close
    "stall",  # never a byte, until the client gives up
    "stall_after_headers",
    "stall_mid_stream",  # after `after` content events, until the client gives up
    "broken_json",  # one line that is no JSON; the stream then goes on to its proper end
    "no_done",  # all is said, the end marker ([DONE], message_stop) is missing
    "no_finish",  # ends in good order after `after` content events: no finish reason, no usage, no end marker
    "error_event",  # after `after` content events an error in place of the rest; JSON: an error with status 200
    "wrong_content_type",  # a web page with status 200
    "empty_body",  # status 200 and nothing
    "invalid_utf8",  # one event whose text is not UTF-8
    "endless",  # content events without end, until the client goes
    "drip",  # status, headers and body a byte at a time, `answer.gap` seconds apart
]


def count_tokens(text: str) -> int:
    """About four characters a token: near enough to look right, and every test can compute it."""
    return -(-len(text) // 4)


class Gate:
    """A point where the server waits until it is let go on, so that nobody needs to guess at times."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def open(self) -> None:
        """Let everyone waiting here, now and later, go on."""
        self._opened.set()

    def wait_reached(self, timeout: float = 10.0) -> bool:
        """Block until a reply has come to this point."""
        return self._reached.wait(timeout)

    def arrive(self) -> None:
        """Called by the server."""
        self._reached.set()

    @property
    def is_open(self) -> bool:
        return self._opened.is_set()

    @property
    def reached(self) -> bool:
        """Whether a reply has come to this point."""
        return self._reached.is_set()


@dataclass(frozen=True)
class ToolCall:
    """One tool call of a reply."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    """Made up, in the provider's style, where empty."""


@dataclass(frozen=True)
class Wire:
    """How the bytes of a reply are put on the wire, the words being the same."""

    crlf: bool = False
    comments: bool = False
    """A comment line before every event."""
    multiline: bool = False
    """Each event's JSON over several `data:` lines."""
    space: bool = True
    """A space after `data:`, which the format makes optional."""
    split: int | tuple[int, ...] = 0
    """Send the body in pieces of this many bytes, or cut at these offsets; 0: an event at a time. Events are then
    sent without `gap`, and `Gate` works before the headers only."""
    ascii_only: bool = False
    """Escape all that is not ASCII, as many servers do."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A good reply."""

    text: str | None = None
    """None: an echo of the last user message (nothing, where there are tool calls or a refusal)."""
    texts: tuple[str, ...] = ()
    """One per choice, where they are to differ; the request's `n` is then ignored."""
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    reasoning: str | None = None
    """`reasoning_content`, a thinking block, a thought part."""
    finish_reason: str | None = None
    """In the provider's own words; None: what fits."""
    chunks: int | tuple[str, ...] | None = None
    """Pieces a streamed text comes in: how many, or which; None: a word each."""
    model: str | None = None
    """The name that the reply bears; None: the one asked for."""

    prompt_tokens: int | None = None
    """All of them, cached and cache-written ones included; None: counted."""
    completion_tokens: int | None = None
    """All of them, reasoning included; None: counted."""
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    usage: Mapping[str, Any] | None = None
    """This usage object, word for word."""
    usage_at: UsageAt = "own_chunk"

    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further top-level fields of the reply and of every chunk."""
    message_extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every message; in a stream, of the first delta."""
    rejects: tuple[str, ...] = ()
    """Request parameters answered with a 400 that names them, e.g. `stream_options`."""

    delay: float = 0.0
    """Seconds before the headers."""
    first_delay: float = 0.0
    """Seconds between the headers and the first event."""
    gap: float = 0.0
    """Seconds between two events."""
    gate: Gate | None = None
    gate_after: int | None = None
    """Wait at `gate` after this many content events; None: before the headers."""
    wire: Wire = field(default_factory=Wire)

    def said(self, asked: str) -> str:
        """The text of the reply to a user who said `asked`."""
        if self.text is not None:
            return self.text
        return "" if self.tool_calls or self.refusal is not None else "Echo: " + asked

    def totals(self, counted: int, texts: Sequence[str]) -> tuple[int, int]:
        """Prompt and completion tokens in all, `counted` being those of the request's text."""
        prompt = self.prompt_tokens
        if prompt is None:
            prompt = counted + self.cached_tokens + self.cache_write_tokens
        completion = self.completion_tokens
        if completion is None:
            completion = self.reasoning_tokens + sum(count_tokens(text) for text in texts)
            completion += count_tokens(self.refusal or "") + count_tokens(self.reasoning or "")
            completion += sum(8 + count_tokens(json.dumps(dict(call.arguments))) for call in self.tool_calls)
        return prompt, completion


@dataclass(frozen=True)
class HttpError:
    """A reply with an error status and the provider's error envelope."""

    status: int
    message: str = ""
    type: str | None = None
    """None: what the provider says with this status."""
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent in place of the envelope."""
    content_type: str = "application/json"
    delay: float = 0.0


@dataclass(frozen=True)
class Fault:
    """A reply that goes wrong on the wire."""

    kind: FaultKind
    after: int = 1
    """Content events that go out well before it happens. 0: after the opening (role-only) events."""
    answer: Answer = field(default_factory=Answer)
    """What would have been said."""
    error: HttpError = field(default_factory=lambda: HttpError(500, "The server had an error."))
    """For `error_event`."""


Reply = Answer | HttpError | Fault


def rate_limited(*, retry_after: str | None = "1", retry_after_ms: str | None = None, quota: bool = False) -> HttpError:
    """429 with the headers OpenAI sends; `quota`: the kind that no waiting helps."""
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    if retry_after is not None:
        headers["retry-after"] = retry_after
    if retry_after_ms is not None:
        headers["retry-after-ms"] = retry_after_ms
    if quota:
        message = "You exceeded your current quota, please check your plan and billing details."
        return HttpError(429, message, "insufficient_quota", "insufficient_quota", headers=headers)
    return HttpError(429, "Rate limit reached for requests.", headers=headers)


def context_length_exceeded(limit: int = 8192, asked: int = 9001) -> HttpError:
    """OpenAI's 400 for a prompt that does not fit."""
    message = (
        f"This model's maximum context length is {limit} tokens. However, your messages resulted in {asked} tokens. "
        "Please reduce the length of the messages."
    )
    return HttpError(400, message, "invalid_request_error", "context_length_exceeded", "messages")
