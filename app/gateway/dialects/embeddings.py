"""OpenAI's embeddings: asked of a model by its name, and passed through as they come."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from app.core.errors import HullspeedError
from app.gateway.chat import Fields, RoutingOptions, read_body
from app.gateway.dialects.base import EVERYTHING, Asked, Dialect, Native, Reader, Telling, chat_of
from app.gateway.dialects.chat import with_model_and_cost
from app.gateway.replies import Reading, Reply
from app.gateway.sse import event

if TYPE_CHECKING:
    from app.gateway.attempt import WholeAnswer

EMBEDDINGS = "/v1/embeddings"
_PINNED = "vectors of two models cannot be compared"


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """The fields that Hullspeed reads."""

    model: str
    input: Any
    routing: RoutingOptions | None = None


class _Reply(Reply):
    data: msgspec.Raw = msgspec.Raw()

    @property
    def is_whole(self) -> bool:
        return bytes(self.data)[:1] == b"["


_decode_request = msgspec.json.Decoder(EmbeddingsRequest).decode
_decode_reply = msgspec.json.Decoder(_Reply).decode
_decode_fields = msgspec.json.Decoder(Fields).decode


class Embeddings(Dialect):
    """`POST /v1/embeddings` (platform.openai.com/docs/api-reference/embeddings).

    Never routed: vectors of two models cannot be compared, so the client has to say which one it wants.
    """

    endpoint = EMBEDDINGS

    def parse(self, body: bytes) -> Asked:
        request, fields = read_body(body, _decode_request, frozenset({"input"}))
        texts = request.input if isinstance(request.input, list) else [request.input]
        messages = [{"role": "user", "content": text} for text in texts if isinstance(text, str)]
        chat = {"model": request.model, "messages": messages or [{"role": "user", "content": ""}]}
        native = Native(EMBEDDINGS, fields, frozenset({"dimensions"}), EVERYTHING, _PINNED)
        return Asked(*chat_of(chat, request.routing), native)

    def reader(self) -> Reader:
        return _read

    def whole(self, asked: Asked, answer: WholeAnswer, cost: Decimal | None) -> bytes:
        return with_model_and_cost(answer, cost)

    def telling(self, asked: Asked, model: str, *, native: bool) -> Telling:
        raise NotImplementedError("embeddings are not streamed")

    def error_event(self, error: HullspeedError) -> bytes:
        return event(error.envelope())


def _read(data: bytes) -> tuple[Reading, Fields]:
    return _decode_reply(data), _decode_fields(data)
