"""Anthropic's Messages API, for its SDK and for agents that speak it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from app.core.errors import HullspeedError, InvalidRequest
from app.gateway.catalog import MESSAGES
from app.gateway.chat import Fields, read_body
from app.gateway.dialects.base import Asked, Dialect, Native, Reader, Telling, chat_of, encoded, too_deep
from app.gateway.dialects.chat import with_model_and_cost
from app.gateway.dialects.messages_reply import TYPES, ChatToMessages, MessagesReader, NativeTelling, message_of
from app.gateway.dialects.messages_request import DATA, MessagesRequest, Translation, is_unsigned, translate
from app.gateway.sse import named_event
from routers import Query

if TYPE_CHECKING:
    from app.gateway.attempt import WholeAnswer

PARAMS = frozenset({"max_tokens", "temperature", "top_p", "top_k", "thinking", "stop_sequences", "service_tier"})
"""Parameters of the configuration that mean the same here as in chat, or are Anthropic's own."""

_decode_request = msgspec.json.Decoder(MessagesRequest).decode


class Messages(Dialect):
    """`POST /v1/messages` (docs.anthropic.com/en/api/messages)."""

    endpoint = MESSAGES
    id_headers = ("x-request-id", "x-hullspeed-call-id", "request-id")
    passes = ("anthropic-version", "anthropic-beta")
    keep_alive = named_event("ping", b'{"type":"ping"}')

    def parse(self, body: bytes) -> Asked:
        request, fields, found = _read(body)
        if request.max_tokens is None:
            raise InvalidRequest("`max_tokens` is missing.", param="max_tokens")
        if found.unsigned:
            fields["messages"] = encoded([_signed(message) for message in request.messages])
        native = Native(MESSAGES, fields, PARAMS, found.only, limit="max_tokens")
        return Asked(*chat_of(found.body, request.routing), native, found.tools)

    def reader(self) -> Reader:
        return MessagesReader()

    def whole(self, asked: Asked, answer: WholeAnswer, cost: Decimal | None) -> bytes:
        if answer.native:
            return with_model_and_cost(answer, cost)
        return msgspec.json.encode(message_of(asked.tools, answer, cost))

    def telling(self, asked: Asked, model: str, *, native: bool) -> Telling:
        return NativeTelling(model) if native else ChatToMessages(model, asked.tools)

    def error(self, error: HullspeedError) -> bytes:
        said = {"type": TYPES.get(error.status, "api_error"), "message": error.message}
        return msgspec.json.encode({"type": "error", "error": said})

    def error_event(self, error: HullspeedError) -> bytes:
        return named_event("error", self.error(error))


def count_tokens(body: bytes) -> int:
    """About how many tokens a request's prompt has, four characters each. Raises `InvalidRequest`.

    An estimate for clients that ask before they send (docs.anthropic.com/en/api/messages-count-tokens): which model
    will answer, and so how it cuts words, is not known yet.
    """
    _, fields, found = _read(body)
    return Query(found.body["messages"], ()).prompt_tokens + len(bytes(fields.get("tools", b""))) // 4


def _read(body: bytes) -> tuple[MessagesRequest, Fields, Translation]:
    request, fields = read_body(body, _decode_request, DATA)
    try:
        return request, fields, translate(request)
    except RecursionError:
        raise too_deep() from None


def _signed(message: dict[str, Any]) -> dict[str, Any]:
    """A turn without the thoughts of other providers' models, which Anthropic's would refuse."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [block for block in content if not (isinstance(block, dict) and is_unsigned(block))]}
