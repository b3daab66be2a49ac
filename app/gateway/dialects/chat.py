"""OpenAI's chat completions: nothing to translate."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from app.core.errors import HullspeedError
from app.core.types import Attempt
from app.gateway.catalog import CHAT
from app.gateway.chat import Fields, parse_chat
from app.gateway.dialects.base import Asked, Dialect, Reader, encoded
from app.gateway.replies import Reading, read_reply, with_cost
from app.gateway.sse import DONE, event

if TYPE_CHECKING:
    from app.gateway.attempt import WholeAnswer


class Chat(Dialect):
    """`POST /v1/chat/completions` (platform.openai.com/docs/api-reference/chat)."""

    endpoint = CHAT

    def parse(self, body: bytes) -> Asked:
        return Asked(*parse_chat(body))

    def reader(self) -> Reader:
        return read_reply

    def whole(self, asked: Asked, answer: WholeAnswer, cost: Decimal | None) -> bytes:
        return with_model_and_cost(answer, cost)

    def telling(self, asked: Asked, model: str, *, native: bool) -> ChatTelling:
        return ChatTelling(model, usage=asked.chat.wants_usage)

    def error_event(self, error: HullspeedError) -> bytes:
        return event(error.envelope())


def with_model_and_cost(answer: WholeAnswer, cost: Decimal | None) -> bytes:
    """A whole reply as it came, but for the name of the model and the cost beside its usage."""
    fields = answer.fields
    fields["model"] = encoded(answer.attempt.model)
    usage = answer.attempt.usage
    if "usage" in fields and usage is not None and not usage.estimated:
        fields["usage"] = with_cost(fields["usage"], cost)
    return msgspec.json.encode(fields)


_NULL = msgspec.Raw(b"null")
_OF_ALL_CHUNKS = frozenset({"id", "object", "created", "service_tier", "system_fingerprint"})


class ChatTelling:
    """The chunks of a stream, with usage once, at the end, where it is wanted."""

    def __init__(self, model: str, *, usage: bool) -> None:
        self.model = encoded(model)
        self.usage = usage
        self._last: Fields = {}
        self._stated: msgspec.Raw | None = None

    def say(self, reply: Reading, fields: Fields) -> bytes:
        self._last = fields
        if reply.has_usage:
            self._stated = fields.get("usage")
            if not reply.is_whole:
                return b""
        # Nobody else reads it any more.
        fields["model"] = self.model
        fields.pop("usage", None)
        if self.usage:
            fields["usage"] = _NULL
        return event(msgspec.json.encode(fields))

    def end(self, attempt: Attempt, cost: Decimal | None) -> bytes:
        if not self.usage:
            return event(DONE)
        # The upstream's own chunk of usage, if it sent one: what is not known here stays in it.
        own = self._stated is not None and self._last.get("usage") is self._stated
        chunk: dict[str, object] = {name: raw for name, raw in self._last.items() if own or name in _OF_ALL_CHUNKS}
        chunk |= {"model": self.model, "choices": [], "usage": self._totals(attempt, cost)}
        return event(msgspec.json.encode(chunk)) + event(DONE)

    def _totals(self, attempt: Attempt, cost: Decimal | None) -> dict[str, object]:
        totals = usage_of(attempt, cost)
        stated = None if self._stated is None else msgspec.json.decode(self._stated)
        if not isinstance(stated, dict) or attempt.usage is None or attempt.usage.estimated:
            return totals
        ours = {name: totals[name] for name in ("prompt_tokens", "completion_tokens", "cost") if name in totals}
        return {**totals, **stated, **ours}


def usage_of(attempt: Attempt, cost: Decimal | None) -> dict[str, object]:
    """OpenAI's usage object: the tokens of the attempt that answered, and the cost of the call."""
    usage = attempt.usage
    assert usage is not None
    totals: dict[str, object] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    if cost is not None:
        totals["cost"] = msgspec.Raw(str(cost).encode())
    return totals
