"""OpenAI's legacy completions: a prompt in, its continuation out."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from app.core.errors import HullspeedError, InvalidRequest
from app.core.types import Attempt
from app.gateway.chat import Fields, RoutingOptions, StreamOptions, read_body
from app.gateway.dialects.base import Asked, Dialect, Native, Reader, Telling, chat_of, encoded
from app.gateway.dialects.chat import ChatTelling, with_model_and_cost
from app.gateway.replies import Reading, read_reply
from app.gateway.sse import event

if TYPE_CHECKING:
    from app.gateway.attempt import WholeAnswer

COMPLETIONS = "/v1/completions"
ONLY = ("suffix", "echo", "best_of", "logprobs")
"""What a chat cannot do, where it is set."""
SHARED = frozenset(
    {
        "temperature", "top_p", "n", "stop", "presence_penalty", "frequency_penalty", "logit_bias", "seed", "user",
        "stream", "stream_options",
    }
)  # fmt: skip
"""Parameters that mean the same in a chat."""


class CompletionsRequest(msgspec.Struct, frozen=True):
    """The fields that Hullspeed reads."""

    model: str
    prompt: str | list[str | int | list[int]]
    """One or several, as text or as tokens."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    routing: RoutingOptions | None = None


_decode_request = msgspec.json.Decoder(CompletionsRequest).decode


class Completions(Dialect):
    """`POST /v1/completions` (platform.openai.com/docs/api-reference/completions)."""

    endpoint = COMPLETIONS

    def parse(self, body: bytes) -> Asked:
        request, fields = read_body(body, _decode_request, frozenset())
        if request.prompt == []:
            raise InvalidRequest("`prompt` must not be empty.", param="prompt")
        texts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
        chat: dict[str, Any] = {name: msgspec.json.decode(raw) for name, raw in fields.items() if name in SHARED}
        # Tokens are not ours to read: a router sees that there is something, and nothing of it.
        told = [{"role": "user", "content": text if isinstance(text, str) else ""} for text in texts]
        chat |= {"model": request.model, "messages": told if isinstance(texts[0], str) else told[:1]}
        if request.max_tokens is not None:
            chat["max_completion_tokens"] = request.max_tokens
        plain = len(texts) == 1 and isinstance(texts[0], str)
        only = next((name for name in ONLY if bytes(fields.get(name, b"null")) not in _UNSET), None)
        native = Native(COMPLETIONS, fields, SHARED | {"max_tokens"}, only if plain else "prompt", counts=True)
        return Asked(*chat_of(chat, request.routing), native)

    def reader(self) -> Reader:
        return read_reply

    def whole(self, asked: Asked, answer: WholeAnswer, cost: Decimal | None) -> bytes:
        if not answer.native:
            answer.fields.update(_as_completion(answer.fields, "message"))
        return with_model_and_cost(answer, cost)

    def telling(self, asked: Asked, model: str, *, native: bool) -> Telling:
        telling = ChatTelling(model, usage=asked.chat.wants_usage)
        return telling if native else _ChatToCompletion(telling)

    def error_event(self, error: HullspeedError) -> bytes:
        return event(error.envelope())


_UNSET = (b"null", b"false", b"1")
"""`best_of` 1, `echo` false and no `logprobs` ask for nothing."""


class _ChatToCompletion:
    """Chunks of a chat as those of a completion."""

    def __init__(self, telling: ChatTelling) -> None:
        self._telling = telling

    def say(self, reply: Reading, fields: Fields) -> bytes:
        return self._telling.say(reply, {**fields, **_as_completion(fields, "delta")})

    def end(self, attempt: Attempt, cost: Decimal | None) -> bytes:
        return self._telling.end(attempt, cost)


def _as_completion(fields: Fields, said: str) -> Fields:
    """The fields that differ; `said`: where a choice has its text, in `message` or in `delta`."""
    found = msgspec.json.decode(fields["choices"]) if "choices" in fields else None
    choices = [
        {
            "text": (choice.get(said) or {}).get("content") or "",
            "index": choice.get("index", 0),
            "logprobs": None,
            "finish_reason": choice.get("finish_reason"),
        }
        for choice in found or ()
    ]
    return {"object": encoded("text_completion"), "choices": encoded(choices)}
