"""What a fake provider is told to say: the words of `app.mock`."""

from app.mock.replies import (
    Answer,
    Fault,
    FaultKind,
    Gate,
    HttpError,
    Json,
    Reply,
    ToolCall,
    UsageAt,
    Wire,
    context_length_exceeded,
    count_tokens,
    rate_limited,
)

__all__ = [
    "Answer",
    "Fault",
    "FaultKind",
    "Gate",
    "HttpError",
    "Json",
    "Reply",
    "ToolCall",
    "UsageAt",
    "Wire",
    "context_length_exceeded",
    "count_tokens",
    "rate_limited",
]
