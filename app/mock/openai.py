"""OpenAI's chat completions (platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from app.mock.dialect import Dialect, Event, Target, split_text, texts_of
from app.mock.replies import Answer, HttpError, Json, ToolCall, count_tokens
from app.mock.seen import Seen

CREATED = 1_750_000_000
"""Fixed, so that two replies to one request are the same but for their ids."""
MOST_CHOICES = 128
"""OpenAI's bound on `n`."""

_TYPES = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", "overloaded"),
    529: ("server_error", "overloaded"),
}


class OpenAI(Dialect):
    """POST …/chat/completions.

    `models`: where given, others are answered with 404.
    """

    base: ClassVar[str] = "/v1"

    def __init__(self, models: tuple[str, ...] | None = None) -> None:
        super().__init__()
        self.models = models

    def find(self, method: str, path: str, query: dict[str, str]) -> Target | None:
        return Target() if method == "POST" and path.endswith("/chat/completions") else None

    def bears(self, seen: Seen, key: str) -> bool:
        return seen.headers.get("authorization") == f"Bearer {key}"

    def wrong_key(self) -> HttpError:
        return HttpError(401, "Incorrect API key provided: sk-fake***.")

    def check(self, body: Json, model: str) -> HttpError | None:
        for name in ("model", "messages"):
            if not body.get(name):
                message = f"Missing required parameter: '{name}'."
                return HttpError(400, message, code="missing_required_parameter", param=name)
        if self.models is not None and model not in self.models:
            return HttpError(404, f"The model `{model}` does not exist or you do not have access to it.")
        if body.get("stream_options") is not None and not body.get("stream"):
            message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            return HttpError(400, message, param="stream_options")
        wanted = body.get("n")
        if wanted is not None and not (isinstance(wanted, int) and 1 <= wanted <= MOST_CHOICES):
            return HttpError(400, f"'n' must be between 1 and {MOST_CHOICES}.", param="n")
        return None

    def envelope(self, error: HttpError) -> Json:
        type_, code = _TYPES.get(error.status, ("server_error" if error.status >= 500 else "requests", None))
        return {
            "error": {
                "message": error.message or f"Error {error.status}.",
                "type": error.type or type_,
                "param": error.param,
                "code": error.code or (code if error.type is None else None),
            }
        }

    def whole(self, body: Json, model: str, answer: Answer) -> Json:
        texts = _texts(body, answer)
        reply: Json = {
            "id": f"chatcmpl-mock{self.serial()}",
            "object": "chat.completion",
            "created": CREATED,
            "model": answer.model or model,
            "choices": [_choice(body, answer, index, text) for index, text in enumerate(texts)],
            "usage": usage(body, answer, texts),
            "service_tier": "default",
            "system_fingerprint": "fp_mock",
            **answer.extra,
        }
        if answer.usage_at == "none":
            del reply["usage"]
        return reply

    def events(self, body: Json, model: str, answer: Answer) -> list[Event]:
        texts = _texts(body, answer)
        total = usage(body, answer, texts)
        asked = bool((body.get("stream_options") or {}).get("include_usage"))
        head = {
            "id": f"chatcmpl-mock{self.serial()}",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": answer.model or model,
            "service_tier": "default",
            "system_fingerprint": "fp_mock",
        }
        # As documented: with include_usage every chunk bears the field, null in all but the last.
        nothing = {"usage": None} if asked and answer.usage_at != "none" else {}

        def chunk(choices: list[Json], **more: Any) -> Json:
            return {**head, "choices": choices, **nothing, **more, **answer.extra}

        def choice(index: int, delta: Json, finish: str | None = None, logprobs: Any = None) -> Json:
            return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}

        events: list[Event] = []
        for index in range(len(texts)):
            delta = {"role": "assistant", "content": "", "refusal": None, **answer.message_extra}
            if answer.tool_calls:
                delta["content"] = None
            events.append(Event(chunk([choice(index, delta)]), "open"))
        # Choices take turns, as a provider that samples them side by side sends them.
        turns = _turns([list(_deltas(body, answer, text)) for text in texts])
        for said, (index, delta, logprobs) in enumerate(turns, 1):
            partial = {**total, "completion_tokens": said, "total_tokens": total.get("prompt_tokens", 0) + said}
            more = {"usage": partial} if answer.usage_at == "several" else {}
            events.append(Event(chunk([choice(index, delta, logprobs=logprobs)], **more), "content"))
        for index in range(len(texts)):
            final = index == len(texts) - 1
            more = {"usage": total} if final and answer.usage_at in ("with_choices", "several") else {}
            events.append(Event(chunk([choice(index, {}, _finish(answer))], **more), "finish"))
        if (asked and answer.usage_at in ("own_chunk", "several")) or answer.usage_at == "always":
            events.append(Event(chunk([], usage=total), "usage"))
        events.append(Event("[DONE]", "end"))
        return events


