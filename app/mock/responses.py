"""OpenAI's Responses API (platform.openai.com/docs/api-reference/responses)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from app.mock.dialect import Event, Part, Target, split_text, texts_of
from app.mock.openai import CREATED, OpenAI
from app.mock.replies import Answer, HttpError, Json, count_tokens


class Responses(OpenAI):
    """POST …/responses."""

    def find(self, method: str, path: str, query: dict[str, str]) -> Target | None:
        return Target() if method == "POST" and path.endswith("/responses") else None

    def check(self, body: Json, model: str) -> HttpError | None:
        for name in ("model", "input"):
            if not body.get(name):
                message = f"Missing required parameter: '{name}'."
                return HttpError(400, message, code="missing_required_parameter", param=name)
        return None

    def error_event(self, error: HttpError) -> Event:
        said = self.envelope(error)["error"]
        return Event({"type": "error", "code": said["code"], "message": said["message"], "param": None}, name="error")

    def whole(self, body: Json, model: str, answer: Answer) -> Json:
        return self._finished(self._begun(body, model, answer), body, answer, list(self._items(body, answer)))

    def events(self, body: Json, model: str, answer: Answer) -> list[Event]:
        begun = self._begun(body, model, answer)
        items = list(self._items(body, answer))
        told: list[tuple[str, Part, Json]] = [
            ("response.created", "open", {"response": begun}),
            ("response.in_progress", "open", {"response": begun}),
        ]
        for place, item in enumerate(items):
            told.extend(_told(place, item, answer))
        done = self._finished(begun, body, answer, items)
        told.append((f"response.{done['status']}", "finish", {"response": done}))
        return [
            Event({"type": name, **data, "sequence_number": number}, part, name)
            for number, (name, part, data) in enumerate(told)
        ]

    def _begun(self, body: Json, model: str, answer: Answer) -> Json:
        return {
            "id": f"resp_mock{self.serial()}",
            "object": "response",
            "created_at": CREATED,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": body.get("instructions"),
            "model": answer.model or model,
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": body.get("previous_response_id"),
            "store": body.get("store", True),
            "tool_choice": body.get("tool_choice", "auto"),
            "tools": body.get("tools", []),
            "usage": None,
            **answer.extra,
        }

    def _finished(self, begun: Json, body: Json, answer: Answer, items: list[Json]) -> Json:
        cut = answer.finish_reason in ("max_output_tokens", "content_filter")
        done = {
            **begun,
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": answer.finish_reason} if cut else None,
            "output": items,
        }
        if answer.usage_at != "none":
            done["usage"] = usage(body, answer)
        return done

    def _items(self, body: Json, answer: Answer) -> Iterator[Json]:
        if answer.reasoning is not None:
            summary = [{"type": "summary_text", "text": answer.reasoning}]
            yield {"id": f"rs_mock{self.serial()}", "type": "reasoning", "summary": summary}
        text = _text(body, answer)
        if text or answer.refusal is not None or not answer.tool_calls:
            content: Json = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
            if answer.refusal is not None:
                content = {"type": "refusal", "refusal": answer.refusal}
            message = {"type": "message", "role": "assistant", "status": "completed", "content": [content]}
            yield {"id": f"msg_mock{self.serial()}", **message, **answer.message_extra}
        for position, call in enumerate(answer.tool_calls):
            yield {
                "id": f"fc_mock{self.serial()}",
                "type": "function_call",
                "status": "completed",
                "call_id": call.id or f"call_fake{position}",
                "name": call.name,
                "arguments": json.dumps(dict(call.arguments)),
            }


def usage(body: Json, answer: Answer) -> Json:
    """The usage object of responses: cached tokens are within the input's, reasoning within the output's."""
    if answer.usage is not None:
        return dict(answer.usage)
    asked = body["input"]
    texts = [asked] if isinstance(asked, str) else [texts_of(item.get("content")) for item in asked]
    prompt, completion = answer.totals(sum(4 + count_tokens(text) for text in texts), [_text(body, answer)])
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": prompt + completion,
    }


def _text(body: Json, answer: Answer) -> str:
    asked = body["input"]
    if not isinstance(asked, str):
        said = [item for item in asked if item.get("role") == "user"]
        asked = texts_of(said[-1].get("content")) if said else ""
    return answer.said(asked)


def _told(place: int, item: Json, answer: Answer) -> Iterator[tuple[str, Part, Any]]:
    """The events that bring one item."""
    where = {"item_id": item["id"], "output_index": place}
    match item["type"]:
        case "reasoning":
            text = item["summary"][0]["text"]
            yield "response.output_item.added", "open", {"output_index": place, "item": {**item, "summary": []}}
            first = {**where, "summary_index": 0}
            yield (
                "response.reasoning_summary_part.added",
                "open",
                {**first, "part": {"type": "summary_text", "text": ""}},
            )
            for piece in split_text(text, None):
                yield "response.reasoning_summary_text.delta", "content", {**first, "delta": piece}
            yield "response.reasoning_summary_text.done", "content", {**first, "text": text}
        case "message":
            content = item["content"][0]
            kind, name = content["type"], "text" if content["type"] == "output_text" else "refusal"
            begun = {**item, "status": "in_progress", "content": []}
            yield "response.output_item.added", "open", {"output_index": place, "item": begun}
            first = {**where, "content_index": 0}
            yield "response.content_part.added", "open", {**first, "part": {**content, name: ""}}
            for piece in split_text(content[name], answer.chunks):
                yield f"response.{kind}.delta", "content", {**first, "delta": piece, "logprobs": []}
            yield f"response.{kind}.done", "content", {**first, name: content[name], "logprobs": []}
            yield "response.content_part.done", "content", {**first, "part": content}
        case _:
            begun = {**item, "status": "in_progress", "arguments": ""}
            yield "response.output_item.added", "content", {"output_index": place, "item": begun}
            for piece in split_text(item["arguments"], 3):
                yield "response.function_call_arguments.delta", "content", {**where, "delta": piece}
            done = {"arguments": item["arguments"], "name": item["name"]}
            yield "response.function_call_arguments.done", "content", {**where, **done}
    yield "response.output_item.done", "content", {"output_index": place, "item": item}
