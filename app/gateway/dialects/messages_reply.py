"""Replies in Anthropic's Messages dialect: read as a provider sends them, and written from chat completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import uuid_utils

from app.core.types import Attempt, Usage
from app.gateway.chat import Fields
from app.gateway.dialects.base import Tool, encoded, has
from app.gateway.dialects.parts import Part, arguments_of, choice_of, parts_of
from app.gateway.replies import Reading, with_cost
from app.gateway.sse import named_event

if TYPE_CHECKING:
    from app.gateway.attempt import WholeAnswer

Json = dict[str, Any]

TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Anthropic's type of an error by HTTP status; others are `api_error`."""
_STATUSES = {kind: status for status, kind in TYPES.items() if status not in (405, 415, 422)}
_FINISHES: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_STOPS: Mapping[str | None, str] = {"length": "max_tokens", "content_filter": "refusal"}


class _Thought(msgspec.Struct):
    thinking_tokens: int | None = None


class _WireUsage(msgspec.Struct):
    """Cached and cache-written tokens are beside `input_tokens` here. None: not stated in this event."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _Thought | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    citation: Any = None
    stop_reason: str | None = None


class _Block(msgspec.Struct):
    type: str | None = None
    text: str | None = None


class _Message(msgspec.Struct):
    model: str | None = None
    usage: _WireUsage | None = None


class MessagesPart(msgspec.Struct):
    """A whole message or an event of a stream: what Hullspeed reads of it."""

    type: str | None = None
    model: str | None = None
    message: _Message | None = None
    content: list[_Block] | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    stop_reason: str | None = None
    usage: _WireUsage | None = None
    error: Any = None
    known: Usage | None = None
    """All that the reply has said of its usage so far; set by the reader."""

    @property
    def error_status(self) -> int:
        kind = self.error.get("type") if isinstance(self.error, dict) else None
        return _STATUSES.get(str(kind), 502)

    @property
    def text(self) -> str:
        if self.content is not None:
            return "".join(block.text or "" for block in self.content if block.type == "text")
        return (self.delta.text or "") if self.delta else ""

    @property
    def finish_reason(self) -> str | None:
        reason = self.stop_reason if self.type == "message" else None
        if self.type == "message_delta" and self.delta is not None:
            reason = self.delta.stop_reason
        return None if reason is None else _FINISHES.get(reason, reason)

    @property
    def has_content(self) -> bool:
        if self.content_block is not None:
            return self.content_block.type not in ("text", "thinking")
        delta = self.delta
        return delta is not None and bool(
            delta.text or delta.thinking or delta.partial_json or delta.signature or delta.citation
        )

    @property
    def is_whole(self) -> bool:
        return self.type == "message" and self.content is not None

    @property
    def has_several(self) -> bool:
        return False

    @property
    def ends(self) -> Sequence[tuple[int, str | None]]:
        return ()

    @property
    def has_usage(self) -> bool:
        return self.known is not None

    def read_usage(self) -> tuple[Usage, Decimal | None] | None:
        return None if self.known is None else (self.known, None)


_decode_part = msgspec.json.Decoder(MessagesPart).decode
_decode_fields = msgspec.json.Decoder(Fields).decode


class MessagesReader:
    """Reads one reply. The counts of a stream are spread over its events: what is said last of each holds."""

    def __init__(self) -> None:
        self._said: dict[str, int] = {}

    def __call__(self, data: bytes) -> tuple[Reading, Fields]:
        part = _decode_part(data)
        wire = part.usage or (part.message.usage if part.message else None)
        if wire is not None:
            self._take(wire)
            part.known = _normalised(self._said)
        part.model = part.model or (part.message.model if part.message else None)
        return part, _decode_fields(data)

    def _take(self, wire: _WireUsage) -> None:
        details = wire.output_tokens_details
        counts = {
            "input": wire.input_tokens,
            "output": wire.output_tokens,
            "written": wire.cache_creation_input_tokens,
            "cached": wire.cache_read_input_tokens,
            "thinking": details.thinking_tokens if details else None,
        }
        self._said.update({name: count for name, count in counts.items() if count is not None})


def _normalised(said: Mapping[str, int]) -> Usage:
    cached, written = said.get("cached", 0), said.get("written", 0)
    return Usage(
        prompt_tokens=said.get("input", 0) + cached + written,
        completion_tokens=said.get("output", 0),
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=said.get("thinking", 0),
    )


def message_of(tools: Mapping[str, Tool], answer: WholeAnswer, cost: Decimal | None) -> Json:
    """A chat completion as a whole message; `tools`: see `Asked.tools`."""
    choice = choice_of(answer.fields)
    blocks: list[Json] = []
    for part in parts_of(choice.get("message") or {}):
        block = _opened(tools, part)
        if part.kind == "call":
            block["input"] = arguments_of(part.text)
        else:
            block["thinking" if part.kind == "thinking" else "text"] = part.text
        blocks.append(block)
    return {
        **_head(answer.attempt.model),
        "content": blocks,
        "stop_reason": _stop_reason(choice.get("finish_reason"), blocks),
        "usage": _usage(answer.attempt, cost),
    }


def _head(model: str) -> Json:
    head = {"id": f"msg_{uuid_utils.uuid4().hex}", "type": "message", "role": "assistant", "model": model}
    return head | {"content": [], "stop_reason": None, "stop_sequence": None}


def _opened(tools: Mapping[str, Tool], part: Part) -> Json:
    """A block of which nothing has been said yet."""
    match part.kind:
        case "call":
            name = part.name or ""
            own = tools[name].name if name in tools else name
            id_ = part.id or f"toolu_{uuid_utils.uuid4().hex}"
            return {"type": "tool_use", "id": id_, "name": own, "input": {}}
        case "thinking":
            # Without a signature, so that it is known again and never sent to a model of Anthropic's.
            return {"type": "thinking", "thinking": "", "signature": ""}
        case _:
            return {"type": "text", "text": ""}


def _delta(part: Part) -> Json:
    match part.kind:
        case "call":
            return {"type": "input_json_delta", "partial_json": part.text}
        case "thinking":
            return {"type": "thinking_delta", "thinking": part.text}
        case _:
            return {"type": "text_delta", "text": part.text}


def _stop_reason(finish: Any, blocks: list[Json]) -> str:
    if any(block["type"] == "tool_use" for block in blocks) and finish not in _STOPS:
        return "tool_use"
    return _STOPS.get(finish, "end_turn")


def _usage(attempt: Attempt, cost: Decimal | None) -> Json:
    usage = attempt.usage
    assert usage is not None
    counts: Json = {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
    if cost is not None:
        counts["cost"] = msgspec.Raw(str(cost).encode())
    return counts


def _event(kind: str, **data: Any) -> bytes:
    return named_event(kind, msgspec.json.encode({"type": kind, **data}))


class NativeTelling:
    """Events as the provider sends them, but for the name of the model; how it finished waits for the cost."""

    def __init__(self, model: str) -> None:
        self._model = encoded(model)
        self._ending: Fields | None = None

    def say(self, reply: Reading, fields: Fields) -> bytes:
        kind = msgspec.json.decode(fields["type"]) if "type" in fields else None
        if kind == "message_delta":
            self._ending = fields
            return b""
        if kind == "message_stop" or not isinstance(kind, str) or not kind.isidentifier():
            return b""
        if kind == "message_start" and has(fields, "message"):
            message = _decode_fields(fields["message"])
            fields = {**fields, "message": encoded({**message, "model": self._model})}
        return named_event(kind, msgspec.json.encode(fields))

    def end(self, attempt: Attempt, cost: Decimal | None) -> bytes:
        # A stream that is finished has had it.
        assert self._ending is not None
        if has(self._ending, "usage"):
            self._ending["usage"] = with_cost(self._ending["usage"], cost)
        return named_event("message_delta", msgspec.json.encode(self._ending)) + _event("message_stop")


class ChatToMessages:
    """Chunks of a chat as Anthropic's events, one block after the other."""

    def __init__(self, model: str, tools: Mapping[str, Tool]) -> None:
        self._model = model
        self._tools = tools
        self._blocks: list[Json] = []
        self._places: dict[tuple[str, int], int] = {}
        self._open: tuple[str, int] | None = None
        self._finish: Any = None
        self._begun = False

    def say(self, reply: Reading, fields: Fields) -> bytes:
        choice = choice_of(fields)
        self._finish = choice.get("finish_reason") or self._finish
        said = b"".join(self._tell(part) for part in parts_of(choice.get("delta") or {}))
        return self._begin() + said

    def end(self, attempt: Attempt, cost: Decimal | None) -> bytes:
        delta = {"stop_reason": _stop_reason(self._finish, self._blocks), "stop_sequence": None}
        return (
            self._begin()
            + self._close()
            + _event("message_delta", delta=delta, usage=_usage(attempt, cost))
            + _event("message_stop")
        )

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        # What the prompt took is known at the end only.
        message = {**_head(self._model), "usage": {"input_tokens": 0, "output_tokens": 0}}
        return _event("message_start", message=message)

    def _tell(self, part: Part) -> bytes:
        begun = b""
        # A piece of a call that is over already still belongs to it; any other part begins anew.
        late = part.kind == "call" and part.key in self._places
        if part.key != self._open and not late:
            begun = self._close()
            self._open = part.key
            self._places[part.key] = len(self._blocks)
            self._blocks.append(_opened(self._tools, part))
            place = self._places[part.key]
            begun += _event("content_block_start", index=place, content_block=self._blocks[place])
        if not part.text:
            return begun
        return begun + _event("content_block_delta", index=self._places[part.key], delta=_delta(part))

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        place, self._open = self._places[self._open], None
        return _event("content_block_stop", index=place)