def usage(body: Json, answer: Answer, texts: list[str]) -> Json:
    """OpenAI's usage object: cached tokens are within the prompt's, reasoning within the completion's."""
    if answer.usage is not None:
        return dict(answer.usage)
    counted = sum(4 + count_tokens(texts_of(message.get("content"))) for message in body["messages"])
    prompt, completion = answer.totals(counted, texts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _texts(body: Json, answer: Answer) -> list[str]:
    """The text of each choice."""
    asked = [message for message in body["messages"] if message.get("role") == "user"]
    text = answer.said(texts_of(asked[-1].get("content") if asked else ""))
    return list(answer.texts) or [text] * int(body.get("n") or 1)


def _choice(body: Json, answer: Answer, index: int, text: str) -> Json:
    message: Json = {
        "role": "assistant",
        "content": text or None if answer.tool_calls or answer.refusal is not None else text,
        "refusal": answer.refusal,
        "annotations": [],
        **answer.message_extra,
    }
    if answer.reasoning is not None:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["tool_calls"] = [
            {"id": _call_id(call, position), "type": "function", "function": _function(call)}
            for position, call in enumerate(answer.tool_calls)
        ]
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(body, split_text(text, answer.chunks)),
        "finish_reason": _finish(answer),
    }


def _deltas(body: Json, answer: Answer, text: str) -> Iterator[tuple[Json, Any]]:
    """What one choice says after its role, with the logprobs of each piece."""
    for piece in split_text(answer.reasoning or "", None):
        yield {"reasoning_content": piece}, None
    for piece in split_text(answer.refusal or "", None):
        yield {"refusal": piece}, None
    for piece in split_text(text, answer.chunks):
        yield {"content": piece}, _logprobs(body, [piece])
    for position, call in enumerate(answer.tool_calls):
        named = {"name": call.name, "arguments": ""}
        opened = {"index": position, "id": _call_id(call, position), "type": "function", "function": named}
        yield {"tool_calls": [opened]}, None
        for piece in split_text(_function(call)["arguments"], 3):
            yield {"tool_calls": [{"index": position, "function": {"arguments": piece}}]}, None


def _turns(choices: list[list[tuple[Json, Any]]]) -> Iterator[tuple[int, Json, Any]]:
    for turn in range(max(map(len, choices), default=0)):
        for index, deltas in enumerate(choices):
            if turn < len(deltas):
                yield index, *deltas[turn]


def _finish(answer: Answer) -> str:
    return answer.finish_reason or ("tool_calls" if answer.tool_calls else "stop")


def _function(call: ToolCall) -> dict[str, str]:
    return {"name": call.name, "arguments": json.dumps(dict(call.arguments))}


def _call_id(call: ToolCall, position: int) -> str:
    return call.id or f"call_fake{position}"


def _logprobs(body: Json, pieces: list[str]) -> Json | None:
    if not body.get("logprobs"):
        return None
    top = [{"token": "…", "logprob": -3.0, "bytes": list("…".encode())}] * int(body.get("top_logprobs") or 0)
    tokens = [
        {"token": piece, "logprob": -0.25, "bytes": list(piece.encode()), "top_logprobs": top} for piece in pieces
    ]
    return {"content": tokens, "refusal": None}
