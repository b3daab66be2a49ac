"""Replies of OpenAI's Responses API: read as a provider sends them, and written from chat completions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import uuid_utils

from app.core.types import Attempt, Usage
from app.gateway.chat import Fields
from app.gateway.dialects.base import Asked, Tool, encoded, has
from app.gateway.dialects.parts import Part, arguments_of, choice_of, parts_of
from app.gateway.dialects.responses_request import OURS
from app.gateway.replies import Details, Reading, stated_cost, usage_of, with_cost
from app.gateway.sse import named_event

Json = dict[str, Any]

_STATUSES: Mapping[str, int] = {
    "rate_limit_exceeded": 429,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "server_error": 500,
}
"""HTTP status that an error inside a reply stands for."""
_FINISHES: Mapping[Any, str] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_REASONS = {finish: reason for reason, finish in _FINISHES.items()}
_ENDINGS = ("response.completed", "response.incomplete")
_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}
"""Parameters that a reply repeats, and what they are where the request does not say."""


class _WireUsage(msgspec.Struct):
    """Cached and cache-written tokens are within `input_tokens` here."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None
    cost: float | None = None


class _Content(msgspec.Struct):
    type: str | None = None
    text: str | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    content: list[_Content] | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    model: str | None = None
    status: str | None = None
    output: list[_Item] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    incomplete_details: _Incomplete | None = None


class ResponsesPart(_Response):
    """A whole response or an event of a stream: what Hullspeed reads of it."""

    type: str | None = None
    response: _Response | None = None
    item: _Item | None = None
    delta: Any = None
    code: Any = None
    message: Any = None

    def __post_init__(self) -> None:
        if self.response is not None:
            # An event that bears a response says what that says.
            for name in _Response.__struct_fields__:
                setattr(self, name, getattr(self.response, name))
        if self.type == "error" and self.error is None:
            self.error = {"message": self.message, "code": self.code}
        if self.status == "failed" and self.error is None:
            self.error = {"message": "The response failed."}

    @property
    def error_status(self) -> int:
        code = self.error.get("code") if isinstance(self.error, dict) else None
        return _STATUSES.get(str(code), 502)

    @property
    def text(self) -> str:
        if self.type is None:
            items = [item for item in self.output or () if item.type == "message"]
            parts = [part for item in items for part in item.content or ()]
            return "".join(part.text or "" for part in parts if part.type == "output_text")
        return self.delta if self.type == "response.output_text.delta" and isinstance(self.delta, str) else ""

    @property
    def finish_reason(self) -> str | None:
        if self.type not in _ENDINGS and (self.type is not None or self.response is not None):
            return None
        if self.status == "incomplete":
            return _FINISHES.get(self.incomplete_details and self.incomplete_details.reason, "length")
        if self.status != "completed":
            return None
        called = any(item.type in ("function_call", "custom_tool_call") for item in self.output or ())
        return "tool_calls" if called else "stop"

    @property
    def has_content(self) -> bool:
        if self.type == "response.output_item.added":
            return self.item is not None and self.item.type not in ("message", "reasoning")
        return self.type is not None and self.type.endswith(".delta")

    @property
    def is_whole(self) -> bool:
        return self.output is not None

    @property
    def has_several(self) -> bool:
        return False

    @property
    def ends(self) -> Sequence[tuple[int, str | None]]:
        return ()

    @property
    def has_usage(self) -> bool:
        return bytes(self.usage) not in (b"", b"null")

    def read_usage(self) -> tuple[Usage, Decimal | None] | None:
        if not self.has_usage:
            return None
        try:
            wire = msgspec.json.decode(self.usage, type=_WireUsage)
        except msgspec.DecodeError:
            return None
        usage = usage_of(wire.input_tokens, wire.output_tokens, wire.input_tokens_details, wire.output_tokens_details)
        return usage, stated_cost(wire.cost)


_decode_part = msgspec.json.Decoder(ResponsesPart).decode
_decode_fields = msgspec.json.Decoder(Fields).decode


def read_response(data: bytes) -> tuple[Reading, Fields]:
    """A whole response or an event. Raises `msgspec.DecodeError`."""
    return _decode_part(data), _decode_fields(data)


