"""The models that `hullspeed mock` offers: each name is a way to behave, so that a gateway's configuration alone is
enough to make it happen."""

from __future__ import annotations

from collections.abc import Mapping

from app.mock.replies import (
    Answer,
    Fault,
    HttpError,
    Reply,
    ToolCall,
    Wire,
    context_length_exceeded,
    rate_limited,
)

_WORDS = Answer("One two three four five six seven eight.")
HUGE_BYTES = 8 * 1024 * 1024

MODELS: Mapping[str, tuple[str, Reply]] = {
    "mock-echo": ("answers well: an echo of the last user message", Answer()),
    "mock-tools": ("two tool calls", Answer(tool_calls=(ToolCall("weather", {"city": "Zürich"}), ToolCall("clock")))),
    "mock-refusal": ("a refusal", Answer(refusal="I can't help with that.", finish_reason="content_filter")),
    "mock-reasoning": ("reasoning before the text", Answer("Four.", reasoning="Two and two.", reasoning_tokens=3)),
    "mock-slow": ("nothing for 5 s, then well", Answer(delay=5)),
    "mock-slow-first-token": ("headers at once, the first event after 20 s", Answer(first_delay=20)),
    "mock-slow-tokens": ("half a second between two events", Answer("One two three four five six.", gap=0.5)),
    "mock-drip": ("a byte at a time, status line and all (slow loris)", Fault("drip", answer=_WORDS)),
    "mock-huge": ("8 MiB of text", Answer("x" * HUGE_BYTES, chunks=64)),
    "mock-endless": ("a stream without end", Fault("endless", answer=Answer("word " * 200, chunks=20))),
    "mock-stall": ("never a byte", Fault("stall")),
    "mock-stall-after-headers": ("headers, then nothing", Fault("stall_after_headers")),
    "mock-stall-midstream": ("two events, then nothing", Fault("stall_mid_stream", 2, _WORDS)),
    "mock-cut-before-headers": ("closes the connection without an answer", Fault("cut_before_headers")),
    "mock-cut-after-headers": ("headers, then closes", Fault("cut_after_headers")),
    "mock-cut-between-events": ("two events, then closes", Fault("cut_between_events", 2, _WORDS)),
    "mock-cut-midevent": ("two events and a half, then closes", Fault("cut_mid_event", 2, _WORDS)),
    "mock-reset": ("the same with a TCP reset", Fault("reset", 2, _WORDS)),
    "mock-broken-line": ("one line that is no JSON, then on to the end", Fault("broken_json", 2, _WORDS)),
    "mock-invalid-utf8": ("one event that is not UTF-8", Fault("invalid_utf8", 2, _WORDS)),
    "mock-wrong-content-type": ("a web page with status 200", Fault("wrong_content_type")),
    "mock-empty": ("status 200 and no body", Fault("empty_body")),
    "mock-error-event": ("two events, then an error, after a 200", Fault("error_event", 2, _WORDS)),
    "mock-no-done": ("all is said, no [DONE]", Fault("no_done", answer=_WORDS)),
    "mock-no-finish": ("ends in good order, unfinished", Fault("no_finish", 2, _WORDS)),
    "mock-crlf": (r"lines end with \r\n", Answer(wire=Wire(crlf=True))),
    "mock-comments": ("a comment before every event", Answer(wire=Wire(comments=True))),
    "mock-multiline": ("each event over several data lines", Answer(wire=Wire(multiline=True))),
    "mock-split": ("every byte in a packet of its own", Answer(wire=Wire(split=1))),
    "mock-usage-with-choices": ("usage in the chunk with the finish reason", Answer(usage_at="with_choices")),
    "mock-usage-several": ("usage in every chunk, growing", Answer(usage_at="several")),
    "mock-usage-always": ("a usage chunk, asked for or not", Answer(usage_at="always")),
    "mock-no-usage": ("no usage anywhere", Answer(usage_at="none")),
    "mock-cached": ("64 prompt tokens from the cache", Answer(cached_tokens=64)),
    "mock-no-stream-options": ("refuses stream_options with a 400", Answer(rejects=("stream_options",))),
    "mock-too-long": ("400: the context is too long", context_length_exceeded()),
    "mock-400": ("400: a bad request", HttpError(400, "Bad request.", "invalid_request_error", param="temperature")),
    "mock-401": ("401: the key is wrong", HttpError(401, "Incorrect API key provided.")),
    "mock-408": ("408: timeout", HttpError(408, "Request timeout.")),
    "mock-429": ("429 with retry-after: 1", rate_limited()),
    "mock-429-quota": ("429 that no waiting helps", rate_limited(retry_after=None, quota=True)),
    "mock-500": ("500: server error", HttpError(500)),
    "mock-503": ("503: overloaded", HttpError(503, "Overloaded.")),
    "mock-529": ("529: overloaded", HttpError(529)),
}
"""Name → what it does, and the reply."""
