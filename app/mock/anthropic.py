"""Anthropic's Messages API (docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from app.mock.dialect import Dialect, Event, Target, split_text, texts_of
from app.mock.replies import Answer, HttpError, Json, count_tokens
from app.mock.seen import Seen

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Anthropic(Dialect):
    """POST …/v1/messages. Its base has no path, as the SDK's `base_url` has none."""

    def find(self, method: str, path: str, query: dict[str, str]) -> Target | None:
        return Target() if method == "POST" and path.endswith("/v1/messages") else None

    def bears(self, seen: Seen, key: str) -> bool:
        """Newer SDKs send the key as a bearer token, everyone else as `x-api-key`."""
        bearer = seen.headers.get("authorization", "").removeprefix("Bearer ")
        return key in (seen.headers.get("x-api-key"), bearer)

    def wrong_key(self) -> HttpError:
        return HttpError(401, "invalid x-api-key")

    def check(self, body: Json, model: str) -> HttpError | None:
        for name in ("model", "messages", "max_tokens"):
            if not body.get(name):
                return HttpError(400, f"{name}: Field required")
        return None

    def envelope(self, error: HttpError) -> Json:
        type_ = error.type or _TYPES.get(error.status, "api_error")
        message = error.message or ("Overloaded" if error.status == 529 else f"Error {error.status}.")
        said = {"type": type_, "message": message}
        return {"type": "error", "error": said, "request_id": f"req_fake{self.serial()}"}

    def error_event(self, error: HttpError) -> Event:
        return Event(self.envelope(error), name="error")

    def whole(self, body: Json, model: str, answer: Answer) -> Json:
        reply = {
            **self._head(model, answer),
            "content": list(_blocks(body, answer)),
            "stop_reason": _stop_reason(answer),
            "usage": usage(body, answer),
            **answer.extra,
        }
        if answer.usage_at == "none":
            del reply["usage"]
        return reply

    def events(self, body: Json, model: str, answer: Answer) -> list[Event]:
        total = usage(body, answer)
        first = {**total, "output_tokens": 1} if total else {}
        message = {**self._head(model, answer), "content": [], "stop_reason": None, "usage": first}
        if answer.usage_at == "none":
            del message["usage"]
        events = [_event("message_start", "open", message={**message, **answer.extra})]
        blocks = list(_blocks(body, answer))
        for index, block in enumerate(blocks):
            part = "content" if index else "open"
            events.append(_event("content_block_start", part, index=index, content_block=_empty(block)))
            if index == 0:
                events.append(_event("ping", "open"))
            for delta in _deltas(block, answer):
                events.append(_event("content_block_delta", "content", index=index, delta=delta))
            last = index == len(blocks) - 1
            events.append(_event("content_block_stop", "finish" if last else "content", index=index))
        delta = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
        final = {"output_tokens": total.get("output_tokens", 0)}
        more = {} if answer.usage_at == "none" else {"usage": final}
        events.append(_event("message_delta", "finish", delta=delta, **more))
        events.append(_event("message_stop", "end"))
        return events

    def _head(self, model: str, answer: Answer) -> Json:
        return {
            "id": f"msg_fake{self.serial()}",
            "type": "message",
            "role": "assistant",
            "model": answer.model or model,
            "stop_sequence": None,
        }


def usage(body: Json, answer: Answer) -> Json:
    """Anthropic's usage object: cached and cache-written tokens are beside `input_tokens`, not within."""
    if answer.usage is not None:
        return dict(answer.usage)
    texts = [texts_of(message.get("content")) for message in body["messages"]]
    if body.get("system"):
        texts.append(texts_of(body["system"]))
    prompt, completion = answer.totals(sum(4 + count_tokens(text) for text in texts), [_text(body, answer)])
    return {
        "input_tokens": prompt - answer.cached_tokens - answer.cache_write_tokens,
        "cache_creation_input_tokens": answer.cache_write_tokens,
        "cache_read_input_tokens": answer.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": answer.cache_write_tokens,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": completion,
        "service_tier": "standard",
    }


def _text(body: Json, answer: Answer) -> str:
    asked = [message for message in body["messages"] if message.get("role") == "user"]
    return answer.refusal or answer.said(texts_of(asked[-1].get("content") if asked else ""))


def _blocks(body: Json, answer: Answer) -> Iterator[Json]:
    if answer.reasoning is not None:
        yield {"type": "thinking", "thinking": answer.reasoning, "signature": "c2lnbmF0dXJl"}
    text = _text(body, answer)
    if text or not answer.tool_calls:
        yield {"type": "text", "text": text, **answer.message_extra}
    for position, call in enumerate(answer.tool_calls):
        id_ = call.id or f"toolu_fake{position}"
        yield {"type": "tool_use", "id": id_, "name": call.name, "input": dict(call.arguments)}


def _empty(block: Json) -> Json:
    """A block as `content_block_start` shows it."""
    nothing: Json = {"text": "", "thinking": "", "signature": "", "input": {}}
    return {name: nothing.get(name, value) for name, value in block.items()}


def _deltas(block: Json, answer: Answer) -> Iterator[Json]:
    match block["type"]:
        case "thinking":
            for piece in split_text(block["thinking"], None):
                yield {"type": "thinking_delta", "thinking": piece}
            yield {"type": "signature_delta", "signature": block["signature"]}
        case "text":
            for piece in split_text(block["text"], answer.chunks):
                yield {"type": "text_delta", "text": piece}
        case "tool_use":
            yield {"type": "input_json_delta", "partial_json": ""}
            for piece in split_text(json.dumps(block["input"]), 3):
                yield {"type": "input_json_delta", "partial_json": piece}


def _stop_reason(answer: Answer) -> str:
    if answer.finish_reason is not None:
        return answer.finish_reason
    if answer.refusal is not None:
        return "refusal"
    return "tool_use" if answer.tool_calls else "end_turn"


def _event(name: str, part: Any, **data: Any) -> Event:
    return Event({"type": name, **data}, part, name)