class NativeTelling:
    """Events as the provider sends them, but for the name of the model; the last one waits for the cost."""

    def __init__(self, model: str) -> None:
        self._model = encoded(model)
        self._ending: tuple[str, Fields] | None = None
        self._counted = False

    def say(self, reply: Reading, fields: Fields) -> bytes:
        kind = msgspec.json.decode(fields["type"]) if "type" in fields else None
        if not isinstance(kind, str) or not kind.replace(".", "_").isidentifier():
            return b""
        if kind in _ENDINGS and reply.finish_reason is not None:
            self._ending = kind, fields
            self._counted = reply.read_usage() is not None
            return b""
        if has(fields, "response"):
            fields = {**fields, "response": encoded({**_decode_fields(fields["response"]), "model": self._model})}
        return named_event(kind, msgspec.json.encode(fields))

    def end(self, attempt: Attempt, cost: Decimal | None) -> bytes:
        # A stream that is finished has had it.
        assert self._ending is not None
        kind, fields = self._ending
        response = {**_decode_fields(fields["response"]), "model": self._model}
        if self._counted:
            response["usage"] = with_cost(response["usage"], cost)
        return named_event(kind, msgspec.json.encode({**fields, "response": response}))


class ChatToResponse:
    """A chat completion, whole or by chunks, as a response and the events in which it comes."""

    def __init__(self, asked: Asked, model: str) -> None:
        assert asked.native is not None
        given = asked.native.fields
        self._tools = asked.tools
        self._head: Json = {
            "id": f"resp_{uuid_utils.uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
        }
        self._echo = {"model": model, "background": False, "previous_response_id": None, "store": False}
        for name, value in _ECHOED.items():
            self._echo[name] = given[name] if has(given, name) else value
        self._output: list[Json] = []
        self._calls: dict[int, int] = {}
        self._open: tuple[str, int] | None = None
        self._finish: Any = None
        self._begun = False
        self._sent = 0

    def say(self, reply: Reading, fields: Fields) -> bytes:
        choice = choice_of(fields)
        said = self._begin()
        self._finish = choice.get("finish_reason") or self._finish
        return said + b"".join(
            self._tell(part) for part in parts_of(choice.get("delta") or choice.get("message") or {})
        )

    def end(self, attempt: Attempt, cost: Decimal | None) -> bytes:
        said = self._begin() + self._close()
        response = self.response(attempt, cost)
        return said + self._event(f"response.{response['status']}", response=response)

    def response(self, attempt: Attempt, cost: Decimal | None) -> Json:
        """The finished response."""
        self._close()
        reason = _REASONS.get(self._finish)
        status = "completed" if reason is None else "incomplete"
        ended = {"completed_at": int(time.time())} if reason is None else {}
        return self._response(status, reason) | ended | {"usage": _usage(attempt, cost)}

    def _response(self, status: str, reason: str | None = None) -> Json:
        details = None if reason is None else {"reason": reason}
        said = {"status": status, "error": None, "incomplete_details": details, "output": self._output, "usage": None}
        return {**self._head, **self._echo, **said}

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        begun = self._response("in_progress")
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def _event(self, kind: str, **data: Any) -> bytes:
        number, self._sent = self._sent, self._sent + 1
        return named_event(kind, msgspec.json.encode({"type": kind, **data, "sequence_number": number}))

    def _tell(self, part: Part) -> bytes:
        # Text and refusal are parts of one message.
        key = ("message", 0) if part.kind in ("text", "refusal") else part.key
        late = part.kind == "call" and part.call in self._calls
        begun = b""
        if key != self._open and not late:
            begun = self._close()
            self._open = key
            begun += self._open_item(part)
        place = self._calls[part.call] if part.kind == "call" else len(self._output) - 1
        item = self._output[place]
        where = {"item_id": item["id"], "output_index": place}
        if part.kind == "call":
            return begun + self._tell_arguments(item, part.text, where)
        if part.kind == "thinking":
            item["summary"][0]["text"] += part.text
            return begun + self._event(
                "response.reasoning_summary_text.delta", **where, summary_index=0, delta=part.text
            )
        return begun + self._tell_words(item, part, where)

    def _tell_arguments(self, item: Json, text: str, where: Json) -> bytes:
        item["input" if item["type"] == "custom_tool_call" else "arguments"] += text
        if item["type"] != "function_call":
            # What it is called with is inside the arguments' JSON, and can be read once that is all there.
            return b""
        return self._event("response.function_call_arguments.delta", **where, delta=text) if text else b""

    def _tell_words(self, item: Json, part: Part, where: Json) -> bytes:
        said = b""
        words = {"text": "output_text", "refusal": "refusal"}[part.kind]
        if not item["content"] or item["content"][-1]["type"] != words:
            said = self._close_words(item, where)
            blank: Json = {"type": "refusal", "refusal": ""}
            if part.kind == "text":
                blank = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            item["content"].append(blank)
            said += self._event(
                "response.content_part.added", **where, content_index=len(item["content"]) - 1, part=blank
            )
        content = item["content"][-1]
        content[part.kind] += part.text
        more: Json = {"logprobs": []} if part.kind == "text" else {}
        place = len(item["content"]) - 1
        return said + self._event(f"response.{words}.delta", **where, content_index=place, delta=part.text, **more)

    def _open_item(self, part: Part) -> bytes:
        item: Json
        place = len(self._output)
        match part.kind:
            case "thinking":
                item = {"id": OURS + uuid_utils.uuid4().hex, "type": "reasoning", "summary": []}
            case "call":
                item = self._called(part)
                self._calls[part.call] = place
            case _:
                item = {"id": f"msg_{uuid_utils.uuid4().hex}", "type": "message", "role": "assistant", "content": []}
                item["status"] = "in_progress"
        self._output.append(item)
        said = self._event("response.output_item.added", output_index=place, item=item)
        if part.kind == "thinking":
            blank = {"type": "summary_text", "text": ""}
            item["summary"].append(blank)
            where = {"item_id": item["id"], "output_index": place, "summary_index": 0}
            said += self._event("response.reasoning_summary_part.added", **where, part=blank)
        return said

    def _called(self, part: Part) -> Json:
        name, id_ = part.name or "", uuid_utils.uuid4().hex
        tool = self._tools.get(name, Tool(name))
        call: Json = {"call_id": part.id or f"call_{id_}", "status": "in_progress"}
        if tool.kind == "search":
            return {"id": f"tsc_{id_}", "type": "tool_search_call", "execution": "client", **call, "arguments": ""}
        call["name"] = tool.name
        if tool.namespace is not None:
            call["namespace"] = tool.namespace
        if tool.kind == "custom":
            return {"id": f"ctc_{id_}", "type": "custom_tool_call", **call, "input": ""}
        return {"id": f"fc_{id_}", "type": "function_call", **call, "arguments": ""}

    def _close(self) -> bytes:
        """The item that is open is over."""
        if self._open is None:
            return b""
        kind, call = self._open
        self._open = None
        place = self._calls[call] if kind == "call" else len(self._output) - 1
        item = self._output[place]
        where = {"item_id": item["id"], "output_index": place}
        if "status" in item:
            item["status"] = "completed"
        match item["type"]:
            case "message":
                said = self._close_words(item, where)
            case "reasoning":
                text = item["summary"][0]
                said = self._event("response.reasoning_summary_text.done", **where, summary_index=0, text=text["text"])
                said += self._event("response.reasoning_summary_part.done", **where, summary_index=0, part=text)
            case "custom_tool_call":
                given = arguments_of(item["input"])
                item["input"] = str(given.get("input", item["input"]))
                said = self._event("response.custom_tool_call_input.delta", **where, delta=item["input"])
                said += self._event("response.custom_tool_call_input.done", **where, input=item["input"])
            case "tool_search_call":
                item["arguments"] = arguments_of(item["arguments"])
                said = b""
            case _:
                done = {"name": item["name"], "arguments": item["arguments"]}
                said = self._event("response.function_call_arguments.done", **where, **done)
        return said + self._event("response.output_item.done", output_index=place, item=item)

    def _close_words(self, item: Json, where: Json) -> bytes:
        if not item["content"]:
            return b""
        content = item["content"][-1]
        kind = content["type"]
        where = {**where, "content_index": len(item["content"]) - 1}
        done: Json = {"refusal": content["refusal"]} if kind == "refusal" else {"text": content["text"], "logprobs": []}
        said = self._event(f"response.{kind}.done", **where, **done)
        return said + self._event("response.content_part.done", **where, part=content)


def _usage(attempt: Attempt, cost: Decimal | None) -> Json:
    usage = attempt.usage
    assert usage is not None
    counts: Json = {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if cost is not None:
        counts["cost"] = msgspec.Raw(str(cost).encode())
    return counts
