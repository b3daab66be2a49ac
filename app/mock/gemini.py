"""Google's Gemini API (ai.google.dev/api/generate-content)."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from app.mock.dialect import Dialect, Event, Target, split_text, texts_of
from app.mock.replies import Answer, HttpError, Json, count_tokens
from app.mock.seen import Seen

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


_PATH = re.compile(r"/models/([^/:]+):(generateContent|streamGenerateContent)$")


class Gemini(Dialect):
    """POST …/models/{model}:generateContent and :streamGenerateContent?alt=sse, below any path."""

    base: ClassVar[str] = "/v1beta"

    def find(self, method: str, path: str, query: dict[str, str]) -> Target | None:
        found = _PATH.search(path)
        if method != "POST" or found is None:
            return None
        streamed = found[2] == "streamGenerateContent"
        # Without alt=sse Google streams one JSON array, which no client of ours asks for.
        return None if streamed and query.get("alt") != "sse" else Target(found[1], streamed)

    def bears(self, seen: Seen, key: str) -> bool:
        return key in (seen.query.get("key"), seen.headers.get("x-goog-api-key"))

    def wrong_key(self) -> HttpError:
        """400 it is, not 401."""
        return HttpError(400, "API key not valid. Please pass a valid API key.", code="API_KEY_INVALID")

    def check(self, body: Json, model: str) -> HttpError | None:
        if not body.get("contents"):
            return HttpError(400, "* GenerateContentRequest.contents: contents is not specified")
        return None

    def envelope(self, error: HttpError) -> Json:
        said: Json = {
            "code": error.status,
            "message": error.message or f"Error {error.status}.",
            "status": error.type or _STATUSES.get(error.status, "INTERNAL"),
        }
        if error.code is not None:
            info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code}
            said["details"] = [{**info, "domain": "googleapis.com"}]
        return {"error": said}

    def whole(self, body: Json, model: str, answer: Answer) -> Json:
        texts = _texts(body, answer)
        reply = self._head(model, answer)
        reply["candidates"] = [
            _candidate(index, [*_thoughts(answer), *_text_parts(text), *_calls(answer)], _finish(answer))
            for index, text in enumerate(texts)
        ]
        if answer.usage_at != "none":
            reply["usageMetadata"] = usage(body, answer, texts)
        return reply

    def events(self, body: Json, model: str, answer: Answer) -> list[Event]:
        texts = _texts(body, answer)
        total = usage(body, answer, texts)
        head = self._head(model, answer)
        pieces: list[tuple[int, Json]] = []
        for index, text in enumerate(texts):
            parts = [{"text": piece, "thought": True} for piece in split_text(answer.reasoning or "", None)]
            parts += [{"text": piece} for piece in split_text(text, answer.chunks)]
            pieces += [(index, part) for part in [*parts, *_calls(answer)]]
        events = []
        for index, part in pieces:
            # Google states the prompt's tokens from the first chunk on.
            known = {name: total[name] for name in ("promptTokenCount", "totalTokenCount") if name in total}
            more = {} if answer.usage_at in ("none", "own_chunk") else {"usageMetadata": known}
            events.append(Event({"candidates": [_candidate(index, [part])], **more, **head}))
        final: Json = {"candidates": []}
        for index in range(len(texts)):
            final["candidates"].append(_candidate(index, [{"text": ""}], _finish(answer)))
        if answer.usage_at != "none":
            final["usageMetadata"] = total
        events.append(Event({**final, **head}, "finish"))
        return events

    def _head(self, model: str, answer: Answer) -> Json:
        return {
            "modelVersion": answer.model or model,
            "responseId": f"fake{self.serial()}",
            **answer.extra,
        }


def usage(body: Json, answer: Answer, texts: list[str]) -> Json:
    """Google's usage: cached tokens are within the prompt's, thoughts beside the candidates'."""
    if answer.usage is not None:
        return dict(answer.usage)
    said = [texts_of(content.get("parts")) for content in body["contents"]]
    system = body.get("systemInstruction") or body.get("system_instruction")
    if system:
        said.append(texts_of(system.get("parts")))
    prompt, completion = answer.totals(sum(4 + count_tokens(text) for text in said), texts)
    counts: Json = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": completion - answer.reasoning_tokens,
        "totalTokenCount": prompt + completion,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    }
    if answer.cached_tokens:
        counts["cachedContentTokenCount"] = answer.cached_tokens
        counts["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": answer.cached_tokens}]
    if answer.reasoning_tokens:
        counts["thoughtsTokenCount"] = answer.reasoning_tokens
    return counts


def _texts(body: Json, answer: Answer) -> list[str]:
    asked = [content for content in body["contents"] if content.get("role", "user") == "user"]
    text = answer.refusal or answer.said(texts_of(asked[-1].get("parts") if asked else ""))
    config = body.get("generationConfig") or {}
    return list(answer.texts) or [text] * int(config.get("candidateCount") or config.get("candidate_count") or 1)


def _candidate(index: int, parts: list[Json], finish: str | None = None) -> Json:
    candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": index}
    if finish is not None:
        candidate["finishReason"] = finish
    return candidate


def _thoughts(answer: Answer) -> list[Json]:
    return [{"text": answer.reasoning, "thought": True}] if answer.reasoning is not None else []


def _text_parts(text: str) -> list[Json]:
    return [{"text": text}] if text else []


def _calls(answer: Answer) -> list[Json]:
    calls: list[Json] = []
    for call in answer.tool_calls:
        arguments: Any = json.loads(json.dumps(dict(call.arguments)))
        calls.append({"functionCall": {"name": call.name, "args": arguments}})
    return calls


def _finish(answer: Answer) -> str:
    return answer.finish_reason or ("SAFETY" if answer.refusal is not None else "STOP")
