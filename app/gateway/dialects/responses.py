"""OpenAI's Responses API, for its SDK and for agents that speak it. Stateless: nothing is kept here."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from app.core.errors import HullspeedError
from app.gateway.chat import read_body
from app.gateway.dialects.base import Asked, Dialect, Native, Reader, Telling, chat_of, encoded
from app.gateway.dialects.chat import with_model_and_cost
from app.gateway.dialects.responses_reply import ChatToResponse, NativeTelling, read_response
from app.gateway.dialects.responses_request import DATA, ResponsesRequest, is_ours, translate, without_ours
from app.gateway.sse import named_event

if TYPE_CHECKING:
    from app.gateway.attempt import WholeAnswer

RESPONSES = "/v1/responses"
PARAMS = frozenset({"temperature", "top_p", "parallel_tool_calls", "service_tier", "user", "metadata", "store"})
"""Parameters of the configuration that mean the same here as in chat."""

_decode_request = msgspec.json.Decoder(ResponsesRequest).decode


class Responses(Dialect):
    """`POST /v1/responses` (platform.openai.com/docs/api-reference/responses)."""

    endpoint = RESPONSES

    def parse(self, body: bytes) -> Asked:
        request, fields = read_body(body, _decode_request, DATA)
        found = translate(request)
        if isinstance(request.input, list) and any(is_ours(item) for item in request.input):
            fields["input"] = encoded(without_ours(request.input))
        native = Native(RESPONSES, fields, PARAMS, found.only, found.pinned)
        return Asked(*chat_of(found.body, request.routing), native, found.tools.known)

    def reader(self) -> Reader:
        return read_response

    def whole(self, asked: Asked, answer: WholeAnswer, cost: Decimal | None) -> bytes:
        if answer.native:
            return with_model_and_cost(answer, cost)
        written = ChatToResponse(asked, answer.attempt.model)
        written.say(answer.reply, answer.fields)
        return msgspec.json.encode(written.response(answer.attempt, cost))

    def telling(self, asked: Asked, model: str, *, native: bool) -> Telling:
        return NativeTelling(model) if native else ChatToResponse(asked, model)

    def error_event(self, error: HullspeedError) -> bytes:
        # Flat as documented, and with OpenAI's envelope as well, by which its SDK knows an error.
        body = {"type": "error", "code": error.code, "message": error.message, "param": error.param}
        envelope = msgspec.json.decode(error.envelope())
        return named_event("error", msgspec.json.encode({**body, **envelope}))
