"""OpenAI's legacy completions (platform.openai.com/docs/api-reference/completions)."""

from __future__ import annotations

from typing import Any

from app.mock.dialect import Event, Target, split_text
from app.mock.openai import CREATED, OpenAI
from app.mock.openai import usage as chat_usage
from app.mock.replies import Answer, HttpError, Json


class Completions(OpenAI):
    """POST …/completions that is no chat."""

    def find(self, method: str, path: str, query: dict[str, str]) -> Target | None:
        legacy = path.endswith("/completions") and not path.endswith("/chat/completions")
        return Target() if method == "POST" and legacy else None

    def check(self, body: Json, model: str) -> HttpError | None:
        if not body.get("model"):
            return HttpError(400, "you must provide a model parameter", param="model")
        return None

    def whole(self, body: Json, model: str, answer: Answer) -> Json:
        texts = _texts(body, answer)
        reply: Json = {
            **self._head(model, answer),
            "choices": [_choice(index, text, answer.finish_reason or "stop") for index, text in enumerate(texts)],
            "usage": _usage(body, answer, texts),
        }
        if answer.usage_at == "none":
            del reply["usage"]
        return reply

    def events(self, body: Json, model: str, answer: Answer) -> list[Event]:
        head, texts = self._head(model, answer), _texts(body, answer)
        asked = bool((body.get("stream_options") or {}).get("include_usage"))
        nothing = {"usage": None} if asked else {}
        events = [
            Event({**head, "choices": [_choice(index, piece)], **nothing})
            for index, text in enumerate(texts)
            for piece in split_text(text, answer.chunks)
        ]
        for index in range(len(texts)):
            done = _choice(index, "", answer.finish_reason or "stop")
            events.append(Event({**head, "choices": [done], **nothing}, "finish"))
        if asked and answer.usage_at != "none":
            events.append(Event({**head, "choices": [], "usage": _usage(body, answer, texts)}, "usage"))
        events.append(Event("[DONE]", "end"))
        return events

    def _head(self, model: str, answer: Answer) -> Json:
        head = {"id": f"cmpl-mock{self.serial()}", "object": "text_completion", "created": CREATED}
        return {**head, "model": answer.model or model, **answer.extra}


def _texts(body: Json, answer: Answer) -> list[str]:
    """One text for each prompt."""
    prompts = body.get("prompt") or ""
    if isinstance(prompts, str) or isinstance(prompts[0], int):
        prompts = [prompts]
    return list(answer.texts) or [answer.said(prompt if isinstance(prompt, str) else "") for prompt in prompts]


def _choice(index: int, text: str, finish: str | None = None) -> Json:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _usage(body: Json, answer: Answer, texts: list[str]) -> Any:
    return chat_usage({"messages": [{"content": str(body.get("prompt") or "")}]}, answer, texts)
